using CudnnDigits.Cuda.Interop;
using CudnnDigits.Model;
using CudnnDigits.Training;

namespace CudnnDigits.Cuda.Device;

/// <summary>
/// All parameters on the device in one flat buffer each for weights, gradients and moments: convolution weights first
/// (K, R, S, C), then the rest, every tensor at a multiple of 256 bytes. The padding between them is zero and stays so.
/// </summary>
internal sealed unsafe class DeviceParameters
{
    private const int AlignedElements = 64;

    private readonly ParameterLayout _layout;
    private readonly Dictionary<string, (int Offset, int Size)> _places = [];
    private readonly int[] _map, _statisticsMap; // from an element of the host's layout to one of ours
    private readonly int[] _arrangement = []; // of each arranged weight, two places in Rounded; the second may be -1
    private readonly void* _staging; // page-locked, as long as the context lives
    private readonly long _saved; // bytes of W, State and Statistics, which lie one after another

    /// <param name="session">The device.</param>
    /// <param name="arena">Where to reserve.</param>
    /// <param name="network">The network.</param>
    /// <param name="plan">The same, in blocks.</param>
    /// <param name="training">Whether there are to be gradients and moments.</param>
    /// <param name="fragments">
    /// Whether the weights of all convolutions but the first are stored as <see cref="Fragments"/>, which the fused kernels read; gradients
    /// of convolutions are f32 then. Otherwise they have the type of the weights, as cuDNN writes them.
    /// </param>
    /// <param name="averages">Whether an average of the weights is trained too.</param>
    public DeviceParameters(
        CudaSession session, DeviceArena arena, NetworkSpec network, BlockPlan plan, bool training, bool fragments, bool averages)
    {
        _layout = network.Parameters;
        int count = 0, statistics = 0, convolutions = 0;
        foreach (ParameterSlice slice in _layout.Trained.OrderBy(slice => IsConvWeight(slice) ? 0 : 1))
        {
            Place(slice, ref count);
            convolutions = IsConvWeight(slice) ? count : convolutions;
        }

        if (fragments)
        {
            Arranged = (_layout.Trained.Where(IsArranged).Min(slice => _places[slice.Name].Offset), convolutions);
            _arrangement = Arrange(count, training);
            Places = arena.Reserve(_arrangement.Length, DeviceType.F32);
        }

        foreach (ParameterSlice slice in _layout.Statistics)
        {
            Place(slice, ref statistics);
        }

        bool narrow = session.Precision == Precision.Bf16;
        int trained = training ? count : 0;
        W = arena.Reserve(count, DeviceType.F32);
        State = [.. OptimizerState.Describe(averages).Select(_ => arena.Reserve(trained, DeviceType.F32))];
        Statistics = arena.Reserve(statistics, DeviceType.F32);
        _saved = W.Bytes + State.Sum(buffer => buffer.Bytes) + Statistics.Bytes;
        int turned = training ? Arranged.End - Arranged.First : 0;
        Rounded = narrow ? arena.Reserve(count + turned, DeviceType.Bf16) : null;
        DW = arena.Reserve(trained, DeviceType.F32);
        NarrowDW = narrow && training && !fragments && convolutions > 0 ? arena.Reserve(convolutions, DeviceType.Bf16) : null;

        List<int> map = new(_layout.TrainedCount);
        foreach (ParameterSlice slice in _layout.Trained)
        {
            Map(slice, plan, map);
        }

        _map = [.. map];
        _statisticsMap = [.. _layout.Statistics.SelectMany(slice => Enumerable.Range(_places[slice.Name].Offset, slice.Size))];
        _staging = new PinnedMemory(session.Context.Handles, _saved).Pointer;
    }

    /// <summary>Master weights, f32.</summary>
    public DeviceTensor W { get; }

    /// <summary>Gradients, f32; those of convolution weights only where there is no <see cref="NarrowDW"/>.</summary>
    public DeviceTensor DW { get; }

