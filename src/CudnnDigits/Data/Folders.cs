using CudnnDigits.Files;

namespace CudnnDigits.Data;

/// <summary>Lists folders within folders and resolves links.</summary>
internal static class Folders
{
    /// <summary>The folders in a folder, sorted, without those that systems create: thumbnails, recycle bins, macOS's metadata.</summary>
    public static IEnumerable<string> In(string folder) => Directory.EnumerateDirectories(folder, "*", new EnumerationOptions())
        .Where(inner => Path.GetFileName(inner) is not (['.' or '@' or '$', ..] or ['_', '_', ..] or "#recycle"))
        .Order(StringComparer.Ordinal);

    /// <summary>The path of a folder with all links resolved. Links may lead to one folder by many paths, even from within it.</summary>
    public static string Real(string folder)
    {
        if (!OperatingSystem.IsWindows())
        {
            return Posix.RealPath(folder);
        }

        string full = Path.GetFullPath(folder);
        string here = Path.GetDirectoryName(full) is { } parent ? Path.Combine(Real(parent), Path.GetFileName(full)) : full;
        return new DirectoryInfo(here).ResolveLinkTarget(returnFinalTarget: true)?.FullName ?? here;
    }

    /// <summary>A folder and those in it, to a depth (1: it alone). Passes over the visited, resolved ones, and adds to them.</summary>
    public static IEnumerable<string> Below(string folder, HashSet<string> visited, int depth = int.MaxValue) =>
        depth == 0 || !visited.Add(Real(folder)) ? []
            : In(folder).SelectMany(inner => Below(inner, visited, depth - 1)).Prepend(folder);
}
