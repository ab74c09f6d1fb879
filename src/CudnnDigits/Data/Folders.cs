using CudnnDigits.Model;

namespace CudnnDigits.Data;

/// <summary>The folders of a folder, as far as people put something there, and what a link to one leads to.</summary>
internal static class Folders
{
    /// <summary>The folders of a folder, by their names; not those that systems hide there or leave behind: thumbnails, what was
    /// deleted, macOS's shadows of files.</summary>
    public static IEnumerable<string> In(string folder) => Directory.EnumerateDirectories(folder, "*", new EnumerationOptions())
        .Where(inner => Path.GetFileName(inner) is not (['.' or '@' or '$', ..] or ['_', '_', ..] or "#recycle")).Order(StringComparer.Ordinal);

    /// <summary>What a folder is when all links are followed: it may be reached in many ways, even from within itself.</summary>
    public static string Real(string folder)
    {
        if (!OperatingSystem.IsWindows())
        {
            return Posix.RealPath(folder);
        }

        string full = Path.GetFullPath(folder), here = Path.GetDirectoryName(full) is { } parent ? Path.Combine(Real(parent), Path.GetFileName(full)) : full;
        return new DirectoryInfo(here).ResolveLinkTarget(returnFinalTarget: true)?.FullName ?? here;
    }

    /// <summary>A folder and all folders in it, to any depth, but each only once.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="visited">What is passed over, by <see cref="Real"/>; gets what is visited.</param>
    /// <param name="depth">How deep to go; 1 is the folder alone.</param>
    public static IEnumerable<string> Below(string folder, HashSet<string> visited, int depth = int.MaxValue) => depth == 0 || !visited.Add(Real(folder)) ? []
        : In(folder).SelectMany(inner => Below(inner, visited, depth - 1)).Prepend(folder);
}
