using CudnnDigits.Files;

namespace CudnnDigits.Data;

/// <summary>A file with one NumPy array: images without labels.</summary>
internal sealed class NumpyContainer : DigitContainer
{
    public override string Name => "images of NumPy (.npy)";

    public override bool Takes(ReadOnlySpan<byte> head, string path) => NumpyArray.Begins(head);

    public override DigitDataset Read(InputFile file, string path, DataPart part) =>
        new(path, NumpyArray.Open(file).ReadImages(), null);
}
