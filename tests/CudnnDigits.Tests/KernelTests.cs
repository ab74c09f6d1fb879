using CudnnDigits.Cuda;
using CudnnDigits.Tests.Reference;

namespace CudnnDigits.Tests;

/// <summary>The PTX in the assembly beside the sources that launch it; no GPU is needed for that.</summary>
public class KernelTests
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
            Assert.Contains($"\"{name.Replace("_f32", "", StringComparison.Ordinal).Replace("_bf16", "", StringComparison.Ordinal)}\"", sources, StringComparison.Ordinal));
    }

    [Fact]
    public void Every_kernel_for_float32_has_one_for_bfloat16()
    {
        string[] entries = [.. KernelModule.Entries(KernelModule.Common)];
        Assert.NotEmpty(entries);
        Assert.All(entries.Where(name => name.EndsWith("_f32", StringComparison.Ordinal)), name => Assert.Contains(name.Replace("_f32", "_bf16", StringComparison.Ordinal), entries));
    }
}
