using System.Security.Cryptography;
using CudnnDigits.Data;

namespace CudnnDigits.Model;

/// <summary>
/// Writes files whole or not at all: to a temporary file beside the target, flushed to disk, then renamed over it. What is no
/// plain file is written through: links are followed, and a device, a FIFO or a descriptor gets the bytes and stays what it is.
/// docs/decisions/0019 says what becomes of permissions, of hard links, and of a file that cannot be replaced but can be written.
/// </summary>
internal static class AtomicFile
{
    /// <summary>Between a target's name and the ending of its temporary file stand a dot and so many random digits.</summary>
    private const int RandomDigits = 16;
    private const string Temporary = ".tmp";
    private const int EndingLength = 1 + RandomDigits + 4, LongestStem = 255 - EndingLength;
    private const int Busy = 16, ReadOnlyFileSystem = 30, Buffer = 1 << 16;

    /// <summary>Held while a temporary file comes, goes or gets its name; whoever ends the process takes it and keeps it.</summary>
    private static readonly Lock Gate = new();
    private static readonly HashSet<string> Unfinished = [];

    /// <summary>
    /// How a temporary file is open: locked, so that <see cref="RemoveLeftOvers"/> tells it from what a kill has left; on Windows
    /// too it can be deleted.
    /// </summary>
    private static FileShare Alone => OperatingSystem.IsWindows() ? FileShare.Delete : FileShare.None;

    /// <summary>Replaces a file; whatever stood there stays as it is if anything fails.</summary>
    /// <param name="path">The file, or what leads to it.</param>
    /// <param name="write">Writes its content, from the first byte to the last.</param>
    /// <exception cref="InputException">The path is a folder, or its links go round in a circle.</exception>
    /// <exception cref="IOException">The content could not be written: the disk is full, say, or there is no such folder.</exception>
    /// <exception cref="UnauthorizedAccessException">It may not be written.</exception>
    public static void Write(string path, Action<Stream> write)
    {
        ArgumentNullException.ThrowIfNull(write);
        OutputPlace place = OutputPlace.Of(path);
        try
        {
            if (place.Descriptor is { } descriptor)
            {
                using BufferedStream stream = new(new DescriptorStream(descriptor), Buffer);
                write(stream);
            }
            else if (place.IsFile)
            {
                Replace(place, write);
            }
            else
            {
                WriteThrough(place, write);
            }
        }
        catch (ArgumentOutOfRangeException e)
        {
            // What .NET makes of EFBIG: the file system or a quota takes no file of this size.
            throw new IOException($"File too large : '{path}'", e);
        }
    }

    /// <summary>Replaces a text file, UTF-8.</summary>
    /// <param name="path">The file, or what leads to it.</param>
    /// <param name="write">Writes its content.</param>
    /// <exception cref="InputException">The path is a folder, or its links go round in a circle.</exception>
    /// <exception cref="IOException">The content could not be written.</exception>
    /// <exception cref="UnauthorizedAccessException">It may not be written.</exception>
    public static void WriteText(string path, Action<TextWriter> write)
    {
        ArgumentNullException.ThrowIfNull(write);
        Write(path, stream =>
        {
            using StreamWriter writer = new(stream, leaveOpen: true);
            write(writer);
        });
    }

