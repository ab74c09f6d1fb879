using CudnnDigits.Data;
using CudnnDigits.Model;
using CudnnDigits.Training;

namespace CudnnDigits.Cpu;

/// <summary>A network laid out for this backend: its blocks with their buffers, and its parameters in panels.</summary>
internal sealed unsafe class CpuNetwork<S, V>
    where S : struct, ISimd<V>
    where V : struct
{
    private readonly ActivationView _features;
    private readonly int _pixels, _channels; // of the features: H·W, and C in whole tiles

    /// <param name="arena">Owner of the buffers.</param>
    /// <param name="operations">Where the blocks list their operations.</param>
    /// <param name="network">The network.</param>
    /// <param name="workers">Number of workers, each of which predicts in a slot of its own.</param>
    /// <param name="batch">Samples in the largest batch.</param>
    /// <param name="training">Whether it is to be trained. Prediction needs no gradients and one sample per worker.</param>
    public CpuNetwork(NativeArena arena, OperationList operations, NetworkSpec network, int workers, int batch, bool training)
    {
        int slots = Math.Max(batch, workers), inputs = training ? slots : workers, trained = training ? slots : 0;
        BlockPlan plan = new(network);
        InputSize = network.Input.Size;
        int length = 0;

        // Every input but the first has the padded channels of the output before it.
        Convs = new ConvBlock<S, V>[plan.Convs.Count];
        int[] weightOffsets = new int[Convs.Length];
        ConvShape[] shapes = new ConvShape[Convs.Length];
        for (int i = 0; i < Convs.Length; i++)
        {
            ConvPlan conv = plan.Convs[i];
            int inChannels = i == 0 ? conv.Input.C : shapes[i - 1].K;
            shapes[i] = new ConvShape(
                inChannels, conv.Input.H, conv.Input.W, RegisterTile<S, V>.Pad(conv.Conv.OutChannels), conv.Conv.Kernel, conv.Conv.Padding);
            weightOffsets[i] = length;
            length += shapes[i].WeightSize;
        }

        int convLength = length;
        for (int i = 0; i < Convs.Length; i++)
        {
            Convs[i] = new ConvBlock<S, V>(arena, operations, i, plan.Convs[i], shapes[i], inputs, trained)
            {
                WeightOffset = weightOffsets[i],
                BiasOffset = length,
            };
            length += (plan.Convs[i].Norm is null ? 1 : 2) * shapes[i].K;
        }

        _pixels = plan.Features.H * plan.Features.W;
        _channels = shapes is [.., { } last] ? last.K : plan.Features.C;
        int features = _pixels * _channels;
        float* x = arena.Floats((long)slots * features);
        _features = new ActivationView(x, features, plan.Features.W * _channels);
        Denses = new DenseBlock<S, V>[plan.Denses.Count];
        for (int i = 0; i < Denses.Length; i++)
        {
            DenseShape shape = new(i == 0 ? features : Denses[i - 1].Shape.Out, RegisterTile<S, V>.Pad(plan.Denses[i].Linear.OutFeatures));
            Denses[i] = new DenseBlock<S, V>(arena, operations, plan.Denses[i], shape, x, slots, first: i + Convs.Length == 0)
            {
                WeightOffset = length,
                BiasOffset = length + shape.WeightSize,
            };
            length += shape.WeightSize + shape.Out;
            x = Denses[i].Y;
        }

        int chunks = training ? CpuTraining<S, V>.MostChunksOf(batch) : 0;
        Parameters = new FlatParameters(arena, network.Parameters, length, convLength, chunks, MapParameters());
        for (int i = 0; i < Convs.Length; i++)
        {
            Convs[i].Connect(Parameters, InputOf(i + 1));
        }

        foreach (DenseBlock<S, V> dense in Denses)
        {
            dense.Connect(Parameters);
        }
    }

    /// <summary>Pixels of a sample.</summary>
    public int InputSize { get; }

    /// <summary>The convolution blocks, first to last.</summary>
    public ConvBlock<S, V>[] Convs { get; }

    /// <summary>The dense blocks, first to last.</summary>
    public DenseBlock<S, V>[] Denses { get; }

    public FlatParameters Parameters { get; }

    /// <summary>Floats of scratch memory that a worker needs.</summary>
    public int ScratchSize => Convs.Select(conv => conv.ScratchSize).DefaultIfEmpty().Max();

    /// <summary>
    /// What a convolution block reads, or after the last of them the first dense block: (slots, H, W, C) f32. Without convolutions
    /// that is the network's input.
    /// </summary>
    public ActivationView InputOf(int block) => block < Convs.Length ? Convs[block].Input : _features;

    public void Load(NetworkWeights weights, OptimizerState? optimizer)
    {
        Parameters.Load(weights, optimizer);
        CopyStatistics(weights, save: false);
    }

    public void Save(NetworkWeights weights, OptimizerState optimizer)
    {
        Parameters.Save(weights, optimizer);
        CopyStatistics(weights, save: true);
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

    private void CopyStatistics(NetworkWeights weights, bool save)
    {
        foreach (ParameterSlice slice in weights.Network.Parameters.Statistics)
        {
            BatchNormState norm = Array.Find(Convs, conv => conv.Plan.Norm == slice.Layer)!.Norm!;
            bool mean = slice.Name.EndsWith(".running_mean", StringComparison.Ordinal);
            Span<float> host = weights.Slice(slice), own = new(mean ? norm.RunningMean : norm.RunningVariance, slice.Size);
            (save ? own : host).CopyTo(save ? host : own);
        }
    }

    /// <summary>For each element in PyTorch's layout its place in the flat parameters; the layers have the same order in both.</summary>
    private int[] MapParameters() =>
    [
        .. Convs.SelectMany(conv => MapConv(conv).Concat(MapChannels(conv))),
        .. Denses.SelectMany(dense => MapDense(dense).Concat(Enumerable.Range(dense.BiasOffset, dense.Plan.Linear.OutFeatures))),
    ];

    private static IEnumerable<int> MapConv(ConvBlock<S, V> conv) =>
        from k in Enumerable.Range(0, conv.Plan.Conv.OutChannels)
        from c in Enumerable.Range(0, conv.Plan.Conv.InChannels)
        from tap in Enumerable.Range(0, conv.Conv.R * conv.Conv.R)
        select conv.WeightOffset + Conv2d<S, V>.WeightIndex(conv.Conv, k, c, tap);

    /// <summary>The bias, or γ and then β.</summary>
    private static IEnumerable<int> MapChannels(ConvBlock<S, V> conv)
    {
        IEnumerable<int> first = Enumerable.Range(conv.BiasOffset, conv.Plan.Conv.OutChannels);
        return conv.Norm is null ? first : first.Concat(first.Select(place => place + conv.Conv.K));
    }

    /// <summary>The first dense layer reads features channels last and padded, where PyTorch's are in C, H, W order.</summary>
    private IEnumerable<int> MapDense(DenseBlock<S, V> dense)
    {
        int columns = RegisterTile<S, V>.Columns;
        for (int o = 0; o < dense.Plan.Linear.OutFeatures; o++)
        {
            for (int i = 0; i < dense.Plan.Linear.InFeatures; i++)
            {
                int input = dense == Denses[0] ? i % _pixels * _channels + i / _pixels : i;
                yield return dense.WeightOffset + (o / columns * dense.Shape.In + input) * columns + o % columns;
            }
        }
    }
}
