using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;
using System.Reflection;
using CudnnDigits.Training;

namespace CudnnDigits.Cuda.Interop;

/// <summary>A library that was loaded: its full path, and the operating system's handle.</summary>
internal sealed record LoadedLibrary(string Path, nint Handle);

/// <summary>Finds the driver, and cuBLAS and cuDNN of one CUDA version; remembers what was tried, to explain what is missing.</summary>
internal static class NativeLibraries
{
    /// <summary>Names under which <c>LibraryImport</c> asks for the libraries.</summary>
    public const string Driver = "cuda", Blas = "cublas", Dnn = "cudnn";

    /// <summary>The setting that comes first: one or more folders.</summary>
    public const string PathVariable = "CUDNN_DIGITS_CUDA_PATH";

    private static readonly bool Windows = OperatingSystem.IsWindows();
    private static readonly string DriverFile = Windows ? "nvcuda.dll" : "libcuda.so.1";
    private static readonly string DnnFile = Windows ? "cudnn64_9.dll" : "libcudnn.so.9";
    private static readonly int[] Majors = [13, 12];
    private static readonly Lock Gate = new();
    private static readonly ConcurrentDictionary<string, LoadedLibrary> Libraries = []; // read by whichever thread calls a function first
    private static readonly List<string> Attempts = [];

    static NativeLibraries() => NativeLibrary.SetDllImportResolver(typeof(NativeLibraries).Assembly, Resolve);

    /// <summary>What was tried so far, one line each: file, then what became of it.</summary>
    public static IReadOnlyList<string> Tried => Attempts;

    /// <summary>A library that is loaded, or null.</summary>
    public static LoadedLibrary? Loaded(string name) => Libraries.GetValueOrDefault(name);

    public static void LoadDriver()
    {
        lock (Gate)
        {
            if (!Libraries.ContainsKey(Driver))
            {
                LibraryPlace[] places = [.. LibraryPlace.Own(), LibraryPlace.Loader, .. LibraryPlace.Drivers()];
                LoadedLibrary driver = LoadFirst(places, DriverFile) ?? throw new CudaUnavailableException(
                    $"there is no NVIDIA driver: {DriverFile} was not found; if this machine has an NVIDIA GPU, install its driver");
                string? function = Lacking(driver, typeof(CudaDriver));
                Libraries[Driver] = function is null ? driver : throw new CudaUnavailableException(
                    $"the NVIDIA driver is too old: {driver.Path} has no {function}; update the driver");
            }
        }
    }

    /// <summary>The newest CUDA that the driver runs, such as 12.9; the driver must be loaded.</summary>
    public static Version DriverVersion()
    {
        CudaException.Check(CudaDriver.cuDriverGetVersion(out int version));
        return new Version(version / 1000, version % 1000 / 10);
    }

    /// <summary>Loads cuBLAS and cuDNN, which their first function would do otherwise; the driver must be loaded.</summary>
    public static void LoadMath()
    {
        using StartUp.Phase phase = StartUp.Measure("libraries");
        Version driver = DriverVersion();
        lock (Gate)
        {
            if (Libraries.ContainsKey(Dnn))
            {
                return;
            }

            if (driver.Major < Majors[^1])
            {
                throw new CudaUnavailableException($"the NVIDIA driver is too old: it runs CUDA up to {driver}, "
                    + $"and cuBLAS and cuDNN 9 need CUDA {Majors[^1]} or newer; update the driver");
            }

            LibraryPlace[] places =
                [.. LibraryPlace.Own(), .. LibraryPlace.InProcess(), .. LibraryPlace.BesideProgram(), .. LibraryPlace.Installed()];
            int[] majors = [.. Majors.Where(major => major <= driver.Major)];
            string? mismatch = null;
            foreach ((LibraryPlace place, int major) in from place in places from major in majors select (place, major))
            {
                // cuBLAS first, because parts of cuDNN need it; from where cuDNN is, if it is there too, else from anywhere.
                if (!MayHold(place, DnnFile) || LoadBlas([place, .. places], major) is not { } blas || LoadDnn(place) is not { } dnn)
                {
                    continue;
                }

                mismatch = Mismatch(dnn, blas, major);
                if (mismatch is null)
                {
                    (Libraries[Blas], Libraries[Dnn]) = (blas, dnn);
                    return;
                }

                Note(mismatch);
            }

            string missing = places.Any(place => LoadDnn(place) is not null)
                ? $"cuBLAS is missing: {string.Join(" or ", majors.Select(major => BlasFiles(major)[^1]))} "
                    + $"(the driver runs CUDA up to {driver.Major}) was not found {Where(places)}"
                : $"cuDNN is missing: {DnnFile} was not found {Where(places)}{OtherMajor(places)}";
            throw new CudaUnavailableException($"{mismatch ?? missing}; install cuBLAS and cuDNN 9 of one CUDA version "
                + $"(pip install nvidia-cudnn-cu12 brings both), or name their folders in {PathVariable}; on a GPU since Ampere, "
                + "every --model runs without them if --kernels is left out");
        }
    }

    /// <summary>NVIDIA's library of profiler ranges, or null.</summary>
    public static LoadedLibrary? FindNvtx()
    {
        lock (Gate)
        {
            LibraryPlace[] places = [.. LibraryPlace.Own(), .. LibraryPlace.Installed()];
            return LoadFirst(places, Windows ? ["nvtx3interop.dll"] : ["libnvtx3interop.so.1", "libnvToolsExt.so.1"]);
        }
    }

