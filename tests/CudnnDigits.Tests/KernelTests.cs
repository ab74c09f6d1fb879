using CudnnDigits.Cuda;

namespace CudnnDigits.Tests;

/// <summary>The PTX in the assembly beside the sources that launch it; no GPU is needed for that.</summary>
public partial class KernelTests
{
    [Theory]
    [InlineData(KernelModule.Common)]
    [InlineData(KernelModule.Fused)]
    [InlineData(KernelModule.Hopper)]
    public void Every_kernel_has_a_caller(string module)
    {
        string folder = Path.Combine(SharedFiles.RepositoryRoot, "src", "CudnnDigits", "Cuda");
        string sources = string.Concat(Directory.EnumerateFiles(folder, "*.cs").Select(File.ReadAllText));
        Assert.All(KernelModule.Entries(module), name =>
        {
            string both = name.Replace("_f32", "", StringComparison.Ordinal).Replace("_bf16", "", StringComparison.Ordinal); // what CudaSession.KernelSuffix is added to
            Assert.True(sources.Contains($"\"{name}\"", StringComparison.Ordinal) || sources.Contains($"\"{both}\"", StringComparison.Ordinal), name);
        });
    }

    /// <summary>nvcc, which is not on every machine, would call the kernel where clang calls the function.</summary>
    [Fact]
    public void No_function_on_the_device_has_the_name_of_a_kernel()
    {
        string folder = Path.Combine(SharedFiles.RepositoryRoot, "native", "kernels");
        string sources = string.Concat(Directory.EnumerateFiles(folder, "*.cu*", SearchOption.AllDirectories).Select(File.ReadAllText));
        string[] functions = [.. DeviceFunction().Matches(sources).Select(match => match.Groups[1].Value)];
        Assert.Contains("philox_block", functions);
        Assert.Empty(functions.Intersect(new[] { KernelModule.Common, KernelModule.Fused, KernelModule.Hopper }.SelectMany(KernelModule.Entries)));
    }

    [Fact]
    public void Every_kernel_for_float32_has_one_for_bfloat16()
    {
        string[] entries = [.. KernelModule.Entries(KernelModule.Common)];
        Assert.NotEmpty(entries);
        Assert.All(entries.Where(name => name.EndsWith("_f32", StringComparison.Ordinal)), name => Assert.Contains(name.Replace("_f32", "_bf16", StringComparison.Ordinal), entries));
    }

    [GeneratedRegex(@"(?:DEVICE_INLINE|__device__)[^;{}()]*?(\w+)\(")]
    private static partial Regex DeviceFunction();
}
