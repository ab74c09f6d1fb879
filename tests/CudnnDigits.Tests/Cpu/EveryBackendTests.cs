namespace CudnnDigits.Tests.Cpu;

/// <summary>What holds for every backend, on the CPU.</summary>
public sealed class EveryBackendTests : BackendTests
{
    private protected override ITrainingBackend Create(NetworkSpec network, BackendOptions options) =>
        BackendFactory.Create("cpu", network, options);
}
