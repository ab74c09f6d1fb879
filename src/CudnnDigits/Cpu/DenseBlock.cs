using CudnnDigits.Model;
using CudnnDigits.Numerics;

namespace CudnnDigits.Cpu;

/// <summary>Linear [→ ReLU [→ dropout]] on a batch.</summary>
internal sealed unsafe class DenseBlock<S, V>
    where S : struct, ISimd<V>
    where V : struct
{
    private readonly DenseShape _shape;
    private readonly int _outputs;
    private readonly bool _relu;
    private readonly double _dropoutRate;
    private readonly int _dropoutIndex;
    private readonly int _paddedBatch;
    private readonly float* _x, _y, _dY, _dYTransposed;
    private readonly Operation _forward, _drop, _maskDY, _backward, _predict;
    private FlatParameters _parameters = null!;

    /// <param name="arena">Owner of the buffers.</param>
    /// <param name="operations">Where the block lists its operations.</param>
    /// <param name="plan">The layers of the block.</param>
    /// <param name="shape">Shapes, padded to whole tiles.</param>
    /// <param name="x">The output of what comes before, (batch, In) f32.</param>
    /// <param name="capacity">Samples in the largest batch.</param>
    /// <param name="first">Whether the block reads the network's input, which needs no gradient.</param>
    public DenseBlock(NativeArena arena, OperationList operations, DensePlan plan, DenseShape shape, float* x, int capacity, bool first)
    {
        Plan = plan;
        _shape = shape;
        _outputs = plan.Linear.OutFeatures;
        _relu = plan.Relu is not null;
        _dropoutRate = plan.Dropout?.Rate ?? 0;
        _dropoutIndex = plan.DropoutIndex;
        _paddedBatch = RegisterTile<S, V>.Pad(capacity);
        _x = x;
        _y = arena.Floats((long)capacity * shape.Out);
        _dY = arena.Floats((long)capacity * shape.Out);
        _dYTransposed = arena.Floats((long)_paddedBatch * shape.Out);

        string name = plan.Linear.Name, forward = _relu ? "forward, bias, relu" : "forward, bias";
        double inputs = plan.Linear.InFeatures, outputs = plan.Linear.OutFeatures, weights = inputs * outputs;
        _forward = operations.Train(name, forward, 2 * weights, inputs + outputs, weights);
        _drop = operations.Train(name, "dropout", outputs, 2 * outputs);
        _maskDY = operations.Train(name, "backward: activation", 2 * outputs, 4 * outputs);
        _backward = first
            ? operations.Train(name, "backward: weights", 2 * weights, inputs + outputs, weights)
            : operations.Train(name, "backward: weights and input", 4 * weights, 2 * (inputs + outputs), 2 * weights);
        _predict = operations.Infer(name, forward, 2 * weights, inputs + outputs, weights);
    }

    public DensePlan Plan { get; }

    public DenseShape Shape => _shape;

    /// <summary>Place of the weights in the flat parameters.</summary>
    public int WeightOffset { get; init; }

    /// <summary>Place of the bias.</summary>
    public int BiasOffset { get; init; }

    /// <summary>(batch, Out) f32.</summary>
    public float* Y => _y;

    /// <summary>(batch, Out) f32: gradient of <see cref="Y"/>, written by what comes after.</summary>
    public float* DY => _dY;

    public void Connect(FlatParameters parameters) => _parameters = parameters;

    /// <summary>Whether <see cref="Drop"/> has anything to do.</summary>
    public bool HasDropout => _dropoutRate > 0;

    public int ForwardItems(int batch) => Dense<S, V>.ForwardItems(_shape, batch);

    public void Forward(int item, int batch, Worker worker, bool inference)
    {
        Dense<S, V>.Forward(item, _shape, batch, _x, _parameters.W + WeightOffset, _parameters.W + BiasOffset, _relu, _y);
        worker.Lap(inference ? _predict : _forward);
    }

    /// <summary>Dropout of sample n.</summary>
    public void Drop(int n, Worker worker, in Philox random, int sample, int epoch)
    {
        Dropout<S, V>.Forward(
            worker.Words, random, _dropoutRate, _dropoutIndex, sample, epoch, _y + n * _shape.Out, _shape.Out, 1, 1, _outputs, _shape.Out);
        worker.Lap(_drop);
    }

    /// <summary>Gradient of sample n through dropout and ReLU, and its transposed copy.</summary>
    public void BackwardActivation(int n, Worker worker)
    {
        float* dy = _dY + n * _shape.Out;
        if (_relu)
        {
            Dense<S, V>.Mask(_shape, _y + n * _shape.Out, dy, Dropout<S, V>.KeepScale(_dropoutRate));
        }

        for (int i = 0; i < _shape.Out; i++)
        {
            _dYTransposed[(nint)i * _paddedBatch + n] = dy[i];
        }

        worker.Lap(_maskDY);
    }

    /// <summary>One item for the bias, the rest for weights and input.</summary>
    public int BackwardItems => 1 + Dense<S, V>.BackwardItems(_shape);

    public void Backward(int item, int batch, Worker worker, float* dX)
    {
        if (item == 0)
        {
            Dense<S, V>.BackwardBias(_shape, batch, _dY, _parameters.DW + BiasOffset);
        }
        else
        {
            Dense<S, V>.Backward(
                item - 1, _shape, batch, _x, _parameters.W + WeightOffset,
                _dY, _dYTransposed, _paddedBatch, _parameters.DW + WeightOffset, dX);
        }

        worker.Lap(_backward);
    }
}
