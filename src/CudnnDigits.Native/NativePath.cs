using System.Text.Unicode;
using CudnnDigits.Files;
using Microsoft.Win32.SafeHandles;

namespace CudnnDigits.Native;

/// <summary>
/// A path from C, which is bytes. .NET's paths are text. On Linux a path need not be UTF-8; the library reaches such a path through an open
/// file or folder, whose name in /proc/self/fd is a number.
/// </summary>
internal sealed unsafe partial class NativePath : IDisposable
{
    // Flags of open(). NameOnly is O_PATH: the file is neither read nor waited for.
    private const int NameOnly = 0x200000, NoFollow = 0x20000, CloseOnExec = 0x80000;
    private const int WorkingDirectory = -100; // AT_FDCWD
    private const int NoSuchFile = 2; // ENOENT
    private const int LongestPath = 4096;

    private readonly string _shown;
    private readonly SafeFileHandle? _open;
    private readonly SafeFileHandle? _target;
    private readonly byte[] _name = [];

    private NativePath(string text) => Text = _shown = text;

    private NativePath(byte[] path)
    {
        _shown = Shown(path);
        _open = Open(path);
        Text = Numbered(_open);
    }

    /// <summary>A file to write. It is written under a temporary UTF-8 name in its folder, then renamed.</summary>
    private NativePath(byte[] folder, byte[] name, string shown, SafeFileHandle? target)
    {
        (_shown, _name, _target) = (shown, name, target);
        _open = Open(folder);
        Text = $"{Numbered(_open)}/.cudnn-digits-{Guid.NewGuid():N}";
    }

    /// <summary>A UTF-8 path to the same place.</summary>
    public string Text { get; }

    /// <summary>A UTF-8 path to the file that will be replaced, if there is one.</summary>
    public string Target => _target is null ? Text : Numbered(_target);

    /// <summary>A file or folder to read.</summary>
    public static NativePath ToRead(byte* path, string name) =>
        IsText(path, name, out byte[] bytes) ? new(Encoding.UTF8.GetString(bytes)) : new(bytes);

    /// <summary>A file that <see cref="Write"/> writes.</summary>
    public static NativePath ToWrite(byte* path, string name)
    {
        if (IsText(path, name, out byte[] bytes))
        {
            return new(Encoding.UTF8.GetString(bytes));
        }

        byte[] target = Resolve(bytes, out SafeFileHandle? file);
        int slash = target.LastIndexOf((byte)'/');
        return new(slash < 0 ? "."u8.ToArray() : target[..(slash + 1)], target[(slash + 1)..], Shown(bytes), file);
    }

    /// <summary>Writes a file, then renames it to the name that the caller gave.</summary>
    public void Write(Action<string> write)
    {
        write(Text);
        if (_open is null)
        {
            return;
        }

        if (_target is not null)
        {
            using SafeFileHandle written = File.OpenHandle(Text);
            Posix.TryCopyOwnerAndMode(written, Posix.Status(Target, follow: true));
        }

        fixed (byte* name = Terminated(_name))
        {
            if (Rename(WorkingDirectory, Text, _open, name) != 0)
            {
                string why = Marshal.GetLastPInvokeErrorMessage();
                File.Delete(Text);
                throw new IOException($"{_shown}: cannot be written: {why}");
            }
        }
    }

    /// <summary>Runs an action, and lets its errors show the path as the caller gave it.</summary>
    public void Naming(Action action)
    {
        try
        {
            action();
        }
        catch (Exception e) when (_open is not null && e is InputException or IOException or UnauthorizedAccessException)
        {
            string message = e.Message.Replace(Text, _shown, StringComparison.Ordinal);
            throw e is InputException ? new InputException(message, e) : new IOException(message, e);
        }
    }

    public void Dispose()
    {
        _open?.Dispose();
        _target?.Dispose();
    }

    private static bool IsText(byte* path, string name, out byte[] bytes)
    {
        Arguments.NotNull(path, name);
        bytes = MemoryMarshal.CreateReadOnlySpanFromNullTerminated(path).ToArray();
        if (bytes.AsSpan().TrimStart(" \t\r\n"u8).IsEmpty)
        {
            throw new ArgumentException($"{name} is empty");
        }

        bool text = Utf8.IsValid(bytes);
        return text || OperatingSystem.IsLinux()
            ? text
            : throw new InputException($"{Shown(bytes)}: is not UTF-8, as file names are on this system");
    }

    private static byte[] Terminated(byte[] path) => [.. path, 0];

    private static string Numbered(SafeFileHandle file) => $"/proc/self/fd/{file.DangerousGetHandle()}";

    /// <summary>The path for messages. Bytes that are not UTF-8 appear as \xE9.</summary>
    private static string Shown(ReadOnlySpan<byte> path)
    {
        StringBuilder text = new();
        while (path.Length > 0)
        {
            bool valid = Rune.DecodeFromUtf8(path, out Rune rune, out int length) == System.Buffers.OperationStatus.Done;
            length = valid ? length : 1;
            _ = valid ? text.Append(rune) : text.Append("\\x").Append(Convert.ToHexString(path[..length]));
            path = path[length..];
        }

        return text.ToString();
    }

    private static SafeFileHandle Open(byte[] path)
    {
        fixed (byte* bytes = Terminated(path))
        {
            SafeFileHandle file = Open(bytes, NameOnly | CloseOnExec);
            return !file.IsInvalid
                ? file
                : throw new InputException($"{Shown(path)}: cannot be opened: {Marshal.GetLastPInvokeErrorMessage()}");
        }
    }

    /// <summary>Follows links to a regular file, or to a file that does not exist yet. Nothing else may be replaced by a rename.</summary>
    private static byte[] Resolve(byte[] path, out SafeFileHandle? found)
    {
        found = null;
        byte* target = stackalloc byte[LongestPath];
        fixed (byte* bytes = Terminated(path))
        {
            if (RealPath(bytes, target) == null)
            {
                using SafeFileHandle link = Open(bytes, NameOnly | CloseOnExec | NoFollow);
                if (link.IsInvalid && Marshal.GetLastPInvokeError() != NoSuchFile)
                {
                    throw new InputException(
                        $"{Shown(path)}: cannot be written: {Marshal.GetLastPInvokeErrorMessage()}; choose another place");
                }

                return link.IsInvalid
                    ? path
                    : throw new InputException($"{Shown(path)}: is a link that leads nowhere; give the name of a file");
            }
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
    private static partial SafeFileHandle Open(byte* path, int flags);

    [LibraryImport("libc", EntryPoint = "realpath", SetLastError = true)]
    private static partial byte* RealPath(byte* path, byte* target);

    [LibraryImport("libc", EntryPoint = "renameat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Rename(int fromFolder, string from, SafeFileHandle toFolder, byte* to);
}
