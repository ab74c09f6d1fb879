using CudnnDigits.Data;

namespace CudnnDigits.Model;

/// <summary>Where a path to write leads: through links, to a plain file or to none yet, to a device, a FIFO or a descriptor.</summary>
/// <param name="Path">What is written: the last of a chain of links.</param>
/// <param name="Status">What is there.</param>
/// <param name="Descriptor">The descriptor of this process that the path names, such as /dev/stdout; else null.</param>
internal sealed record OutputPlace(string Path, FileStatus Status, int? Descriptor = null)
{
    private const int MostLinks = 40; // as many as Linux follows

    /// <summary>Whether it is a plain file, there already or not: what can be replaced as a whole.</summary>
    public bool IsFile => Status.Kind is FileKind.Regular or FileKind.Missing;

    /// <summary>Follows a path.</summary>
    /// <exception cref="InputException">It is a folder, links go round in a circle, or it names a descriptor that is not open.</exception>
    /// <exception cref="IOException">The folder is not there, or cannot be looked into.</exception>
    /// <exception cref="UnauthorizedAccessException">The folder may not be looked into.</exception>
    public static OutputPlace Of(string path)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(path);
        OutputPlace place = OperatingSystem.IsWindows() ? OfWindows(path) : Follow(path);
        if (place.Status.Kind == FileKind.Folder)
        {
            throw new InputException($"{path}: is a folder; give the name of a file");
        }

        if (place.Status.Kind == FileKind.Socket)
        {
            throw new InputException($"{path}: is a socket; give the name of a file");
        }

        return place.Status.Kind != FileKind.Missing || Directory.Exists(System.IO.Path.GetDirectoryName(place.Path))
            ? place
            : throw new DirectoryNotFoundException($"there is no folder {System.IO.Path.GetDirectoryName(place.Path)}");
    }

    /// <summary>
    /// Whether two paths are one plain file, whatever links and hard links are in between. On Windows a hard link is not found
    /// out.
    /// </summary>
    public static bool IsSame(string first, string second)
    {
        if (OperatingSystem.IsWindows())
        {
            return File.Exists(first) && string.Equals(OfWindows(first).Path, OfWindows(second).Path, StringComparison.OrdinalIgnoreCase);
        }

        try
        {
            FileStatus one = Posix.Status(first, follow: true), other = Posix.Status(second, follow: true);
            return one.Kind == FileKind.Regular && (one.Kind, one.Device, one.Inode) == (other.Kind, other.Device, other.Inode);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false; // what cannot be looked at is refused for that
        }
    }

    private static OutputPlace OfWindows(string path)
    {
        string full = System.IO.Path.GetFullPath(path);
        if (full.StartsWith(@"\\.\", StringComparison.Ordinal))
        {
            return new OutputPlace(full, new FileStatus { Kind = FileKind.Special }); // NUL, CON, a named pipe
        }

        full = File.ResolveLinkTarget(full, returnFinalTarget: true)?.FullName ?? full;
        FileKind kind = Directory.Exists(full) || System.IO.Path.EndsInDirectorySeparator(full) ? FileKind.Folder : File.Exists(full) ? FileKind.Regular : FileKind.Missing;
        return new OutputPlace(full, new FileStatus { Kind = kind });
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
            folder = link || folder.StartsWith("/proc/", StringComparison.Ordinal) || folder == "/dev/fd" ? Posix.RealPath(folder) : folder;
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
                return new OutputPlace(place, behind.Kind is FileKind.Folder or FileKind.Socket ? behind : behind with { Kind = FileKind.Special });
            }

            // Not tidied up by .NET, which would take "folder/.." away where the folder is a link.
            string text = new FileInfo(place).LinkTarget!;
            place = System.IO.Path.IsPathRooted(text) ? text : $"{folder}/{text}";
        }

        throw new InputException($"{path}: its links go round in a circle; give the name of a file");
    }

    /// <summary>Whether the descriptors of this process are the entries of a folder.</summary>
    private static bool IsOwnDescriptors(string folder) =>
        folder.EndsWith("/fd", StringComparison.Ordinal)
        && (folder.StartsWith($"/proc/{Environment.ProcessId}/", StringComparison.Ordinal) || (OperatingSystem.IsMacOS() && folder == "/dev/fd"));
}
