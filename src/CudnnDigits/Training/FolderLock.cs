using System.Globalization;
using CudnnDigits.Data;
using CudnnDigits.Model;

namespace CudnnDigits.Training;

/// <summary>
/// The right to write into a folder, for one process at a time. The system holds it, on the file <c>.lock</c>, and releases
/// it when the process ends, however that comes about; <c>.writer</c> says who has it, for people. The lock's file stays:
/// who took it away could take it from under another that has just opened it.
/// </summary>
public sealed class FolderLock : IDisposable
{
    private const string LockName = ".lock", WriterName = ".writer";

    private readonly string _writer;
    private readonly FileStream _file;

    private FolderLock(string writer, FileStream file) => (_writer, _file) = (writer, file);

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
        string writer = Path.Combine(folder, WriterName);
        FileStream? file = null;
        try
        {
            file = new FileStream(Path.Combine(folder, LockName), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, 1);
            File.WriteAllText(writer, string.Create(
                CultureInfo.InvariantCulture, $"process {Environment.ProcessId} on {Environment.MachineName}, since {DateTime.UtcNow:yyyy-MM-dd HH:mm:ss} UTC"));
            return new FolderLock(writer, file);
        }
        catch (IOException e) when (IsHeld(e))
        {
            throw new InputException($"{folder}: is being written by {Read(writer)}; wait for its end, or end it, and try again", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            file?.Dispose();
            throw NotWritable(folder, e);
        }
    }

    /// <summary>Gives the right back.</summary>
    public void Dispose()
    {
        if (_file.CanWrite)
        {
            try
            {
                File.Delete(_writer);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // The lock decides; what is said of its holder only helps people.
            }

            _file.Dispose();
        }
    }

    /// <summary>What the system answers where another has the file: EWOULDBLOCK, 11 on Linux and 35 on macOS; on Windows a sharing violation.</summary>
    private static bool IsHeld(IOException e) => OperatingSystem.IsWindows() ? (e.HResult & 0xffff) == 32 : e.HResult is 11 or 35;

    private static InputException NotWritable(string folder, Exception e) => new($"{folder}: cannot be written: {e.Message}; choose another folder", e);

    private static bool IsEmpty(string folder) => !Directory.Exists(folder) || Directory.EnumerateFileSystemEntries(folder)
        .Select(Path.GetFileName).All(name => name is LockName or WriterName || AtomicFile.IsLeftOver(name!));

    private static string Read(string writer)
    {
        try
        {
            using StreamReader reader = new(writer);
            char[] text = new char[200];
            string line = new([.. text.Take(reader.ReadBlock(text)).Where(character => !char.IsControl(character))]);
            return line.Length > 0 ? line : "another process";
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return "another process";
        }
    }
}
