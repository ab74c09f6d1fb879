using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Interop;
using CudnnDigits.Inference;
using CudnnDigits.Training;

namespace CudnnDigits.Cuda;

/// <summary>The step for one size of batch: a list of calls, run as it is or captured; it allocates, waits and chooses nothing.</summary>
internal sealed class CudaStep : IDisposable
{
    private readonly CudaSession _session;
    private readonly CudaNetwork _net;
    private readonly Gathering _gathering;
    private readonly GatherAugment _gather;
    private readonly Adam _adam;
    private readonly Ema _ema;
    private DeviceTensor _workspace;

    /// <summary>A step whose handles are disposed of with it; without training options, it only predicts, images of a caller.</summary>
    public CudaStep(CudaSession session, CudaHandles handles, CudaNetwork net, BackendOptions? training, int batch, long workspaceLimit)
    {
        (_session, Handles, _net, Batch) = (session, handles, net, batch);
        _gathering = training is null ? default : Gathering.ForTraining(training.Augmentation, training.Seed);
        _gather = new GatherAugment(session, batch);
        Layers = net.MakeLayers(handles, batch, training?.Seed ?? 0, workspaceLimit);
        _adam = new Adam(session, training?.Optimizer ?? new OptimizerSpec());
        _ema = new Ema(session, training?.Ema ?? 0);
    }

    /// <summary>Where its descriptors and graphs belong.</summary>
    public CudaHandles Handles { get; }

    public int Batch { get; }

    /// <summary>The graph of training, once captured.</summary>
    public CudaGraph? Training { get; set; }

    /// <summary>The graph of prediction, of resident digits or of images of a caller, once captured.</summary>
    public CudaGraph? Prediction { get; set; }

    public ILayers Layers { get; }

    public void SetWorkspace(DeviceTensor workspace) => _workspace = workspace;

    /// <summary>One training step, top to bottom.</summary>
    public void EnqueueTraining()
    {
        DeviceTensor state = _net.TrainingState;
        Layers.Gather(state, _gathering);
        Layers.Forward(state, training: true, _workspace);
        using (_session.OpenBranch())
        {
            _adam.BeginStep(state); // beside the gradients
        }

        Layers.Backward(_workspace);
        _adam.Update(state, _net.Parameters);
        if (_net.Parameters.Average is { } average)
        {
            _ema.Update(state, _net.Parameters.W, average);
        }
    }

    /// <summary>One step of prediction over resident digits: running statistics, no dropout, no augmentation.</summary>
    public void EnqueuePrediction()
    {
        _gather.Prediction(_net.PredictionState, _net.Input);
        Layers.Forward(_net.PredictionState, training: false, _workspace);
    }

    /// <summary>One step of prediction over images of a caller, once <see cref="BeginImages"/> has said where they are.</summary>
    public void EnqueueImages()
    {
        _gather.Images(_net.PredictionState, _net.Input);
        Layers.Forward(_net.PredictionState, training: false, _workspace);
    }

    /// <summary>Tells a step, in the order of the stream, where a caller's images are and where (count, classes) f32 logits go.</summary>
    public void BeginImages(in ImageBatch images, nint logits, nint stream)
    {
        uint floats = images.Type == PixelType.Float32 ? 1u : 0;
        _session.Kernels.Launch(stream, "begin_image_step", (1, 1), new BeginImageStep(
            _net.PredictionState.Address, images.Address, images.Stride, floats, logits, (uint)images.Count));
    }

    public void Dispose() => Handles.Dispose();
}

/// <summary>Parameters of begin_image_step in native/kernels/common/gather.cu.</summary>
internal readonly record struct BeginImageStep(nint State, nint Images, long Stride, uint FloatPixels, nint Logits, uint Rows);
