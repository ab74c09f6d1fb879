using CudnnDigits.Cuda.Interop;
using CudnnDigits.Data;
using CudnnDigits.Inference;
using CudnnDigits.Model;
using CudnnDigits.Training;

namespace CudnnDigits.Cuda;

/// <summary>
/// The step for one size of batch: its descriptors and algorithms, and the step itself as a list of calls. The list is run
/// as it is, or captured once and replayed; it allocates nothing, waits for nothing and chooses nothing.
/// </summary>
internal sealed unsafe class CudaStep : IDisposable
{
    private readonly CudaSession _session;
    private readonly CudaNetwork _net;
    private readonly AugmentationSpec _augmentation;
    private readonly ulong _seed;
    private readonly GatherAugment _gather;
    private readonly IConvolutions _convs;
    private readonly IDense _hidden;
    private readonly Head _head;
    private readonly Adam _adam;
    private DeviceTensor _workspace;

    /// <param name="session">The device.</param>
    /// <param name="handles">Where its descriptors and graphs belong, disposed of with the step.</param>
    /// <param name="net">Tensors for at least <paramref name="batch"/> samples.</param>
    /// <param name="training">Seed, augmentation and optimizer; null for a step that only predicts, images of a caller.</param>
    /// <param name="batch">Samples in this step.</param>
    /// <param name="workspaceLimit">Bytes of workspace that there may be.</param>
    public CudaStep(CudaSession session, CudaHandles handles, CudaNetwork net, BackendOptions? training, int batch, long workspaceLimit)
    {
        (_session, Handles, _net, Batch) = (session, handles, net, batch);
        (_seed, _augmentation) = (training?.Seed ?? 0, training?.Augmentation ?? AugmentationSpec.None);
        _gather = new GatherAugment(session, batch, net.Fused);
        (_convs, _hidden) = net.Fused is { } fused
            ? ((IConvolutions)new FusedConvolutions(session, fused, _seed, batch), (IDense)new FusedDense(session, fused, batch))
            : (new CudnnConvolutions(session, handles, net, _seed, batch, workspaceLimit, training is not null),
                new Dense(session, batch, net.Head.Hidden.Linear.InFeatures, net.Head.Hidden.Linear.OutFeatures));
        _head = new Head(session, net.Head, batch, _hidden.Parts);
        _adam = new Adam(session, training?.Optimizer ?? new OptimizerSpec());
        session.PrepareBranches();
    }

    /// <summary>Where its descriptors and graphs belong.</summary>
    public CudaHandles Handles { get; }

    /// <summary>Samples.</summary>
    public int Batch { get; }

    /// <summary>Bytes of workspace that the convolutions need.</summary>
    public long WorkspaceBytes => _convs.WorkspaceBytes;

    /// <summary>The graphs of this step, once captured: training, prediction (of resident digits or of images, as its network is for).</summary>
    public CudaGraph? Training { get; set; }

    /// <summary>See <see cref="Training"/>.</summary>
    public CudaGraph? Prediction { get; set; }

    /// <summary>What computes each convolution, by their names.</summary>
    public IReadOnlyDictionary<string, string> Algorithms => _convs.Algorithms;

    /// <summary>Where the convolutions find their workspace.</summary>
    public void SetWorkspace(DeviceTensor workspace) => _workspace = workspace;

    /// <summary>One training step, top to bottom.</summary>
    public void EnqueueTraining()
    {
        DeviceParameters p = _net.Parameters;
        DeviceTensor state = _net.TrainingState;
        _gather.Training(state, _net.Input, _augmentation, _seed);
        EnqueueForward(state, training: true);
        _head.Training(state, _seed);

        // Nothing waits for gradients of parameters but Adam: they run on a branch, beside the gradients of data.
        LinearLayer hidden = _net.Head.Hidden.Linear;
        using (_session.OpenBranch())
        {
            _adam.BeginStep(state);
            _head.AddUp();
            _hidden.BackwardWeights(_net.Features, _net.Head.DY, p.Gradient(hidden.WeightName));
        }

        _hidden.BackwardData(p.Operand(hidden.WeightName), _net.Head.DY, _net.GradientA);
        _convs.Backward(_net.GradientA, _net.GradientB, _workspace);
        _session.Join();
        _adam.Update(state, p);
    }

    /// <summary>To be called before steps of prediction, once the parameters are what they are to be.</summary>
    public void PreparePrediction() => _convs.PreparePrediction();

    /// <summary>One step of prediction over resident digits: running statistics, no dropout, no augmentation.</summary>
    public void EnqueuePrediction()
    {
        DeviceTensor state = _net.PredictionState;
        _gather.Prediction(state, _net.Input);
        EnqueueForward(state, training: false);
        _head.Prediction(state);
    }

    /// <summary>One step of prediction over images of a caller, once <see cref="BeginImages"/> has said where they are.</summary>
    public void EnqueueImages()
    {
        DeviceTensor state = _net.PredictionState;
        _gather.Images(state, _net.Input);
        EnqueueForward(state, training: false);
        _head.Prediction(state);
    }

    /// <summary>Tells a step over images of a caller, in the order of the stream, where they are and where their logits go.</summary>
    /// <param name="images">1 … <see cref="Batch"/> of them.</param>
    /// <param name="logits">Device address of (count, classes) f32.</param>
    /// <param name="stream">The stream.</param>
    public void BeginImages(in ImageBatch images, nint logits, nint stream)
    {
        nint stateAt = _net.PredictionState.Address, imagesAt = images.Address;
        long stride = images.Stride;
        uint floats = images.Type == PixelType.Float32 ? 1u : 0, rows = (uint)images.Count;
        void** parameters = stackalloc void*[] { &stateAt, &imagesAt, &stride, &floats, &logits, &rows };
        _session.Kernels.Launch(stream, "begin_image_step", (1, 1), (32, 1), parameters);
    }

    public void Dispose() => Handles.Dispose();

    /// <summary>From the input to the product that the head begins with.</summary>
    private void EnqueueForward(DeviceTensor state, bool training)
    {
        _convs.Forward(state, training, _workspace);
        _hidden.Forward(_net.Features, _net.Parameters.Operand(_net.Head.Hidden.Linear.WeightName), _net.Head.Y);
    }
}
