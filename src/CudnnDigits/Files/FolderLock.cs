using System.ComponentModel;
using System.Text.RegularExpressions;

namespace CudnnDigits.Files;

/// <summary>
/// The right of one process to write into a folder: a lock on the file <c>.lock</c>, whose text names the process. It ends with the
/// process. On file systems without locks the file itself is the lock, as long as the process that it names may be running.
/// </summary>
internal sealed partial class FolderLock(string path, FileStream file) : IDisposable
{
    private const string Name = ".lock";
    private const int SharingViolation = 32; // ERROR_SHARING_VIOLATION
    private const int FileExists = 17, FileExistsOnWindows = 80; // EEXIST, ERROR_FILE_EXISTS
    private const int MostTries = 100;
    private const string WithoutLocks = ", without locks";

    /// <summary>Creates a folder if it does not exist, and locks it; null if it is not empty.</summary>
    public static FolderLock? TakeEmpty(string folder) => Writing(folder, () =>
    {
        if (!IsEmpty(folder))
        {
            return null;
        }

        Directory.CreateDirectory(folder);
        FolderLock taken = Take(folder);
        if (IsEmpty(folder))
        {
            return taken;
        }

        taken.Dispose(); // another process wrote there in between, and has ended
        return null;
    });

    public static FolderLock Take(string folder) => Writing(folder, () =>
    {
        string path = Path.Combine(folder, Name);
        return IsOurs(path)
            ? Repeat(folder, path, isLast => TryTake(folder, path, isLast))
            : throw new InputException($"{path}: is not a lock of this program; move it away");
    });

    /// <summary>Locks a folder on a file system without locks, by creating the lock file, which must not exist yet.</summary>
    internal static FolderLock TakeWithoutLocks(string folder, string path) => Repeat(folder, path, isLast =>
    {
        try
        {
            FileStream file = new(path, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete, 1);
            if (Sign(file, WithoutLocks) == Read(path))
            {
                return new FolderLock(path, file);
            }

            file.Dispose();
        }
        catch (IOException e) when ((e.HResult & 0xffff) is FileExists or FileExistsOnWindows) // it may be gone again by now
        {
            string? holder = Read(path);
            if (holder is { Length: > 0 } && !HasEnded(holder))
            {
                throw HeldWithoutLocks(folder, path, holder);
            }

            if (holder is { Length: > 0 } || (holder is not null && isLast))
            {
                Remove(path, holder); // a killed process has left it
            }
        }

        return null;
    });

    /// <summary>Whether a folder does not exist, or contains nothing but this program's lock and temporary files.</summary>
    public static bool IsEmpty(string folder) => !Directory.Exists(folder) || Directory.EnumerateFileSystemEntries(folder)
        .All(path => (Path.GetFileName(path) == Name && IsOurs(path)) || AtomicFile.IsLeftOver(Path.GetFileName(path)));

    public void Dispose()
    {
        if (file.CanWrite)
        {
            AtomicFile.Try(() => File.Delete(path)); // while it is still locked; if it stays, what counts is the lock
            file.Dispose();
        }
    }

    /// <summary>Tries until the lock is taken; null means that another process was quicker, or is about to write its name.</summary>
    private static FolderLock Repeat(string folder, string path, Func<bool, FolderLock?> tryTake)
    {
        for (int left = MostTries; left > 0; left--)
        {
            if (tryTake(left <= 2) is { } taken)
            {
                return taken;
            }

            Thread.Sleep(1);
        }

        throw Held(folder, path);
    }

    private static FolderLock? TryTake(string folder, string path, bool isLast)
    {
        FileShare share = OperatingSystem.IsWindows() ? FileShare.Read | FileShare.Delete : FileShare.None;
        FileStream? file = null;
        FolderLock? taken = null;
        try
        {
            file = new(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, share, 1);
            bool? mine = Posix.Lock(file.SafeFileHandle);
            if (mine is null)
            {
                bool signed = file.Length > 0;
                file.Dispose();
                if (!signed)
                {
                    Remove(path, ""); // this process has created it; or another one has, which will notice and try again
                }

                return TakeWithoutLocks(folder, path);
            }

            if (mine is false) // possible if .NET's own locking is turned off
            {
                throw Held(folder, path);
            }

            string before = Text(file);
            if (before.EndsWith(WithoutLocks, StringComparison.Ordinal) && !HasEnded(before))
            {
                throw HeldWithoutLocks(folder, path, before);
            }

            string holder = Sign(file);
            bool shared = Posix.ShareLock(file.SafeFileHandle); // others can now read the text
            bool isOurs = shared && Read(path) is { } text && (text == holder || text.Length == 0);
            taken = isOurs ? new FolderLock(path, file) : null; // else it was deleted after it had been opened, or another was quicker
            return taken;
        }
        catch (IOException e) when (IsHeld(e))
        {
            // Without a name, the process that has the lock is about to write its name, or to delete the file.
            return Read(path) is { Length: > 0 } || isLast ? throw Held(folder, path) : null;
        }
        finally
        {
            if (taken is null)
            {
                file?.Dispose();
            }
        }
    }

