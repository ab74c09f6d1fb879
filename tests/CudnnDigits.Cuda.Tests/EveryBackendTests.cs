namespace CudnnDigits.Cuda.Tests;

/// <summary>What holds for every backend, through cuDNN in fp32.</summary>
public sealed class EveryBackendInFp32Tests : BackendTests
{
    private protected override double BatchTolerance => 1e-5; // batches have algorithms of their own

    private protected override ITrainingBackend Create(NetworkSpec network, BackendOptions options) =>
        Gpu.Create(network, options with { Precision = Precision.Fp32, Deterministic = true });
}

/// <summary>What holds for every backend, in bf16: 'improved' by the fused kernels, 'simple' through cuDNN.</summary>
public sealed class EveryBackendInBf16Tests : BackendTests
{
    private protected override double BatchTolerance => 2e-2;

    private protected override ITrainingBackend Create(NetworkSpec network, BackendOptions options) => Gpu.Create(network, options with
    {
        Precision = Precision.Bf16,
        Deterministic = true,
        Kernels = network.Name == "improved" ? CudaKernels.Fused : CudaKernels.Auto,
    });
}
