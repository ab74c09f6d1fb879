using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Interop;

namespace CudnnDigits.Tests;

/// <summary>A GPU that is used as if it were an older one.</summary>
public class CudaGpuTests
{
    private static readonly CudaGpu Hopper = new(0, "H200", new Version(9, 0), 132, 1L << 37) { SharedMemory = 228 << 10 };

    [Theory]
    [InlineData("7.5", 64)]
    [InlineData("8.0", 164)]
    [InlineData("8.6", 100)]
    [InlineData("8.9", 100)]
    [InlineData("9.0", 228)]
    public void It_has_the_code_and_the_shared_memory_of_the_older_one(string capability, int kibibytes)
    {
        CudaGpu older = Hopper.AsOlder(capability);
        Assert.Equal(Hopper with { ComputeCapability = Version.Parse(capability), SharedMemory = kibibytes << 10 }, older);
        Assert.Equal(capability == "9.0", KernelSource.Switches(older.ComputeCapability, Precision.Tf32).Length > 0);
    }

    [Fact]
    public void It_never_gets_more_than_it_has() =>
        Assert.Equal(99 << 10, (Hopper with { SharedMemory = 99 << 10 }).AsOlder("8.0").SharedMemory);

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    public void It_is_itself_where_no_other_is_named(string? named) => Assert.Same(Hopper, Hopper.AsOlder(named));

    [Theory]
    [InlineData("10.0")]
    [InlineData("86")]
    [InlineData("sm_86")]
    public void What_it_cannot_be_is_refused(string named) => Data.DataSourceTests.AssertRefused(
        $"CUDNN_DIGITS_COMPUTE_CAPABILITY is {named}, expected a compute capability such as 8.6, up to 9.0, that of GPU 0",
        () => Hopper.AsOlder(named));
}
