using CudnnDigits.Model;
using CudnnDigits.Numerics;

namespace CudnnDigits.Cpu;

/// <summary>Where a block's output goes: the padded input of the next block, or the features of the dense layers.</summary>
/// <param name="origin">First value of slot 0, inside any padding.</param>
/// <param name="slot">Elements from one sample to the next.</param>
/// <param name="row">Elements from one row to the next.</param>
internal readonly unsafe struct ActivationView(float* origin, nint slot, int row)
{
    public int Row => row;

    public float* At(int n) => origin + n * slot;
}

/// <summary>
/// Convolution [→ batch norm] → ReLU [→ max-pool] [→ dropout]: what convolutional networks repeat. Every method works on one
/// sample, so that its activations stay in the core's cache from one operation to the next.
/// </summary>
internal sealed unsafe class ConvBlock<S, V>
    where S : struct, ISimd<V>
    where V : struct
{
    private readonly ConvShape _conv;
    private readonly PoolShape _pool;
    private readonly int _channels;
    private readonly double _dropoutRate;
    private readonly int _dropoutIndex;
    private readonly BatchNormState? _norm;
    private readonly bool _winograd;
    private readonly WinogradShape _forwardTiles, _backwardTiles, _predictTiles;
    private readonly int _index;
    private readonly Operation _forward, _moments, _join, _activate, _sums, _dY, _dW, _dX, _prepare, _predict;
    private readonly float* _input, _y, _dOutput, _partSums, _turned, _transformed, _turnedTransformed;
    private readonly float* _scale, _evalScale, _evalShift, _slope, _offset, _mean; // (channels)
    private float* _shift;
    private FlatParameters _parameters = null!;
    private ActivationView _output;

    /// <param name="arena">Owner of the buffers.</param>
    /// <param name="operations">Where the block lists its operations.</param>
    /// <param name="index">Place among the convolution blocks.</param>
    /// <param name="plan">The layers of the block.</param>
    /// <param name="conv">Shapes, padded to whole tiles.</param>
    /// <param name="inputs">Inputs kept at a time.</param>
    /// <param name="trained">Samples trained at a time; 0 where nothing is.</param>
    public ConvBlock(NativeArena arena, OperationList operations, int index, ConvPlan plan, ConvShape conv, int inputs, int trained)
    {
        _index = index;
        _conv = conv;
        _channels = plan.Conv.OutChannels;
        _pool = new PoolShape(conv.K, conv.OutH, conv.OutW, plan.Pool?.Window ?? 1);
        _dropoutRate = plan.Dropout?.Rate ?? 0;
        _dropoutIndex = plan.DropoutIndex;
        Plan = plan;
        _winograd = conv.R == 3 && conv.C % RegisterTile<S, V>.Columns == 0;
        _predictTiles = new WinogradShape(conv, _pool.OutH * _pool.Window, _pool.OutW * _pool.Window, Small: false);
        _forwardTiles = plan.Norm is null
            ? _predictTiles with { Small = true }
            : new WinogradShape(conv, conv.OutH, conv.OutW, Small: true); // batch statistics need all outputs
        _backwardTiles = new WinogradShape(conv.Transpose(), conv.H, conv.W, Small: false);

        _input = arena.Floats((long)inputs * conv.InputSize + WinogradShape.Slack(conv));
        _y = arena.Floats((long)trained * conv.OutputSize);
        _dOutput = arena.Floats((long)trained * _pool.OutputSize);
        _partSums = arena.Floats((long)trained * 2 * conv.K);
        _turned = arena.Floats(conv.WeightSize);
        _scale = arena.Floats(conv.K);
        _transformed = arena.Floats(_winograd ? WinogradShape.WeightSize(conv) : 0);
        _turnedTransformed = arena.Floats(_winograd ? WinogradShape.WeightSize(conv) : 0);
        _slope = arena.Floats(conv.K);
        _offset = arena.Floats(conv.K);
        _norm = plan.Norm is null ? null : new BatchNormState(arena, conv.K, conv.OutH * conv.OutW, trained);
        if (_norm is null)
        {
            new Span<float>(_scale, conv.K).Fill(1);
            _evalScale = _scale;
            _mean = arena.Floats(conv.K);
        }
        else
        {
            _shift = arena.Floats(conv.K);
            _evalScale = arena.Floats(conv.K);
            _evalShift = arena.Floats(conv.K);
            _mean = _norm.Mean;
        }

        // A convolution counts as the multiply-adds of the direct method without padded channels, another pass as its loops' operations.
        string name = plan.Conv.Name;
        double y = (double)conv.OutH * conv.OutW * _channels, x = plan.Input.Size, a = (double)_pool.OutH * _pool.OutW * _channels;
        double taps = plan.Conv.InChannels * conv.R * conv.R, flops = 2 * y * taps, weights = plan.Conv.OutChannels * taps;
        _forward = operations.Train(name, "forward", flops, y, weights);
        _moments = operations.Train(name, "statistics", plan.Norm is null ? 0 : 5 * y);
        _join = operations.Train(name, "join over the batch", plan.Norm is null ? 1 : 20, 5 * _channels);
        _activate = operations.Train(name, Activation(plan, plan.Dropout is not null), 3 * y, y + a);
        _sums = operations.Train(name, "backward: sums", 4 * y, y + a);
        _dY = operations.Train(name, "backward: activation", 8 * y, y + 2 * a);
        _dW = operations.Train(name, "backward: weights", flops, x, weights);
        _dX = operations.Train(name, "backward: input", index == 0 ? 0 : flops, index == 0 ? 0 : x, weights);
        _prepare = operations.Train(name, "weights for the step", 0, 0, weights + (_winograd ? 8 * weights : 0) + (index > 0 ? weights : 0));
        _predict = operations.Infer(name, $"forward, {Activation(plan, dropout: false)}", flops + 3 * y, 0, weights);
    }

    public ConvPlan Plan { get; }

    public ConvShape Conv => _conv;

    public PoolShape Pool => _pool;

    public BatchNormState? Norm => _norm;

    /// <summary>Place of the weights in the flat parameters.</summary>
    public int WeightOffset { get; init; }

    /// <summary>Place of the bias, or of γ followed by β.</summary>
    public int BiasOffset { get; init; }

    /// <summary>This block's input as the output of whatever comes before.</summary>
    public ActivationView Input => new(_input + _conv.Interior, _conv.InputSize, _conv.PaddedW * _conv.C);

    /// <summary>Gradient of the output of sample n, (OutH, OutW, K) f32, written by whatever comes after.</summary>
    public float* DOutput(int n) => _dOutput + (nint)n * _pool.OutputSize;

    /// <summary>Elements of the padded dY that <see cref="Backward"/> needs per worker.</summary>
    public int DYSize => _conv.Transpose().InputSize + WinogradShape.Slack(_conv.Transpose());

    private float* Bias => _parameters.W + BiasOffset;

    public void Connect(FlatParameters parameters, ActivationView output)
    {
        _parameters = parameters;
        _output = output;
        if (_norm is null)
        {
            _shift = Bias;
        }
    }

    /// <summary>Weights as the passes of a step read them; the first block passes no gradient on.</summary>
    public void PrepareStep(Worker worker)
    {
        float* w = _parameters.W + WeightOffset;
        if (_winograd)
        {
            Winograd<S, V>.TransformWeights(_conv, w, null, _transformed);
        }

        if (_index > 0)
        {
            Conv2d<S, V>.TurnWeights(_conv, w, _turned);
            if (_winograd)
            {
                Winograd<S, V>.TransformWeights(_conv.Transpose(), _turned, null, _turnedTransformed);
            }
        }

        worker.Lap(_prepare);
    }

    /// <summary>Convolution of sample n, and its share of the batch statistics.</summary>
    public void Forward(int n, Worker worker)
    {
        float* x = _input + (nint)n * _conv.InputSize, y = Y(n);
        Convolve(_forwardTiles, x, _parameters.W + WeightOffset, _transformed, worker, y);
        worker.Lap(_forward);
        if (_norm is not null)
        {
            BatchNorm2d<S, V>.Moments(y, _conv.OutH, _conv.OutW, _conv.K, _norm.Moments + n * 3 * _conv.K);
            worker.Lap(_moments);
        }
    }

    /// <summary>Joins the batch statistics once every sample went forward.</summary>
    public void FinishForward(int images, Worker worker)
    {
        _norm?.FinishForward(images, Bias, Bias + _conv.K, _scale, _shift);
        worker.Lap(_join);
    }

    /// <summary>Batch norm or bias, ReLU, pooling and dropout of sample n, into the output.</summary>
    public void Activate(int n, Worker worker, in Philox random, int sample, int epoch)
    {
        MaxPool2d<S, V>.Forward(_pool, Y(n), _scale, _shift, _output.At(n), _output.Row);
        if (_dropoutRate > 0)
        {
            Dropout<S, V>.Forward(
                worker.Words, random, _dropoutRate, _dropoutIndex, sample, epoch,
                _output.At(n), _output.Row, _pool.OutH, _pool.OutW, _channels, _conv.K);
        }

        worker.Lap(_activate);
    }

    /// <summary>Sample n's share of the sums behind dBias, or dγ and dβ.</summary>
    public void BackwardSums(int n, Worker worker)
    {
        MaxPool2d<S, V>.BackwardSums(
            _pool, Y(n), _scale, _shift, _mean, Dropped(n), _output.Row, DOutput(n), KeepScale, _partSums + n * 2 * _conv.K);
        worker.Lap(_sums);
    }

    /// <summary>Joins those sums once every sample has given its share.</summary>
    public void FinishBackward(int images, Worker worker)
    {
        JoinSums(images);
        worker.Lap(_join);
    }

    private void JoinSums(int images)
    {
        float* dBias = _parameters.DW + BiasOffset;
        if (_norm is not null)
        {
            _norm.FinishBackward(images, _partSums, Bias, dBias, dBias + _conv.K, _slope, _offset);
            return;
        }

        for (int k = 0; k < _conv.K; k++)
        {
            double sum = 0;
            for (int n = 0; n < images; n++)
            {
                sum += _partSums[n * 2 * _conv.K + k];
            }

            dBias[k] = (float)sum;
        }
    }

    /// <summary>Gradients of sample n: to the chunk's weight gradients and, unless null, to the input.</summary>
    public void Backward(int n, int chunk, bool firstOfChunk, Worker worker, float* dInput)
    {
        ConvShape turned = _conv.Transpose();
        float* dY = worker.DY(_index);
        MaxPool2d<S, V>.Backward(
            _pool, Y(n), _scale, _shift, _slope, _offset, Dropped(n), _output.Row, DOutput(n), KeepScale,
            dY + turned.Interior, turned.PaddedW * turned.C);
        worker.Lap(_dY);
        float* dw = _parameters.ChunkDW + (nint)chunk * _parameters.ConvLength + WeightOffset;
        Conv2d<S, V>.BackwardWeights(_conv, _input + (nint)n * _conv.InputSize, dY, dw, !firstOfChunk);
        worker.Lap(_dW);
        if (dInput != null)
        {
            Convolve(_backwardTiles, dY, _turned, _turnedTransformed, worker, dInput);
            worker.Lap(_dX);
        }
    }

    /// <summary>Elements of scratch memory that a convolution needs.</summary>
    public int ScratchSize => _conv.OutputSize
        + (_winograd ? new[] { _forwardTiles, _backwardTiles, _predictTiles }.Max(tiles => Winograd<S, V>.ScratchSize(tiles)) : 0);

    /// <summary>Folds the running statistics, for <see cref="Predict"/>; into the weights, where these are transformed anyway.</summary>
    public void PreparePredict()
    {
        _norm?.FoldRunning(Bias, Bias + _conv.K, _evalScale, _evalShift);
        if (_winograd)
        {
            Winograd<S, V>.TransformWeights(_conv, _parameters.W + WeightOffset, _evalScale, _transformed);
        }
    }

    /// <summary>The whole block in evaluation mode, on the sample in the worker's slot; its activations stay in the core's cache.</summary>
    public void Predict(Worker worker, float* output, int outputRow)
    {
        float* x = _input + (nint)worker.Index * _conv.InputSize, shift = _norm is null ? _shift : _evalShift;
        if (_winograd && _pool.Window <= 2)
        {
            Winograd<S, V>.Forward(_predictTiles, x, _transformed, shift, _pool.Window, worker.Scratch, output, outputRow);
        }
        else if (_pool.Window <= 2)
        {
            Conv2d<S, V>.Predict(_conv, _pool, x, _parameters.W + WeightOffset, _evalScale, shift, output, outputRow);
        }
        else
        {
            Conv2d<S, V>.Forward(_conv, x, _parameters.W + WeightOffset, worker.Scratch);
            MaxPool2d<S, V>.Forward(_pool, worker.Scratch, _evalScale, shift, output, outputRow);
        }

        worker.Lap(_predict);
    }

    /// <summary>y = x ∗ w, by Winograd's method or directly.</summary>
    private void Convolve(in WinogradShape tiles, float* x, float* w, float* transformed, Worker worker, float* y)
    {
        if (_winograd)
        {
            Winograd<S, V>.Forward(tiles, x, transformed, null, 1, worker.Scratch, y, tiles.Conv.OutW * tiles.Conv.K);
        }
        else
        {
            Conv2d<S, V>.Forward(tiles.Conv, x, w, y);
        }
    }

    private static string Activation(ConvPlan plan, bool dropout) =>
        $"{(plan.Norm is null ? "bias" : "norm")}, relu{(plan.Pool is null ? "" : ", pool")}{(dropout ? ", dropout" : "")}";

    /// <summary>The output of sample n where dropout made holes in it, else null.</summary>
    private float* Dropped(int n) => _dropoutRate > 0 ? _output.At(n) : null;

    private float KeepScale => Dropout<S, V>.KeepScale(_dropoutRate);

    private float* Y(int n) => _y + (nint)n * _conv.OutputSize;
}
