using CudnnDigits.Data;

namespace CudnnDigits.Inference;

/// <summary>The type of an image's pixels.</summary>
public enum PixelType
{
    /// <summary>uint8, 0 = background … 255 = ink; the network sees pixel/255.</summary>
    UInt8,

    /// <summary>float32, 0 = background … 1 = ink, the network's own input.</summary>
    Float32,
}

/// <summary>
/// Images in memory that the caller owns: (Count, 1, 28, 28), each of 784 pixels without gaps (NCHW). Address and Stride are
/// PyTorch's <c>data_ptr()</c> and <c>stride(0)</c>.
/// </summary>
/// <param name="Address">The address of the first pixel; for float32 pixels, a multiple of 4.</param>
/// <param name="Count">The number of images.</param>
/// <param name="Type">The type of the pixels.</param>
/// <param name="Stride">Pixels from the start of one image to the start of the next; any number, 784 without gaps.</param>
public readonly record struct ImageBatch(nint Address, int Count, PixelType Type = PixelType.UInt8, long Stride = DigitDataset.PixelCount)
{
    /// <summary>A range of the images.</summary>
    internal ImageBatch Slice(int first, int count) =>
        this with { Address = (nint)(Address + first * Stride * BytesPerPixel), Count = count };

    internal int BytesPerPixel => Type == PixelType.UInt8 ? sizeof(byte) : sizeof(float);
}
