using CudnnDigits.Cuda.Interop;
using CudnnDigits.Tests.Cli;

namespace CudnnDigits.Cuda.Tests;

/// <summary>
/// The program on machines where something is missing or breaks, played by the software device: one line that says what and what to do.
/// </summary>
public sealed class BadMachineTests : TestsWithFolder
{
    private const string Device = "libcuda.so.1 libcublas.so.12 libcudnn.so.9";

    private readonly string _data;

    public BadMachineTests()
    {
        Gpu.RequireSoftware();
        _data = _folder.Write("digits.csv", DigitFiles.Csv(GeneratedDigits.Create(80)));
    }

    /// <summary>
    /// Libraries that are there (name=other puts one under another's name, name-function takes a function from it), settings of
    /// the software device, what the line says.
    /// </summary>
    public static TheoryData<string, string, string> Missing => new()
    {
        { "libcublas.so.12 libcudnn.so.9", "", "there is no NVIDIA driver: libcuda.so.1 was not found" },
        { Device, "SOFTCUDA_DEVICES=0", "there is no NVIDIA GPU on this machine" },
        { Device, "SOFTCUDA_FAIL=cuInit:1:803,cuInit:1:803",
            "the NVIDIA driver does not start: cuInit failed: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH" },
        { Device, "SOFTCUDA_DRIVER_VERSION=11080", "the NVIDIA driver is too old: it runs CUDA up to 11.8, and the kernels for compute "
            + "capability 9.0 need CUDA 12.0 or newer; update the driver" },
        { Device, "SOFTCUDA_DRIVER_VERSION=11080 SOFTCUDA_COMPUTE_CAPABILITY=80",
            "the NVIDIA driver is too old: it runs CUDA up to 11.8, and cuBLAS and cuDNN 9 need CUDA 12 or newer" },
        { Device, "SOFTCUDA_DRIVER_VERSION=12000 SOFTCUDA_PTX_VERSION=70",
            "the driver (CUDA 12.0) cannot run the kernels (PTX 7.5, for sm_75 and newer); update the NVIDIA driver" },
        { Device, "SOFTCUDA_COMPUTE_CAPABILITY=70",
            "cuda:0 is too old (compute capability 7.0; 7.5 or newer is needed); use a newer GPU" },
        { "libcuda.so.1 libcublas.so.12", "", "cuDNN is missing: libcudnn.so.9 was not found" },
        { "libcuda.so.1 libcublas.so.12 libcudnn.so.9=libcudnn.so.8", "", "libcudnn.so.8 is of another major version" },
        { Device, "SOFTCUDA_CUDNN_VERSION=8907", "libcudnn.so.9 is cuDNN 8, and cuDNN 9 is needed" },
        { Device, "SOFTCUDA_CUDNN_CUDART=13000", "libcudnn.so.9 is built for CUDA 13, but" },
        { Device, "SOFTCUDA_FAIL=cudnnCreate:1:1002", "are of different versions" },
        { "libcuda.so.1-cuEventSynchronize libcublas.so.12 libcudnn.so.9", "",
            "libcuda.so.1 has no cuEventSynchronize; update the driver" },
        { "libcuda.so.1 libcublas.so.12 libcudnn.so.9-cudnnGetLastErrorString", "",
            "libcudnn.so.9 has no cudnnGetLastErrorString, and a newer cuDNN 9 is needed" },
        { "libcuda.so.1 libcudnn.so.9", "", "cuBLAS is missing: libcublas.so.12 (the driver runs CUDA up to 12) was not found" },
    };