    /// <summary>The optimizer's buffers in the order of <see cref="OptimizerState.Describe"/>, f32.</summary>
    public DeviceTensor[] State { get; }

    /// <summary>The average of the weights, f32; null where there is none.</summary>
    public DeviceTensor? Average => State.Length > OptimizerSpec.Buffers.Count ? State[^1] : null;

    /// <summary>Running means and variances, f32.</summary>
    public DeviceTensor Statistics { get; }

    /// <summary>The weights rounded to bfloat16, and those of <see cref="Turned"/>; null where products are float32.</summary>
    public DeviceTensor? Rounded { get; }

    /// <summary>
    /// The elements that lie in <see cref="Rounded"/> as <see cref="Fragments"/>; none unless the fused kernels run the convolutions.
    /// </summary>
    public (int First, int End) Arranged { get; }

    /// <summary>
    /// Where they lie in <see cref="Rounded"/>, two places of 32 bits each: forward, and <see cref="Turned"/>, or -1 where nothing is
    /// trained. Null where there are none.
    /// </summary>
    public DeviceTensor? Places { get; }

    /// <summary>Gradients of convolution weights in bfloat16, or null.</summary>
    public DeviceTensor? NarrowDW { get; }

    /// <summary>A weight as products read it.</summary>
    public DeviceTensor Operand(string name) => Slice(Rounded ?? W, name);

    /// <summary>An arranged weight turned round, its channels exchanged: what the gradient of the data is convolved with.</summary>
    public DeviceTensor Turned(string name) => Rounded!.Value.Slice(W.Count + _places[name].Offset - Arranged.First, _places[name].Size);

    /// <summary>A parameter's master, f32.</summary>
    public DeviceTensor Master(string name) => Slice(W, name);

    /// <summary>A parameter's gradient as whoever computes it writes it.</summary>
    public DeviceTensor Gradient(string name) => NarrowDW is { } narrow && _places[name].Offset < narrow.Count ? Slice(narrow, name) : Slice(DW, name);

    /// <summary>A running statistic, f32.</summary>
    public DeviceTensor Statistic(string name) => Slice(Statistics, name);

    /// <summary>Host to device; the stream is idle afterwards.</summary>
    /// <param name="stream">The stream.</param>
    /// <param name="weights">The weights.</param>
    /// <param name="optimizer">The moments; null where there are none.</param>
    public void Load(CudaStream stream, NetworkWeights weights, OptimizerState? optimizer)
    {
        stream.Synchronize();
        Span<float> staging = new(_staging, (int)(_saved / sizeof(float)));
        staging.Clear();
        Scatter(weights.Trained, staging, _map);
        if (optimizer is not null)
        {
            for (int i = 0; i < State.Length; i++)
            {
                Scatter(optimizer.Buffers[i], staging[((i + 1) * (int)W.Count)..], _map);
            }
        }

        Scatter(weights.Statistics, staging[(int)(W.Count + State.Sum(buffer => buffer.Count))..], _statisticsMap);
        stream.Upload(W.Address, _staging, _saved);
        stream.Synchronize();
        if (Places is { } places)
        {
            _arrangement.CopyTo(new Span<int>(_staging, _arrangement.Length));
            stream.Upload(places.Address, _staging, places.Bytes);
            stream.Synchronize();
        }
    }

    /// <summary>Device to host.</summary>
    public void Save(CudaStream stream, NetworkWeights weights, OptimizerState optimizer)
    {
        ReadOnlySpan<float> staging = Download(stream, W, (int)(_saved / sizeof(float)));
        Gather(staging, weights.Trained, _map);
        for (int i = 0; i < State.Length; i++)
        {
            Gather(staging[((i + 1) * (int)W.Count)..], optimizer.Buffers[i], _map);
        }

        Gather(staging[((State.Length + 1) * (int)W.Count)..], weights.Statistics, _statisticsMap);
    }

