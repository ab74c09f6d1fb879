// Reads images that a CUDA pipeline has in device memory. Usage: ReadOnDevice model.safetensors
using System.Runtime.InteropServices;
using CudnnDigits;
using CudnnDigits.Inference;

const int Count = 100, Pixels = 28 * 28, LogitBytes = 10 * sizeof(float);
Check(Cuda.cuInit(0));
Check(Cuda.cuDevicePrimaryCtxRetain(out nint context, 0));
Check(Cuda.cuCtxPushCurrent_v2(context));
Check(Cuda.cuStreamCreate(out nint stream, flags: 1));
Check(Cuda.cuMemAlloc_v2(out nint images, Count * Pixels));
Check(Cuda.cuMemAlloc_v2(out nint logits, Count * LogitBytes));
Check(Cuda.cuMemHostAlloc(out nint host, Count * Pixels, flags: 0)); // pinned memory: images to the device, logits back

using (DigitClassifier classifier = DigitClassifier.Load(args[0], new ClassifierOptions { CudaContext = context }))
{
    byte[] strokes = new byte[Count * Pixels]; // from top to bottom
    for (int i = 0; i < strokes.Length; i++)
    {
        (int row, int column) = (i % Pixels / 28, i % 28);
        strokes[i] = (byte)(row is >= 4 and < 24 && column is >= 13 and < 16 ? 255 : 0);
    }

    Marshal.Copy(strokes, 0, host, strokes.Length);
    Check(Cuda.cuMemcpyHtoDAsync_v2(images, host, Count * Pixels, stream));
    classifier.Enqueue(new ImageBatch(images, Count, PixelType.UInt8, Stride: Pixels), logits, stream); // returns at once
    Check(Cuda.cuMemcpyDtoHAsync_v2(host, logits, Count * LogitBytes, stream));
    Check(Cuda.cuStreamSynchronize(stream));
}

float[] last = new float[10];
Marshal.Copy(host + (Count - 1) * LogitBytes, last, 0, last.Length);
Console.WriteLine($"read as {DigitReading.FromLogits(last).Digit}");
Check(Cuda.cuMemFreeHost(host));
Check(Cuda.cuMemFree_v2(logits));
Check(Cuda.cuMemFree_v2(images));
Check(Cuda.cuStreamDestroy_v2(stream));
Check(Cuda.cuDevicePrimaryCtxRelease_v2(0));

static void Check(int status)
{
    if (status != 0)
    {
        throw new InvalidOperationException($"CUDA error {status}");
    }
}

/// <summary>Stands for the CUDA bindings of the pipeline: ManagedCuda, ILGPU or TorchSharp.</summary>
internal static class Cuda
{
    private const string Driver = "libcuda.so.1"; // on Windows nvcuda.dll

    [DllImport(Driver)] public static extern int cuInit(uint flags);
    [DllImport(Driver)] public static extern int cuDevicePrimaryCtxRetain(out nint context, int device);
    [DllImport(Driver)] public static extern int cuDevicePrimaryCtxRelease_v2(int device);
    [DllImport(Driver)] public static extern int cuCtxPushCurrent_v2(nint context);
    [DllImport(Driver)] public static extern int cuStreamCreate(out nint stream, uint flags);
    [DllImport(Driver)] public static extern int cuStreamSynchronize(nint stream);
    [DllImport(Driver)] public static extern int cuStreamDestroy_v2(nint stream);
    [DllImport(Driver)] public static extern int cuMemAlloc_v2(out nint address, nuint bytes);
    [DllImport(Driver)] public static extern int cuMemFree_v2(nint address);
    [DllImport(Driver)] public static extern int cuMemHostAlloc(out nint host, nuint bytes, uint flags);
    [DllImport(Driver)] public static extern int cuMemFreeHost(nint host);
    [DllImport(Driver)] public static extern int cuMemcpyHtoDAsync_v2(nint to, nint from, nuint bytes, nint stream);
    [DllImport(Driver)] public static extern int cuMemcpyDtoHAsync_v2(nint to, nint from, nuint bytes, nint stream);
}
