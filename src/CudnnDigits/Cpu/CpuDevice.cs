using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using CudnnDigits.Inference;
using CudnnDigits.Model;
using CudnnDigits.Training;

namespace CudnnDigits.Cpu;

/// <summary>Picks a vector width: 512, 256 or 128 bits. One that the machine lacks is emulated, slowly.</summary>
internal static class CpuDevice
{
    /// <summary>The widest vectors that the machine has.</summary>
    public static int VectorBits => Vector512.IsHardwareAccelerated ? 512 : Vector256.IsHardwareAccelerated ? 256 : 128;

    public static ITrainingBackend Create(NetworkSpec network, BackendOptions options, int vectorBits) => vectorBits switch
    {
        512 => new CpuBackend<Simd512, Vector512<float>>(network, options),
        256 => new CpuBackend<Simd256, Vector256<float>>(network, options),
        _ => new CpuBackend<Simd128, Vector128<float>>(network, options),
    };

    public static IClassifierDevice CreateClassifier(NetworkWeights weights, ClassifierOptions options, int vectorBits) => vectorBits switch
    {
        512 => new CpuClassifier<Simd512, Vector512<float>>(weights, options),
        256 => new CpuClassifier<Simd256, Vector256<float>>(weights, options),
        _ => new CpuClassifier<Simd128, Vector128<float>>(weights, options),
    };

    /// <summary>The instruction set behind a width, for people.</summary>
    public static string InstructionSet(int vectorBits) => vectorBits switch
    {
        512 => "AVX-512",
        256 => Fma.IsSupported ? "AVX2" : "256-bit vectors",
        _ => X86Base.IsSupported ? "SSE" : "128-bit vectors",
    };
}
