using System.Collections.Concurrent;
using System.Text.RegularExpressions;

namespace CudnnDigits.Files;

/// <summary>
/// The right to write into a folder, for one process at a time: a lock on the file <c>.lock</c>, whose text names the process. The system
/// releases the lock when the process ends, in whatever way. Some cluster file systems have no locks. There the file itself is the lock, as
/// long as the process that it names may be running.
/// </summary>
internal sealed partial class FolderLock : IDisposable
{
    private const string Name = ".lock";
    private const int SharingViolation = 32; // ERROR_SHARING_VIOLATION
    private const int FileExists = 17, FileExistsOnWindows = 80; // EEXIST, ERROR_FILE_EXISTS
    private const int MostTries = 100;
    private const string WithoutLocks = ", without locks";

    /// <summary>The lock files that this process has created on file systems without locks.</summary>
    private static readonly ConcurrentDictionary<string, bool> Taken = new();

    private readonly string _path;
    private readonly FileStream _file;

    private FolderLock(string path, FileStream file) => (_path, _file) = (path, file);

    /// <summary>Creates a folder if it does not exist, and locks it. Temporary files of a killed process do not count as content.</summary>
    /// <returns>Null if the folder is not empty.</returns>
    /// <exception cref="InputException">Another process has locked it, or it cannot be written.</exception>
    public static FolderLock? TakeEmpty(string folder)
    {
        try
        {
            if (!IsEmpty(folder))
            {
                return null;
            }

            Directory.CreateDirectory(folder);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw NotWritable(folder, e);
        }

        FolderLock taken = Take(folder);
        if (IsEmpty(folder))
        {
            return taken;
        }

        taken.Dispose(); // another process wrote there in between, and has ended
        return null;
    }

    /// <summary>Locks an existing folder.</summary>
    /// <exception cref="InputException">Another process has locked it, or it cannot be written.</exception>
    public static FolderLock Take(string folder)
    {
        FileShare share = OperatingSystem.IsWindows() ? FileShare.Read | FileShare.Delete : FileShare.None;
        string path = Path.Combine(folder, Name);
        try
        {
            if (!IsOurs(path))
            {
                throw new InputException($"{path}: is not a lock of this program; move it away");
            }

            for (int tries = 0; tries < MostTries; tries++)
            {
                FileStream file;
                try
                {
                    file = new(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, share, 1);
                }
                catch (IOException e) when (IsHeld(e) && Read(path) is not { Length: > 0 } && tries < MostTries - 1)
                {
                    Thread.Sleep(1); // the process that has the lock is about to write its name, or to delete the file
                    continue;
                }

                bool? mine = OperatingSystem.IsWindows() ? true : Posix.Lock(file.SafeFileHandle);
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
                    file.Dispose();
                    throw Held(folder, path);
                }

                string before = Text(file);
                if (before.EndsWith(WithoutLocks, StringComparison.Ordinal) && !HasEnded(path, before))
                {
                    file.Dispose();
                    throw HeldWithoutLocks(folder, path, before);
                }

                string holder = Sign(file);
                bool shared = OperatingSystem.IsWindows() || Posix.ShareLock(file.SafeFileHandle); // others can now read the text
                if (shared && Read(path) is { } text && (text == holder || text.Length == 0))
                {
                    return new FolderLock(path, file);
                }

                file.Dispose(); // the file was deleted after it had been opened here, or another process was quicker
                Thread.Sleep(1);
            }

            throw Held(folder, path);
        }
        catch (IOException e) when (IsHeld(e))
        {
            throw Held(folder, path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw NotWritable(folder, e);
        }
    }

    /// <summary>Locks a folder on a file system without locks, by creating the lock file, which must not exist yet.</summary>
    internal static FolderLock TakeWithoutLocks(string folder, string path)
    {
        for (int tries = 0; tries < MostTries; tries++)
        {
            try
            {
                FileStream file = new(path, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete, 1);
                Taken.TryAdd(Path.GetFullPath(path), true);
                string holder = Sign(file, WithoutLocks);
                if (Read(path) == holder)
                {
                    return new FolderLock(path, file);
                }

                Taken.TryRemove(Path.GetFullPath(path), out _);
                file.Dispose();
            }
            catch (IOException e) when ((e.HResult & 0xffff) is FileExists or FileExistsOnWindows) // it may be gone again by now
            {
                string? holder = Read(path);
                if (holder is { Length: > 0 } && !HasEnded(path, holder))
                {
                    throw HeldWithoutLocks(folder, path, holder);
                }

                if (holder is { Length: > 0 } || (holder is not null && tries == MostTries - 2))
                {
                    Remove(path, holder); // a killed process has left it
                }
            }

            Thread.Sleep(1);
        }

        throw Held(folder, path);
    }

