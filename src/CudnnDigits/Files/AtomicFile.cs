using System.Security.Cryptography;

namespace CudnnDigits.Files;

/// <summary>
/// Writes files whole or not at all: to a temporary file beside the target, flushed to disk, then renamed over the target. Links are
/// followed. A device, a FIFO or a descriptor is not replaced; the bytes go into it. docs/decisions/0019 describes what happens to
/// permissions, to hard links, and to a file that can be written but not replaced.
/// </summary>
internal static class AtomicFile
{
    // A temporary file is named target.0123456789abcdef.tmp.
    private const int RandomDigits = 16;
    private const string Temporary = ".tmp";
    private const int EndingLength = 1 + RandomDigits + 4, LongestStem = 255 - EndingLength;
    private const int Busy = 16, ReadOnlyFileSystem = 30; // EBUSY, EROFS
    private const int Buffer = 1 << 16;

    /// <summary>Held while a temporary file is created, deleted or renamed. <see cref="Abandon"/> takes it for ever.</summary>
    private static readonly Lock Gate = new();
    private static readonly HashSet<string> Unfinished = [];

    /// <summary>
    /// The sharing of an open temporary file. It is locked, so that <see cref="RemoveLeftOvers"/> can tell it from a file that a killed
    /// process has left; on Windows the sharing also allows it to be deleted.
    /// </summary>
    private static FileShare Alone => OperatingSystem.IsWindows() ? FileShare.Delete : FileShare.None;

