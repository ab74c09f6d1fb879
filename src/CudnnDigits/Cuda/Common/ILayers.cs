using CudnnDigits.Cuda.Device;

namespace CudnnDigits.Cuda.Common;

/// <summary>
/// All layers of a step, from the input tensor to the logits, and back. LayeredNetwork has one call per layer, FusedNetwork has
/// kernels that span several. The seam lies at the logits and not before the last layers, because no tensor between the layers has a shape
/// that both share. Where it says state, it is the <see cref="StepState"/> of the step.
/// </summary>
internal interface ILayers
{
    /// <summary>Bytes of workspace that <see cref="Forward"/> and <see cref="Backward"/> need.</summary>
    long WorkspaceBytes { get; }

    /// <summary>What computes each convolution, by their names.</summary>
    IReadOnlyDictionary<string, string> Algorithms { get; }

    /// <summary>Begins a training step: the next samples of the dataset, augmented, to the network's input.</summary>
    void Gather(DeviceTensor state, in Gathering gathering);

    /// <summary>From the input to the logits; in training with dropout and statistics of the batch, and to the loss's gradient.</summary>
    void Forward(DeviceTensor state, bool training, DeviceTensor workspace);

    /// <summary>The gradients of all parameters, after <see cref="Forward"/> in training.</summary>
    void Backward(DeviceTensor workspace);

    /// <summary>Prepares predictions; to be called whenever parameters or running statistics have changed since.</summary>
    void PreparePrediction();
}
