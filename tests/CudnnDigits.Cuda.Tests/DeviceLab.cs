using System.Runtime.InteropServices;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Interop;

namespace CudnnDigits.Cuda.Tests;

/// <summary>Tensors on the device for tests of single operations; each has an allocation of its own, so that none may be overrun.</summary>
internal sealed unsafe class DeviceLab : IDisposable
{
    private DeviceLab(CudaSession session) => Session = session;

    public CudaSession Session { get; }

    public static void Run(Precision precision, Action<DeviceLab> body)
    {
        using CudaSession session = Gpu.Open(precision);
        using CudaContext.Scope scope = session.Context.Enter();
        using DeviceLab lab = new(session);
        body(lab);
    }

    /// <summary>In a session that is there already.</summary>
    public static DeviceLab On(CudaSession session) => new(session);

    public DeviceTensor Empty(long count, DeviceType? type = null)
    {
        DeviceArena arena = new();
        DeviceTensor tensor = arena.Reserve(count, type ?? Session.ActivationType);
        arena.Allocate(Session.Context.Handles);
        return tensor;
    }

    /// <summary>Values as activations are stored: rounded where that is bfloat16.</summary>
    public DeviceTensor Upload(float[] values, DeviceType? type = null)
    {
        DeviceTensor tensor = Empty(values.Length, type);
        Upload(values, tensor);
        return tensor;
    }

    /// <summary>The same, to where there is a tensor already.</summary>
    public void Upload(float[] values, DeviceTensor tensor)
    {
        if (tensor.Type == DeviceType.Bf16)
        {
            Upload(MemoryMarshal.AsBytes<ushort>(Array.ConvertAll(values, Round)), tensor);
        }
        else
        {
            Upload(MemoryMarshal.AsBytes<float>(values), tensor);
        }
    }

    public DeviceTensor Upload<T>(ReadOnlySpan<T> values)
        where T : unmanaged
    {
        DeviceTensor tensor = Empty(values.Length * sizeof(T), DeviceType.U8);
        Upload(MemoryMarshal.AsBytes(values), tensor);
        return tensor;
    }

    public float[] Download(DeviceTensor tensor)
    {
        using PinnedMemory staging = new(Session.Context.Handles, tensor.Bytes);
        return tensor.Type == DeviceType.Bf16
            ? Array.ConvertAll(
                Session.Stream.Download<ushort>(staging.Pointer, tensor.Address, (int)tensor.Count).ToArray(),
                bits => BitConverter.UInt32BitsToSingle((uint)bits << 16))
            : Session.Stream.Download<float>(staging.Pointer, tensor.Address, (int)tensor.Count).ToArray();
    }

    public T Download<T>(DeviceTensor tensor)
        where T : unmanaged
    {
        using PinnedMemory staging = new(Session.Context.Handles, tensor.Bytes);
        return Session.Stream.Download<T>(staging.Pointer, tensor.Address, 1)[0];
    }

    /// <summary>A step state in which sample n is row n of a dataset.</summary>
    public DeviceTensor State(int rows, byte[]? pixels = null, byte[]? labels = null, uint epoch = 0, long adamStep = 0, float rate = 0,
        float smoothing = 0) => Upload<StepState>(
    [
        new StepState
        {
            Pixels = pixels is null ? 0 : Upload<byte>(pixels).Address,
            Labels = labels is null ? 0 : Upload<byte>(labels).Address,
            Order = Upload<int>([.. Enumerable.Range(0, rows)]).Address,
            LearningRates = Upload<float>([rate]).Address,
            Rows = (uint)rows,
            Epoch = epoch,
            AdamStep = adamStep,
            LabelSmoothing = smoothing,
        },
    ]);

    public void Dispose() => Session.Stream.Synchronize(); // the tensors are the session's

    /// <summary>Nearest bfloat16, ties to even.</summary>
    public static ushort Round(float value)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value);
        return (ushort)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
    }

    private void Upload(ReadOnlySpan<byte> from, DeviceTensor to)
    {
        using PinnedMemory staging = new(Session.Context.Handles, to.Bytes);
        Session.Stream.Upload(to.Address, staging.Pointer, from);
        Session.Stream.Synchronize();
    }
}
