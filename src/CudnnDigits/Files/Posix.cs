namespace CudnnDigits.Files;

/// <summary>What exists at a path: nothing, a regular file, a folder, a symbolic link, a device or FIFO, or a socket.</summary>
internal enum FileKind { Missing, Regular, Folder, Link, Special, Socket }

/// <summary>What the system says about a file. Device and inode together identify it.</summary>
internal readonly record struct FileStatus(FileKind Kind, ulong Device, ulong Inode, uint Owner, uint Group, UnixFileMode Mode);

/// <summary>System calls that .NET does not offer, for Linux and macOS.</summary>
internal static unsafe partial class Posix
{
    private const int NoSuchFile = 2, Interrupted = 4, NotPermitted = 1, AccessDenied = 13, NotAFolder = 20;
    private const int GetFlags = 1, CloseOnExec = 1, GetMode = 3, WriteOnly = 1, ReadAndWrite = 2; // fcntl, the same on both systems
    private const int ToWrite = 2; // access, the same on both systems
    private const int LinuxHere = -100, LinuxNoFollow = 0x100; // statx
    private const int MacHere = -2, MacNoFollow = 0x20; // fstatat
    private const nuint LinuxWindowSize = 0x5413; // ioctl
    private const int LockShared = 1, LockAlone = 2, LockNow = 4; // flock, the same on both systems
    private const int LongestPath = 4096;

    private static int OpenFiles => OperatingSystem.IsMacOS() ? 8 : 7; // RLIMIT_NOFILE

    /// <summary>EWOULDBLOCK: a descriptor is not ready, or another process has locked a file.</summary>
    public static int WouldBlock => OperatingSystem.IsMacOS() ? 35 : 11;

    private static int NameTooLong => OperatingSystem.IsMacOS() ? 63 : 36;

    /// <summary>The status of a file, or with follow of the file that a link leads to; only its kind on Windows.</summary>
    public static FileStatus Status(string path, bool follow)
    {
        if (OperatingSystem.IsWindows())
        {
            return new() { Kind = Directory.Exists(path) ? FileKind.Folder : File.Exists(path) ? FileKind.Regular : FileKind.Missing };
        }

        byte* buffer = stackalloc byte[256];
        bool mac = OperatingSystem.IsMacOS();
        int result = !mac ? Statx(LinuxHere, path, follow ? 0 : LinuxNoFollow, 0x7ff, buffer)
            : RuntimeInformation.ProcessArchitecture == Architecture.X64 ? StatAtX64(MacHere, path, buffer, follow ? 0 : MacNoFollow)
            : StatAt(MacHere, path, buffer, follow ? 0 : MacNoFollow);
        if (result != 0)
        {
            return Marshal.GetLastPInvokeError() == NoSuchFile ? default : throw Error(path);
        }

        // Linux: struct statx, the same on every processor. macOS: struct stat with 64-bit inodes.
        int mode = *(ushort*)(buffer + (mac ? 4 : 28));
        FileKind kind = (mode & 0xf000) switch
        {
            0x8000 => FileKind.Regular,
            0x4000 => FileKind.Folder,
            0xa000 => FileKind.Link,
            0xc000 => FileKind.Socket,
            _ => FileKind.Special,
        };
        UnixFileMode permissions = (UnixFileMode)(mode & 0xfff);
        return mac
            ? new(kind, *(uint*)buffer, *(ulong*)(buffer + 8), *(uint*)(buffer + 16), *(uint*)(buffer + 20), permissions)
            : new(kind, *(ulong*)(buffer + 136), *(ulong*)(buffer + 32), *(uint*)(buffer + 20), *(uint*)(buffer + 24), permissions);
    }

