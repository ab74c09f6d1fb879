using System.Security.Cryptography;
using System.Text.RegularExpressions;

namespace CudnnDigits.Files;

/// <summary>
/// Writes files whole or not at all: to a temporary file beside the target, flushed to disk, then renamed over the target. Links are
/// followed. A device, a FIFO or a descriptor is not replaced; the bytes go into it. docs/decisions/0019 describes what happens to
/// permissions, to hard links, and to a file that can be written but not replaced.
/// </summary>
internal static partial class AtomicFile
{
    private const int EndingLength = 21, LongestStem = 255 - EndingLength; // a temporary file is named target.0123456789abcdef.tmp
    private const int Busy = 16, ReadOnlyFileSystem = 30; // EBUSY, EROFS
    private const int Buffer = 1 << 16;

    /// <summary>Held while a temporary file is created, deleted or renamed. <see cref="Abandon"/> takes it for ever.</summary>
    private static readonly Lock Gate = new();
    private static readonly HashSet<string> Unfinished = [];

    /// <summary>Locks an open temporary file against <see cref="RemoveLeftOvers"/>; on Windows it also allows its deletion.</summary>
    private static FileShare Alone => OperatingSystem.IsWindows() ? FileShare.Delete : FileShare.None;

    /// <summary>Replaces a file. If anything fails, the old file stays as it was.</summary>
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
            else if (!place.IsFile || !TryReplace(place, write))
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
    public static void WriteText(string path, string text) => Write(path, file => file.Write(Encoding.UTF8.GetBytes(text)));

    /// <summary>Checks that a file can be written, without changing it.</summary>
    public static void CheckWritable(string path)
    {
        try
        {
            OutputPlace place = OutputPlace.Of(path);
            if (!place.IsFile && !OperatingSystem.IsWindows()
                && !(place.Descriptor is { } descriptor ? Posix.IsWritable(descriptor) : Posix.MayWrite(place.Path)))
            {
                throw new UnauthorizedAccessException("it is not open to this process for writing");
            }

            if (place.IsFile && !MayReplace(place))
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
    public static string TemporaryPath(string stem) => $"{stem}.{RandomNumberGenerator.GetHexString(16, lowercase: true)}.tmp";

    /// <summary>Whether a name, without its folder, is that of a temporary file, which only a killed process leaves behind.</summary>
    public static bool IsLeftOver(string fileName) => Ending().IsMatch(fileName);

    /// <summary>Deletes all temporary files and blocks every further write. For a process that is about to end.</summary>
    public static void Abandon()
    {
        Gate.Enter(); // never left again: other threads wait here until the process ends
        foreach (string temporary in Unfinished)
        {
            Try(() => File.Delete(temporary));
        }
    }

    /// <summary>Runs an action whose failure does no harm: a file that stays is removed another time.</summary>
    public static void Try(Action action)
    {
        try
        {
            action();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
        }
    }

    /// <summary>Replaces a file. False if its folder allows no new files.</summary>
    private static bool TryReplace(OutputPlace place, Action<Stream> write)
    {
        RemoveLeftOvers(Stem(place));
        if (TryCreate(place) is not { } created)
        {
            return false;
        }

        string temporary = created.Name;
        try
        {
            using FileStream file = created;
            write(file);
            file.Flush(flushToDisk: true);
            if (!OperatingSystem.IsWindows() && place.Status.Kind == FileKind.Regular)
            {
                Posix.TryCopyOwnerAndMode(file.SafeFileHandle, place.Status);
            }

            Posix.ShareLock(file.SafeFileHandle); // readers may open it now, but RemoveLeftOvers still cannot
            if (OperatingSystem.IsWindows())
            {
                file.Dispose(); // nobody must find it in use under its new name
            }

            Rename(temporary, place);
            return true;
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

    private static bool MayReplace(OutputPlace place)
    {
        using FileStream? created = TryCreate(place);
        if (created is null)
        {
            return false;
        }

        uint user = Posix.Status(created.Name, follow: false).Owner;
        Discard(created.Name);
        return OperatingSystem.IsWindows() || place.Status.Kind == FileKind.Missing
            || Posix.MayReplace(Posix.Status(Path.GetDirectoryName(place.Path)!, follow: true), place.Status, user);
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
    private static FileStream? TryCreate(OutputPlace place)
    {
        string stem = Stem(place);
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
                    Posix.Lock(file.SafeFileHandle);
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

    /// <summary>Renames the temporary file. If the system refuses that, to a mount point for example, copies it into the target.</summary>
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
    private static void RemoveLeftOvers(string stem) => Try(() =>
    {
        foreach (string file in Directory.EnumerateFiles(Path.GetDirectoryName(stem)!).Where(IsOfTarget))
        {
            Try(() =>
            {
                if (Posix.Status(file, follow: false).Kind == FileKind.Regular)
                {
                    using FileStream mine = new(file, FileMode.Open, FileAccess.Write, Alone);
                    if (Posix.Lock(mine.SafeFileHandle) is true)
                    {
                        File.Delete(file);
                    }
                }
            });
        }

        bool IsOfTarget(string file) => IsLeftOver(Path.GetFileName(file)) && file.Length == stem.Length + EndingLength
            && file.StartsWith(stem, StringComparison.Ordinal);
    });

    [GeneratedRegex(@"(?<=.)\.[0-9a-f]{16}\.tmp\z", RegexOptions.Singleline)]
    private static partial Regex Ending();

    /// <summary>Writes at the descriptor's own position, as all processes do that share it.</summary>
    private sealed class DescriptorStream(int descriptor) : WriteOnlyStream
    {
        public override void Write(ReadOnlySpan<byte> buffer) => Posix.Write(descriptor, buffer);
    }
}
