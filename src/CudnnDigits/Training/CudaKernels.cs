namespace CudnnDigits.Training;

/// <summary>Which kernels run a network's layers on a GPU: the values of --kernels.</summary>
internal enum CudaKernels
{
    /// <summary>Fused where that can run, else Layered.</summary>
    Auto,

    /// <summary>One library call or kernel per layer, by cuDNN and cuBLAS wherever they can. The reference for Fused.</summary>
    Layered,

    /// <summary>Kernels of our own for all layers, most of which span several of them: in every precision, on GPUs since Ampere.</summary>
    Fused,
}
