using CudnnDigits.Files;

namespace CudnnDigits.Data;

/// <summary>A kind of file or folder that holds digits: how to recognize it, which files belong to it, how to read it.</summary>
internal abstract class DigitContainer
{
    /// <summary>The name of the kind, for help and messages: "MNIST's IDX files".</summary>
    public abstract string Name { get; }

    /// <summary>Whether a file is of this kind. The head is its first bytes, up to <see cref="KnownFile.HeadBytes"/>, unpacked.</summary>
    public virtual bool Takes(ReadOnlySpan<byte> head, string path) => false;

    /// <summary>Reads a file for which <see cref="Takes"/> is true. The part counts if the file holds several parts of a set.</summary>
    public virtual DigitDataset Read(InputFile file, string path, DataPart part) => throw new NotSupportedException();

    /// <summary>The paths of the files of this kind in a folder; none if the folder is of another kind.</summary>
    public virtual IEnumerable<string> FilesIn(string folder) => [];

    /// <summary>Reads a folder in which <see cref="FilesIn"/> finds files.</summary>
    public virtual DigitDataset ReadFolder(string folder, DataPart part) => throw new NotSupportedException();
}
