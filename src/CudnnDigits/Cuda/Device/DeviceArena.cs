using CudnnDigits.Cuda.Interop;

namespace CudnnDigits.Cuda.Device;

/// <summary>What a tensor's elements are.</summary>
internal enum DeviceType
{
    /// <summary>uint8 or raw bytes.</summary>
    U8 = 1,

    /// <summary>bfloat16.</summary>
    Bf16 = 2,

    /// <summary>float32.</summary>
    F32 = 4,
}

/// <summary>A stretch of the arena: owns nothing. Its address is known once the arena is allocated.</summary>
/// <param name="Arena">Where it lies.</param>
/// <param name="Offset">Bytes from the start.</param>
/// <param name="Count">Elements.</param>
/// <param name="Type">Type of the elements.</param>
internal readonly record struct DeviceTensor(DeviceArena Arena, long Offset, long Count, DeviceType Type)
{
    public nint Address => (nint)(Arena.Base + Offset);

    public long Bytes => Count * (int)Type;

    /// <summary>
    /// The address, for a call that will touch so many elements. Nothing else would notice: a neighbour in the arena is as
    /// accessible as the tensor itself. It costs nothing where it matters, since a replayed graph makes no such calls.
    /// </summary>
    /// <param name="count">Elements that will be read or written.</param>
    /// <param name="type">Their type.</param>
    /// <exception cref="InvalidOperationException">The tensor is too small, or of another type.</exception>
    public nint Holding(long count, DeviceType type) => count <= Count && type == Type
        ? Address
        : throw new InvalidOperationException($"a call for {count} elements of {type} was given a tensor of {Count} of {Type}");

    /// <summary>A part of it.</summary>
    /// <param name="first">First element.</param>
    /// <param name="count">Elements.</param>
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

    /// <summary>Allocates all that was reserved.</summary>
    /// <param name="owner">Where the memory belongs.</param>
    public void Allocate(CudaHandles owner)
    {
        _base = new DeviceMemory(owner, Bytes).Value;
        if (Allocated is { } allocated)
        {
            _tensors.ForEach(allocated);
        }
    }
}
