using System.Net;
using System.Net.Sockets;
using CudnnDigits.Cli.Serve;
using CudnnDigits.Cpu;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.Hosting;

namespace CudnnDigits.Tests.Cli;

/// <summary>The server in this process, with limits of the test's own.</summary>
internal sealed class LimitedServer : IAsyncDisposable
{
    private readonly DigitClassifier _classifier;
    private readonly Batcher _batcher;
    private readonly WebApplication _app;

    public LimitedServer(NetworkWeights weights, Limits limits)
    {
        _classifier = new DigitClassifier(weights.Network, 256,
            CpuDevice.CreateClassifier(weights, new ClassifierOptions(), CpuDevice.VectorBits));
        _batcher = new Batcher(_classifier);
        Socket listener = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen();
        _app = DigitServer.Build(listener, _batcher, () => new HealthAnswer("ok", "", "", "", 0, 0), limits);
        _app.Start();
        Address = new Uri(_app.Urls.Single());
    }

    public Uri Address { get; }

    public async ValueTask DisposeAsync()
    {
        await _app.StopAsync();
        await _app.DisposeAsync();
        _batcher.Dispose();
        _classifier.Dispose();
    }
}
