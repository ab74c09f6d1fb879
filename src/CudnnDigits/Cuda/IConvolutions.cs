namespace CudnnDigits.Cuda;

/// <summary>
/// The convolution blocks of a step, from its input to the features that the dense layers read, and back. Two ways to run
/// them: one library call or kernel per layer (<see cref="CudnnConvolutions"/>), and fused kernels of our own
/// (<see cref="FusedConvolutions"/>), which the first is the reference for.
/// </summary>
internal interface IConvolutions
{
    /// <summary>Bytes of workspace that the calls need.</summary>
    long WorkspaceBytes { get; }

    /// <summary>What computes each convolution, by their names.</summary>
    IReadOnlyDictionary<string, string> Algorithms { get; }

    /// <summary>What predictions need once for all, as long as the parameters and running statistics stay what they are.</summary>
    void PreparePrediction();

    /// <summary>From the network's input to its features.</summary>
    /// <param name="state">Says which samples these are, for dropout.</param>
    /// <param name="training">By the batch's statistics, with dropout; else by the running ones, without.</param>
    /// <param name="workspace">At least <see cref="WorkspaceBytes"/>.</param>
    void Forward(DeviceTensor state, bool training, DeviceTensor workspace);

    /// <summary>Gradients of all parameters, from what the hidden layer's <see cref="IDense.BackwardData"/> leaves.</summary>
    /// <param name="gradient">Overwritten.</param>
    /// <param name="other">Overwritten: room for another one.</param>
    /// <param name="workspace">At least <see cref="WorkspaceBytes"/>.</param>
    void Backward(DeviceTensor gradient, DeviceTensor other, DeviceTensor workspace);
}
