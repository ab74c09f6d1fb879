namespace CudnnDigits.Cuda.Interop;

/// <summary>Where libraries of one installation lie: folders that belong together, or the system's loader.</summary>
/// <param name="Folders">In the order they are searched; none for the loader.</param>
internal sealed record LibraryPlace(IReadOnlyList<string> Folders)
{
    private static readonly string[] DriverFolders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib/wsl/lib", "/usr/local/nvidia/lib64"];

    /// <summary>The system's loader with its own search path, asked by bare file name.</summary>
    public static LibraryPlace Loader { get; } = new([]);

    public bool IsLoader => Folders.Count == 0;

    /// <summary>What the user names in <see cref="NativeLibraries.PathVariable"/>.</summary>
    public static IEnumerable<LibraryPlace> Own() => Of(Split(NativeLibraries.PathVariable).Select(Path.GetFullPath));

    /// <summary>
    /// Where the files lie that this process has loaded already: PyTorch's, where it is the caller. A second cuDNN beside
    /// them would share their parts, which the loader knows by name, and fail where the versions differ.
    /// </summary>
    /// <param name="stems">Beginnings of the files' names.</param>
    public static IEnumerable<LibraryPlace> InProcess(params string[] stems) => !OperatingSystem.IsLinux() ? [] : Of(
        from line in File.ReadLines("/proc/self/maps")
        let path = line.IndexOf('/') is int at and >= 0 ? line[at..] : ""
        where stems.Any(stem => Path.GetFileName(path).StartsWith(stem, StringComparison.Ordinal)) && File.Exists(path)
        select Path.GetDirectoryName(path));

    public static IEnumerable<LibraryPlace> BesideProgram() => Of([AppContext.BaseDirectory.TrimEnd(Path.DirectorySeparatorChar)]);

    /// <summary>The Python environment in use: a GPU machine often has its CUDA libraries inside PyTorch's only.</summary>
    public static IEnumerable<LibraryPlace> Python()
    {
        string executable = OperatingSystem.IsWindows() ? "python.exe" : "python3";
        IEnumerable<string> prefixes = Split("VIRTUAL_ENV").Concat(Split("PATH")
            .Select(folder => Path.Combine(folder, executable))
            .Where(File.Exists)
            .SelectMany(file => new[] { file, Path.GetFullPath(File.ResolveLinkTarget(file, returnFinalTarget: true)?.FullName ?? file) })
            .Select(file => Path.GetDirectoryName(Path.GetDirectoryName(file)) ?? ""));
        foreach (string prefix in prefixes.Where(prefix => prefix.Length > 0).Distinct())
        {
            IEnumerable<string> packages = Matching(Path.Combine(prefix, "lib"), "python3*")
                .SelectMany(python => new[] { Path.Combine(python, "site-packages", "nvidia"), Path.Combine(python, "dist-packages", "nvidia") })
                .Append(Path.Combine(prefix, "Lib", "site-packages", "nvidia"));
            IEnumerable<string> folders = packages.SelectMany(root => Matching(root, "*"))
                .SelectMany(package => new[] { Path.Combine(package, "lib"), Path.Combine(package, "bin") });
            foreach (LibraryPlace place in Of(folders.Where(Directory.Exists)))
            {
                yield return place;
            }
        }
    }

    public static IEnumerable<LibraryPlace> Conda() =>
        Of(Split("CONDA_PREFIX").SelectMany(prefix => new[] { Path.Combine(prefix, "lib"), Path.Combine(prefix, "Library", "bin") }).Where(Directory.Exists));

    /// <summary>CUDA toolkits and the distribution's packages.</summary>
    public static IEnumerable<LibraryPlace> System() => Of(
        Split("CUDA_PATH").SelectMany(toolkit => new[] { Path.Combine(toolkit, "lib64"), Path.Combine(toolkit, "bin") })
            .Concat(Matching("/usr/local", "cuda*").OrderDescending(StringComparer.Ordinal).Select(toolkit => Path.Combine(toolkit, "lib64")))
            .Append("/usr/lib/x86_64-linux-gnu")
            .Where(Directory.Exists));

    /// <summary>Where drivers lie that the loader is not told of.</summary>
    public static IEnumerable<LibraryPlace> Drivers() =>
        Of(DriverFolders.Where(Directory.Exists));

    /// <summary>Full path of a file in the first folder that has it, or null.</summary>
    /// <param name="file">Name of the file.</param>
    public string? Find(string file) => Folders.Select(folder => Path.Combine(folder, file)).FirstOrDefault(File.Exists);

    /// <summary>Where the loader found a library, as far as the system tells.</summary>
    /// <param name="file">Name of the file.</param>
    public static string PathOfLoaded(string file)
    {
        if (OperatingSystem.IsLinux())
        {
            string stem = file.Split(".so")[0] + ".so";
            foreach (string line in File.ReadLines("/proc/self/maps"))
            {
                int path = line.IndexOf('/');
                if (path >= 0 && Path.GetFileName(line.AsSpan(path)).StartsWith(stem, StringComparison.Ordinal))
                {
                    return line[path..];
                }
            }
        }

        return file;
    }

    private static IEnumerable<LibraryPlace> Of(IEnumerable<string> folders)
    {
        string[] all = [.. folders.Distinct()];
        return all.Length > 0 ? [new LibraryPlace(all)] : [];
    }

    private static string[] Split(string variable) =>
        (Environment.GetEnvironmentVariable(variable) ?? "").Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);

    private static string[] Matching(string folder, string pattern)
    {
        try
        {
            return Directory.Exists(folder) ? Directory.GetDirectories(folder, pattern) : [];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }
}
