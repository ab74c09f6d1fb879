using CudnnDigits.Data;
using CudnnDigits.Model;
using CudnnDigits.Training;

namespace CudnnDigits.Cpu;

/// <summary>A network laid out for this backend: parameters in panels, blocks with their buffers, and the workers that run them.</summary>
internal sealed unsafe class CpuNetwork<S, V> : IDisposable
    where S : struct, ISimd<V>
    where V : struct
{
    private readonly NativeArena _arena = new();

    /// <summary>Lays a network out for batches of up to a size, in up to so many chunks; without chunks nothing is trained.</summary>
    public CpuNetwork(NetworkSpec network, int batch, int threads, int chunks, IReadOnlyList<OptimizerBuffer>? kept = null)
    {
        bool training = chunks > 0; // prediction alone needs no gradients, and one input per worker
        int workers = threads > 0 ? threads : Math.Min(Environment.ProcessorCount, BackendOptions.MostThreads);
        int slots = Math.Max(batch, workers), inputs = training ? slots : workers, trained = training ? slots : 0;
        BlockPlan plan = new(network);

        // Every input but the first has the padded channels of the output before it.
        ConvShape[] shapes = new ConvShape[plan.Convs.Count];
        for (int i = 0; i < shapes.Length; i++)
        {
            (Conv2dLayer conv, Shape input) = (plan.Convs[i].Conv, plan.Convs[i].Input);
            int channels = i == 0 ? input.C : shapes[i - 1].K;
            shapes[i] = new ConvShape(channels, input.H, input.W, RegisterTile<S, V>.Pad(conv.OutChannels), conv.Kernel, conv.Padding);
        }

        int pixels = plan.Features.H * plan.Features.W, featureChannels = shapes is [.., { } last] ? last.K : plan.Features.C;
        float* x = _arena.Floats((long)slots * pixels * featureChannels), dX = null;
        ActivationView features = new(x, pixels * featureChannels, plan.Features.W * featureChannels);
        ActivationView[] views = [.. shapes.Select(shape => ActivationView.OfInput(shape, _arena, inputs)), features];
        Input = views[0];

        Parameters = new FlatParameters { ConvLength = shapes.Sum(shape => shape.WeightSize) };
        int weights = Parameters.Reserve(Parameters.ConvLength);
        Convs = new ConvBlock<S, V>[shapes.Length];
        for (int i = 0; i < Convs.Length; i++)
        {
            Convs[i] = new ConvBlock<S, V>(
                _arena, Operations, Parameters, weights, plan.Convs[i], shapes[i], views[i], views[i + 1], i == 0 ? null : Convs[i - 1],
                trained, training ? workers : 0);
            weights += shapes[i].WeightSize;
            dX = Convs[i].DOutput(0);
        }

        Denses = new DenseBlock<S, V>[plan.Denses.Count];
        for (int i = 0; i < Denses.Length; i++)
        {
            DenseShape shape = new(
                i == 0 ? pixels * featureChannels : Denses[i - 1].Shape.Out, RegisterTile<S, V>.Pad(plan.Denses[i].Linear.OutFeatures));
            Denses[i] = new DenseBlock<S, V>(_arena, Operations, Parameters, plan.Denses[i], shape, i == 0 ? pixels : 1, x, dX, slots);
            x = Denses[i].Y;
            dX = Denses[i].DY;
        }

        Parameters.Allocate(_arena, chunks, kept ?? []);
        int words = training ? network.Outputs.Max(shape => shape.Size) : 0;
        int scratch = Convs.Select(conv => conv.ScratchSize).DefaultIfEmpty().Max();
        Pool = new WorkerPool([.. Enumerable.Range(0, workers).Select(index => new Worker(_arena, index, words, scratch))]);
    }

    public ActivationView Input { get; }

    /// <summary>The convolution blocks, first to last.</summary>
    public ConvBlock<S, V>[] Convs { get; }

    /// <summary>The dense blocks, first to last.</summary>
    public DenseBlock<S, V>[] Denses { get; }

    public FlatParameters Parameters { get; }

    public OperationList Operations { get; } = new();

    public WorkerPool Pool { get; }

    /// <summary>For people: "CPU, 2 threads, AVX-512".</summary>
    public string Device =>
        $"CPU, {Pool.Workers.Count} thread{(Pool.Workers.Count == 1 ? "" : "s")}, {CpuDevice.InstructionSet(S.Lanes * 32)}";

    /// <summary>Copies weights, statistics and the optimizer's buffers to the host, or from it.</summary>
    public void Copy(NetworkWeights weights, OptimizerState? optimizer, bool save)
    {
        Parameters.Copy(weights.Trained, Parameters.W, save);
        for (int i = 0; optimizer is not null && i < Parameters.State.Length; i++)
        {
            Parameters.Copy(optimizer.Buffers[i], (float*)Parameters.State[i], save);
        }

        foreach (ParameterSlice slice in weights.Network.Parameters.Statistics)
        {
            BatchNormState norm = Array.Find(Convs, conv => conv.Plan.Norm == slice.Layer)!.Norm!;
            bool mean = slice.Name.EndsWith(".running_mean", StringComparison.Ordinal);
            Span<float> host = weights.Slice(slice), own = new(mean ? norm.RunningMean : norm.RunningVariance, slice.Size);
            (save ? own : host).CopyTo(save ? host : own);
        }
    }

    /// <summary>Logits of sample n, (classes) f32.</summary>
    public Span<float> Logits(int n) => new(Denses[^1].Y + n * Denses[^1].Shape.Out, DigitDataset.Classes);

    /// <summary>Logits of the first samples, (batch, classes) f32.</summary>
    public void SaveLogits(int batch, Span<float> logits)
    {
        for (int n = 0; n < batch; n++)
        {
            Logits(n).CopyTo(logits[(n * DigitDataset.Classes)..]);
        }
    }

    public Ceilings MeasureCeilings() => CpuCeilings<S, V>.Measure(Pool, _arena.Bytes);

    public void Dispose()
    {
        Pool.Dispose();
        _arena.Dispose();
    }
}
