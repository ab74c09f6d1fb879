using CudnnDigits.Inference;

namespace CudnnDigits.Cli;

/// <summary>Where and how exactly to compute, as the command line says.</summary>
internal sealed record Machine(
    string Device, Precision? Precision, bool Deterministic, bool CudaGraph, int Threads, CudaKernels Kernels = CudaKernels.Auto)
{
    private static readonly Option<string?> DeviceOption = CommonOptions.Value(
        "--device", "auto|cpu|cuda|cuda:N", "Where to run; auto takes the first GPU where CUDA works, else the CPU. Default: auto.");

    private static readonly Option<string?> PrecisionOption = CommonOptions.Choice(
        "--precision", "Arithmetic of the step. Default: bf16 on a GPU (tf32 before Ampere); the CPU computes in fp32 only.",
        "fp32", "tf32", "bf16");

    private static readonly Option<bool> DeterministicOption = CommonOptions.Flag(
        "--deterministic", "On a GPU: only algorithms that give the same bits every time, as the CPU always does.");

    private static readonly Option<bool> NoCudaGraphOption = CommonOptions.Flag(
        "--no-cuda-graph", "On a GPU: run the step call by call instead of replaying it as a captured graph.");

    private static readonly Option<string?> KernelsOption = CommonOptions.Choice(
        "--kernels",
        "On a GPU: which kernels run the layers: those of cuDNN and cuBLAS (layered), or ours (fused, since Ampere). Default: auto, fused "
            + "where that can run, else layered.",
        [.. Enum.GetNames<CudaKernels>().Select(name => name.ToLowerInvariant())]);

    private static readonly Option<int?> ThreadsOption = CommonOptions.Ranged(
        "--threads", "N", "CPU threads; results do not depend on it. Default: all processors.", 1, BackendOptions.MostThreads);

    /// <summary>The options of a command that trains.</summary>
    public static IEnumerable<Option> Options =>
        [DeviceOption, PrecisionOption, DeterministicOption, NoCudaGraphOption, KernelsOption, ThreadsOption];

    public static IEnumerable<Option> OptionsToPredict => [DeviceOption, PrecisionOption, KernelsOption, ThreadsOption];

    /// <summary>The options that cannot change when a run resumes; device and threads can.</summary>
    public static IEnumerable<Option> FixedByRun => [PrecisionOption, DeterministicOption, KernelsOption];

    /// <summary>Reads the options; without --device, the machine is the given one.</summary>
    public static Machine From(ParseResult result, string device = "auto") => new Machine(
        device,
        result.GetValue(PrecisionOption) is { } name ? Enum.Parse<Precision>(name, ignoreCase: true) : null,
        result.GetValue(DeterministicOption),
        CudaGraph: true,
        Threads: 0,
        result.GetValue(KernelsOption) is { } kernels ? Enum.Parse<CudaKernels>(kernels, ignoreCase: true) : CudaKernels.Auto)
        .MovedBy(result);

    /// <summary>The same machine with the device, the threads and the use of graphs that the command line gives, if it does.</summary>
    public Machine MovedBy(ParseResult result)
    {
        string device = result.GetValue(DeviceOption) ?? Device;
        DeviceName.Ordinal(device); // refuses any other name
        Option[] ofGpus = [KernelsOption, NoCudaGraphOption];
        if (device == "cpu" && Array.Find(ofGpus, option => result.GetResult(option) is { Implicit: false }) is { } given)
        {
            throw IsForGpus(given);
        }

        bool graph = CudaGraph && !result.GetValue(NoCudaGraphOption);
        return this with { Device = device, Threads = result.GetValue(ThreadsOption) ?? Threads, CudaGraph = graph };
    }

    public static InputException IsForGpus(Option option) =>
        new($"{option.Name} is for GPUs, and the device is cpu; leave {option.Name} out, or choose --device cuda");

    /// <summary>Opens the GPU, if one is used, in the background; see <see cref="BackendFactory.Prepare"/>.</summary>
    public IDisposable Prepare(TrainingOptions options) => BackendFactory.Prepare(Device, options.CreateNetwork(), Precision, Kernels);

    /// <summary>A classifier. Unless quiet, standard error says why device "auto" chose the CPU.</summary>
    public DigitClassifier CreateClassifier(NetworkWeights weights, bool quiet = false)
    {
        ClassifierOptions options = new() { Device = Device, Precision = Precision, Kernels = Kernels, Threads = Threads };
        DigitClassifier classifier = new(weights, options);
        CommonOptions.Note("device", quiet || classifier.WhyCpu is null ? null : $"CPU {WhyCpu(classifier.WhyCpu)}");
        return classifier;
    }

    public ITrainingBackend CreateBackend(TrainingOptions options, out string? whyCpu) =>
        CreateBackend(options.CreateNetwork(), new BackendOptions(options, Threads), out whyCpu);

    /// <summary>
    /// A backend with the given options, apart from those that are the machine's; and, for people, why device "auto" chose the CPU.
    /// </summary>
    public ITrainingBackend CreateBackend(NetworkSpec network, BackendOptions options, out string? whyCpu)
    {
        options = options with { Precision = Precision, Deterministic = Deterministic, CudaGraph = CudaGraph, Kernels = Kernels };
        ITrainingBackend backend = BackendFactory.Create(Device, network, options, out whyCpu);
        whyCpu = whyCpu is null ? null : WhyCpu(whyCpu);
        return backend;
    }

    /// <summary>
    /// Why device "auto" chose the CPU, in brackets: in a few words if there is no GPU or driver, as on most machines; and the options that
    /// therefore have no effect.
    /// </summary>
    public string WhyCpu(string why)
    {
        const string None = "there is no NVIDIA ";
        bool isUsual = why.StartsWith(None, StringComparison.Ordinal);
        why = isUsual ? $"no NVIDIA {why[None.Length..].Split(' ', ':', ';', ',')[0]}; see info" : why;
        string kernels = Kernels == CudaKernels.Auto ? "" : $"; {KernelsOption.Name} {Kernels.ToString().ToLowerInvariant()} has no effect";
        return $"({why}{kernels}{(CudaGraph ? "" : $"; {NoCudaGraphOption.Name} has no effect")})";
    }
}
