using System.Net;
using System.Net.Sockets;
using System.Runtime.ExceptionServices;
using CudnnDigits.Cli.Exchange;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.Hosting;

namespace CudnnDigits.Cli.Serve;

/// <summary><c>serve</c>: a page to draw digits on, and predictions over HTTP.</summary>
internal static class ServeCommand
{
    private static readonly Option<string?> Weights = CommonOptions.Value(
        "--weights", "FILE", "Weights of a trained network: the folder of a run, a safetensors file or an ONNX file. "
            + $"Default: a quick model, trained first on the built-in digits, and kept in {CacheFolder.Of("serve")}.");

    private static readonly Option<int?> Port =
        CommonOptions.Ranged("--port", "N", "Port on 127.0.0.1; 0 takes any free port. Default: 8080.", 0, 65535);

    private static readonly Option<bool> Quiet = CommonOptions.Flag("--quiet", "No progress and no notes, only the addresses.");

    public static Command Create() => CommonOptions.NewCommand(
        "serve", "Serve a page to draw digits on, and predictions over HTTP, on 127.0.0.1.",
        [Weights, CommonOptions.Model, Port, .. Machine.OptionsToPredict, Quiet, CommonOptions.Json], Run);

    private static void Run(ParseResult result)
    {
        Machine machine = Machine.From(result);
        if (OperatingSystem.IsLinux())
        {
            Posix.GiveBackLargeBuffers(); // decoding pictures needs many of them
        }

        Limits limits = new Limits().WithinHandles();
        using Socket listener = Listen(result.GetValue(Port) ?? 8080);
        using Interruption interruption = new();
        string? path = result.GetValue(Weights) is { } given ? RunFolder.WeightsOf(given) : null;
        NetworkSpec? network = result.GetValue(CommonOptions.Model) is { } name ? DigitNetworks.Find(name) : null;
        NetworkWeights weights = path is null
            ? TakeQuickModel(result, machine, interruption)
            : WeightsFile.Load(path, network, result.GetValue(Quiet)).Weights;
        using DigitClassifier classifier = machine.CreateClassifier(weights, result.GetValue(Quiet));
        using Batcher batcher = new(classifier);
        string source = path ?? "quick model, trained on built-in digits";
        WebApplication app = DigitServer.Build(
            listener, batcher, () => new("ok", weights.Network.Name, source, classifier.Device, batcher.Digits, batcher.Passes), limits);
        app.Start();
        string address = app.Urls.First() + "/";
        CliJson.Print(
            result, new ServeResult(address, weights.Network.Name),
            $"page      {address}\npredict   curl --data-binary @digit.png -H 'Content-Type: image/png' {address}predict\n"
                + $"described {address}openapi.json\nCtrl-C stops it.");
        WaitHandle.WaitAny([interruption.Token.WaitHandle, batcher.Failed.WaitHandle]);
        if (batcher.Failure is null)
        {
            Interruption.LeaveEcho();
        }

        app.StopAsync().GetAwaiter().GetResult();
        if (batcher.Failure is { } failure)
        {
            ExceptionDispatchInfo.Throw(failure); // a server that is started anew may find the GPU well again
        }
    }

    /// <summary>Takes the port before anything is trained, so that one in use is reported at once, and stays free for the server.</summary>
    private static Socket Listen(int port)
    {
        Socket socket = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            socket.Bind(new IPEndPoint(IPAddress.Loopback, port));
            socket.Listen(1024); // early connections wait until the model is ready
            return socket;
        }
        catch (SocketException e)
        {
            socket.Dispose();
            throw new InputException($"--port {port}: cannot be used: {e.Message}; choose another, or 0 for any free port", e);
        }
    }

    private static NetworkWeights TakeQuickModel(ParseResult result, Machine machine, Interruption interruption)
    {
        QuickModel quick = new(result.GetValue(CommonOptions.Model) ?? DigitNetworks.Default.Name, CacheFolder.Of("serve"));
        TrainingOptions options = quick.Options;
        TrainingReporter reporter = TrainingReporter.Create(result.GetValue(Quiet), options);
        if (quick.TryRead() is { } kept)
        {
            reporter.Note("model", $"no --weights: using the quick {options.Model} model of an earlier start, {quick.File}; "
                + "weights of your own predict better");
            return kept;
        }

        using ITrainingBackend backend = machine.CreateBackend(options, out _);
        reporter.Note("model", $"no --weights: training a quick {options.Model} model "
            + $"on {GeneratedDigits.DefaultCount:N0} built-in digits; weights of your own predict better");
        TrainingState state = new(Initializer.Create(backend.Network, options.Seed));
        DigitDataset digits = GeneratedDigits.Create();
        Trainer trainer = new(backend, digits, options, state) { OnProgress = reporter.Progress, OnEpochEnd = reporter.EpochEnd };
        reporter.Run(() => trainer.Run(interruption.Token));
        reporter.Note("model", quick.TryKeep(state) is { } whyNot
            ? $"not kept for the next start: {whyNot}"
            : $"kept for the next start: {quick.File}");
        return state.Weights;
    }
}
