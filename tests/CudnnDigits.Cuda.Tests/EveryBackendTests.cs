namespace CudnnDigits.Cuda.Tests;

/// <summary>What holds for every backend, in batches that the software device takes a moment for.</summary>
public abstract class EveryCudaBackendTests : BackendTests
{
    private protected override int Batch => 4;
}

/// <summary>Through cuDNN in fp32.</summary>
public sealed class EveryBackendInFp32Tests : EveryCudaBackendTests
{
    private protected override double BatchTolerance => 1e-5; // batches have algorithms of their own

    private protected override ITrainingBackend Create(NetworkSpec network, BackendOptions options) =>
        Gpu.Create(network, options with { Precision = Precision.Fp32, Deterministic = true, Kernels = CudaKernels.Layered });
}

/// <summary>By the fused kernels in each precision.</summary>
public abstract class EveryFusedBackendTests(Precision precision) : EveryCudaBackendTests
{
    private protected override double BatchTolerance => 1e-6; // the last hidden layer sums in as many parts as fill the GPU

    private protected override ITrainingBackend Create(NetworkSpec network, BackendOptions options) =>
        Gpu.Create(network, options with { Precision = precision, Deterministic = true, Kernels = CudaKernels.Fused });
}

/// <summary>In bf16.</summary>
public sealed class EveryFusedBackendInBf16Tests() : EveryFusedBackendTests(Precision.Bf16);

/// <summary>In tf32.</summary>
public sealed class EveryFusedBackendInTf32Tests() : EveryFusedBackendTests(Precision.Tf32);

/// <summary>In fp32.</summary>
public sealed class EveryFusedBackendInFp32Tests() : EveryFusedBackendTests(Precision.Fp32);
