using CudnnDigits.Model;
using CudnnDigits.Numerics;

namespace CudnnDigits.Cpu;

/// <summary>Linear [→ ReLU [→ dropout]] on a batch.</summary>
internal sealed unsafe class DenseBlock<S, V>
    where S : struct, ISimd<V>
    where V : struct
{
    private readonly DensePlan _plan;
    private readonly FlatParameters _parameters;
    private readonly int _weights, _bias; // places in the flat parameters
    private readonly double _dropoutRate;
    private readonly int _paddedBatch;
    private readonly float* _x, _dX, _dYTransposed;
    private readonly Operation _forward, _drop, _maskDY, _backward, _predict;

    /// <summary>A block that reads x (capacity, In), channels last, of so many pixels; dX is null where the network begins.</summary>
    public DenseBlock(
        NativeArena arena, OperationList operations, FlatParameters parameters, DensePlan plan, DenseShape shape, int pixels,
        float* x, float* dX, int capacity)
    {
        (_plan, Shape, _parameters) = (plan, shape, parameters);
        _x = x;
        _dX = dX;
        _dropoutRate = plan.Dropout?.Rate ?? 0;
        _paddedBatch = RegisterTile<S, V>.Pad(capacity);
        Y = arena.Floats((long)capacity * shape.Out);
        DY = arena.Floats((long)capacity * shape.Out);
        _dYTransposed = arena.Floats((long)_paddedBatch * shape.Out);
        (string name, int inputs, int outputs) = (plan.Linear.Name, plan.Linear.InFeatures, plan.Linear.OutFeatures);
        _weights = parameters.Reserve(shape.WeightSize);
        _bias = parameters.Reserve(shape.Out);
        parameters.Map( // the host's features are in C, H, W order
            from o in Enumerable.Range(0, outputs)
            from i in Enumerable.Range(0, inputs)
            select _weights + Dense<S, V>.WeightIndex(shape, o, i % pixels * (shape.In / pixels) + i / pixels));
        parameters.Map(Enumerable.Range(_bias, outputs));

        double weights = (double)inputs * outputs, features = inputs + outputs;
        string forward = plan.Relu is null ? "forward, bias" : "forward, bias, relu";
        _forward = operations.Add(name, forward, 2 * weights, features, weights);
        _drop = operations.Add(name, "dropout", outputs, 2 * outputs);
        _maskDY = operations.Add(name, "backward: activation", 2 * outputs, 4 * outputs);
        _backward = dX == null
            ? operations.Add(name, "backward: weights", 2 * weights, features, weights)
            : operations.Add(name, "backward: weights and input", 4 * weights, 2 * features, 2 * weights);
        _predict = operations.Add(name, forward, 2 * weights, features, weights, inference: true);
    }

    public DenseShape Shape { get; }

    /// <summary>(batch, Out) f32.</summary>
    public float* Y { get; }

    /// <summary>(batch, Out) f32: gradient of <see cref="Y"/>, written by what comes after.</summary>
    public float* DY { get; }

    /// <summary>Whether <see cref="Drop"/> has anything to do.</summary>
    public bool HasDropout => _dropoutRate > 0;

    /// <summary>One item for the bias, the rest for weights and input.</summary>
    public int BackwardItems => 1 + Dense<S, V>.BackwardItems(Shape);

    public int ForwardItems(int batch) => Dense<S, V>.ForwardItems(Shape, batch);

    public void Forward(int item, int batch, Worker worker, bool inference)
    {
        Dense<S, V>.Forward(item, Shape, batch, _x, _parameters.W + _weights, _parameters.W + _bias, _plan.Relu is not null, Y);
        worker.Lap(inference ? _predict : _forward);
    }

    /// <summary>Dropout of sample n.</summary>
    public void Drop(int n, Worker worker, in Philox random, int sample, int epoch)
    {
        Dropout<S, V>.Forward(
            worker.Words, random, _dropoutRate, _plan.DropoutIndex, sample, epoch,
            Y + n * Shape.Out, Shape.Out, 1, 1, _plan.Linear.OutFeatures, Shape.Out);
        worker.Lap(_drop);
    }

    /// <summary>Gradient of sample n through dropout and ReLU, and its transposed copy.</summary>
    public void BackwardActivation(int n, Worker worker)
    {
        float* dy = DY + n * Shape.Out;
        if (_plan.Relu is not null)
        {
            Dense<S, V>.Mask(Shape, Y + n * Shape.Out, dy, Dropout<S, V>.KeepScale(_dropoutRate));
        }

        for (int i = 0; i < Shape.Out; i++)
        {
            _dYTransposed[(nint)i * _paddedBatch + n] = dy[i];
        }

        worker.Lap(_maskDY);
    }

    public void Backward(int item, int batch, Worker worker)
    {
        if (item == 0)
        {
            Dense<S, V>.BackwardBias(Shape, batch, DY, _parameters.DW + _bias);
        }
        else
        {
            Dense<S, V>.Backward(
                item - 1, Shape, batch, _x, _parameters.W + _weights, DY, _dYTransposed, _paddedBatch, _parameters.DW + _weights, _dX);
        }

        worker.Lap(_backward);
    }
}