    /// <summary>Deletes a lock file if it still says so. It is renamed first, because another process may have replaced it.</summary>
    private static void Remove(string path, string said) => AtomicFile.Try(() =>
    {
        string aside = AtomicFile.TemporaryPath(path);
        File.Move(path, aside);
        if (Read(aside) == said)
        {
            File.Delete(aside);
        }
        else
        {
            File.Move(aside, path);
        }
    });

    /// <summary>Whether the process that a lock names has certainly ended. This is only known for processes of this machine.</summary>
    private static bool HasEnded(string holder)
    {
        Match match = Holder().Match(holder);
        if (!match.Success || match.Groups["machine"].Value != Environment.MachineName)
        {
            return false;
        }

        try
        {
            using Process process = Process.GetProcessById(int.Parse(match.Groups["id"].Value, CultureInfo.InvariantCulture));
            return process.HasExited || IsZombie(process.Id) || process.StartTime.ToUniversalTime() // the number may have been used again
                > DateTime.Parse(match.Groups["since"].Value, CultureInfo.InvariantCulture).AddSeconds(2);
        }
        catch (Exception e) when (e is ArgumentException or InvalidOperationException or FormatException or Win32Exception)
        {
            return e is ArgumentException or InvalidOperationException; // else this process may not inspect the other one
        }
    }

    /// <summary>Whether a process has ended, but its parent has not read its exit status yet.</summary>
    private static bool IsZombie(int id) => OperatingSystem.IsLinux()
        && (Read($"/proc/{id}/stat") is not { } stat || stat.Contains(") Z ", StringComparison.Ordinal));

    /// <summary>Writes which process has the lock, in a text that is unique. Writes nothing if the disk is full.</summary>
    private static string Sign(FileStream file, string how = "")
    {
        string holder = string.Create(
            CultureInfo.InvariantCulture,
            $"process {Environment.ProcessId} on {Environment.MachineName}, since {DateTime.UtcNow:yyyy-MM-dd HH:mm:ss.fffffff} UTC{how}");
        file.SetLength(0);
        try
        {
            file.Write(Encoding.UTF8.GetBytes(holder));
            return holder;
        }
        catch (IOException)
        {
            file.SetLength(0);
            return "";
        }
    }

    /// <summary>Runs a function that writes into a folder, and says so if that is not possible.</summary>
    private static T Writing<T>(string folder, Func<T> write)
    {
        try
        {
            return write();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new InputException(File.Exists(folder) ? $"{folder}: is a file; give --out the name of a folder"
                : $"{folder}: cannot be written: {e.Message.TrimEnd('.')}; give a folder that you may write to", e);
        }
    }

    private static bool IsHeld(IOException e) =>
        OperatingSystem.IsWindows() ? (e.HResult & 0xffff) == SharingViolation : e.HResult == Posix.WouldBlock;

    private static InputException Held(string folder, string path)
    {
        string holder = Read(path) is { Length: > 0 } text ? WithoutFraction(text) : "another process";
        return new($"{folder}: is being written by {holder}; wait until it ends, or end it, and try again");
    }

    private static InputException HeldWithoutLocks(string folder, string path, string holder) => new(
        $"{folder}: is being written by {WithoutFraction(holder)}, as {path} says; "
        + "if that process has ended, delete the file (this file system has no locks, so the program cannot tell)");

    private static string WithoutFraction(string holder) => FractionOfSecond().Replace(holder, "");

    /// <summary>Whether there is no lock file, or one of this program: a regular file that names a process, or is still empty.</summary>
    private static bool IsOurs(string path)
    {
        FileKind kind = Posix.Status(path, follow: false).Kind;
        return kind == FileKind.Missing || (kind == FileKind.Regular
            && (Read(path) is not { Length: > 0 } text || text.StartsWith("process ", StringComparison.Ordinal)));
    }

    /// <summary>The text of a lock file. Empty if this process may not read it; null if it cannot be opened, or does not exist.</summary>
    private static string? Read(string path)
    {
        try
        {
            using FileStream file = new(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            return Text(file);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return e is IOException ? null : "";
        }
    }

    private static string Text(FileStream file)
    {
        using StreamReader reader = new(file, leaveOpen: true);
        char[] text = new char[200];
        return new([.. text.Take(reader.ReadBlock(text)).Where(character => !char.IsControl(character))]);
    }

    [GeneratedRegex(@"^process (?<id>\d{1,9}) on (?<machine>.*), since (?<since>[-0-9]{10} [0-9:.]{8,16}) UTC")]
    private static partial Regex Holder();

    [GeneratedRegex(@"(?<=:\d\d)\.\d+(?= UTC)")]
    private static partial Regex FractionOfSecond();
}