    /// <summary>The status of the file that a path leads to, as of a missing file if it cannot be read.</summary>
    public static FileStatus StatusOrMissing(string path)
    {
        try
        {
            return Status(path, follow: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return default;
        }
    }

    /// <summary>The path of a folder with all links resolved.</summary>
    public static string RealPath(string folder)
    {
        byte* buffer = stackalloc byte[LongestPath];
        return RealPath(folder, buffer) != null ? Marshal.PtrToStringUTF8((nint)buffer)! : throw Error(folder);
    }

    /// <summary>Whether a descriptor was open when this process started; the runtime marks those that it opens close-on-exec.</summary>
    public static bool IsInherited(int descriptor) =>
        Fcntl(descriptor, GetFlags) is var flags && flags >= 0 && (flags & CloseOnExec) == 0;

    public static bool IsOpen(int descriptor) => Fcntl(descriptor, GetFlags) >= 0;

    public static bool IsWritable(int descriptor) => (Fcntl(descriptor, GetMode) & 3) is WriteOnly or ReadAndWrite;

    /// <summary>Columns of the terminal behind a descriptor; 0 if it is not a terminal. Only for Linux.</summary>
    public static int TerminalColumns(int descriptor)
    {
        ushort* size = stackalloc ushort[4]; // rows, columns, width and height in pixels
        return Ioctl(descriptor, LinuxWindowSize, size) == 0 ? size[1] : 0;
    }

    /// <summary>Whether this process may write to a file or a device. Nothing is opened.</summary>
    public static bool MayWrite(string path) => Access(path, ToWrite) == 0;

    /// <summary>Whether a user who may create files in a folder may replace one there; in a sticky folder only owners may.</summary>
    public static bool MayReplace(FileStatus folder, FileStatus file, uint user) =>
        !folder.Mode.HasFlag(UnixFileMode.StickyBit) || user == 0 || user == folder.Owner || user == file.Owner;

    /// <summary>Writes at a descriptor's own position, which all processes share that have it; .NET's streams keep their own.</summary>
    public static void Write(int descriptor, ReadOnlySpan<byte> bytes)
    {
        fixed (byte* first = bytes)
        {
            for (nint written = 0; written < bytes.Length;)
            {
                nint count = Write(descriptor, first + written, bytes.Length - written);
                written += Math.Max(count, 0);
                int error = count < 0 ? Marshal.GetLastPInvokeError() : 0;
                if (error == WouldBlock)
                {
                    Thread.Sleep(1); // another process has made the shared descriptor non-blocking
                }
                else if (error is not 0 and not Interrupted)
                {
                    throw Error($"descriptor {descriptor}");
                }
            }
        }
    }

    /// <summary>Locks a file, as FileShare.None usually does. False if another process has; null if the file system has no locks.</summary>
    public static bool? Lock(SafeHandle file) => OperatingSystem.IsWindows() || Flock(file, LockAlone | LockNow) == 0 ? true
        : Marshal.GetLastPInvokeError() == WouldBlock ? false
        : null;

    /// <summary>Lets others read a file that is locked exclusively. False if another process has locked it in between.</summary>
    public static bool ShareLock(SafeHandle file) =>
        OperatingSystem.IsWindows() || Flock(file, LockShared | LockNow) == 0 || Marshal.GetLastPInvokeError() != WouldBlock;

    /// <summary>Gives an open file the owner, the group and the permissions of another file, as far as the system allows it.</summary>
    public static void TryCopyOwnerAndMode(SafeHandle file, FileStatus of)
    {
        _ = Fchown(file, of.Owner, of.Group) == 0 || Fchown(file, uint.MaxValue, of.Group) == 0;
        _ = Fchmod(file, (uint)of.Mode);
    }

    /// <summary>Raises the limit of open files towards <paramref name="wanted"/>, and returns how many of those are allowed now.</summary>
    public static long AllowOpenFiles(long wanted)
    {
        ulong* limit = stackalloc ulong[2]; // the soft and the hard limit
        if (GetLimit(OpenFiles, limit) != 0)
        {
            return wanted;
        }

        if (limit[0] < (ulong)wanted && limit[0] < limit[1])
        {
            limit[0] = Math.Min((ulong)wanted, limit[1]);
            _ = SetLimit(OpenFiles, limit);
            _ = GetLimit(OpenFiles, limit);
        }

        return (long)Math.Min(limit[0], (ulong)wanted);
    }

    /// <summary>Makes glibc return native buffers of 128 KiB and more to the system as soon as they are freed.</summary>
    public static void GiveBackLargeBuffers()
    {
        const int MapThreshold = -3; // M_MMAP_THRESHOLD; by default glibc raises it after it has seen large buffers
        try
        {
            _ = MallocOption(MapThreshold, 128 << 10);
        }
        catch (EntryPointNotFoundException)
        {
            // Another C library, which returns them anyway.
        }
    }

    private static Exception Error(string path)
    {
        int error = Marshal.GetLastPInvokeError();
        string message = $"{Marshal.GetPInvokeErrorMessage(error)} : '{path}'";
        return error is NotPermitted or AccessDenied ? new UnauthorizedAccessException(message)
            : error is NoSuchFile or NotAFolder ? new DirectoryNotFoundException(message)
            : error == NameTooLong ? new PathTooLongException(message)
            : new IOException(message, error);
    }

    [LibraryImport("libc", EntryPoint = "getrlimit")]
    private static partial int GetLimit(int resource, ulong* limit);

    [LibraryImport("libc", EntryPoint = "setrlimit")]
    private static partial int SetLimit(int resource, ulong* limit);

    [LibraryImport("libc", EntryPoint = "mallopt")]
    private static partial int MallocOption(int option, int value);

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Statx(int folder, string path, int flags, uint mask, byte* result);

    [LibraryImport("libc", EntryPoint = "fstatat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int StatAt(int folder, string path, byte* result, int flags);

    [LibraryImport("libc", EntryPoint = "fstatat$INODE64", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int StatAtX64(int folder, string path, byte* result, int flags);

    [LibraryImport("libc", EntryPoint = "realpath", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial byte* RealPath(string path, byte* result);

    [LibraryImport("libc", EntryPoint = "access", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Access(string path, int mode);

    [LibraryImport("libc", EntryPoint = "ioctl")]
    private static partial int Ioctl(int descriptor, nuint request, void* result);

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    private static partial int Fcntl(int descriptor, int command);

    [LibraryImport("libc", EntryPoint = "fchown", SetLastError = true)]
    private static partial int Fchown(SafeHandle file, uint owner, uint group);

    [LibraryImport("libc", EntryPoint = "fchmod", SetLastError = true)]
    private static partial int Fchmod(SafeHandle file, uint mode);

    [LibraryImport("libc", EntryPoint = "flock", SetLastError = true)]
    private static partial int Flock(SafeHandle file, int operation);

    [LibraryImport("libc", EntryPoint = "write", SetLastError = true)]
    private static partial nint Write(int descriptor, byte* bytes, nint count);
}