    /// <summary>Where functions are; cuBLAS and cuDNN are loaded late, as they are large, and fused kernels need neither.</summary>
    private static nint Resolve(string name, Assembly assembly, DllImportSearchPath? path)
    {
        if (name is Blas or Dnn)
        {
            LoadMath();
        }

        return Loaded(name)?.Handle ?? 0;
    }

    /// <summary>Why two libraries do not belong together, or null.</summary>
    private static string? Mismatch(LoadedLibrary dnn, LoadedLibrary blas, int major)
    {
        int version = VersionOf(dnn, "cudnnGetVersion"), builtFor = VersionOf(dnn, "cudnnGetCudartVersion") / 1000;
        return version / 10000 != 9 ? $"{dnn.Path} is cuDNN {(version >= 10000 ? version / 10000 : version / 1000)}, and cuDNN 9 is needed"
            : builtFor != major ? $"{dnn.Path} is built for CUDA {builtFor}, but {blas.Path} is of CUDA {major}"
            : Lacking(dnn, typeof(Cudnn)) is { } ofDnn ? $"{dnn.Path} has no {ofDnn}, and a newer cuDNN 9 is needed"
            : Lacking(blas, typeof(Cublas)) is { } ofBlas ? $"{blas.Path} has no {ofBlas}, and a newer cuBLAS is needed"
            : null;
    }

    /// <summary>A declared function that a library lacks, or null; the first call to it would be too late to find out.</summary>
    private static string? Lacking(
        LoadedLibrary library, [DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicMethods)] Type declared) =>
        declared.GetMethods(BindingFlags.Public | BindingFlags.Static | BindingFlags.DeclaredOnly)
            .FirstOrDefault(function => !NativeLibrary.TryGetExport(library.Handle, function.Name, out _))?.Name;

    /// <summary>In the order of loading: cuDNN looks for NVRTC by bare name, and cuBLAS for the cublasLt that lies beside it.</summary>
    private static string[] BlasFiles(int major) => Windows
        ? [$"nvrtc64_{major}0_0.dll", $"cublasLt64_{major}.dll", $"cublas64_{major}.dll"]
        : [$"libnvrtc.so.{major}", $"libcublasLt.so.{major}", $"libcublas.so.{major}"];

    private static LoadedLibrary? LoadBlas(LibraryPlace[] places, int major) =>
        places.Select(place => Array.ConvertAll(BlasFiles(major), file => Load(place, file))[^1]).FirstOrDefault(blas => blas is not null);

    /// <summary>The parts before the whole, all from one folder: the loader may find parts of another version first.</summary>
    private static LoadedLibrary? LoadDnn(LibraryPlace place)
    {
        if (place.Find(DnnFile) is { } path)
        {
            string folder = Path.GetDirectoryName(path)!;
            IEnumerable<string> parts = Directory.EnumerateFiles(folder, Windows ? "cudnn_*64_9.dll" : "libcudnn_*.so.9");
            foreach (string part in parts.Order(StringComparer.Ordinal))
            {
                Load(new LibraryPlace([folder]), Path.GetFileName(part));
            }
        }

        return Load(place, DnnFile);
    }

    private static LoadedLibrary? LoadFirst(LibraryPlace[] places, params string[] files) =>
        (from place in places from file in files select Load(place, file)).FirstOrDefault(library => library is not null);

    private static LoadedLibrary? Load(LibraryPlace place, string file)
    {
        if (place.IsLoader)
        {
            Assembly asking = typeof(NativeLibraries).Assembly;
            bool found = NativeLibrary.TryLoad(file, asking, DllImportSearchPath.SafeDirectories, out nint byName);
            Note($"{file}: {(found ? "found" : "not found")} by the system's loader");
            return found ? new LoadedLibrary(LibraryPlace.PathOfLoaded(file), byName) : null;
        }

        if (!MayHold(place, file))
        {
            return null;
        }

        string path = place.Find(file)!;
        try
        {
            LoadedLibrary library = new(path, NativeLibrary.Load(path));
            Note($"{path}: loaded");
            return library;
        }
        catch (Exception e) when (e is DllNotFoundException or BadImageFormatException)
        {
            Note($"{path}: {e.Message.ReplaceLineEndings(" ")}");
            return null;
        }
    }

    private static bool MayHold(LibraryPlace place, string file)
    {
        if (place.IsLoader || place.Find(file) is not null)
        {
            return true;
        }

        foreach (string folder in place.Folders)
        {
            Note($"{Path.Combine(folder, file)}: absent");
        }

        return false;
    }

    private static void Note(string attempt)
    {
        if (!Attempts.Contains(attempt))
        {
            Attempts.Add(attempt);
        }
    }

    private static unsafe int VersionOf(LoadedLibrary library, string function) =>
        NativeLibrary.TryGetExport(library.Handle, function, out nint address) ? (int)((delegate* unmanaged<nuint>)address)() : 0;

    private static string Where(IEnumerable<LibraryPlace> places)
    {
        string[] folders = [.. places.SelectMany(place => place.Folders).Distinct()];
        return $"by the system's loader{(folders.Length > 0 ? " or in " + string.Join(", ", folders) : "")}";
    }

    private static string OtherMajor(IEnumerable<LibraryPlace> places)
    {
        string? other = places.SelectMany(place => place.Folders).Where(Directory.Exists)
            .SelectMany(folder => Directory.EnumerateFiles(folder, Windows ? "cudnn64_*.dll" : "libcudnn.so.*"))
            .FirstOrDefault();
        return other is null ? "" : $" ({other} is of another major version)";
    }
}
