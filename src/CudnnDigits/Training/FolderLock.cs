using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Text.RegularExpressions;
using CudnnDigits.Data;
using CudnnDigits.Model;

namespace CudnnDigits.Training;

/// <summary>
/// The right to write into a folder, for one process at a time: a lock on the file <c>.lock</c>, which says for people who has it.
/// The system releases the lock when the process ends, however that comes about. Some
/// file systems of clusters have no locks. There the file itself is the lock, as long as the process that it names may be running.
/// </summary>
internal sealed partial class FolderLock : IDisposable
{
    private const string Name = ".lock";
    private const int SharingViolation = 32; // ERROR_SHARING_VIOLATION
    private const int FileExists = 17, FileExistsOnWindows = 80; // EEXIST, ERROR_FILE_EXISTS
    private const int MostTries = 100;
    private const string WithoutLocks = ", without locks";

    /// <summary>The files that this process has made where there are no locks.</summary>
    private static readonly ConcurrentDictionary<string, bool> Taken = new();

    private readonly string _path;
    private readonly FileStream _file;

    private FolderLock(string path, FileStream file) => (_path, _file) = (path, file);

    /// <summary>Makes a folder, where it is not there, and takes the right to write into it.</summary>
    /// <param name="folder">The folder. What a kill left of a file half-written is worth nothing, and so does not count.</param>
    /// <returns>Null where the folder is not empty.</returns>
    /// <exception cref="InputException">Another process has it, or it cannot be written.</exception>
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

