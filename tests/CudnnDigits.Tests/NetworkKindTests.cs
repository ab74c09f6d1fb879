using CudnnDigits.Cuda;
using CudnnDigits.Cuda.Interop;
using CudnnDigits.Tests.Data;

namespace CudnnDigits.Tests;

/// <summary>Which kernels run a network on which GPU, and what is said of those that cannot.</summary>
public class NetworkKindTests
{
    private static readonly NetworkSpec Narrow = WithOne("narrow", channels: 12, padding: 1), Grown = WithOne("grown", channels: 8, padding: 4);

    [Theory]
    [InlineData("improved", Precision.Bf16, "9.0", nameof(CudaKernels.Fused))]
    [InlineData("improved", Precision.Bf16, "8.0", nameof(CudaKernels.Fused))]
    [InlineData("improved", Precision.Bf16, "10.0", nameof(CudaKernels.Fused))]
    [InlineData("simple", Precision.Fp32, "7.5", nameof(CudaKernels.Layered))]
    [InlineData("narrow", Precision.Bf16, "9.0", nameof(CudaKernels.Layered))]
    public void The_first_that_can_run_is_chosen(string network, Precision precision, string capability, string expected) =>
        Assert.Equal(Enum.Parse<CudaKernels>(expected), Choose(network, precision, capability, CudaKernels.Auto));

    [Fact]
    public void Fused_kernels_run_every_declared_network_in_every_precision_since_Ampere() => Assert.All(
        from network in DigitNetworks.Names
        from precision in Enum.GetValues<Precision>()
        from capability in new[] { "8.0", "8.6", "8.9", "9.0", "10.0", "12.0" }
        select Choose(network, precision, capability, CudaKernels.Fused), kernels => Assert.Equal(CudaKernels.Fused, kernels));

    [Theory]
    [InlineData("simple", "7.5", "need a GPU of compute capability 8.0 or newer")]
    [InlineData("narrow", "9.0", "have channels in multiples of 8, up to 256; 'narrow'")]
    [InlineData("grown", "9.0", "have images of up to 32 columns; 'grown'")]
    public void What_they_cannot_run_is_said(string network, string capability, string says)
    {
        InputException e = Assert.Throws<InputException>(() => Choose(network, Precision.Fp32, capability, CudaKernels.Fused));
        Assert.StartsWith("--kernels fused: these kernels ", e.Message, StringComparison.Ordinal);
        Assert.Contains(says, e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Bf16_is_refused_before_Ampere() => DataSourceTests.AssertRefused(
        "--precision bf16: needs a GPU of compute capability 8.0 or newer, and this one has 7.5; leave --precision out",
        () => Choose("simple", Precision.Bf16, "7.5", CudaKernels.Layered));

    private static CudaKernels Choose(string network, Precision precision, string capability, CudaKernels kernels) => NetworkKind.Choose(
        new CudaGpu(0, "GPU", new Version(capability), 132, 1L << 36), precision, DigitNetworks.Find(network) ?? (network == "grown" ? Grown : Narrow),
        kernels).Kernels;

    // A convolution of three by three, and two dense layers.
    private static NetworkSpec WithOne(string name, int channels, int padding)
    {
        int side = 26 + (2 * padding);
        return new(name, new Shape(1, 28, 28),
        [
            new Conv2dLayer("conv1", 1, channels, 3, padding, true), new ReLULayer("relu1"), new FlattenLayer("flatten"),
            new LinearLayer("fc1", channels * side * side, 32), new ReLULayer("relu2"), new LinearLayer("fc2", 32, 10),
        ]);
    }
}
