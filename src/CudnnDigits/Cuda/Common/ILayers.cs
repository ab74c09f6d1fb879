using CudnnDigits.Cuda.Device;

namespace CudnnDigits.Cuda.Common;

/// <summary>
/// All layers of a step, from the input tensor to the logits, and back. There are two implementations: LayeredNetwork has one call per
/// layer, FusedNetwork has kernels that span several. The seam lies at the logits and not before the last layers, because no tensor
/// between the layers has a shape that both share.
/// </summary>
internal interface ILayers
{
    /// <summary>Bytes of workspace that the calls need.</summary>
    long WorkspaceBytes { get; }

    /// <summary>What computes each convolution, by their names.</summary>
    IReadOnlyDictionary<string, string> Algorithms { get; }

    /// <summary>Begins a training step: the next samples of the dataset, augmented, to the network's input.</summary>
    /// <param name="state">The step's <see cref="StepState"/>: says which samples are next.</param>
    /// <param name="gathering">How samples are augmented.</param>
    void Gather(DeviceTensor state, in Gathering gathering);

    /// <summary>
    /// From the network's input to its logits. In training with the statistics of the batch and with dropout, up to the loss and its
    /// gradient; in prediction with the running statistics and without dropout.
    /// </summary>
    /// <param name="state">The step's <see cref="StepState"/>.</param>
    /// <param name="training">Whether this is a training step.</param>
    /// <param name="workspace">At least <see cref="WorkspaceBytes"/>.</param>
    void Forward(DeviceTensor state, bool training, DeviceTensor workspace);

    /// <summary>The gradients of all parameters, after <see cref="Forward"/> in training.</summary>
    /// <param name="workspace">At least <see cref="WorkspaceBytes"/>.</param>
    void Backward(DeviceTensor workspace);

    /// <summary>Prepares predictions; to be called whenever parameters or running statistics have changed since.</summary>
    void PreparePrediction();
}