    [Theory]
    [MemberData(nameof(Missing))]
    public void What_is_missing_is_said_and_auto_trains_on_the_CPU(string libraries, string settings, string says)
    {
        (string, string)[] machine = Machine(libraries, settings);
        CliProgram.Result refused = CliProgram.RunIn(_folder.Path, machine, Train("refused", "--device", "cuda", "--kernels", "layered"));
        Assert.Equal(2, refused.ExitCode);
        Assert.Contains($"--device cuda: ", OnlyLine(refused.Error), StringComparison.Ordinal);
        Assert.Contains(says, refused.Error, StringComparison.Ordinal);
        Assert.False(Directory.Exists(_folder["refused"]));

        CliProgram.Result auto = CliProgram.RunIn(_folder.Path, machine, Train("auto", "--kernels", "layered")).Succeeded();
        string device = Assert.Single(auto.Error.Split('\n'), line => line.StartsWith("device ", StringComparison.Ordinal));
        Assert.Contains("CPU, ", device, StringComparison.Ordinal);
        Assert.Contains(says.StartsWith("there is no NVIDIA ", StringComparison.Ordinal) ? "no NVIDIA " : says, device,
            StringComparison.Ordinal);

        CliProgram.Result info = CliProgram.RunIn(_folder.Path, machine, "info").Succeeded();
        if (!settings.Contains("PTX", StringComparison.Ordinal) && !settings.Contains("cudnnCreate", StringComparison.Ordinal))
        {
            Assert.Contains(says, info.Output, StringComparison.Ordinal); // the others show when a device is opened
        }
    }

