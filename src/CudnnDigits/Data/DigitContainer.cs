namespace CudnnDigits.Data;

/// <summary>A kind of file or folder that digits are kept in: how it is known, which files belong to it, how it is read.</summary>
internal abstract class DigitContainer
{
    /// <summary>What users call it, for help and messages: "MNIST's IDX files".</summary>
    public abstract string Name { get; }

    /// <summary>Whether a file is of this kind.</summary>
    /// <param name="head">Its first bytes, up to <see cref="DataSource.HeadBytes"/>, unpacked where it is gzip data.</param>
    /// <param name="path">Its name.</param>
    public virtual bool Takes(ReadOnlySpan<byte> head, string path) => false;

    /// <summary>Reads a file that <see cref="Takes"/> takes.</summary>
    /// <param name="file">Open at its first byte.</param>
    /// <param name="path">Its name.</param>
    /// <param name="part">Which part is wanted, where the file holds several.</param>
    /// <exception cref="InputException">It is damaged, or holds something else than digits.</exception>
    public virtual DigitDataset Read(InputFile file, string path, DataPart part) => throw new NotSupportedException();

    /// <summary>Files besides <paramref name="path"/> itself that are read with it.</summary>
    public virtual IEnumerable<string> FilesBeside(string path) => [];

    /// <summary>The files of a folder that make it one of this kind, with their paths; none where it is not.</summary>
    public virtual IEnumerable<string> FilesIn(string folder) => [];

    /// <summary>Reads a folder in which <see cref="FilesIn"/> finds files.</summary>
    /// <exception cref="InputException">The part that is wanted is not there, or a file is damaged.</exception>
    public virtual DigitDataset ReadFolder(string folder, DataPart part) => throw new NotSupportedException();
}
