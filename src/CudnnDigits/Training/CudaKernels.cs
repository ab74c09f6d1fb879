namespace CudnnDigits.Training;

/// <summary>Which kernels run a network's layers on a GPU: the values of --kernels.</summary>
internal enum CudaKernels
{
    /// <summary>The fastest that can run the network on this GPU in this precision.</summary>
    Auto,

    /// <summary>One library call or kernel per layer, by cuDNN and cuBLAS wherever they can. The reference for the others.</summary>
    Layered,

    /// <summary>Layered, with kernels of our own where they are faster than cuDNN's.</summary>
    Hybrid,

    /// <summary>Fused kernels of our own for all layers, without cuDNN and cuBLAS.</summary>
    Fused,

    /// <summary>Fused; the convolutions of a training step multiply by warpgroups (wgmma).</summary>
    Warpgroups,
}
