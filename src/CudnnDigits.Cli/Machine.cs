using System.CommandLine;
using CudnnDigits.Training;

namespace CudnnDigits.Cli;

/// <summary>What to train on, as asked for on the command line.</summary>
internal sealed record Machine(string Device, Precision? Precision, bool Deterministic, bool CudaGraph, int Threads)
{
    private static readonly Option<string?> DeviceOption = CommonOptions.Device();
    private static readonly Option<string?> PrecisionOption = CommonOptions.Precision();
    private static readonly Option<bool> DeterministicOption = CommonOptions.Deterministic();
    private static readonly Option<bool> NoCudaGraphOption = CommonOptions.NoCudaGraph();
    private static readonly Option<int?> ThreadsOption = CommonOptions.Threads();

    /// <summary>The options, for a command's list.</summary>
    public static IEnumerable<Option> Options => [DeviceOption, PrecisionOption, DeterministicOption, NoCudaGraphOption, ThreadsOption];

    /// <summary>Those of them that a run settles once for all; device and threads may change when it resumes.</summary>
    public static IEnumerable<Option> FixedByRun => [PrecisionOption, DeterministicOption];

    /// <summary>Reads the options; where the device is not given, it is <paramref name="device"/>.</summary>
    public static Machine From(ParseResult result, string device = "auto")
    {
        Machine machine = new(
            result.GetValue(DeviceOption) ?? device,
            CommonOptions.PrecisionOf(result.GetValue(PrecisionOption)),
            result.GetValue(DeterministicOption),
            !result.GetValue(NoCudaGraphOption),
            result.GetValue(ThreadsOption) ?? 0);
        BackendFactory.CheckDevice(machine.Device);
        return machine;
    }

    /// <summary>The same, but where the command line names another device or number of threads, or turns the graph off.</summary>
    public Machine MovedBy(ParseResult result)
    {
        Machine machine = this with { Device = result.GetValue(DeviceOption) ?? Device, Threads = result.GetValue(ThreadsOption) ?? Threads, CudaGraph = CudaGraph && !result.GetValue(NoCudaGraphOption) };
        BackendFactory.CheckDevice(machine.Device);
        return machine;
    }

    /// <summary>Opens the GPU, if there is to be one, beside whatever comes next; see <see cref="BackendFactory.Prepare"/>.</summary>
    public IDisposable Prepare(TrainingOptions options) => BackendFactory.Prepare(Device, options.CreateNetwork(), Precision);

    /// <summary>A backend to train with.</summary>
    public ITrainingBackend CreateBackend(TrainingOptions options, out string? whyCpu) => BackendFactory.Create(
        Device,
        options.CreateNetwork(),
        new BackendOptions(options, Threads) { Precision = Precision, Deterministic = Deterministic, CudaGraph = CudaGraph },
        out whyCpu);
}
