namespace CudnnDigits.Training;

/// <summary>Which kernels run a network's layers on a GPU: the values of --kernels.</summary>
internal enum CudaKernels
{
    /// <summary>The fastest that were measured on a GPU and can run here: Warpgroups, else Hybrid.</summary>
    Auto,

    /// <summary>One library call or kernel per layer, by cuDNN and cuBLAS wherever they can. The reference for the others.</summary>
    Layered,

    /// <summary>Layered, with kernels of our own where they are faster than cuDNN's.</summary>
    Hybrid,

    /// <summary>Kernels of our own for all layers, most of which span several of them: in every precision, on GPUs since Ampere.</summary>
    Fused,

    /// <summary>Fused, for 'improved' in bf16 on Hopper: the convolutions of a training step multiply by warpgroups (wgmma).</summary>
    Warpgroups,
}
