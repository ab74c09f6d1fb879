using System.Runtime.Intrinsics;
using CudnnDigits.Cpu;
using CudnnDigits.Model;

namespace CudnnDigits.Benchmarks;

/// <summary>The same calls for any vector width.</summary>
internal abstract class ConvLab : IDisposable
{
    /// <summary>Every convolution of every network, by a name such as "improved conv2".</summary>
    public static IReadOnlyDictionary<string, ConvPlan> Layers { get; } = DigitNetworks.All
        .SelectMany(network => new BlockPlan(network).Convs.Select(plan => (Name: $"{network.Name} {plan.Conv.Name}", Plan: plan)))
        .ToDictionary(layer => layer.Name, layer => layer.Plan);

    public static ConvLab Create(string layer, int vectorBits)
    {
        ConvPlan plan = Layers[layer];
        ConvShape shape = new(plan.Input.C, plan.Input.H, plan.Input.W, plan.Conv.OutChannels, plan.Conv.Kernel, plan.Conv.Padding);
        int window = plan.Pool?.Window ?? 1;
        return vectorBits switch
        {
            512 => new ConvLab<Simd512, Vector512<float>>(shape, window),
            256 => new ConvLab<Simd256, Vector256<float>>(shape, window),
            _ => new ConvLab<Simd128, Vector128<float>>(shape, window),
        };
    }

    public abstract void Direct();

    public abstract void DirectPredict();

    public abstract void WinogradSmall();

    public abstract void WinogradLarge();

    public abstract void WinogradPredict();

    public abstract void WinogradWeights();

    public abstract void BackwardWeights();

    public abstract void BackwardInput();

    public abstract void Statistics();

    public abstract void Activation();

    public abstract void ActivationSums();

    public abstract void ActivationBackward();

    public abstract void Dispose();
}

/// <summary>Buffers of one convolution block.</summary>
internal sealed unsafe class ConvLab<S, V> : ConvLab
    where S : struct, ISimd<V>
    where V : struct
{
    private readonly NativeArena _arena = new();
    private readonly ConvShape _conv;
    private readonly PoolShape _pool;
    private readonly WinogradShape _small, _large, _predict, _backward;
    private readonly float* _x, _w, _dw, _u, _turnedU, _y, _dY, _dX, _a, _perChannel, _scratch;

    public ConvLab(ConvShape conv, int window)
    {
        _conv = conv;
        _pool = new PoolShape(conv.K, conv.OutH, conv.OutW, window);
        _small = new WinogradShape(conv, conv.OutH, conv.OutW, Small: true);
        _large = _small with { Small = false };
        _predict = new WinogradShape(conv, _pool.OutH * window, _pool.OutW * window, Small: false);
        _backward = new WinogradShape(conv.Transpose(), conv.H, conv.W, Small: false);
        _x = Random(conv.InputSize + WinogradShape.Slack(conv));
        _w = Random(conv.WeightSize);
        _dw = Random(conv.WeightSize);
        _u = Random(WinogradShape.WeightSize(conv));
        _turnedU = Random(WinogradShape.WeightSize(conv));
        _y = Random(conv.OutputSize);
        _dY = Random(conv.Transpose().InputSize + WinogradShape.Slack(conv.Transpose()));
        _dX = Random(conv.H * conv.W * conv.C);
        _a = Random(_pool.OutputSize);
        _perChannel = Random(3 * conv.K);
        _scratch = Random(new[] { _small, _large, _predict, _backward }.Max(shape => Winograd<S, V>.ScratchSize(shape)));
    }

    public override void Direct() => Conv2d<S, V>.Forward(_conv, _x, _w, _y);

    public override void DirectPredict() => Conv2d<S, V>.Predict(_conv, _pool, _x, _w, _perChannel, _perChannel, _a, _pool.OutW * _conv.K);

    public override void WinogradSmall() => Run(_small, _x, _u, _y, _conv.OutW * _conv.K);

    public override void WinogradLarge() => Run(_large, _x, _u, _y, _conv.OutW * _conv.K);

    public override void WinogradPredict() =>
        Winograd<S, V>.Forward(_predict, _x, _u, _perChannel, _pool.Window, _scratch, _a, _pool.OutW * _conv.K);

    public override void WinogradWeights() => Winograd<S, V>.TransformWeights(_conv, _w, null, _u);

    public override void BackwardWeights() => Conv2d<S, V>.BackwardWeights(_conv, _x, _dY, _dw, accumulate: true);

    public override void BackwardInput() => Run(_backward, _dY, _turnedU, _dX, _conv.W * _conv.C);

    public override void Statistics() => BatchNorm2d<S, V>.Moments(_y, _conv.OutH, _conv.OutW, _conv.K, _perChannel);

    public override void Activation() => MaxPool2d<S, V>.Forward(_pool, _y, _perChannel, _perChannel, _a, _pool.OutW * _conv.K);

    public override void ActivationSums() => MaxPool2d<S, V>.BackwardSums(
        _pool, _y, _perChannel, _perChannel, _perChannel, null, 0, _a, 1, _scratch);

    public override void ActivationBackward() => MaxPool2d<S, V>.Backward(
        _pool, _y, _perChannel, _perChannel, _perChannel, _perChannel, null, 0, _a, 1, _dY + _conv.Transpose().Interior,
        _conv.Transpose().PaddedW * _conv.K);

    public override void Dispose() => _arena.Dispose();

    private void Run(in WinogradShape shape, float* x, float* u, float* y, int yRow) =>
        Winograd<S, V>.Forward(shape, x, u, null, 1, _scratch, y, yRow);

    private float* Random(long count)
    {
        float* values = _arena.Floats(count);
        Random random = new(1);
        for (long i = 0; i < count; i++)
        {
            values[i] = random.NextSingle() - 0.5f;
        }

        return values;
    }
}
