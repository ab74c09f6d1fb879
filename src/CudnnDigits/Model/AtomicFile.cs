namespace CudnnDigits.Model;

/// <summary>Writes files whole or not at all: to a temporary file beside the target, flushed to disk, then renamed over it.</summary>
public static class AtomicFile
{
    /// <summary>Ending of a file that is being written; what a kill leaves of it is worth nothing.</summary>
    internal const string Temporary = ".tmp";

    /// <summary>Replaces a file; whatever stood there stays as it is if anything fails.</summary>
    /// <param name="path">The file.</param>
    /// <param name="write">Writes its content.</param>
    public static void Write(string path, Action<Stream> write)
    {
        ArgumentNullException.ThrowIfNull(write);
        string temporary = path + Temporary;
        try
        {
            using (FileStream file = new(temporary, FileMode.Create, FileAccess.Write, FileShare.None, 1 << 16))
            {
                write(file);
                file.Flush(flushToDisk: true);
            }

            File.Move(temporary, path, overwrite: true);
        }
        catch (Exception e)
        {
            TryDelete(temporary);
            if (e is ArgumentOutOfRangeException)
            {
                // What .NET makes of EFBIG: the file system or a quota takes no file of this size.
                throw new IOException($"File too large : '{temporary}'", e);
            }

            throw;
        }
    }

    /// <summary>Replaces a text file, UTF-8.</summary>
    /// <param name="path">The file.</param>
    /// <param name="write">Writes its content.</param>
    public static void WriteText(string path, Action<TextWriter> write)
    {
        ArgumentNullException.ThrowIfNull(write);
        Write(path, stream =>
        {
            using StreamWriter writer = new(stream, leaveOpen: true);
            write(writer);
        });
    }

    private static void TryDelete(string path)
    {
        try
        {
            File.Delete(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The first failure is the one to report; a left-over .tmp is overwritten next time.
        }
    }
}
