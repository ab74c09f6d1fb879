namespace CudnnDigits.Model;

/// <summary>What a file is.</summary>
internal enum FileKind
{
    /// <summary>Nothing is there.</summary>
    Missing,

    /// <summary>A plain file.</summary>
    Regular,

    /// <summary>A folder.</summary>
    Folder,

    /// <summary>A symbolic link.</summary>
    Link,

    /// <summary>A device or a FIFO.</summary>
    Special,

    /// <summary>A socket, which cannot be opened.</summary>
    Socket,
}

/// <summary>What the system says of a file; device and inode together are its identity.</summary>
internal readonly record struct FileStatus(FileKind Kind, ulong Device, ulong Inode, uint Owner, uint Group, UnixFileMode Mode);

/// <summary>What .NET does not say of files and descriptors. For Linux and macOS alone; on Windows nothing here may be called.</summary>
internal static unsafe partial class Posix
{
    private const int NoSuchFile = 2, Interrupted = 4, NotPermitted = 1, AccessDenied = 13, NotAFolder = 20;
    private const int GetFlags = 1, CloseOnExec = 1, GetMode = 3, WriteOnly = 1, ReadAndWrite = 2; // of fcntl, alike on both
    private const int ToWrite = 2; // of access, alike on both
    private const int LinuxHere = -100, LinuxNoFollow = 0x100; // of statx
    private const nuint LinuxWindowSize = 0x5413; // of ioctl
    private const int LockShared = 1, LockAlone = 2, LockNow = 4; // of flock, alike on both
    private const int LongestPath = 4096;

    private static int OpenFiles => OperatingSystem.IsMacOS() ? 8 : 7; // RLIMIT_NOFILE

    /// <summary>The error of a descriptor that would have to wait, and of a file that another process has locked.</summary>
    public static int WouldBlock => OperatingSystem.IsMacOS() ? 35 : 11;

    private static int NameTooLong => OperatingSystem.IsMacOS() ? 63 : 36;

    /// <summary>Looks at a file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="follow">Whether to look at what a link leads to, instead of at the link.</param>
    /// <exception cref="IOException">It cannot be looked at, because of a loop of links, say.</exception>
    /// <exception cref="UnauthorizedAccessException">A folder on the way may not be searched.</exception>
    public static FileStatus Status(string path, bool follow)
    {
        byte* buffer = stackalloc byte[256];
        bool mac = OperatingSystem.IsMacOS();
        int result = !mac ? Statx(LinuxHere, path, follow ? 0 : LinuxNoFollow, 0x7ff, buffer)
            : RuntimeInformation.ProcessArchitecture == Architecture.X64 ? (follow ? Stat64(path, buffer) : Lstat64(path, buffer))
            : follow ? Stat(path, buffer) : Lstat(path, buffer);
        if (result != 0)
        {
            return Marshal.GetLastPInvokeError() == NoSuchFile ? default : throw Error(path);
        }

        // struct statx of Linux, alike on every processor; struct stat of macOS with inodes of 64 bits.
        int mode = *(ushort*)(buffer + (mac ? 4 : 28));
        FileKind kind = (mode & 0xf000) switch
        {
            0x8000 => FileKind.Regular,
            0x4000 => FileKind.Folder,
            0xa000 => FileKind.Link,
            0xc000 => FileKind.Socket,
            _ => FileKind.Special,
        };
        return mac
            ? new(kind, *(uint*)buffer, *(ulong*)(buffer + 8), *(uint*)(buffer + 16), *(uint*)(buffer + 20), (UnixFileMode)(mode & 0xfff))
            : new(kind, *(ulong*)(buffer + 136), *(ulong*)(buffer + 32), *(uint*)(buffer + 20), *(uint*)(buffer + 24), (UnixFileMode)(mode & 0xfff));
    }

    /// <summary>The path of a folder without links.</summary>
    /// <exception cref="IOException">There is no such folder, or links go round in a circle.</exception>
    /// <exception cref="UnauthorizedAccessException">A folder on the way may not be searched.</exception>
    public static string RealPath(string folder)
    {
        byte* buffer = stackalloc byte[LongestPath];
        return RealPath(folder, buffer) != null ? Marshal.PtrToStringUTF8((nint)buffer)! : throw Error(folder);
    }

    /// <summary>
    /// Whether a descriptor was open when this process began. What a process opens for itself is closed on exec, so what is so
    /// marked was opened later: by the runtime, into a place that was free.
    /// </summary>
    public static bool IsInherited(int descriptor) => Fcntl(descriptor, GetFlags) is var flags && flags >= 0 && (flags & CloseOnExec) == 0;