    /// <summary>The last step's gradients in the host's layout, for those who compare numerics.</summary>
    public void SaveGradients(CudaStream stream, float[] gradients)
    {
        Gather(Download(stream, DW, (int)DW.Count), gradients, _map);
        if (NarrowDW is { } narrow)
        {
            stream.Download(_staging, narrow.Address, narrow.Bytes);
            stream.Synchronize();
            ReadOnlySpan<ushort> words = new(_staging, (int)narrow.Count);
            for (int i = 0; i < _map.Length; i++)
            {
                gradients[i] = _map[i] < words.Length ? BitConverter.UInt32BitsToSingle((uint)words[_map[i]] << 16) : gradients[i];
            }
        }
    }

    private ReadOnlySpan<float> Download(CudaStream stream, DeviceTensor from, int count)
    {
        stream.Download(_staging, from.Address, (long)count * sizeof(float));
        stream.Synchronize();
        return new ReadOnlySpan<float>(_staging, count);
    }

    private DeviceTensor Slice(DeviceTensor all, string name) => all.Slice(_places[name].Offset, _places[name].Size);

    private void Place(ParameterSlice slice, ref int end)
    {
        _places[slice.Name] = (end, slice.Size);
        end += (slice.Size + AlignedElements - 1) / AlignedElements * AlignedElements;
    }

    /// <summary>All but the first convolution: a fragment holds sixteen input channels.</summary>
    private static bool IsArranged(ParameterSlice slice) => IsConvWeight(slice) && slice.Shape[1] > 1;

    /// <summary>What <see cref="Places"/> holds.</summary>
    private int[] Arrange(int count, bool training)
    {
        int[] places = new int[2 * (Arranged.End - Arranged.First)];
        foreach (ParameterSlice slice in _layout.Trained.Where(IsArranged))
        {
            (int offset, int inputs, int outputs) = (_places[slice.Name].Offset, slice.Shape[1], slice.Shape[0]);
            int turnedOffset = count + offset - Arranged.First;
            for (int i = 0; i < slice.Size; i++)
            {
                (int k, int tap, int c) = (i / inputs / Fragments.Taps, i / inputs % Fragments.Taps, i % inputs);
                Span<int> at = places.AsSpan(2 * (offset + i - Arranged.First), 2);
                at[0] = offset + Fragments.Place(k, tap, c, inputs);
                at[1] = training ? turnedOffset + Fragments.Place(c, Fragments.Taps - 1 - tap, k, outputs) : -1;
            }
        }

        return places;
    }

    private static bool IsConvWeight(ParameterSlice slice) => slice.Layer is Conv2dLayer && slice.Shape.Count == 4;

    /// <summary>
    /// Appends, for each element in PyTorch's layout, its place in the device's: channels last, and the first dense layer's inputs in that
    /// order.
    /// </summary>
    private void Map(ParameterSlice slice, BlockPlan plan, List<int> map)
    {
        int offset = _places[slice.Name].Offset;
        if (IsConvWeight(slice))
        {
            (int channels, int taps) = (slice.Shape[1], slice.Shape[2] * slice.Shape[3]);
            for (int i = 0; i < slice.Size; i++)
            {
                (int k, int c, int tap) = (i / (channels * taps), i / taps % channels, i % taps);
                map.Add(offset + (k * taps + tap) * channels + c);
            }
        }
        else if (slice.Layer == plan.Denses[0].Linear && slice.Shape.Count == 2)
        {
            (int features, int channels, int pixels) = (slice.Shape[1], plan.Features.C, plan.Features.H * plan.Features.W);
            for (int i = 0; i < slice.Size; i++)
            {
                (int o, int c, int pixel) = (i / features, i % features / pixels, i % features % pixels);
                map.Add(offset + o * features + pixel * channels + c);
            }
        }
        else
        {
            map.AddRange(Enumerable.Range(offset, slice.Size));
        }
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