    /// <summary>Finds out beforehand whether a file can be written; what stands there stays as it is.</summary>
    /// <param name="path">The file, or what leads to it.</param>
    /// <exception cref="InputException">It cannot.</exception>
    internal static void CheckWritable(string path)
    {
        try
        {
            OutputPlace place = OutputPlace.Of(path);
            if (!place.IsFile)
            {
                bool may = OperatingSystem.IsWindows() || (place.Descriptor is { } descriptor ? Posix.IsWritable(descriptor) : Posix.MayWrite(place.Path));
                if (!may)
                {
                    throw new UnauthorizedAccessException("it is not open to this process for writing");
                }

                return;
            }

            bool replaces = false;
            using (FileStream? created = TryCreate(Stem(place), place))
            {
                if (created is not null)
                {
                    Discard(created.Name);
                    replaces = OperatingSystem.IsWindows() || place.Status.Kind == FileKind.Missing
                        || Posix.MayReplace(Posix.Status(Path.GetDirectoryName(place.Path)!, follow: true), place.Status, Posix.EffectiveUser());
                }
            }

            if (!replaces)
            {
                new FileStream(place.Path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite).Dispose();
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new InputException($"{path}: cannot be written: {e.Message.TrimEnd('.')}; choose another place", e);
        }
    }

    /// <summary>Whether a file is what a kill left of one that was being written; it is worth nothing.</summary>
    /// <param name="fileName">Its name, without folder.</param>
    internal static bool IsLeftOver(string fileName) =>
        fileName.EndsWith(Temporary, StringComparison.Ordinal)
        && fileName.Length > EndingLength
        && fileName[^EndingLength] == '.'
        && fileName.Substring(fileName.Length - EndingLength + 1, RandomDigits).All(char.IsAsciiHexDigitLower);

    /// <summary>Takes away what is being written, and lets nobody begin anew: for a process that ends at once.</summary>
    internal static void Abandon()
    {
        Gate.Enter(); // and never leaves: whoever comes to the gate now waits for the end
        foreach (string temporary in Unfinished)
        {
            Try(() => File.Delete(temporary));
        }
    }

    private static void Replace(OutputPlace place, Action<Stream> write)
    {
        string stem = Stem(place);
        RemoveLeftOvers(Path.GetDirectoryName(stem)!, Path.GetFileName(stem));
        FileStream? created = TryCreate(stem, place);
        if (created is null)
        {
            WriteInPlace(place, write);
            return;
        }

        string temporary = created.Name;
        try
        {
            using FileStream file = created;
            write(file);
            file.Flush(flushToDisk: true);
            if (OperatingSystem.IsWindows())
            {
                file.Dispose(); // whoever opens it by its new name must not find it in use
            }
            else
            {
                if (place.Status.Kind == FileKind.Regular)
                {
                    Posix.TryCopyOwnerAndMode(file.SafeFileHandle, place.Status);
                }

                Posix.ShareLock(file.SafeFileHandle); // with readers, but not with RemoveLeftOvers
            }

            Rename(temporary, place);
        }
        catch (IOException e) when (e.GetType() == typeof(IOException))
        {
            throw new IOException(e.Message.Replace(temporary, place.Path, StringComparison.Ordinal), e.HResult); // of the file that the user knows
        }
        finally
        {
            Discard(temporary); // gone already where all went well
        }
    }

    /// <summary>What the names of a target's temporary files begin with, folder included.</summary>
    private static string Stem(OutputPlace place)
    {
        string stem = Path.GetFileName(place.Path);
        while (Encoding.UTF8.GetByteCount(stem) > LongestStem)
        {
            stem = stem[..^1];
        }

        return Path.Join(Path.GetDirectoryName(place.Path), stem);
    }

    private static void Discard(string temporary)
    {
        lock (Gate)
        {
            Unfinished.Remove(temporary);
            Try(() => File.Delete(temporary));
        }
    }

    /// <summary>Makes the temporary file; null where the folder takes none though the target is there and may be writable.</summary>
    private static FileStream? TryCreate(string stem, OutputPlace place)
    {
        bool replaces = place.Status.Kind == FileKind.Regular;
        FileStreamOptions options = new() { Mode = FileMode.CreateNew, Access = FileAccess.Write, Share = Alone, BufferSize = Buffer };
        if (replaces && !OperatingSystem.IsWindows())
        {
            options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite; // until it has those of the target
        }

        lock (Gate)
        {
            for (int left = 10; ; left--)
            {
                string temporary = $"{stem}.{RandomNumberGenerator.GetHexString(RandomDigits, lowercase: true)}{Temporary}";
                try
                {
                    FileStream file = new(temporary, options);
                    _ = OperatingSystem.IsWindows() || Posix.Lock(file.SafeFileHandle) is true;
                    if (File.Exists(temporary))
                    {
                        Unfinished.Add(temporary);
                        return file;
                    }

                    file.Dispose(); // another process has removed it as a left-over, before it was locked
                }
                catch (IOException e) when (left > 0 && !OperatingSystem.IsWindows() && e.HResult == Posix.WouldBlock)
                {
                    // Another process is about to.
                }
                catch (Exception e) when (replaces && (e is UnauthorizedAccessException or PathTooLongException || e is IOException { HResult: ReadOnlyFileSystem }))
                {
                    return null;
                }
                catch (Exception e) when (e is UnauthorizedAccessException or FileNotFoundException) // the folder is there, but takes none, as /proc
                {
                    throw new UnauthorizedAccessException($"Access to the path '{place.Path}' is denied.", e);
                }
            }
        }
    }

    /// <summary>
    /// Gives the temporary file the target's name; where that is refused, as for a file that is a mount point, copies it into the
    /// target.
    /// </summary>
    private static void Rename(string temporary, OutputPlace place)
    {
        try
        {
            lock (Gate)
            {
                File.Move(temporary, place.Path, overwrite: true);
            }
        }
        catch (Exception e) when (place.Status.Kind == FileKind.Regular && e is UnauthorizedAccessException or IOException { HResult: Busy })
        {
            using FileStream whole = new(temporary, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            WriteInPlace(place, whole.CopyTo);
        }
    }

    private static void WriteInPlace(OutputPlace place, Action<Stream> write)
    {
        using FileStream file = new(place.Path, FileMode.Open, FileAccess.Write, FileShare.Read, Buffer);
        write(file);
        file.SetLength(file.Position);
        file.Flush(flushToDisk: true);
    }

    /// <summary>Into a device or a FIFO; a FIFO waits for whoever reads it.</summary>
    private static void WriteThrough(OutputPlace place, Action<Stream> write)
    {
        using FileStream stream = new(place.Path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite, Buffer);
        write(stream);
        stream.Flush(flushToDisk: true);
    }

    /// <summary>Removes what kills left of the same target: files that nobody has locked.</summary>
    private static void RemoveLeftOvers(string folder, string stem)
    {
        Try(() =>
        {
            foreach (FileInfo file in new DirectoryInfo(folder).EnumerateFiles().Where(file => file.Name.Length == stem.Length + EndingLength
                && file.Name.StartsWith(stem, StringComparison.Ordinal) && IsLeftOver(file.Name)))
            {
                Try(() =>
                {
                    if (OperatingSystem.IsWindows() || Posix.Status(file.FullName, follow: false).Kind == FileKind.Regular)
                    {
                        using FileStream mine = new(file.FullName, FileMode.Open, FileAccess.Write, Alone);
                        if (OperatingSystem.IsWindows() || Posix.Lock(mine.SafeFileHandle) is true)
                        {
                            file.Delete();
                        }
                    }
                });
            }
        });
    }

    /// <summary>Does what is of use, but whose failure is none: a left-over that stays is removed another time.</summary>
    private static void Try(Action action)
    {
        try
        {
            action();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
        }
    }

    /// <summary>Writes where a descriptor stands, as everybody who shares it does.</summary>
    private sealed class DescriptorStream(int descriptor) : WriteOnlyStream
    {
        public override void Write(ReadOnlySpan<byte> buffer) => Posix.Write(descriptor, buffer);
    }
}
