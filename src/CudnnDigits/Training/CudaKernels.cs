namespace CudnnDigits.Training;

/// <summary>Which kernels run a network's layers on a GPU: the values of --kernels.</summary>
internal enum CudaKernels
{
    /// <summary>The first of Warpgroups, Fused and Layered that can run here.</summary>
    Auto,

    /// <summary>One library call or kernel per layer, by cuDNN and cuBLAS wherever they can. The reference for the others.</summary>
    Layered,

    /// <summary>Kernels of our own for all layers, most of which span several of them: in every precision, on GPUs since Ampere.</summary>
    Fused,

    /// <summary>Fused, for 'improved' in bf16 on Hopper: the convolutions of a training step multiply by warpgroups (wgmma).</summary>
    Warpgroups,
}
