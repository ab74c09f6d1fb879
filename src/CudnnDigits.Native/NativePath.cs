using System.Diagnostics.CodeAnalysis;
using System.Text.Unicode;
using CudnnDigits.Files;
using Microsoft.Win32.SafeHandles;

namespace CudnnDigits.Native;

/// <summary>A path from C. On Linux it need not be UTF-8; then it is reached through an open file or folder in /proc/self/fd.</summary>
internal sealed unsafe partial class NativePath(
    string text, string shown, SafeFileHandle? open = null, byte[]? name = null, SafeFileHandle? target = null) : IDisposable
{
    private const int NameOnly = 0x200000, NoFollow = 0x20000, CloseOnExec = 0x80000; // of open(); O_PATH neither reads nor waits
    private const int WorkingDirectory = -100, NoSuchFile = 2; // AT_FDCWD, ENOENT
    private const int LongestPath = 4096;

    /// <summary>A UTF-8 path to the same place.</summary>
    public string Text => text;

    /// <summary>A UTF-8 path to the file that will be replaced, if there is one.</summary>
    public string Target => target is null ? text : Numbered(target);

    /// <summary>A file or folder to read.</summary>
    public static NativePath ToRead(byte* path, string name)
    {
        if (IsText(path, name, out byte[] bytes, out NativePath? text))
        {
            return text;
        }

        SafeFileHandle file = Open(bytes);
        return new(Numbered(file), Shown(bytes), file);
    }

    /// <summary>A file that <see cref="Write"/> writes: under a temporary UTF-8 name in its folder, then renamed.</summary>
    public static NativePath ToWrite(byte* path, string name)
    {
        if (IsText(path, name, out byte[] bytes, out NativePath? text))
        {
            return text;
        }

        byte[] place = Resolve(bytes, out SafeFileHandle? file);
        int slash = place.LastIndexOf((byte)'/');
        SafeFileHandle folder = Open(slash < 0 ? "."u8.ToArray() : place[..(slash + 1)]);
        return new($"{Numbered(folder)}/.cudnn-digits-{Guid.NewGuid():N}", Shown(bytes), folder, place[(slash + 1)..], file);
    }

    /// <summary>Writes a file, then renames it to the name that the caller gave.</summary>
    public void Write(Action<string> write)
    {
        write(text);
        if (open is null || name is null)
        {
            return;
        }

        if (target is not null)
        {
            using SafeFileHandle written = File.OpenHandle(text);
            Posix.TryCopyOwnerAndMode(written, Posix.Status(Target, follow: true));
        }

        if (Rename(WorkingDirectory, text, open, [.. name, 0]) != 0)
        {
            string why = Marshal.GetLastPInvokeErrorMessage();
            File.Delete(text);
            throw new IOException($"{shown}: cannot be written: {why}");
        }
    }

    /// <summary>Runs an action, and lets its errors show the path as the caller gave it.</summary>
    public void Naming(Action action)
    {
        try
        {
            action();
        }
        catch (Exception e) when (open is not null && e is InputException or IOException or UnauthorizedAccessException)
        {
            string message = e.Message.Replace(text, shown, StringComparison.Ordinal);
            throw e is InputException ? new InputException(message, e) : new IOException(message, e);
        }
    }

    public void Dispose()
    {
        open?.Dispose();
        target?.Dispose();
    }

    /// <summary>Whether a path is UTF-8, as all are on other systems than Linux.</summary>
    private static bool IsText(byte* path, string name, out byte[] bytes, [NotNullWhen(true)] out NativePath? text)
    {
        Arguments.NotNull(path, name);
        bytes = MemoryMarshal.CreateReadOnlySpanFromNullTerminated(path).ToArray();
        if (bytes.AsSpan().TrimStart(" \t\r\n"u8).IsEmpty)
        {
            throw new ArgumentException($"{name} is empty");
        }

        text = Utf8.IsValid(bytes) ? new(Shown(bytes), Shown(bytes))
            : OperatingSystem.IsLinux() ? null
            : throw new InputException($"{Shown(bytes)}: is not UTF-8, as file names are on this system");
        return text is not null;
    }

    private static string Numbered(SafeFileHandle file) => $"/proc/self/fd/{file.DangerousGetHandle()}";

    /// <summary>The path for messages. In one that is not UTF-8, bytes that are not ASCII appear as \xE9.</summary>
    private static string Shown(byte[] path) => Utf8.IsValid(path)
        ? Encoding.UTF8.GetString(path)
        : string.Concat(path.Select(one => one < 0x80 ? $"{(char)one}" : $"\\x{one:X2}"));

    private static SafeFileHandle Open(byte[] path) => Open([.. path, 0], NameOnly | CloseOnExec) is { IsInvalid: false } file
        ? file
        : throw new InputException($"{Shown(path)}: cannot be opened: {Marshal.GetLastPInvokeErrorMessage()}");

    /// <summary>Follows links to a regular file, or to a file that does not exist yet. Nothing else may be replaced by a rename.</summary>
    private static byte[] Resolve(byte[] path, out SafeFileHandle? found)
    {
        found = null;
        byte* target = stackalloc byte[LongestPath];
        if (RealPath([.. path, 0], target) == null)
        {
            using SafeFileHandle link = Open([.. path, 0], NameOnly | CloseOnExec | NoFollow);
            return link.IsInvalid && Marshal.GetLastPInvokeError() == NoSuchFile ? path : throw new InputException(link.IsInvalid
                ? $"{Shown(path)}: cannot be written: {Marshal.GetLastPInvokeErrorMessage()}; choose another place"
                : $"{Shown(path)}: is a link that leads nowhere; give the name of a file");
        }

        byte[] resolved = MemoryMarshal.CreateReadOnlySpanFromNullTerminated(target).ToArray();
        SafeFileHandle file = Open(resolved);
        FileKind kind = Posix.Status(Numbered(file), follow: true).Kind;
        if (kind == FileKind.Regular)
        {
            found = file;
            return resolved;
        }

        file.Dispose();
        string what = kind == FileKind.Folder ? "is a folder; give the name of a file" : "is not a regular file; give the name of one";
        throw new InputException($"{Shown(path)}: {what}");
    }

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true)]
    private static partial SafeFileHandle Open(byte[] path, int flags);

    [LibraryImport("libc", EntryPoint = "realpath", SetLastError = true)]
    private static partial byte* RealPath(byte[] path, byte* target);

    [LibraryImport("libc", EntryPoint = "renameat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Rename(int fromFolder, string from, SafeFileHandle toFolder, byte[] to);
}