    /// <summary>Whether a descriptor is open, whoever opened it.</summary>
    public static bool IsOpen(int descriptor) => Fcntl(descriptor, GetFlags) >= 0;

    /// <summary>Whether a descriptor is open for writing.</summary>
    public static bool IsWritable(int descriptor) => (Fcntl(descriptor, GetMode) & 3) is WriteOnly or ReadAndWrite;

    /// <summary>Columns of the terminal that a descriptor leads to; 0 where that is none. For Linux alone.</summary>
    public static int TerminalColumns(int descriptor)
    {
        ushort* size = stackalloc ushort[4]; // rows, columns, and both in pixels
        return Ioctl(descriptor, LinuxWindowSize, size) == 0 ? size[1] : 0;
    }

    /// <summary>Whether this process may write to a file or a device; nothing is opened.</summary>
    public static bool MayWrite(string path) => Access(path, ToWrite) == 0;

    /// <summary>Whether this process may put another file in the place of one, in a folder where it may make files.</summary>
    /// <param name="folder">The folder; where it is sticky, as /tmp, only owners may.</param>
    /// <param name="file">The file.</param>
    /// <param name="user">Who this process is: <see cref="EffectiveUser"/>.</param>
    public static bool MayReplace(FileStatus folder, FileStatus file, uint user) =>
        !folder.Mode.HasFlag(UnixFileMode.StickyBit) || user == 0 || user == folder.Owner || user == file.Owner;

    /// <summary>
    /// Writes to a descriptor where it stands, as everybody who shares it does: .NET's streams keep a place of their own.
    /// </summary>
    /// <exception cref="IOException">It takes nothing more.</exception>
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
                    Thread.Sleep(1); // whoever shares the descriptor has it return at once
                }
                else if (error is not 0 and not Interrupted)
                {
                    throw Error($"descriptor {descriptor}");
                }
            }
        }
    }

    /// <summary>
    /// Locks an open file for this process alone, as .NET does for FileShare.None, unless it is told to lock nothing or the file
    /// system has no locks.
    /// </summary>
    /// <returns>False where another process has locked it; null where the file system has no locks.</returns>
    public static bool? Lock(SafeHandle file) => Flock(file, LockAlone | LockNow) == 0 ? true : Marshal.GetLastPInvokeError() == WouldBlock ? false : null;

    /// <summary>
    /// Lets others read a file that this process has locked for itself, as .NET does for FileShare.None; nobody can lock it for
    /// himself until it is closed.
    /// </summary>
    /// <returns>False where another was quicker and has locked it for itself.</returns>
    public static bool ShareLock(SafeHandle file) => Flock(file, LockShared | LockNow) == 0 || Marshal.GetLastPInvokeError() != WouldBlock;

    /// <summary>
    /// Gives an open file the owner, the group and the permissions of another, as far as this process may and the file system has
    /// them.
    /// </summary>
    public static void TryCopyOwnerAndMode(SafeHandle file, FileStatus of)
    {
        if (Fchown(file, of.Owner, of.Group) != 0)
        {
            _ = Fchown(file, uint.MaxValue, of.Group);
        }

        _ = Fchmod(file, (uint)of.Mode);
    }

    /// <summary>How many files and connections this process may have open at once, once it has asked for more where it has fewer.</summary>
    /// <param name="wanted">As many as are of use.</param>
    public static long AllowOpenFiles(long wanted)
    {
        ulong* limit = stackalloc ulong[2]; // now, and at most
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

    /// <summary>
    /// Has native buffers of 128 KiB and more given back to the system when they are freed. glibc stops doing so once it has seen
    /// large ones, and then keeps them for each thread; other C libraries have no such habit, and no such function.
    /// </summary>
    public static void GiveBackLargeBuffers()
    {
        const int MapThreshold = -3; // M_MMAP_THRESHOLD
        try
        {
            _ = MallocOption(MapThreshold, 128 << 10);
        }
        catch (EntryPointNotFoundException)
        {
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

    [LibraryImport("libc", EntryPoint = "stat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Stat(string path, byte* result);

    [LibraryImport("libc", EntryPoint = "lstat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Lstat(string path, byte* result);

    [LibraryImport("libc", EntryPoint = "stat$INODE64", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Stat64(string path, byte* result);

    [LibraryImport("libc", EntryPoint = "lstat$INODE64", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Lstat64(string path, byte* result);

    [LibraryImport("libc", EntryPoint = "realpath", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial byte* RealPath(string path, byte* result);

    [LibraryImport("libc", EntryPoint = "access", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Access(string path, int mode);

    [LibraryImport("libc", EntryPoint = "geteuid")]
    public static partial uint EffectiveUser();

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
