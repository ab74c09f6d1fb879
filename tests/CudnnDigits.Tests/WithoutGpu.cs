using System.Runtime.CompilerServices;

namespace CudnnDigits.Tests;

/// <summary>These tests are of what needs no GPU: the programs they start see none, whatever the machine has.</summary>
internal static class WithoutGpu
{
    [ModuleInitializer]
    internal static void Hide()
    {
        Environment.SetEnvironmentVariable("CUDNN_DIGITS_CUDA_PATH", null);
        Environment.SetEnvironmentVariable("CUDA_VISIBLE_DEVICES", "-1");
    }
}
