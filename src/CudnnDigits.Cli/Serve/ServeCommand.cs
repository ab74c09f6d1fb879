using System.CommandLine;
using System.Net;
using System.Net.Sockets;
using CudnnDigits.Cli.Exchange;
using CudnnDigits.Data;
using CudnnDigits.Inference;
using CudnnDigits.Model;
using CudnnDigits.Training;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.Hosting;

namespace CudnnDigits.Cli.Serve;

/// <summary><c>serve</c>: a page to draw digits on, and predictions over HTTP.</summary>
internal static class ServeCommand
{
    private static readonly Option<string?> Weights = new("--weights") { Description = $"Weights of a trained network: the folder of a run, a safetensors file or an ONNX file. Default: a quick model, trained first on the built-in digits, and kept in {CacheFolder.Of("serve")}.", HelpName = "FILE" };
    private static readonly Option<string?> Model = CommonOptions.Model();
    private static readonly Option<int?> Port = CommonOptions.Ranged("--port", "N", "Port on 127.0.0.1; 0 takes any that is free. Default: 8080.", 0, 65535);
    private static readonly Option<string?> Device = CommonOptions.Device();
    private static readonly Option<string?> Precision = CommonOptions.Precision();
    private static readonly Option<int?> Threads = CommonOptions.Threads();
    private static readonly Option<bool> Quiet = new("--quiet") { Description = "No progress, only the address." };
    private static readonly Option<bool> Json = CommonOptions.Json();

    public static Command Create()
    {
        Command command = new("serve", "Serve a page to draw digits on, and predictions over HTTP, on 127.0.0.1.") { Weights, Model, Port, Device, Precision, Threads, Quiet, Json };
        command.SetAction(Run);
        return command;
    }

    private static int Run(ParseResult result)
    {
        BackendFactory.CheckDevice(result.GetValue(Device) ?? "auto");
        if (OperatingSystem.IsLinux())
        {
            Posix.GiveBackLargeBuffers(); // of which the unpacking of pictures takes many
        }

        Limits limits = new Limits().WithinHandles();
        using Socket listener = Listen(result.GetValue(Port) ?? 8080);
        using Interruption interruption = new();
        string? path = result.GetValue(Weights) is { } given ? RunFolder.WeightsOf(given) : null;
        NetworkWeights weights = path is null
            ? TakeQuickModel(result, interruption)
            : WeightsFile.Load(path, result.GetValue(Model) is { } name ? DigitNetworks.Find(name) : null, result.GetValue(Quiet)).Weights;
        using DigitClassifier classifier = CommonOptions.CreateClassifier(weights, result.GetValue(Device), result.GetValue(Threads), result.GetValue(Precision), result.GetValue(Quiet));
        using Batcher batcher = new(classifier);
        WebApplication app = DigitServer.Build(listener, batcher, () =>
            new HealthAnswer("ok", weights.Network.Name, path ?? "quick model, trained on built-in digits", classifier.Device, batcher.Digits, batcher.Passes), limits);
        app.Start();
        string address = app.Urls.First() + "/";
        StandardStreams.Tell(result.GetValue(Json), result.GetValue(Json)
            ? JsonSerializer.Serialize(new ServeResult(address, weights.Network.Name), CliJson.Default.ServeResult)
            : $"page      {address}\npredict   curl --data-binary @digit.png -H 'Content-Type: image/png' {address}predict\ndescribed {address}openapi.json\nCtrl-C stops it.");
        interruption.Token.WaitHandle.WaitOne();
        app.StopAsync().GetAwaiter().GetResult();
        return ExitCode.Done;
    }

    /// <summary>A port that is taken is said before anything is trained, and nobody takes it meanwhile.</summary>
    private static Socket Listen(int port)
    {
        Socket socket = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            socket.Bind(new IPEndPoint(IPAddress.Loopback, port));
            socket.Listen(1024); // whoever comes early waits for the model
            return socket;
        }
        catch (SocketException e)
        {
            socket.Dispose();
            throw new InputException($"--port {port}: cannot be listened on: {e.Message}; choose another, or 0 for any that is free", e);
        }
    }

    private static NetworkWeights TakeQuickModel(ParseResult result, Interruption interruption)
    {
        QuickModel quick = new(result.GetValue(Model) ?? DigitNetworks.Default.Name, CacheFolder.Of("serve"));
        TrainingOptions options = quick.Options;
        TrainingReporter reporter = TrainingReporter.Create(result.GetValue(Quiet), options);
        if (quick.TryRead() is { } kept)
        {
            reporter.Note("model", $"no --weights: the quick {options.Model} model that was trained at an earlier start, {quick.File}; weights of your own read better");
            return kept;
        }

        Machine machine = new(result.GetValue(Device) ?? "auto", CommonOptions.PrecisionOf(result.GetValue(Precision)), Deterministic: false, CudaGraph: true, result.GetValue(Threads) ?? 0);
        using ITrainingBackend backend = machine.CreateBackend(options, out _);
        reporter.Note("model", $"no --weights: training a quick {options.Model} model on {GeneratedDigits.DefaultCount:N0} built-in digits; weights of your own read better");
        TrainingState state = new(Initializer.Create(backend.Network, options.Seed));
        Trainer trainer = new(backend, GeneratedDigits.Create(), options, state) { OnProgress = reporter.Progress, OnEpochEnd = reporter.EpochEnd };
        reporter.Run(() => trainer.Run(interruption.Token));
        reporter.Note("model", quick.TryKeep(state) is { } whyNot ? $"not kept for the next start: {whyNot}" : $"kept for the next start: {quick.File}");
        return state.Weights;
    }
}