    /// <summary>
    /// Deletes a lock file if its text is still the given one. Another process may have replaced the file in between. So the file is
    /// renamed first, then read, and renamed back if its text is another one.
    /// </summary>
    private static void Remove(string path, string said)
    {
        string aside = AtomicFile.TemporaryPath(path);
        try
        {
            File.Move(path, aside);
            if (Read(aside) == said)
            {
                File.Delete(aside);
            }
            else
            {
                File.Move(aside, path);
            }
        }
        catch (IOException)
        {
            // Another process was quicker.
        }
    }

    /// <summary>Whether the process that a lock names has certainly ended. This is only known for processes of this machine.</summary>
    private static bool HasEnded(string path, string holder)
    {
        Match match = Holder().Match(holder);
        if (!match.Success || match.Groups["machine"].Value != Environment.MachineName)
        {
            return false;
        }

        int id = int.Parse(match.Groups["id"].Value, CultureInfo.InvariantCulture);
        if (id == Environment.ProcessId)
        {
            return !Taken.ContainsKey(Path.GetFullPath(path)); // if not taken: a process of another container had the same number
        }

        try
        {
            using Process process = Process.GetProcessById(id);
            if (process.HasExited || IsZombie(id))
            {
                return true;
            }

            DateTime since = DateTime.Parse(match.Groups["since"].Value, CultureInfo.InvariantCulture);
            return process.StartTime.ToUniversalTime() > since.AddSeconds(2); // then the number has been used again
        }
        catch (Exception e) when (e is ArgumentException or InvalidOperationException)
        {
            return true;
        }
        catch (Exception e) when (e is FormatException or System.ComponentModel.Win32Exception)
        {
            return false; // this process may not inspect the other one
        }
    }

    /// <summary>Whether a process has ended, but its parent has not read its exit status yet.</summary>
    private static bool IsZombie(int id)
    {
        try
        {
            string stat = OperatingSystem.IsLinux() ? File.ReadAllText($"/proc/{id}/stat") : "";
            return stat.LastIndexOf(')') is > 0 and var end && stat.AsSpan(end).StartsWith(") Z");
        }
        catch (IOException)
        {
            return true; // it is gone by now
        }
        catch (UnauthorizedAccessException)
        {
            return false;
        }
    }

    /// <summary>Unlocks the folder.</summary>
    public void Dispose()
    {
        if (_file.CanWrite)
        {
            try
            {
                File.Delete(_path); // while it is still locked
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // A file that stays does no harm: what counts is the lock.
            }

            Taken.TryRemove(Path.GetFullPath(_path), out _);
            _file.Dispose();
        }
    }

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

    private static bool IsHeld(IOException e) =>
        OperatingSystem.IsWindows() ? (e.HResult & 0xffff) == SharingViolation : e.HResult == Posix.WouldBlock;

    private static InputException Held(string folder, string path)
    {
        string holder = Read(path) is { Length: > 0 } text ? text : "another process";
        return new($"{folder}: is being written by {holder}; wait until it ends, or end it, and try again");
    }

    private static InputException HeldWithoutLocks(string folder, string path, string holder) => new(
        $"{folder}: is being written by {holder}, as {path} says; "
        + "if that process has ended, delete the file (this file system has no locks, so the program cannot tell)");

    private static InputException NotWritable(string folder, Exception e) =>
        new($"{folder}: cannot be written: {e.Message.TrimEnd('.')}; give a folder that you may write to", e);

    /// <summary>Whether a folder does not exist, or contains nothing but this program's lock and temporary files.</summary>
    internal static bool IsEmpty(string folder) => !Directory.Exists(folder) || Directory.EnumerateFileSystemEntries(folder)
        .Select(Path.GetFileName).All(name => (name == Name && IsOurs(Path.Combine(folder, name))) || AtomicFile.IsLeftOver(name!));

    /// <summary>Whether there is no lock file, or one of this program: a regular file that names a process, or is still empty.</summary>
    private static bool IsOurs(string path)
    {
        FileKind kind = OperatingSystem.IsWindows()
            ? Directory.Exists(path) ? FileKind.Folder : File.Exists(path) ? FileKind.Regular : FileKind.Missing
            : Posix.Status(path, follow: false).Kind;
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
        catch (IOException)
        {
            return null;
        }
        catch (UnauthorizedAccessException)
        {
            return "";
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
}
