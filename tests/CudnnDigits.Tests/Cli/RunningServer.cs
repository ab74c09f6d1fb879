namespace CudnnDigits.Tests.Cli;

/// <summary>
/// The server in a process of its own, with a network that has learned the built-in digits; shared by the tests of a class.
/// </summary>
public sealed class RunningServer : IDisposable
{
    private static readonly Lazy<NetworkWeights> Trained = new(Train); // once for all classes

    private readonly TemporaryFolder _folder = new();
    private readonly Process _process;

    public RunningServer()
    {
        WeightsFile = _folder["model.safetensors"];
        Checkpoint.SaveWeights(WeightsFile, Weights, 1);
        _process = CliProgram.Start("serve", "--weights", WeightsFile, "--device", "cpu", "--port", "0", "--json");
        Address = new Uri(CliProgram.ReadAddress(_process));
        Client = new HttpClient { BaseAddress = Address };
    }

    public NetworkWeights Weights { get; } = Trained.Value;

    public string WeightsFile { get; }

    public Uri Address { get; }

    public HttpClient Client { get; }

    /// <summary>Memory of the server's process, in MiB.</summary>
    public long MemoryMiB
    {
        get
        {
            _process.Refresh();
            return _process.WorkingSet64 >> 20;
        }
    }

    public void Dispose()
    {
        Client.Dispose();
        _process.Kill();
        _process.Dispose();
        _folder.Dispose();
    }

    private static NetworkWeights Train()
    {
        TrainingOptions options = TrainingOptions.For("simple") with { Epochs = 3, Validation = 0 };
        using ITrainingBackend backend =
            BackendFactory.Create("cpu", options.CreateNetwork(), new BackendOptions(options.BatchSize, 0, AugmentationSpec.None));
        TrainingState state = new(Initializer.Create(backend.Network, 0));
        new Trainer(backend, GeneratedDigits.Create(), options, state).Run();
        return state.Weights;
    }
}