        taken.Dispose(); // another came first, and has ended
        return null;
    }

    /// <summary>Takes the right to write into a folder.</summary>
    /// <param name="folder">The folder; it is there.</param>
    /// <exception cref="InputException">Another process has it, or it cannot be written.</exception>
    public static FolderLock Take(string folder)
    {
        string path = Path.Combine(folder, Name);
        try
        {
            if (!IsOurs(path))
            {
                throw new InputException($"{path}: is not this program's lock; move it away");
            }

            for (int tries = 0; tries < MostTries; tries++)
            {
                FileStream file;
                try
                {
                    file = new(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, OperatingSystem.IsWindows() ? FileShare.Read | FileShare.Delete : FileShare.None, 1);
                }
                catch (IOException e) when (IsHeld(e) && Read(path) is not { Length: > 0 } && tries < MostTries - 1)
                {
                    Thread.Sleep(1); // whoever has it is about to say who that is, or to go
                    continue;
                }

                bool? mine = OperatingSystem.IsWindows() ? true : Posix.Lock(file.SafeFileHandle);
                if (mine is null)
                {
                    bool signed = file.Length > 0;
                    file.Dispose();
                    if (!signed)
                    {
                        Remove(path, ""); // this process has made it, or another is about to sign, and looks again
                    }

                    return TakeWithoutLocks(folder, path);
                }

                if (mine is false) // where .NET is told to lock nothing
                {
                    file.Dispose();
                    throw Held(folder, path);
                }

                if (Text(file) is var before && before.EndsWith(WithoutLocks, StringComparison.Ordinal) && !HasEnded(path, before))
                {
                    file.Dispose();
                    throw HeldWithoutLocks(folder, path, before);
                }

                string holder = Sign(file);
                bool shared = OperatingSystem.IsWindows() || Posix.ShareLock(file.SafeFileHandle); // so that others can read who has it
                if (shared && Read(path) is { } text && (text == holder || text.Length == 0))
                {
                    return new FolderLock(path, file);
                }

                file.Dispose(); // whoever had it took the file away after it had been opened here, or another was quicker
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

    /// <summary>Takes it where the file system has no locks: by making a file that must not be there.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="path">Its file.</param>
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
            catch (IOException e) when ((e.HResult & 0xffff) is FileExists or FileExistsOnWindows) // by now it may be gone
            {
                string? holder = Read(path);
                if (holder is { Length: > 0 } && !HasEnded(path, holder))
                {
                    throw HeldWithoutLocks(folder, path, holder);
                }

                if (holder is { Length: > 0 } || (holder is not null && tries == MostTries - 2))
                {
                    Remove(path, holder); // a kill has left it
                }
            }

            Thread.Sleep(1);
        }

        throw Held(folder, path);
    }

    /// <summary>
    /// Takes a lock's file away, if it still says what it said. Another process may have replaced it meanwhile, so the file is moved
    /// aside before it is looked at; one that says something else goes back.
    /// </summary>
    private static void Remove(string path, string said)
    {
        string aside = $"{path}.{RandomNumberGenerator.GetHexString(16, lowercase: true)}.tmp";
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
            // Another was quicker.
        }
    }

    /// <summary>Whether it is certain that the process which signed a lock has ended: it ran on this machine.</summary>
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
            return !Taken.ContainsKey(Path.GetFullPath(path)); // in containers, another process of this number
        }

        try
        {
            using Process process = Process.GetProcessById(id);
            return process.HasExited || IsZombie(id)
                || process.StartTime.ToUniversalTime() > DateTime.Parse(match.Groups["since"].Value, CultureInfo.InvariantCulture).AddSeconds(2); // another of this number
        }
        catch (Exception e) when (e is ArgumentException or InvalidOperationException)
        {
            return true;
        }
        catch (Exception e) when (e is FormatException or System.ComponentModel.Win32Exception)
        {
            return false; // a process that this one may not look at
        }
    }

    /// <summary>Whether a process has ended, though the one that started it has not asked how.</summary>
    private static bool IsZombie(int id)
    {
        try
        {
            string stat = OperatingSystem.IsLinux() ? File.ReadAllText($"/proc/{id}/stat") : "";
            return stat.LastIndexOf(')') is > 0 and var end && stat.AsSpan(end).StartsWith(") Z");
        }
        catch (IOException)
        {
            return true; // by now it is gone
        }
        catch (UnauthorizedAccessException)
        {
            return false;
        }
    }

    /// <summary>Gives the right back.</summary>
    public void Dispose()
    {
        if (_file.CanWrite)
        {
            try
            {
                File.Delete(_path); // while it is locked
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // The lock decides; a file that stays does no harm.
            }

            Taken.TryRemove(Path.GetFullPath(_path), out _);
            _file.Dispose();
        }
    }

    /// <summary>Writes who has the lock, in words that nobody else writes; where the disk is full, nothing.</summary>
    private static string Sign(FileStream file, string how = "")
    {
        string holder = string.Create(
            CultureInfo.InvariantCulture, $"process {Environment.ProcessId} on {Environment.MachineName}, since {DateTime.UtcNow:yyyy-MM-dd HH:mm:ss.fffffff} UTC{how}");
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

    private static bool IsHeld(IOException e) => OperatingSystem.IsWindows() ? (e.HResult & 0xffff) == SharingViolation : e.HResult == Posix.WouldBlock;

    private static InputException Held(string folder, string path) =>
        new($"{folder}: is being written by {(Read(path) is { Length: > 0 } holder ? holder : "another process")}; wait for its end, or end it, and try again");

    private static InputException HeldWithoutLocks(string folder, string path, string holder) => new(
        $"{folder}: is being written by {holder}, as {path} says; if that has ended, remove the file (this file system has no locks that would tell)");

    private static InputException NotWritable(string folder, Exception e) => new($"{folder}: cannot be written: {e.Message.TrimEnd('.')}; it must be a folder that can be written", e);

    internal static bool IsEmpty(string folder) => !Directory.Exists(folder) || Directory.EnumerateFileSystemEntries(folder)
        .Select(Path.GetFileName).All(name => (name == Name && IsOurs(Path.Combine(folder, name))) || AtomicFile.IsLeftOver(name!));

    /// <summary>Whether there is no lock, or one that this program has made: a plain file that says of a process, or nothing yet.</summary>
    private static bool IsOurs(string path)
    {
        FileKind kind = OperatingSystem.IsWindows()
            ? Directory.Exists(path) ? FileKind.Folder : File.Exists(path) ? FileKind.Regular : FileKind.Missing
            : Posix.Status(path, follow: false).Kind;
        return kind == FileKind.Missing || (kind == FileKind.Regular && (Read(path) is not { Length: > 0 } text || text.StartsWith("process ", StringComparison.Ordinal)));
    }

    /// <summary>Who has the lock; empty where this process may not read it, null where nobody has it, or is about to.</summary>
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
