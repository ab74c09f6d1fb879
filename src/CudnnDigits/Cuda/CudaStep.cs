using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Interop;
using CudnnDigits.Inference;
using CudnnDigits.Training;

namespace CudnnDigits.Cuda;

/// <summary>
/// The step for one size of batch, as a list of calls. The list is run as it is, or captured once and replayed; it allocates nothing,
/// waits for nothing and chooses nothing.
/// </summary>
internal sealed class CudaStep : IDisposable
{
    private readonly CudaSession _session;
    private readonly CudaNetwork _net;
    private readonly Gathering _gathering;
    private readonly GatherAugment _gather;
    private readonly ILayers _layers;
    private readonly Adam _adam;
    private readonly Ema _ema;
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
        _gathering = training is null ? default : Gathering.ForTraining(training.Augmentation, training.Seed);
        _gather = new GatherAugment(session, batch);
        _layers = net.MakeLayers(handles, batch, training?.Seed ?? 0, workspaceLimit);
        _adam = new Adam(session, training?.Optimizer ?? new OptimizerSpec());
        _ema = new Ema(session, training?.Ema ?? 0);
        session.PrepareBranches();
    }

    /// <summary>Where its descriptors and graphs belong.</summary>
    public CudaHandles Handles { get; }

    /// <summary>Samples.</summary>
    public int Batch { get; }

    /// <summary>Bytes of workspace that the layers need.</summary>
    public long WorkspaceBytes => _layers.WorkspaceBytes;

    /// <summary>
    /// The graphs of this step, once captured: training, prediction (of resident digits or of images, as its network is for).
    /// </summary>
    public CudaGraph? Training { get; set; }

    /// <summary>See <see cref="Training"/>.</summary>
    public CudaGraph? Prediction { get; set; }

    /// <summary>What computes each convolution, by their names.</summary>
    public IReadOnlyDictionary<string, string> Algorithms => _layers.Algorithms;

    /// <summary>Where the layers find their workspace.</summary>
    public void SetWorkspace(DeviceTensor workspace) => _workspace = workspace;

    /// <summary>One training step, top to bottom.</summary>
    public void EnqueueTraining()
    {
        DeviceTensor state = _net.TrainingState;
        _layers.Gather(state, _gathering);
        _layers.Forward(state, training: true, _workspace);
        using (_session.OpenBranch())
        {
            _adam.BeginStep(state); // beside the gradients
        }

        _layers.Backward(_workspace);
        _adam.Update(state, _net.Parameters);
        if (_net.Parameters.Average is { } average)
        {
            _ema.Update(state, _net.Parameters.W, average);
        }
    }

    /// <summary>To be called before steps of prediction, once the parameters are what they are to be.</summary>
    public void PreparePrediction() => _layers.PreparePrediction();

    /// <summary>One step of prediction over resident digits: running statistics, no dropout, no augmentation.</summary>
    public void EnqueuePrediction()
    {
        _gather.Prediction(_net.PredictionState, _net.Input);
        _layers.Forward(_net.PredictionState, training: false, _workspace);
    }

    /// <summary>One step of prediction over images of a caller, once <see cref="BeginImages"/> has said where they are.</summary>
    public void EnqueueImages()
    {
        _gather.Images(_net.PredictionState, _net.Input);
        _layers.Forward(_net.PredictionState, training: false, _workspace);
    }

    /// <summary>Tells a step over images of a caller, in the order of the stream, where they are and where their logits go.</summary>
    /// <param name="images">1 … <see cref="Batch"/> of them.</param>
    /// <param name="logits">Device address of (count, classes) f32.</param>
    /// <param name="stream">The stream.</param>
    public void BeginImages(in ImageBatch images, nint logits, nint stream) =>
        _session.Kernels.Launch(stream, "begin_image_step", (1, 1), new BeginImageStep
        {
            State = _net.PredictionState.Address,
            Images = images.Address,
            Stride = images.Stride,
            FloatPixels = images.Type == PixelType.Float32 ? 1u : 0,
            Logits = logits,
            Rows = (uint)images.Count,
        });

    public void Dispose() => Handles.Dispose();
}

/// <summary>Parameters of begin_image_step in native/kernels/common/gather_images.cu.</summary>
internal struct BeginImageStep
{
    public nint State, Images;
    public long Stride;
    public uint FloatPixels;
    public nint Logits;
    public uint Rows;
}
