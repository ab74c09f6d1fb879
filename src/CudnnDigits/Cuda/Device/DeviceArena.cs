using CudnnDigits.Cuda.Interop;

namespace CudnnDigits.Cuda.Device;

/// <summary>What a tensor's elements are (or raw bytes), and how many bytes an element has.</summary>
internal enum DeviceType
{
    U8 = 1,
    Bf16 = 2,
    F32 = 4,
}

/// <summary>Elements from a byte of the arena on: owns nothing. Its address is known once the arena is allocated.</summary>
internal readonly record struct DeviceTensor(DeviceArena Arena, long Offset, long Count, DeviceType Type)
{
    public nint Address => (nint)(Arena.Base + Offset);

    public long Bytes => Count * (int)Type;

    /// <summary>
    /// The address, for a call that will touch so many elements. Nothing else would notice: a neighbour in the arena is as
    /// accessible as the tensor itself. It costs nothing where it matters, since a replayed graph makes no such calls.
    /// </summary>
    public nint Holding(long count, DeviceType type) => count <= Count && type == Type
        ? Address
        : throw new InvalidOperationException($"a call for {count} elements of {type} was given a tensor of {Count} of {Type}");

    public DeviceTensor Slice(long first, long count) => this with { Offset = Offset + first * (int)Type, Count = count };
}

/// <summary>All device memory of a backend's step: reserved piece by piece, then allocated at once.</summary>
internal sealed class DeviceArena
{
    /// <summary>What cuDNN and cuBLAS like best, and all allocations of the driver have.</summary>
    private const long Alignment = 256;

    private readonly List<DeviceTensor> _tensors = [];
    private nint _base;

    /// <summary>Told of every tensor that is allocated: tests find what touches the room between them.</summary>
    internal static Action<DeviceTensor>? Allocated { get; set; }

    /// <summary>Bytes reserved so far.</summary>
    public long Bytes { get; private set; }

    /// <summary>Address of the first byte.</summary>
    public long Base => _base != 0 ? _base : throw new InvalidOperationException("the arena is not allocated yet");

    /// <summary>Reserves a tensor; only before <see cref="Allocate"/>.</summary>
    public DeviceTensor Reserve(long count, DeviceType type)
    {
        if (_base != 0)
        {
            throw new InvalidOperationException("the arena is allocated already");
        }

        DeviceTensor tensor = new(this, Bytes, count, type);
        _tensors.Add(tensor);
        Bytes += (tensor.Bytes + Alignment - 1) / Alignment * Alignment;
        return tensor;
    }

    /// <summary>Allocates all that was reserved. If memory is too small, the message ends with advice, given the free bytes.</summary>
    public void Allocate(CudaHandles owner, Func<long, string>? advice = null)
    {
        (long free, long total) = CudaContext.MemoryInfo();
        try
        {
            _base = Bytes <= free ? new DeviceMemory(owner, Bytes).Value : 0;
        }
        catch (CudaException e) when (e.IsOutOfMemory)
        {
            // Another program was faster, or memory is in pieces; the message is the same.
        }

        if (_base == 0)
        {
            throw new InputException(
                $"the GPU's memory is too small: {MiB(Bytes)} MiB are needed, {MiB(free)} of {MiB(total)} MiB are free; "
                + advice?.Invoke(free));
        }

        if (Allocated is { } allocated)
        {
            _tensors.ForEach(allocated);
        }

        static string MiB(long bytes) => $"{(bytes + (1 << 20) - 1) >> 20:N0}";
    }
}