    /// <summary>Replaces a file. If anything fails, the old file stays as it was.</summary>
    /// <exception cref="InputException">The path is a folder, or its links form a circle.</exception>
    /// <exception cref="IOException">The content cannot be written, for example because the disk is full.</exception>
    /// <exception cref="UnauthorizedAccessException">Writing is not permitted.</exception>
    public static void Write(string path, Action<Stream> write)
    {
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
                WriteInto(place, write);
            }
        }
        catch (ArgumentOutOfRangeException e)
        {
            // .NET throws this for EFBIG: the file system or a quota does not allow a file of this size.
            throw new IOException($"File too large : '{path}'", e);
        }
    }

    /// <summary>Replaces a text file, in UTF-8; see <see cref="Write"/>.</summary>
    public static void WriteText(string path, Action<TextWriter> write) => Write(path, AsText(write));

    /// <summary>Writes text, in UTF-8, where bytes are asked for.</summary>
    public static Action<Stream> AsText(Action<TextWriter> write) => stream =>
    {
        using StreamWriter writer = new(stream, leaveOpen: true);
        write(writer);
    };

    /// <summary>Checks that a file can be written, without changing it.</summary>
    /// <exception cref="InputException">It cannot be written.</exception>
    internal static void CheckWritable(string path)
    {
        try
        {
            OutputPlace place = OutputPlace.Of(path);
            if (!place.IsFile)
            {
                bool isWritable = OperatingSystem.IsWindows()
                    || (place.Descriptor is { } descriptor ? Posix.IsWritable(descriptor) : Posix.MayWrite(place.Path));
                if (!isWritable)
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
                    string folder = Path.GetDirectoryName(place.Path)!;
                    replaces = OperatingSystem.IsWindows() || place.Status.Kind == FileKind.Missing
                        || Posix.MayReplace(Posix.Status(folder, follow: true), place.Status, Posix.EffectiveUser());
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

    /// <summary>The path of a new temporary file: the target's name, random digits, and .tmp.</summary>
    internal static string TemporaryPath(string stem) =>
        $"{stem}.{RandomNumberGenerator.GetHexString(RandomDigits, lowercase: true)}{Temporary}";

    /// <summary>Whether a name, without its folder, is that of a temporary file, which only a killed process leaves behind.</summary>
    internal static bool IsLeftOver(string fileName) =>
        fileName.EndsWith(Temporary, StringComparison.Ordinal)
        && fileName.Length > EndingLength
        && fileName[^EndingLength] == '.'
        && fileName.Substring(fileName.Length - EndingLength + 1, RandomDigits).All(char.IsAsciiHexDigitLower);

    /// <summary>Deletes all temporary files and blocks every further write. For a process that is about to end.</summary>
    internal static void Abandon()
    {
        Gate.Enter(); // never left again: other threads wait here until the process ends
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
            WriteInto(place, write);
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
                file.Dispose(); // nobody must find it in use under its new name
            }
            else
            {
                if (place.Status.Kind == FileKind.Regular)
                {
                    Posix.TryCopyOwnerAndMode(file.SafeFileHandle, place.Status);
                }

                Posix.ShareLock(file.SafeFileHandle); // readers may open it now, but RemoveLeftOvers still cannot
            }

            Rename(temporary, place);
        }
        catch (IOException e) when (e.GetType() == typeof(IOException))
        {
            throw new IOException(e.Message.Replace(temporary, place.Path, StringComparison.Ordinal), e.HResult); // names the user's file
        }
        finally
        {
            Discard(temporary); // after a rename there is none any more
        }
    }

    /// <summary>What the paths of the temporary files begin with: the target's path, shortened if its name is too long.</summary>
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

    /// <summary>Creates the temporary file. Null if the folder allows no new files, but the target exists and may be writable.</summary>
    private static FileStream? TryCreate(string stem, OutputPlace place)
    {
        bool replaces = place.Status.Kind == FileKind.Regular;
        FileStreamOptions options = new() { Mode = FileMode.CreateNew, Access = FileAccess.Write, Share = Alone, BufferSize = Buffer };
        if (replaces && !OperatingSystem.IsWindows())
        {
            options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite; // until it gets the target's permissions
        }

        lock (Gate)
        {
            for (int left = 10; ; left--)
            {
                string temporary = TemporaryPath(stem);
                try
                {
                    FileStream file = new(temporary, options);
                    _ = OperatingSystem.IsWindows() || Posix.Lock(file.SafeFileHandle) is true;
                    if (File.Exists(temporary))
                    {
                        Unfinished.Add(temporary);
                        return file;
                    }

                    file.Dispose(); // another process removed it as a left-over before it was locked
                }
                catch (IOException e) when (left > 0 && !OperatingSystem.IsWindows() && e.HResult == Posix.WouldBlock)
                {
                    // Another process is just removing it as a left-over.
                }
                catch (Exception e) when (replaces
                    && e is UnauthorizedAccessException or PathTooLongException or IOException { HResult: ReadOnlyFileSystem })
                {
                    return null;
                }
                catch (Exception e) when (e is UnauthorizedAccessException or FileNotFoundException) // /proc allows no new files
                {
                    throw new UnauthorizedAccessException($"Access to the path '{place.Path}' is denied.", e);
                }
            }
        }
    }

    /// <summary>
    /// Renames the temporary file to the target's name. If the system refuses that, because the target is a mount point for example, the
    /// content is copied into the target.
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
        catch (Exception e) when (place.Status.Kind == FileKind.Regular
            && e is UnauthorizedAccessException or IOException { HResult: Busy })
        {
            using FileStream whole = new(temporary, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            WriteInto(place, whole.CopyTo);
        }
    }

    /// <summary>Writes into a file that cannot be replaced, or into a device or a FIFO. A FIFO blocks until it has a reader.</summary>
    private static void WriteInto(OutputPlace place, Action<Stream> write)
    {
        FileShare share = place.IsFile ? FileShare.Read : FileShare.ReadWrite;
        using FileStream file = new(place.Path, FileMode.Open, FileAccess.Write, share, Buffer);
        write(file);
        if (place.IsFile)
        {
            file.SetLength(file.Position);
        }

        file.Flush(flushToDisk: true);
    }

    /// <summary>Removes the target's temporary files that killed processes have left: those that nobody has locked.</summary>
    private static void RemoveLeftOvers(string folder, string stem)
    {
        Try(() =>
        {
            foreach (FileInfo file in new DirectoryInfo(folder).EnumerateFiles().Where(IsOfTarget))
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

        bool IsOfTarget(FileInfo file) => file.Name.Length == stem.Length + EndingLength
            && file.Name.StartsWith(stem, StringComparison.Ordinal) && IsLeftOver(file.Name);
    }

    /// <summary>Runs an action whose failure does no harm: a file that stays is removed another time.</summary>
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

    /// <summary>Writes at the descriptor's own position, as all processes do that share it.</summary>
    private sealed class DescriptorStream(int descriptor) : WriteOnlyStream
    {
        public override void Write(ReadOnlySpan<byte> buffer) => Posix.Write(descriptor, buffer);
    }
}
