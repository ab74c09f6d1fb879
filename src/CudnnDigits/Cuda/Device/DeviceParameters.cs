using CudnnDigits.Cuda.Interop;
using CudnnDigits.Model;
using CudnnDigits.Training;

namespace CudnnDigits.Cuda.Device;

/// <summary>One flat buffer each for weights, gradients and moments: convolutions first, each at 256 bytes, zeros in between.</summary>
internal sealed unsafe class DeviceParameters
{
    private const int AlignedElements = 64;

    private readonly ParameterLayout _layout;
    private readonly Dictionary<string, (int Offset, int Size)> _places = [];
    private readonly Dictionary<string, (int Forward, int Size, int Turned, int TurnedSize)> _arranged = []; // in Operands
    private readonly int[] _map, _statisticsMap; // from an element of the host's layout to one of ours
    private readonly int[] _arrangement = []; // of each arranged weight, two places in Operands; the second may be -1
    private readonly void* _staging; // page-locked, as long as the context lives
    private readonly long _saved; // bytes of W, State and Statistics, which lie one after another

    /// <summary>
    /// Reserves the buffers. Where convolutions read their weights in stages, products read copies of all weights, those of convolutions in
    /// <see cref="StageOrder"/>, and all gradients are f32.
    /// </summary>
    public DeviceParameters(
        CudaSession session, DeviceArena arena, NetworkSpec network, BlockPlan plan, IReadOnlyList<OptimizerBuffer>? kept,
        bool inStages)
    {
        _layout = network.Parameters;
        bool training = kept is not null;
        int count = 0, statistics = 0, convolutions = 0;
        foreach (ParameterSlice slice in _layout.Trained.OrderBy(slice => IsConvWeight(slice) ? 0 : 1))
        {
            Place(slice, ref count);
            convolutions = IsConvWeight(slice) ? count : convolutions;
        }

        int operands = count;
        if (inStages && convolutions > 0)
        {
            Arranged = (0, convolutions);
            _arrangement = Arrange((int)session.ActivationType, training, ref operands);
            Places = arena.Reserve(_arrangement.Length, DeviceType.F32);
        }

        foreach (ParameterSlice slice in _layout.Statistics)
        {
            Place(slice, ref statistics);
        }

        bool narrow = session.Precision == Precision.Bf16;
        int trained = training ? count : 0;
        W = arena.Reserve(count, DeviceType.F32);
        State = [.. (kept ?? []).Select(_ => arena.Reserve(trained, DeviceType.F32))];
        Average = kept?.Contains(OptimizerBuffer.Average) == true ? State[^1] : null;
        Statistics = arena.Reserve(statistics, DeviceType.F32);
        _saved = W.Bytes + State.Sum(buffer => buffer.Bytes) + Statistics.Bytes;
        Operands = narrow || inStages ? arena.Reserve(operands, session.ActivationType) : null;
        DW = arena.Reserve(trained, DeviceType.F32);
        NarrowDW = narrow && training && !inStages && convolutions > 0 ? arena.Reserve(convolutions, DeviceType.Bf16) : null;

        (_map, _statisticsMap) = (Map(_layout.Trained, plan), Map(_layout.Statistics, plan));
        _staging = new PinnedMemory(session.Context.Handles, _saved).Pointer;
    }

    /// <summary>Master weights, f32.</summary>
    public DeviceTensor W { get; }

    /// <summary>Gradients, f32; those of convolution weights only where there is no <see cref="NarrowDW"/>.</summary>
    public DeviceTensor DW { get; }

    /// <summary>The optimizer's buffers in the order of <see cref="OptimizerState.Kept"/>, f32.</summary>
    public DeviceTensor[] State { get; }

    /// <summary>The average of the weights, f32; null where there is none.</summary>
    public DeviceTensor? Average { get; }

    /// <summary>Running means and variances, f32.</summary>
    public DeviceTensor Statistics { get; }

    /// <summary>What products read: the weights in the activations' type, and those that are arranged; or null: they read W.</summary>
    public DeviceTensor? Operands { get; }

    /// <summary>The elements that lie in <see cref="Operands"/> in an order of the kernels' own; none in the layered path.</summary>
    public (int First, int End) Arranged { get; }

    /// <summary>Where in <see cref="Operands"/> each lies, twice 32 bits: forward, and <see cref="Turned"/> or -1; or null.</summary>
    public DeviceTensor? Places { get; }

    /// <summary>Gradients of convolution weights in bfloat16, or null.</summary>
    public DeviceTensor? NarrowDW { get; }

    /// <summary>A weight as products read it.</summary>
    public DeviceTensor Operand(string name) => _arranged.TryGetValue(name, out var place)
        ? Operands!.Value.Slice(place.Forward, place.Size)
        : Slice(Operands ?? W, name);

    /// <summary>An arranged weight turned round, its channels exchanged: what the gradient of the data is convolved with.</summary>
    public DeviceTensor Turned(string name) => Operands!.Value.Slice(_arranged[name].Turned, _arranged[name].TurnedSize);

    /// <summary>A parameter's master, f32.</summary>
    public DeviceTensor Master(string name) => Slice(W, name);

    /// <summary>A parameter's gradient as whoever computes it writes it.</summary>
    public DeviceTensor Gradient(string name) =>
        Slice(NarrowDW is { } narrow && _places[name].Offset < narrow.Count ? narrow : DW, name);

    /// <summary>A running statistic, f32.</summary>
    public DeviceTensor Statistic(string name) => Slice(Statistics, name);

