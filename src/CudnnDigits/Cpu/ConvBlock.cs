using CudnnDigits.Model;
using CudnnDigits.Numerics;

namespace CudnnDigits.Cpu;

/// <summary>Where the output of a block goes: the padded input of the next block, or the features of the dense layers.</summary>
internal readonly unsafe struct ActivationView(float* origin, nint slot, int row)
{
    /// <summary>The input of a convolution, for so many samples.</summary>
    public static ActivationView OfInput(in ConvShape shape, NativeArena arena, int samples)
    {
        float* x = arena.Floats((long)samples * shape.InputSize + WinogradShape.Slack(shape));
        return new ActivationView(x + shape.Interior, shape.InputSize, shape.PaddedW * shape.C);
    }

    /// <summary>Elements from one row to the next.</summary>
    public int Row => row;

    /// <summary>First value of a sample, inside any padding.</summary>
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
    private readonly ConvShape _conv, _turned;
    private readonly PoolShape _pool;
    private readonly FlatParameters _parameters;
    private readonly int _weights, _bias; // places in the flat parameters; of the bias, or of γ followed by β
    private readonly ActivationView _input, _output;
    private readonly ConvBlock<S, V>? _before;
    private readonly double _dropoutRate;
    private readonly float _keepScale;
    private readonly bool _winograd;
    private readonly WinogradShape _forwardTiles, _backwardTiles, _predictTiles;
    private readonly Operation _forward, _moments, _join, _activate, _sums, _dY, _dW, _dX, _prepare, _predict;
    private readonly float* _y, _dOutput, _partSums, _dYOfWorkers, _turnedWeights, _transformed, _turnedTransformed;
    private readonly float* _scale, _shiftOfNorm, _evalScale, _evalShiftOfNorm, _slope, _offset, _mean; // (channels)

    /// <summary>A block that so many workers train on steps of up to so many samples; before is the block that writes its input.</summary>
    public ConvBlock(
        NativeArena arena, OperationList operations, FlatParameters parameters, int weights, ConvPlan plan, ConvShape conv,
        ActivationView input, ActivationView output, ConvBlock<S, V>? before, int samples, int workers)
    {
        (_conv, _turned, _parameters, _weights) = (conv, conv.Transpose(), parameters, weights);
        (_input, _output, _before, Plan) = (input, output, before, plan);
        _pool = new PoolShape(conv.K, conv.OutH, conv.OutW, plan.Pool?.Window ?? 1);
        _dropoutRate = plan.Dropout?.Rate ?? 0;
        _keepScale = Dropout<S, V>.KeepScale(_dropoutRate);
        _winograd = conv.R == 3 && conv.C % RegisterTile<S, V>.Columns == 0;
        _predictTiles = new WinogradShape(conv, _pool.OutH * _pool.Window, _pool.OutW * _pool.Window, Small: false);
        _forwardTiles = plan.Norm is null
            ? _predictTiles with { Small = true }
            : new WinogradShape(conv, conv.OutH, conv.OutW, Small: true); // batch statistics need all outputs
        _backwardTiles = new WinogradShape(_turned, conv.H, conv.W, Small: false);

        _y = arena.Floats((long)samples * conv.OutputSize);
        _dOutput = arena.Floats((long)samples * _pool.OutputSize);
        _partSums = arena.Floats((long)samples * 2 * conv.K);
        _dYOfWorkers = arena.Floats((long)workers * DYSize);
        _turnedWeights = arena.Floats(conv.WeightSize);
        _transformed = arena.Floats(_winograd ? WinogradShape.WeightSize(conv) : 0);
        _turnedTransformed = arena.Floats(_winograd ? WinogradShape.WeightSize(conv) : 0);
        Norm = plan.Norm is null ? null : new BatchNormState(arena, conv.K, conv.OutH * conv.OutW, samples);
        _mean = Norm is null ? arena.Floats(conv.K) : Norm.Mean;
        _slope = arena.Floats(conv.K);
        _offset = arena.Floats(conv.K);
        _scale = arena.Floats(conv.K);
        _shiftOfNorm = arena.Floats(conv.K);
        _evalScale = arena.Floats(conv.K);
        _evalShiftOfNorm = arena.Floats(conv.K);
        new Span<float>(_scale, conv.K).Fill(1);
        new Span<float>(_evalScale, conv.K).Fill(1);

        // The host has all parameters in the order of the layers: weights, then the bias, or γ and β.
        (string name, int outputs, int inputs, int taps) = (plan.Conv.Name, plan.Conv.OutChannels, plan.Conv.InChannels, conv.R * conv.R);
        _bias = parameters.Reserve(plan.Norm is null ? conv.K : 2 * conv.K);
        parameters.Map(
            from k in Enumerable.Range(0, outputs)
            from c in Enumerable.Range(0, inputs)
            from tap in Enumerable.Range(0, taps)
            select weights + Conv2d<S, V>.WeightIndex(conv, k, c, tap));
        parameters.Map(Enumerable.Range(_bias, outputs));
        parameters.Map(Enumerable.Range(_bias + conv.K, plan.Norm is null ? 0 : outputs));

        // A convolution counts as the multiply-adds of the direct method without padded channels, another pass as its loops' operations.
        double y = (double)conv.OutH * conv.OutW * outputs, x = plan.Input.Size, a = (double)_pool.OutH * _pool.OutW * outputs;
        double size = (double)outputs * inputs * taps, flops = 2 * y * inputs * taps;
        string relu = $"{(plan.Norm is null ? "bias" : "norm")}, relu{(plan.Pool is null ? "" : ", pool")}";
        _forward = operations.Add(name, "forward", flops, y, size);
        _moments = operations.Add(name, "statistics", plan.Norm is null ? 0 : 5 * y);
        _join = operations.Add(name, "join over the batch", plan.Norm is null ? 1 : 20, 5 * outputs);
        _activate = operations.Add(name, plan.Dropout is null ? relu : $"{relu}, dropout", 3 * y, y + a);
        _sums = operations.Add(name, "backward: sums", 4 * y, y + a);
        _dY = operations.Add(name, "backward: activation", 8 * y, y + 2 * a);
        _dW = operations.Add(name, "backward: weights", flops, x, size);
        _dX = operations.Add(name, "backward: input", before is null ? 0 : flops, before is null ? 0 : x, size);
        _prepare = operations.Add(name, "weights for the step", 0, 0, size + (_winograd ? 8 * size : 0) + (before is null ? 0 : size));
        _predict = operations.Add(name, $"forward, {relu}", flops + 3 * y, 0, size, inference: true);
    }

    public ConvPlan Plan { get; }

    public BatchNormState? Norm { get; }

    /// <summary>Elements of scratch memory that a convolution needs.</summary>
    public int ScratchSize => _conv.OutputSize
        + (_winograd ? new[] { _forwardTiles, _backwardTiles, _predictTiles }.Max(tiles => Winograd<S, V>.ScratchSize(tiles)) : 0);

    /// <summary>Elements of the padded dY of one worker.</summary>
    private int DYSize => _turned.InputSize + WinogradShape.Slack(_turned);

    private float* W => _parameters.W + _weights;

    private float* Bias => _parameters.W + _bias;

    private float* Shift => Norm is null ? Bias : _shiftOfNorm;

    /// <summary>Gradient of the output of sample n, (OutH, OutW, K) f32, written by whatever comes after.</summary>
    public float* DOutput(int n) => _dOutput + (nint)n * _pool.OutputSize;

    /// <summary>Weights as the passes of a step read them; the first block passes no gradient on.</summary>
    public void PrepareStep(Worker worker)
    {
        if (_winograd)
        {
            Winograd<S, V>.TransformWeights(_conv, W, null, _transformed);
        }

        if (_before is not null)
        {
            Conv2d<S, V>.TurnWeights(_conv, W, _turnedWeights);
            if (_winograd)
            {
                Winograd<S, V>.TransformWeights(_turned, _turnedWeights, null, _turnedTransformed);
            }
        }

        worker.Lap(_prepare);
    }

    /// <summary>Convolution of sample n, and its share of the batch statistics.</summary>
    public void Forward(int n, Worker worker)
    {
        Convolve(_forwardTiles, X(n), W, _transformed, worker, Y(n));
        worker.Lap(_forward);
        if (Norm is not null)
        {
            BatchNorm2d<S, V>.Moments(Y(n), _conv.OutH, _conv.OutW, _conv.K, Norm.Moments + n * 3 * _conv.K);
            worker.Lap(_moments);
        }
    }

    /// <summary>Joins the batch statistics once every sample went forward.</summary>
    public void FinishForward(int images, Worker worker)
    {
        Norm?.FinishForward(images, Bias, Bias + _conv.K, _scale, Shift);
        worker.Lap(_join);
    }

    /// <summary>Batch norm or bias, ReLU, pooling and dropout of sample n, into the output.</summary>
    public void Activate(int n, Worker worker, in Philox random, int sample, int epoch)
    {
        MaxPool2d<S, V>.Forward(_pool, Y(n), _scale, Shift, _output.At(n), _output.Row);
        if (_dropoutRate > 0)
        {
            Dropout<S, V>.Forward(
                worker.Words, random, _dropoutRate, Plan.DropoutIndex, sample, epoch,
                _output.At(n), _output.Row, _pool.OutH, _pool.OutW, Plan.Conv.OutChannels, _conv.K);
        }

        worker.Lap(_activate);
    }

    /// <summary>Sample n's share of the sums behind dBias, or dγ and dβ.</summary>
    public void BackwardSums(int n, Worker worker)
    {
        MaxPool2d<S, V>.BackwardSums(
            _pool, Y(n), _scale, Shift, _mean, Dropped(n), _output.Row, DOutput(n), _keepScale, _partSums + n * 2 * _conv.K);
        worker.Lap(_sums);
    }

    /// <summary>Joins those sums once every sample has given its share.</summary>
    public void FinishBackward(int images, Worker worker)
    {
        float* dBias = _parameters.DW + _bias;
        Norm?.FinishBackward(images, _partSums, Bias, dBias, dBias + _conv.K, _slope, _offset);
        for (int k = 0; k < (Norm is null ? _conv.K : 0); k++)
        {
            double sum = 0;
            for (int n = 0; n < images; n++)
            {
                sum += _partSums[n * 2 * _conv.K + k];
            }

            dBias[k] = (float)sum;
        }

        worker.Lap(_join);
    }

    /// <summary>Gradients of sample n: dY; the chunk's dW; dX, and the sums that the block before needs.</summary>
    public void Backward(int n, int chunk, bool firstOfChunk, Worker worker)
    {
        float* dY = _dYOfWorkers + (nint)worker.Index * DYSize;
        MaxPool2d<S, V>.Backward(
            _pool, Y(n), _scale, Shift, _slope, _offset, Dropped(n), _output.Row, DOutput(n), _keepScale,
            dY + _turned.Interior, _turned.PaddedW * _turned.C);
        worker.Lap(_dY);
        float* dw = _parameters.ChunkDW + (nint)chunk * _parameters.ConvLength + _weights;
        Conv2d<S, V>.BackwardWeights(_conv, X(n), dY, dw, !firstOfChunk);
        worker.Lap(_dW);
        if (_before is not null)
        {
            Convolve(_backwardTiles, dY, _turnedWeights, _turnedTransformed, worker, _before.DOutput(n));
            worker.Lap(_dX);
            _before.BackwardSums(n, worker);
        }
    }

    /// <summary>Folds the running statistics, for <see cref="Predict"/>; into the weights, where these are transformed anyway.</summary>
    public void PreparePredict()
    {
        Norm?.FoldRunning(Bias, Bias + _conv.K, _evalScale, _evalShiftOfNorm);
        if (_winograd)
        {
            Winograd<S, V>.TransformWeights(_conv, W, _evalScale, _transformed);
        }
    }

    /// <summary>The block in evaluation mode: from the worker's input to an output; its activations stay in the core's cache.</summary>
    public void Predict(Worker worker, int output)
    {
        float* x = X(worker.Index), shift = Norm is null ? Bias : _evalShiftOfNorm, a = _output.At(output);
        if (_winograd && _pool.Window <= 2)
        {
            Winograd<S, V>.Forward(_predictTiles, x, _transformed, shift, _pool.Window, worker.Scratch, a, _output.Row);
        }
        else if (_pool.Window <= 2)
        {
            Conv2d<S, V>.Predict(_conv, _pool, x, W, _evalScale, shift, a, _output.Row);
        }
        else
        {
            Conv2d<S, V>.Forward(_conv, x, W, worker.Scratch);
            MaxPool2d<S, V>.Forward(_pool, worker.Scratch, _evalScale, shift, a, _output.Row);
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

    /// <summary>The output of sample n where dropout made holes in it, else null.</summary>
    private float* Dropped(int n) => _dropoutRate > 0 ? _output.At(n) : null;

    private float* X(int n) => _input.At(n) - _conv.Interior;

    private float* Y(int n) => _y + (nint)n * _conv.OutputSize;
}
