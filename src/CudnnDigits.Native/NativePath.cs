using System.Text.Unicode;
using CudnnDigits.Data;
using CudnnDigits.Model;
using Microsoft.Win32.SafeHandles;

namespace CudnnDigits.Native;

/// <summary>
/// A path as C hands it over: bytes. .NET's paths are text, so one that is not UTF-8, as a path of Linux may be, goes through an
/// open file or folder, which has a number for a name in /proc/self/fd.
/// </summary>
internal sealed unsafe partial class NativePath : IDisposable
{
    private const int NameOnly = 0x200000, NoFollow = 0x20000, CloseOnExec = 0x80000; // of open(); NameOnly, O_PATH, neither reads a file nor waits for it
    private const int Here = -100, OfHandle = 0x1000, TypeOnly = 1, ModeOffset = 28; // of the calls with "at", and of statx
    private const int NoSuchFile = 2; // an error
    private const int TypeBits = 0xf000, Folder = 0x4000, PlainFile = 0x8000, LongestPath = 4096;

    private readonly string _shown;
    private readonly SafeFileHandle? _open;
    private readonly SafeFileHandle? _target;
    private readonly byte[] _name = [];

    private NativePath(string text) => Text = _shown = text;

    /// <summary>Something to read.</summary>
    private NativePath(byte[] path)
    {
        _shown = Shown(path);
        _open = Open(path);
        Text = Numbered(_open);
    }

    /// <summary>A file to write: under a name that can be said, beside the name that it gets in the end.</summary>
    private NativePath(byte[] folder, byte[] name, string shown, SafeFileHandle? target)
    {
        (_shown, _name, _target) = (shown, name, target);
        _open = Open(folder);
        Text = $"{Numbered(_open)}/.cudnn-digits-{Guid.NewGuid():N}";
    }

    /// <summary>A path to the same place, to open.</summary>
    public string Text { get; }

    /// <summary>Where a file is written: a path to the one that stands there already, if any.</summary>
    public string Target => _target is null ? Text : Numbered(_target);

    /// <summary>Where a file or folder is read.</summary>
    /// <exception cref="InputException">It is not UTF-8, and cannot be opened.</exception>
    public static NativePath ToRead(byte* path, string name) => IsText(path, name, out byte[] bytes) ? new(Encoding.UTF8.GetString(bytes)) : new(bytes);

    /// <summary>Where <see cref="Write"/> writes a file.</summary>
    /// <exception cref="InputException">It is not UTF-8, and is no plain file or has no folder.</exception>
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

    /// <summary>Has a file written, then puts it in its place.</summary>
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
            if (Rename(Here, Text, _open, name) != 0)
            {
                string why = Marshal.GetLastPInvokeErrorMessage();
                File.Delete(Text);
                throw new IOException($"{_shown}: cannot be written: {why}");
            }
        }
    }

    /// <summary>Has errors show the path as it was given.</summary>
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
        return text || OperatingSystem.IsLinux() ? text : throw new InputException($"{Shown(bytes)}: is not UTF-8, as the names of files are on this system");
    }

    private static byte[] Terminated(byte[] path) => [.. path, 0];

    private static string Numbered(SafeFileHandle file) => $"/proc/self/fd/{file.DangerousGetHandle()}";

    /// <summary>For people: what is not UTF-8 as \xE9.</summary>
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
        SafeFileHandle file = Open(path, NameOnly | CloseOnExec);
        return !file.IsInvalid ? file : throw new InputException($"{Shown(path)}: cannot be opened: {Marshal.GetLastPInvokeErrorMessage()}");
    }

    private static SafeFileHandle Open(byte[] path, int flags)
    {
        fixed (byte* bytes = Terminated(path))
        {
            return Open(bytes, flags);
        }
    }

    /// <summary>Follows links to a plain file, or to one that is not there yet: nothing else may be renamed over.</summary>
    private static byte[] Resolve(byte[] path, out SafeFileHandle? found)
    {
        found = null;
        byte* target = stackalloc byte[LongestPath], status = stackalloc byte[256];
        fixed (byte* bytes = Terminated(path))
        {
            if (RealPath(bytes, target) == null)
            {
                using SafeFileHandle link = Open(path, NameOnly | CloseOnExec | NoFollow);
                if (link.IsInvalid && Marshal.GetLastPInvokeError() != NoSuchFile)
                {
                    throw new InputException($"{Shown(path)}: cannot be written: {Marshal.GetLastPInvokeErrorMessage()}; choose another place");
                }

                return link.IsInvalid ? path : throw new InputException($"{Shown(path)}: is a link that leads nowhere; give the name of a file");
            }
        }

        byte[] resolved = MemoryMarshal.CreateReadOnlySpanFromNullTerminated(target).ToArray();
        SafeFileHandle file = Open(resolved);
        int type = Status(file, "", OfHandle, TypeOnly, status) == 0 ? *(ushort*)(status + ModeOffset) & TypeBits : 0;
        if (type == PlainFile)
        {
            found = file;
            return resolved;
        }

        file.Dispose();
        throw new InputException($"{Shown(path)}: {(type == Folder ? "is a folder; give the name of a file" : "is no plain file; give the name of one, or a path in UTF-8")}");
    }

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true)]
    private static partial SafeFileHandle Open(byte* path, int flags);

    [LibraryImport("libc", EntryPoint = "realpath", SetLastError = true)]
    private static partial byte* RealPath(byte* path, byte* target);

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Status(SafeFileHandle folder, string path, int flags, uint mask, byte* status);

    [LibraryImport("libc", EntryPoint = "renameat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Rename(int fromFolder, string from, SafeFileHandle toFolder, byte* to);
}
