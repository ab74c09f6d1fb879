namespace CudnnDigits.Files;

/// <summary>What a path leads to when its links are followed; for paths such as /dev/stdout, a descriptor of this process.</summary>
internal sealed record OutputPlace(string Path, FileStatus Status, int? Descriptor = null)
{
    private const int MostLinks = 40; // Linux follows as many

    /// <summary>Whether it is a regular file, or will be one: it can be replaced as a whole.</summary>
    public bool IsFile => Status.Kind is FileKind.Regular or FileKind.Missing;

    /// <summary>Follows the links of a path.</summary>
    public static OutputPlace Of(string path)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(path);
        OutputPlace place = OperatingSystem.IsWindows() ? OfWindows(path) : Follow(path);
        string? folder = System.IO.Path.GetDirectoryName(place.Path);
        return place.Status.Kind == FileKind.Folder ? throw new InputException($"{path}: is a folder; give the name of a file")
            : place.Status.Kind == FileKind.Socket ? throw new InputException($"{path}: is a socket; give the name of a file")
            : place.Status.Kind == FileKind.Missing && !Directory.Exists(folder)
                ? throw new DirectoryNotFoundException($"there is no folder {folder}")
            : place;
    }

    /// <summary>Whether two paths lead to the same regular file, also by links. On Windows hard links are not recognised.</summary>
    public static bool IsSame(string first, string second)
    {
        if (OperatingSystem.IsWindows())
        {
            return File.Exists(first) && OfWindows(first).Path.Equals(OfWindows(second).Path, StringComparison.OrdinalIgnoreCase);
        }

        FileStatus one = Posix.StatusOrMissing(first), other = Posix.StatusOrMissing(second);
        return one.Kind == FileKind.Regular && (one.Kind, one.Device, one.Inode) == (other.Kind, other.Device, other.Inode);
    }

    private static OutputPlace OfWindows(string path)
    {
        string full = System.IO.Path.GetFullPath(path);
        if (full.StartsWith(@"\\.\", StringComparison.Ordinal))
        {
            return new OutputPlace(full, new FileStatus { Kind = FileKind.Special }); // NUL, CON, a named pipe
        }

        full = File.ResolveLinkTarget(full, returnFinalTarget: true)?.FullName ?? full;
        FileStatus status = Posix.Status(full, follow: true);
        return new OutputPlace(full, System.IO.Path.EndsInDirectorySeparator(full) ? status with { Kind = FileKind.Folder } : status);
    }

    private static OutputPlace Follow(string path)
    {
        string place = System.IO.Path.GetFullPath(path);
        for (int links = 0; links <= MostLinks; links++)
        {
            if (System.IO.Path.EndsInDirectorySeparator(place))
            {
                return new OutputPlace(place, new FileStatus { Kind = FileKind.Folder });
            }

            FileStatus status = Posix.Status(place, follow: false);
            bool link = status.Kind == FileKind.Link;
            string folder = System.IO.Path.GetDirectoryName(place)!, name = System.IO.Path.GetFileName(place);
            if (link || folder.StartsWith("/proc/", StringComparison.Ordinal) || folder == "/dev/fd")
            {
                folder = Posix.RealPath(folder);
            }

            if (IsOwnDescriptors(folder) && int.TryParse(name, NumberStyles.None, CultureInfo.InvariantCulture, out int descriptor))
            {
                return Posix.IsOpen(descriptor)
                    ? new OutputPlace(place, new FileStatus { Kind = FileKind.Special }, descriptor)
                    : throw new InputException($"{path}: this process has no descriptor {descriptor}; redirect it to something");
            }

            if (!link)
            {
                return new OutputPlace(place, status);
            }

            if (folder.StartsWith("/proc/", StringComparison.Ordinal))
            {
                FileStatus behind = Posix.Status(place, follow: true); // the text of such a link need not be a path: "pipe:[123]"
                FileKind kind = behind.Kind is FileKind.Folder or FileKind.Socket ? behind.Kind : FileKind.Special;
                return new OutputPlace(place, behind with { Kind = kind });
            }

            // Not normalized by .NET, which would remove "folder/.." even if the folder is a link.
            string text = new FileInfo(place).LinkTarget!;
            place = System.IO.Path.IsPathRooted(text) ? text : $"{folder}/{text}";
        }

        throw new InputException($"{path}: its links form a circle; give the name of a file");
    }

    /// <summary>Whether a folder's entries are the descriptors of this process.</summary>
    private static bool IsOwnDescriptors(string folder) => OperatingSystem.IsMacOS()
        ? folder == "/dev/fd"
        : folder.EndsWith("/fd", StringComparison.Ordinal)
            && folder.StartsWith($"/proc/{Environment.ProcessId}/", StringComparison.Ordinal);
}
