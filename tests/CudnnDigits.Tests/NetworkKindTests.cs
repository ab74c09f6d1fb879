using CudnnDigits.Cuda;
using CudnnDigits.Cuda.Interop;
using CudnnDigits.Tests.Data;

namespace CudnnDigits.Tests;

/// <summary>Which kernels run a network on which GPU, and what is said of those that cannot.</summary>
public class NetworkKindTests
{
    private static readonly NetworkSpec Narrow = Of("narrow", new Conv2dLayer("conv1", 1, 12, 3, 1, true)),
        Grown = Of("grown", new Conv2dLayer("conv1", 1, 8, 5, 4, true), new Conv2dLayer("conv2", 8, 8, 5, 4, true)); // to 32 and 36

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
        new CudaGpu(0, "GPU", new Version(capability), 132, 1L << 36), precision,
        DigitNetworks.Find(network) ?? (network == "grown" ? Grown : Narrow), kernels).Kernels;

    private static NetworkSpec Of(string name, params Conv2dLayer[] convs)
    {
        Shape digit = new(1, 28, 28);
        Shape features = convs.Aggregate(digit, (shape, conv) => conv.Infer(shape));
        return new(name, digit,
        [
            .. convs.SelectMany((conv, i) => new Layer[] { conv, new ReLULayer($"relu{i}") }), new FlattenLayer("flatten"),
            new LinearLayer("fc1", features.Size, 32), new ReLULayer("relu"), new LinearLayer("fc2", 32, 10),
        ]);
    }
}