    /// <summary>Host to device; the optimizer is null where there are no moments. The stream is idle afterwards.</summary>
    public void Load(CudaStream stream, NetworkWeights weights, OptimizerState? optimizer)
    {
        stream.Synchronize();
        Span<float> staging = new(_staging, (int)(_saved / sizeof(float)));
        staging.Clear();
        Scatter(weights.Trained, staging, _map);
        for (int i = 0; i < State.Length && optimizer is not null; i++)
        {
            Scatter(optimizer.Buffers[i], staging[((i + 1) * (int)W.Count)..], _map);
        }

        Scatter(weights.Statistics, staging[^(int)Statistics.Count..], _statisticsMap);
        stream.Upload(W.Address, _staging, _saved);
        stream.Synchronize();
        if (Places is { } places)
        {
            stream.Upload<int>(places.Address, _staging, _arrangement);
            stream.Synchronize();
        }
    }

    /// <summary>Device to host.</summary>
    public void Save(CudaStream stream, NetworkWeights weights, OptimizerState optimizer)
    {
        ReadOnlySpan<float> staging = stream.Download<float>(_staging, W.Address, (int)(_saved / sizeof(float)));
        Gather(staging, weights.Trained, _map);
        for (int i = 0; i < State.Length; i++)
        {
            Gather(staging[((i + 1) * (int)W.Count)..], optimizer.Buffers[i], _map);
        }

        Gather(staging[^(int)Statistics.Count..], weights.Statistics, _statisticsMap);
    }

    /// <summary>The last step's gradients in the host's layout, for those who compare numerics.</summary>
    public void SaveGradients(CudaStream stream, float[] gradients)
    {
        Gather(stream.Download<float>(_staging, DW.Address, (int)DW.Count), gradients, _map);
        if (NarrowDW is { } narrow)
        {
            ReadOnlySpan<ushort> words = stream.Download<ushort>(_staging, narrow.Address, (int)narrow.Count);
            for (int i = 0; i < _map.Length; i++)
            {
                gradients[i] = _map[i] < words.Length ? BitConverter.UInt32BitsToSingle((uint)words[_map[i]] << 16) : gradients[i];
            }
        }
    }

    private DeviceTensor Slice(DeviceTensor all, string name) => all.Slice(_places[name].Offset, _places[name].Size);

    private void Place(ParameterSlice slice, ref int end)
    {
        _places[slice.Name] = (end, slice.Size);
        end += Aligned(slice.Size);
    }

    private static int Aligned(int size) => (size + AlignedElements - 1) / AlignedElements * AlignedElements;

    /// <summary>What <see cref="Places"/> holds; what is arranged lies behind `end`, which moves on.</summary>
    private int[] Arrange(int elementBytes, bool training, ref int end)
    {
        int[] places = new int[2 * (Arranged.End - Arranged.First)];
        foreach (int i in Enumerable.Range(Arranged.First, Arranged.End - Arranged.First))
        {
            (places[2 * (i - Arranged.First)], places[2 * (i - Arranged.First) + 1]) = (i, -1); // what is between the weights
        }

        foreach (ParameterSlice slice in _layout.Trained.Where(IsConvWeight))
        {
            (int outputs, int inputs, int taps) = (slice.Shape[0], slice.Shape[1], slice.Shape[2] * slice.Shape[3]);
            StageOrder forward = new(outputs, taps, inputs, elementBytes);
            StageOrder? turned = training && inputs > 1 ? new(inputs, taps, outputs, elementBytes) : null; // no gradient goes to the input
            (int first, int firstTurned) = (end, end + Aligned(forward.Size));
            _arranged[slice.Name] = (first, forward.Size, firstTurned, turned?.Size ?? 0);
            end = firstTurned + Aligned(turned?.Size ?? 0);
            for (int i = 0; i < slice.Size; i++)
            {
                (int k, int tap, int c) = (i / inputs / taps, i / inputs % taps, i % inputs);
                Span<int> at = places.AsSpan(2 * (_places[slice.Name].Offset + i - Arranged.First), 2);
                at[0] = first + forward.Place(k, tap, c);
                at[1] = turned is { } back ? firstTurned + back.Place(c, taps - 1 - tap, k) : -1;
            }
        }

        return places;
    }

    private static bool IsConvWeight(ParameterSlice slice) => slice.Layer is Conv2dLayer && slice.Shape.Count == 4;

    /// <summary>From PyTorch's layout to the device's: channels last, and the first dense layer's inputs in that order.</summary>
    private int[] Map(IEnumerable<ParameterSlice> slices, BlockPlan plan)
    {
        List<int> map = [];
        foreach (ParameterSlice slice in slices)
        {
            (int channels, int pixels) = IsConvWeight(slice) ? (slice.Shape[1], slice.Shape[2] * slice.Shape[3])
                : slice.Layer == plan.Denses[0].Linear && slice.Shape.Count == 2 ? (plan.Features.C, plan.Features.H * plan.Features.W)
                : (1, slice.Size);
            int offset = _places[slice.Name].Offset, inputs = channels * pixels;
            for (int i = 0; i < slice.Size; i++)
            {
                map.Add(offset + i / inputs * inputs + i % pixels * channels + i % inputs / pixels);
            }
        }

        return [.. map];
    }

    private static void Scatter(ReadOnlySpan<float> from, Span<float> to, int[] map)
    {
        for (int i = 0; i < map.Length; i++)
        {
            to[map[i]] = from[i];
        }
    }

    private static void Gather(ReadOnlySpan<float> from, Span<float> to, int[] map)
    {
        for (int i = 0; i < map.Length; i++)
        {
            to[i] = from[map[i]];
        }
    }
}
