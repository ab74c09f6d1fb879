using CudnnDigits.Cuda.Interop;
using CudnnDigits.Data;

namespace CudnnDigits.Cuda.Device;

/// <summary>A dataset in device memory: uint8, uploaded once.</summary>
internal sealed unsafe class ResidentDigits : IDisposable
{
    private const int ChunkBytes = 4 << 20;

    private readonly CudaHandles _handles;

    /// <summary>Uploads the digits. The handles are disposed of with the digits; the context is current.</summary>
    public ResidentDigits(CudaHandles handles, CudaStream stream, DigitDataset dataset)
    {
        using Nvtx.Range range = Nvtx.Open("upload digits"u8);
        (_handles, Dataset) = (handles, dataset);
        DeviceArena arena = new();
        Pixels = arena.Reserve(dataset.Pixels.Length, DeviceType.U8);
        Labels = arena.Reserve(dataset.Count, DeviceType.U8);
        arena.Allocate(handles, _ =>
            $"the {dataset.Count:N0} digits do not fit; close other programs on the GPU, choose a smaller --batch-size, or give less data");
        using PinnedMemory chunk = new(handles, ChunkBytes);
        Upload(stream, chunk, dataset.Pixels, Pixels);
        Upload(stream, chunk, dataset.Labels, Labels);
    }

    public DigitDataset Dataset { get; }

    /// <summary>(digits, 28, 28) uint8.</summary>
    public DeviceTensor Pixels { get; }

    /// <summary>(digits) uint8; unwritten where the dataset has no labels.</summary>
    public DeviceTensor Labels { get; }

    public void Dispose() => _handles.Dispose();

    private static void Upload(CudaStream stream, PinnedMemory chunk, ReadOnlySpan<byte> from, DeviceTensor to)
    {
        for (int done = 0; done < from.Length; done += ChunkBytes)
        {
            ReadOnlySpan<byte> part = from.Slice(done, Math.Min(ChunkBytes, from.Length - done));
            stream.Upload(to.Address + done, chunk.Pointer, part);
            stream.Synchronize();
        }
    }
}

/// <summary>Order of the rows, learning rates and logits of an epoch or a prediction, with page-locked memory beside each.</summary>
internal sealed unsafe class RowBuffers : IDisposable
{
    private readonly CudaHandles _handles;
    private readonly DeviceTensor _order, _rates, _logits;
    private readonly PinnedMemory _orderStaging, _ratesStaging, _logitsStaging;

    /// <summary>Makes room for an order of so many rows. The handles are disposed of with the buffers; the context is current.</summary>
    public RowBuffers(CudaHandles handles, int rows)
    {
        (_handles, Rows) = (handles, rows);
        DeviceArena arena = new();
        _order = arena.Reserve((long)rows * sizeof(int), DeviceType.U8);
        _rates = arena.Reserve(rows, DeviceType.F32); // one per step, and a step has at least one row
        _logits = arena.Reserve((long)rows * DigitDataset.Classes, DeviceType.F32);
        arena.Allocate(handles, _ => $"an order of {rows:N0} rows does not fit; close other programs on the GPU or give less data");
        _orderStaging = new PinnedMemory(handles, _order.Bytes);
        _ratesStaging = new PinnedMemory(handles, _rates.Bytes);
        _logitsStaging = new PinnedMemory(handles, _logits.Bytes);
    }

    /// <summary>The longest order there is room for.</summary>
    public int Rows { get; }

    /// <summary>Uploads an order; gives the state of a step that begins at its first row. Nothing may be running.</summary>
    public StepState Begin(CudaStream stream, ResidentDigits digits, ReadOnlySpan<int> order)
    {
        stream.Upload(_order.Address, _orderStaging.Pointer, order);
        return new StepState
        {
            Pixels = digits.Pixels.Address,
            Labels = digits.Labels.Address,
            Order = _order.Address,
            LearningRates = _rates.Address,
            Predictions = _logits.Address,
            Rows = (uint)order.Length,
        };
    }

    /// <summary>Learning rates of some steps of the epoch.</summary>
    public void UploadRates(CudaStream stream, int firstStep, ReadOnlySpan<float> rates) =>
        stream.Upload(_rates.Slice(firstStep, rates.Length).Address, (float*)_ratesStaging.Pointer + firstStep, rates);

    /// <summary>The logits that a prediction stored; waits for it.</summary>
    public void ReadLogits(CudaStream stream, Span<float> logits) =>
        stream.Download<float>(_logitsStaging.Pointer, _logits.Address, logits.Length).CopyTo(logits);

    public void Dispose() => _handles.Dispose();
}
