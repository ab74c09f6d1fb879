using CudnnDigits.Cuda.Interop;
using CudnnDigits.Tests.Cli;

namespace CudnnDigits.Cuda.Tests;

/// <summary>Where the program finds NVIDIA's libraries, on machines laid out with the software device's.</summary>
public sealed class LibrarySearchTests : TestsWithFolder
{
    public LibrarySearchTests()
    {
        Gpu.RequireSoftware();
        Put("driver", "libcuda.so.1");
    }

    [Fact]
    public void Own_setting_may_name_several_folders()
    {
        Put("a", "libcublas.so.12");
        Put("b", "libcudnn.so.9");
        AssertFound("a/libcublas.so.12", "b/libcudnn.so.9", own: "a b");
    }

    [Fact]
    public void Own_setting_comes_before_a_Python_environment()
    {
        Put("own", "libcublas.so.12", "libcudnn.so.9");
        PutWheels("venv", cuda: 12);
        AssertFound("own/libcublas.so.12", "own/libcudnn.so.9", own: "own", ("VIRTUAL_ENV", _folder["venv"]));
    }

    [Fact]
    public void What_the_process_has_loaded_already_comes_before_other_places()
    {
        Put("loaded", "libcublas.so.12", "libcudnn.so.9", "libcuda.so.1");
        PutWheels("venv", cuda: 12);
        AssertFound(
            "loaded/libcublas.so.12", "loaded/libcudnn.so.9", own: "", ("VIRTUAL_ENV", _folder["venv"]),
            ("LD_PRELOAD", $"{_folder["loaded/libcublas.so.12"]} {_folder["loaded/libcudnn.so.9"]}"));
    }

    [Fact]
    public void A_virtual_environment_with_wheels_for_CUDA_12()
    {
        string site = PutWheels("venv", cuda: 12);
        AssertFound($"{site}/cublas/lib/libcublas.so.12", $"{site}/cudnn/lib/libcudnn.so.9", own: "", ("VIRTUAL_ENV", _folder["venv"]));
    }

    [Fact]
    public void The_python3_on_PATH_with_wheels_for_CUDA_13()
    {
        string site = PutWheels("python", cuda: 13);
        _folder.Make("python/bin");
        _folder.Write("python/bin/python3.12", "");
        _folder.Make("bin");
        File.CreateSymbolicLink(_folder["bin/python3"], _folder["python/bin/python3.12"]);
        AssertFound(
            $"{site}/cu13/lib/libcublas.so.13", $"{site}/cudnn/lib/libcudnn.so.9", own: "",
            ("PATH", $"{_folder["bin"]}:{Environment.GetEnvironmentVariable("PATH")}"),
            ("SOFTCUDA_DRIVER_VERSION", "13000"), ("SOFTCUDA_CUDNN_CUDART", "13000"));
    }

    [Fact]
    public void Conda_and_a_toolkit()
    {
        Put("conda/lib", "libcublas.so.12", "libcudnn.so.9");
        Put("toolkit/lib64", "libcublas.so.12", "libcudnn.so.9");
        AssertFound("conda/lib/libcublas.so.12", "conda/lib/libcudnn.so.9", own: "", ("CONDA_PREFIX", _folder["conda"]),
            ("CUDA_PATH", _folder["toolkit"]));
        AssertFound("toolkit/lib64/libcublas.so.12", "toolkit/lib64/libcudnn.so.9", own: "", ("CUDA_PATH", _folder["toolkit"]));
    }

    [Theory]
    [InlineData("13000", "13000", "libcublas.so.13")]
    [InlineData("12090", "12090", "libcublas.so.12")] // the driver runs no CUDA 13
    [InlineData("13000", "12090", "libcublas.so.12")] // cuDNN is built for CUDA 12
    public void Of_both_CUDA_versions_the_one_that_driver_and_cuDNN_agree_on(string driver, string cudnnBuiltFor, string blas)
    {
        Put("both", "libcublas.so.12", "libcublas.so.12=libcublas.so.13", "libcudnn.so.9");
        AssertFound($"both/{blas}", "both/libcudnn.so.9", own: "both", ("SOFTCUDA_DRIVER_VERSION", driver),
            ("SOFTCUDA_CUDNN_CUDART", cudnnBuiltFor));
    }

