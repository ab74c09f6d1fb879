using CudnnDigits.Data;

namespace CudnnDigits.Inference;

/// <summary>What the pixels of an image are.</summary>
public enum PixelType
{
    /// <summary>uint8, 0 = background … 255 = ink; the network sees pixel/255.</summary>
    UInt8,

    /// <summary>float32, 0 = background … 1 = ink, as the network sees it.</summary>
    Float32,
}

/// <summary>
/// Images in memory that the caller owns: (Count, 1, 28, 28), each of them 784 pixels without gaps (NCHW). PyTorch's
/// <c>data_ptr()</c> and <c>stride(0)</c> are the first and the last of these four.
/// </summary>
/// <param name="Address">Address of the first pixel; a multiple of 4 where pixels are float32.</param>
/// <param name="Count">Number of images.</param>
/// <param name="Type">Type of the pixels.</param>
/// <param name="Stride">Pixels from the start of one image to the start of the next; any number, 784 where they are packed.</param>
public readonly record struct ImageBatch(nint Address, int Count, PixelType Type = PixelType.UInt8, long Stride = DigitDataset.PixelCount)
{
    /// <summary>A part of them.</summary>
    internal ImageBatch Slice(int first, int count) => this with { Address = (nint)(Address + first * Stride * BytesPerPixel), Count = count };

    internal int BytesPerPixel => Type == PixelType.UInt8 ? sizeof(byte) : sizeof(float);
}
