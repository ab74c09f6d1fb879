namespace CudnnDigits.Cuda.Interop;

/// <summary>Where libraries of one installation lie: folders in the order of the search, or none for the system's loader.</summary>
internal sealed record LibraryPlace(IReadOnlyList<string> Folders)
{
    private const string Debian = "/usr/lib/x86_64-linux-gnu";

    /// <summary>The system's loader with its own search path, asked by bare file name.</summary>
    public static LibraryPlace Loader { get; } = new([]);

    public bool IsLoader => Folders.Count == 0;

    /// <summary>What the user names in <see cref="NativeLibraries.PathVariable"/>.</summary>
    public static IEnumerable<LibraryPlace> Own() =>
        Split(NativeLibraries.PathVariable) is { Length: > 0 } folders ? [new(Array.ConvertAll(folders, Path.GetFullPath))] : [];

    /// <summary>Where loaded files lie, such as PyTorch's: a second cuDNN beside them shares their parts, and may fail.</summary>
    public static IEnumerable<LibraryPlace> InProcess() =>
        Of(LoadedFiles("libcudnn.so", "libcublas.so").Select(file => Path.GetDirectoryName(file)!));

    public static IEnumerable<LibraryPlace> BesideProgram() => Of([AppContext.BaseDirectory.TrimEnd(Path.DirectorySeparatorChar)]);

    /// <summary>The Python environment in use: a GPU machine often has its CUDA libraries inside PyTorch's only.</summary>
    private static IEnumerable<LibraryPlace> Python()
    {
        string executable = OperatingSystem.IsWindows() ? "python.exe" : "python3";
        IEnumerable<string> programs = Split("PATH").Select(folder => Path.Combine(folder, executable)).Where(File.Exists)
            .SelectMany(file => new[] { file, Path.GetFullPath(File.ResolveLinkTarget(file, returnFinalTarget: true)?.FullName ?? file) });
        IEnumerable<string> prefixes = programs.Select(file => Path.GetDirectoryName(Path.GetDirectoryName(file)) ?? "");
        return from prefix in Split("VIRTUAL_ENV").Concat(prefixes).Distinct()
               where prefix.Length > 0
               let sites = Matching(Path.Combine(prefix, "lib"), "python3*")
                   .SelectMany(python => In(python, "site-packages", "dist-packages")).Append(Path.Combine(prefix, "Lib", "site-packages"))
               let packages = sites.SelectMany(site => Matching(Path.Combine(site, "nvidia"), "*"))
               from place in Of(packages.SelectMany(package => In(package, "lib", "bin")))
               select place;
    }

    private static LibraryPlace[] Conda() =>
        Of(Split("CONDA_PREFIX").SelectMany(prefix => In(prefix, "lib", Path.Combine("Library", "bin"))));

    /// <summary>CUDA toolkits and the distribution's packages.</summary>
    private static LibraryPlace[] System() => Of(
    [
        .. Split("CUDA_PATH").SelectMany(toolkit => In(toolkit, "lib64", "bin")),
        .. Matching("/usr/local", "cuda*").OrderDescending(StringComparer.Ordinal).Select(toolkit => Path.Combine(toolkit, "lib64")),
        Debian,
    ]);

    /// <summary>Where NVIDIA's libraries are installed, in the order of the search.</summary>
    public static IEnumerable<LibraryPlace> Installed() => [.. Python(), .. Conda(), Loader, .. System()];

    /// <summary>Where drivers lie that the loader is not told of.</summary>
    public static IEnumerable<LibraryPlace> Drivers() => Of([Debian, "/usr/lib64", "/usr/lib/wsl/lib", "/usr/local/nvidia/lib64"]);

    /// <summary>Full path of a file in the first folder that has it, or null.</summary>
    public string? Find(string file) => Folders.Select(folder => Path.Combine(folder, file)).FirstOrDefault(File.Exists);

    /// <summary>Where the loader found a library, as far as the system tells.</summary>
    public static string PathOfLoaded(string file) => LoadedFiles(file.Split(".so")[0] + ".so").FirstOrDefault() ?? file;

    /// <summary>Files that this process has loaded, as far as the system tells, whose names begin in one of these ways.</summary>
    private static IEnumerable<string> LoadedFiles(params string[] beginnings) => !OperatingSystem.IsLinux() ? [] :
        from line in File.ReadLines("/proc/self/maps")
        where line.Contains('/')
        let path = line[line.IndexOf('/')..]
        where beginnings.Any(beginning => Path.GetFileName(path).StartsWith(beginning, StringComparison.Ordinal)) && File.Exists(path)
        select path;

    /// <summary>Those of the folders that exist.</summary>
    private static LibraryPlace[] Of(IEnumerable<string> folders) =>
        folders.Distinct().Where(Directory.Exists).ToArray() is { Length: > 0 } all ? [new LibraryPlace(all)] : [];

    private static IEnumerable<string> In(string folder, params string[] names) => names.Select(name => Path.Combine(folder, name));

    private static string[] Split(string variable) => (Environment.GetEnvironmentVariable(variable) ?? "")
        .Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);

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