    [Fact]
    public void CuBLAS_may_lie_elsewhere_than_cuDNN_but_is_taken_from_beside_it_where_it_is_there()
    {
        Put("dnn", "libcudnn.so.9");
        Put("toolkit/lib64", "libcublas.so.12");
        AssertFound("toolkit/lib64/libcublas.so.12", "dnn/libcudnn.so.9", own: "dnn", ("CUDA_PATH", _folder["toolkit"]));
        Put("dnn", "libcublas.so.12");
        AssertFound("dnn/libcublas.so.12", "dnn/libcudnn.so.9", own: "dnn", ("CUDA_PATH", _folder["toolkit"]));
    }

    [Fact]
    public void A_damaged_library_is_passed_over_and_named()
    {
        Put("damaged", "libcublas.so.12");
        _folder.Write("damaged/libcudnn.so.9", "no library");
        Put("conda/lib", "libcublas.so.12", "libcudnn.so.9");
        AssertFound("conda/lib/libcublas.so.12", "conda/lib/libcudnn.so.9", own: "", ("CUDA_PATH", ""), ("CONDA_PREFIX", _folder["conda"]),
            ("VIRTUAL_ENV", ""));
        string info = Info("damaged", []).Output;
        Assert.Contains("damaged/libcudnn.so.9: ", info, StringComparison.Ordinal);
        Assert.Contains("cuDNN is missing", info, StringComparison.Ordinal);
    }

    private void AssertFound(string blas, string dnn, string own, params (string, string)[] environment)
    {
        CliProgram.Result result = Info(own, environment, "--json").Succeeded();
        using JsonDocument json = JsonDocument.Parse(result.Output);
        JsonElement cuda = json.RootElement.GetProperty("cuda");
        Assert.Equal(JsonValueKind.Null, cuda.GetProperty("why_not").ValueKind);
        Dictionary<string, string> paths = cuda.GetProperty("libraries").EnumerateArray()
            .ToDictionary(library => library.GetProperty("name").GetString()!, library => library.GetProperty("path").GetString()!);
        Assert.Equal(_folder[blas], paths["cublas"]);
        Assert.Equal(_folder[dnn], paths["cudnn"]);
    }

    private CliProgram.Result Info(string own, (string, string)[] environment, params string[] options) => CliProgram.RunIn(
        _folder.Path,
        [
            ("VIRTUAL_ENV", ""), ("CONDA_PREFIX", ""), ("CUDA_PATH", ""),
            ("CUDNN_DIGITS_CUDA_PATH",
                string.Join(':', own.Split(' ', StringSplitOptions.RemoveEmptyEntries).Prepend("driver").Select(name => _folder[name]))),
                .. environment,
        ],
        ["info", .. options]);

    /// <summary>Copies libraries of the software device; name=other puts one under another's name.</summary>
    private void Put(string folder, params string[] libraries)
    {
        string from = Path.GetDirectoryName(NativeLibraries.Loaded(NativeLibraries.Driver)!.Path)!;
        _folder.Make(folder);
        foreach (string[] names in libraries.Select(library => library.Split('=')))
        {
            File.Copy(Path.Combine(from, names[0]), Path.Combine(_folder[folder], names[^1]));
        }
    }

    /// <summary>The layout of NVIDIA's Python packages.</summary>
    private string PutWheels(string prefix, int cuda)
    {
        string site = $"{prefix}/lib/python3.12/site-packages/nvidia";
        Put($"{site}/{(cuda == 13 ? "cu13" : "cublas")}/lib", $"libcublas.so.12=libcublas.so.{cuda}");
        Put($"{site}/cudnn/lib", "libcudnn.so.9");
        return site;
    }
}
