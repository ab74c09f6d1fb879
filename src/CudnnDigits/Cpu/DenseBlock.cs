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
    private FlatParameters _parameters = null!;

    /// <param name="arena">Owner of the buffers.</param>
    /// <param name="plan">The layers of the block.</param>
    /// <param name="shape">Shapes, padded to whole tiles.</param>
    /// <param name="x">The output of what comes before, (batch, In) f32.</param>
    /// <param name="capacity">Samples in the largest batch.</param>
    public DenseBlock(NativeArena arena, DensePlan plan, DenseShape shape, float* x, int capacity)
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

    public int ForwardItems(int batch) => Dense<S, V>.ForwardItems(_shape, batch);

    public void Forward(int item, int batch) => Dense<S, V>.Forward(item, _shape, batch, _x, _parameters.W + WeightOffset, _y);

    /// <summary>Bias, and ReLU where there is one, of sample n.</summary>
    public void AddBias(int n) => Dense<S, V>.AddBias(_shape, _y + n * _shape.Out, _parameters.W + BiasOffset, _relu);

    /// <summary>Dropout of sample n.</summary>
    public void Drop(int n, uint* words, in Philox random, int sample, int epoch)
    {
        if (_dropoutRate > 0)
        {
            Dropout<S, V>.Forward(
                words, random, _dropoutRate, _dropoutIndex, sample, epoch, _y + n * _shape.Out, _shape.Out, 1, 1, _outputs, _shape.Out);
        }
    }

    /// <summary>Gradient of sample n through dropout and ReLU, and its transposed copy.</summary>
    public void BackwardActivation(int n)
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
    }

    /// <summary>One item for the bias, the rest for weights and input.</summary>
    public int BackwardItems => 1 + Dense<S, V>.BackwardItems(_shape);

    public void Backward(int item, int batch, float* dX)
    {
        if (item == 0)
        {
            Dense<S, V>.BackwardBias(_shape, batch, _dY, _parameters.DW + BiasOffset);
            return;
        }

        Dense<S, V>.Backward(
            item - 1, _shape, batch, _x, _parameters.W + WeightOffset, _dY, _dYTransposed, _paddedBatch, _parameters.DW + WeightOffset, dX);
    }
}