    [Theory]
    [InlineData("--device cuda:7", "", 2, "there is no GPU 7: this machine has 1, cuda:0")]
    [InlineData("--device cuda --batch-size 4096 --precision fp32", "SOFTCUDA_MEMORY=440000000", 2,
        "MiB are free; try --batch-size 2048, or close other programs on the GPU")]
    [InlineData("--device cuda --batch-size 64", "SOFTCUDA_MEMORY=1500000000 SOFTCUDA_MEMORY_TAKEN=1495000000", 2,
        "of 1,431 MiB are free; close other programs")]
    [InlineData("--device cuda", "SOFTCUDA_FAIL=cuMemAlloc_v2:1:2", 2, "the GPU's memory is too small")]
    [InlineData("--device cuda", "SOFTCUDA_FAIL=cuMemAlloc_v2:2:2", 2, "the 80 digits do not fit")]
    [InlineData("--device cuda --kernels layered", "SOFTCUDA_FAIL=cublasCreate_v2:1:3", 1,
        "the GPU failed: cublasCreate_v2 failed: CUBLAS_STATUS_ALLOC_FAILED")]
    [InlineData("--device cuda", "SOFTCUDA_FAIL=cuStreamEndCapture:1:901", 1,
        "the GPU failed in epoch 1: cuStreamEndCapture failed: CUDA_ERROR_STREAM_CAPTURE_INVALIDATED")]
    [InlineData("--device cuda --kernels layered", "SOFTCUDA_FAIL=cudnnConvolutionForward:2:5000", 1,
        "the GPU failed in epoch 1: cudnnConvolutionForward failed: CUDNN_STATUS_EXECUTION_FAILED")]
    [InlineData("--device cuda --kernels layered --no-cuda-graph", "SOFTCUDA_FAIL=cublasGemmEx:3:13", 1,
        "the GPU failed in epoch 1: cublasGemmEx failed: CUBLAS_STATUS_EXECUTION_FAILED")]
    [InlineData("--device cuda --kernels layered --batch-size 48", "SOFTCUDA_FAIL=cudnnGetConvolutionForwardWorkspaceSize:4:5000", 1,
        "the GPU failed in epoch 1: conv2, forward: workspace failed: CUDNN_STATUS_EXECUTION_FAILED")]
    [InlineData("--device cuda --kernels layered --batch-size 48",
        "SOFTCUDA_FAIL=cudnnGetConvolutionForwardWorkspaceSize:4:3000,cudnnGetConvolutionForwardWorkspaceSize:4:3000", 2,
        "cuDNN has no algorithm for conv2, forward, in bf16")]
    [InlineData("--device cuda --kernels layered", "SOFTCUDA_WORKSPACE=18446744073709551615", 1,
        "the GPU failed: cuDNN says that the workspace of conv1, forward, takes 18446744073709551615 bytes")]
    [InlineData("--device cuda --kernels layered --model improved --precision fp32", "SOFTCUDA_WORKSPACE=18446744073709551615", 1,
        "the GPU failed: cuDNN says that the workspace of a batch norm takes")]
    [InlineData("--device cuda", "SOFTCUDA_DEVICES=-1", 2, "there is no NVIDIA GPU on this machine")]
    [InlineData("--device cuda --kernels layered", "SOFTCUDA_DRIVER_VERSION=0", 2, "the NVIDIA driver is too old: it runs CUDA up to 0.0")]
    [InlineData("--device cuda --kernels layered", "SOFTCUDA_CUDNN_VERSION=0", 2, "libcudnn.so.9 is cuDNN 0, and cuDNN 9 is needed")]
    [InlineData("--device cuda", "SOFTCUDA_MULTIPROCESSORS=-1", 1, "the GPU failed: the driver says that attribute 16 of GPU 0 is -1")]
    [InlineData("--device cuda", "SOFTCUDA_MULTIPROCESSORS=0", 1, "the GPU failed: the driver says that attribute 16 of GPU 0 is 0")]
    [InlineData("--device cuda", "SOFTCUDA_FAIL=cuStreamCreate:1:0", 1,
        "the GPU failed: a call succeeded that was to give a CudaStream, and gave none")]
    [InlineData("--device cuda --precision fp32", "SOFTCUDA_PTX_VERSION=78", 2,
        "cannot run the kernels (PTX 8.0, for sm_90a); update the NVIDIA driver: ")]
    [InlineData("--device auto --precision bf16", "SOFTCUDA_COMPUTE_CAPABILITY=75", 2,
        "--precision bf16: needs a GPU of compute capability 8.0 or newer, and this one has 7.5; leave --precision out")]
    [InlineData("--device cpu --precision bf16", "", 2, "--precision bf16: the CPU computes in fp32; leave --precision out")]
    [InlineData("--device auto --precision tf32", "SOFTCUDA_DEVICES=0", 2,
        "the CPU computes in fp32, and there is no GPU to use: there is no NVIDIA GPU")]
    public void What_goes_wrong_is_said_in_one_line(string options, string settings, int exitCode, string says)
    {
        CliProgram.Result result = CliProgram.RunIn(_folder.Path, Machine(Device, settings), Train("run", options.Split(' ')));
        Assert.Equal(exitCode, result.ExitCode);
        string line = Assert.Single(result.Error.Split('\n'), line => line.StartsWith("cudnn-digits: error: ", StringComparison.Ordinal));
        Assert.Contains(says, line, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Kernels_that_cannot_run_are_refused()
    {
        CliProgram.Result refused = CliProgram.RunIn(
            _folder.Path, Machine(Device, "SOFTCUDA_COMPUTE_CAPABILITY=75"),
            Train("refused", "--device", "cuda", "--model", "improved", "--kernels", "fused"));
        Assert.Equal(2, refused.ExitCode);
        Assert.Contains("--kernels fused: these kernels need a GPU of compute capability 8.0 or newer; leave --kernels out",
            OnlyLine(refused.Error), StringComparison.Ordinal);
        Assert.False(Directory.Exists(_folder["refused"]));
    }

    [Fact]
    public void A_GPU_that_fails_in_the_middle_of_a_run_costs_the_running_epoch_at_most()
    {
        // Three epochs of two steps; "adam" runs once more to warm up each of the two sizes of batch. The sixth is in epoch 2.
        string[] train = Train("run", "--device", "cuda", "--deterministic", "--precision", "fp32", "--epochs", "3", "--batch-size", "40");
        CliProgram.Result failed = CliProgram.RunIn(_folder.Path, Machine(Device, "SOFTCUDA_FAIL=adam:6:700"), train);
        Assert.Equal(1, failed.ExitCode);
        Assert.Contains("the GPU failed in epoch 2: ", failed.Error, StringComparison.Ordinal);
        Assert.Contains("CUDA_ERROR_ILLEGAL_ADDRESS", failed.Error, StringComparison.Ordinal);
        Assert.Contains("keeps the state after epoch 1", failed.Error, StringComparison.Ordinal);

        CliProgram.RunIn(_folder.Path, Machine(Device, ""), "train", "--resume", _folder["run"]).Succeeded();
        train[Array.IndexOf(train, "--out") + 1] = _folder["whole"];
        CliProgram.RunIn(_folder.Path, Machine(Device, ""), train).Succeeded();
        Assert.Equal(File.ReadAllBytes(_folder["whole/model.safetensors"]), File.ReadAllBytes(_folder["run/model.safetensors"]));
    }

    [Fact]
    public void The_fused_kernels_need_nothing_but_the_driver()
    {
        // Nor one that captures kernels which begin early: they wait for each other then.
        (string, string)[] machine = Machine("libcuda.so.1", "SOFTCUDA_DRIVER_VERSION=12020");
        string[] train = Train("run", "--device", "auto", "--model", "improved", "--epochs", "1", "--batch-size", "16",
            "--precision", "tf32", "--data", _folder.Write("few.csv", DigitFiles.Csv(GeneratedDigits.Create(20))), "--validation", "0");
        CliProgram.Result trained = CliProgram.RunIn(_folder.Path, machine, train).Succeeded();
        const string Ran = "software CUDA device (for tests), tf32, fused kernels";
        Assert.Contains($"device    {Ran}\n", trained.Error, StringComparison.Ordinal);
        string record = File.ReadAllText(_folder["run/run.json"]);
        Assert.Contains("\"cublas\": null", record, StringComparison.Ordinal);
        Assert.Contains("\"cudnn\": null", record, StringComparison.Ordinal);
        Assert.Contains("\"kernels\": \"fused\"", record, StringComparison.Ordinal); // what auto has chosen
        Assert.Contains("\"kernels\": \"Auto\"", record, StringComparison.Ordinal);
        Assert.Contains(Ran, File.ReadAllText(_folder["run/report.html"]), StringComparison.Ordinal);
        string[] predict = ["predict", "--data", _data, "--weights", _folder["run/model.safetensors"], "--out", _folder["submission.csv"],
            "--device", "cuda"];
        CliProgram.RunIn(_folder.Path, machine, predict).Succeeded();

        string info = CliProgram.RunIn(_folder.Path, machine, "info").Output;
        Assert.Contains("cuda backend  bf16, tf32, fp32; not --kernels layered: cuDNN is missing", info, StringComparison.Ordinal);

        CliProgram.Result refused = CliProgram.RunIn(_folder.Path, machine, [.. predict, "--kernels", "layered"]);
        Assert.Equal(2, refused.ExitCode);
        Assert.Contains("--device cuda: cuDNN is missing", OnlyLine(refused.Error), StringComparison.Ordinal);
        Assert.EndsWith("on a GPU since Ampere, every --model runs without them if --kernels is left out", OnlyLine(refused.Error),
            StringComparison.Ordinal);
    }

    private string[] Train(string run, params string[] options)
    {
        (string, string)[] defaults =
            [("--data", _data), ("--model", "simple"), ("--epochs", "2"), ("--batch-size", "40"), ("--out", _folder[run])];
        return ["train", .. defaults.Where(option => !options.Contains(option.Item1))
            .SelectMany(option => new[] { option.Item1, option.Item2 }), .. options];
    }

    /// <summary>An environment in which only these libraries are to be found.</summary>
    private (string Name, string Value)[] Machine(string libraries, string settings)
    {
        string from = Path.GetDirectoryName(NativeLibraries.Loaded(NativeLibraries.Driver)!.Path)!, folder = _folder["cuda"];
        Directory.CreateDirectory(folder);
        foreach (string library in libraries.Split(' '))
        {
            string[] parts = library.Split('-'), names = parts[0].Split('=');
            string link = Path.Combine(folder, names[^1]);
            if (!File.Exists(link))
            {
                File.Copy(Path.Combine(from, names[0]), link);
                foreach (string function in parts[1..])
                {
                    Rename(link, function);
                }
            }
        }

        return
        [
            ("CUDNN_DIGITS_CUDA_PATH", folder), ("VIRTUAL_ENV", ""), ("CONDA_PREFIX", ""), ("CUDA_PATH", ""),
            .. settings.Split(' ', StringSplitOptions.RemoveEmptyEntries)
                .Select(setting => (setting.Split('=')[0], setting[(setting.IndexOf('=', StringComparison.Ordinal) + 1)..])),
        ];
    }

    /// <summary>Takes a function from a library: the table that it is looked up in has it under another name.</summary>
    private static void Rename(string library, string function)
    {
        byte[] bytes = File.ReadAllBytes(library), name = Encoding.ASCII.GetBytes($"\0{function}\0");
        int at = bytes.AsSpan().IndexOf(name);
        Assert.True(at >= 0, $"{library} has no {function}");
        bytes[at + 1] = (byte)'_';
        File.WriteAllBytes(library, bytes);
    }

    private static string OnlyLine(string error) =>
        Assert.Single(error.TrimEnd('\n').Split('\n'), line => !line.StartsWith("softcuda:", StringComparison.Ordinal));
}
