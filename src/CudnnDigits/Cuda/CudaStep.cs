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
    private readonly DenseOperations[] _denses;
    private readonly SoftmaxCrossEntropy _loss;
    private readonly Adam _adam;
    private DeviceTensor _workspace;

    /// <param name="session">The device.</param>
    /// <param name="net">Tensors for at least <paramref name="batch"/> samples.</param>
    /// <param name="training">Seed and augmentation; null for a step that only predicts, images of a caller.</param>
    /// <param name="batch">Samples in this step.</param>
    /// <param name="workspaceLimit">Bytes of workspace that there may be.</param>
    public CudaStep(CudaSession session, CudaNetwork net, BackendOptions? training, int batch, long workspaceLimit)
    {
        (_session, _net, Batch) = (session, net, batch);
        (_seed, _augmentation) = (training?.Seed ?? 0, training?.Augmentation ?? AugmentationSpec.None);
        _gather = new GatherAugment(session, batch);
        _convs = net.Fused is { } fused
            ? new FusedConvolutions(session, fused, _seed, batch)
            : new CudnnConvolutions(session, net, _seed, batch, workspaceLimit, training is not null);
        _denses = [.. net.Denses.Select(tensors => new DenseOperations(session, tensors.Plan, batch))];
        _loss = new SoftmaxCrossEntropy(session, batch, DigitDataset.Classes);
        _adam = new Adam(session);
        session.PrepareBranches();
    }

    /// <summary>Samples.</summary>
    public int Batch { get; }

    /// <summary>Bytes of workspace that the convolutions need.</summary>
    public long WorkspaceBytes => _convs.WorkspaceBytes;

    /// <summary>The graphs of this step, once captured: training, prediction (of resident digits or of images, as its network is for).</summary>
    public CudaGraph? Training { get; set; }

    /// <summary>Several training steps in one graph, where they are to be.</summary>
    public CudaGraph? TrainingSeveral { get; set; }

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
        Begin("begin_training_step", state);
        _gather.Forward(state, _net.Input, _augmentation, _seed);
        EnqueueForward(state, training: true);

        // Nothing waits for gradients of parameters but Adam: they run on a branch, beside the gradients of data.
        string lastBias = _net.Denses[^1].Plan.Linear.BiasName;
        _loss.Backward(state, _net.Logits, p.Master(lastBias), _net.Denses[^1].DY, p.Gradient(lastBias));
        for (int i = _denses.Length - 1; i >= 0; i--)
        {
            DenseTensors t = _net.Denses[i];
            (Dense dense, Activation? activation) = _denses[i];
            activation?.Backward(t.Y, t.DY, t.Sums);
            using (_session.OpenBranch())
            {
                activation?.BackwardBias(t.Sums, p.Gradient(t.Plan.Linear.BiasName));
                dense.BackwardWeights(t.X, t.DY, p.Gradient(t.Plan.Linear.WeightName));
            }

            dense.BackwardData(p.Operand(t.Plan.Linear.WeightName), t.DY, i > 0 ? _net.Denses[i - 1].DY : _net.GradientA);
        }

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
        Begin("begin_prediction_step", state);
        _gather.Forward(state, _net.Input, AugmentationSpec.None, _seed);
        EnqueueForward(state, training: false);
        StoreLogits(state);
    }

    /// <summary>One step of prediction over images of a caller, once <see cref="BeginImages"/> has said where they are.</summary>
    public void EnqueueImages()
    {
        DeviceTensor state = _net.PredictionState;
        _gather.Forward(state, _net.Input);
        EnqueueForward(state, training: false);
        StoreLogits(state);
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

    public void Dispose()
    {
        Training?.Dispose();
        TrainingSeveral?.Dispose();
        Prediction?.Dispose();
        _convs.Dispose();
    }

    /// <summary>From the input to logits, which still lack their bias.</summary>
    private void EnqueueForward(DeviceTensor state, bool training)
    {
        DeviceParameters p = _net.Parameters;
        _convs.Forward(state, training, _workspace);
        for (int i = 0; i < _denses.Length; i++)
        {
            DenseTensors t = _net.Denses[i];
            _denses[i].Dense.Forward(t.X, p.Operand(t.Plan.Linear.WeightName), t.Y);
            _denses[i].Activation?.Forward(state, t.Y, p.Master(t.Plan.Linear.BiasName), t.Y, _seed, training);
        }
    }

    private void StoreLogits(DeviceTensor state) => _loss.Store(state, _net.Logits, _net.Parameters.Master(_net.Denses[^1].Plan.Linear.BiasName));

    private void Begin(string kernel, DeviceTensor state)
    {
        nint stateAt = state.Address;
        int samples = Batch;
        void** parameters = stackalloc void*[] { &stateAt, &samples };
        _session.Launch(kernel, (1, 1), (32, 1), parameters);
    }

    /// <summary>The operations of a dense block; the last one's bias and softmax are the loss's, so it has no activation.</summary>
    private sealed record DenseOperations(Dense Dense, Activation? Activation)
    {
        public DenseOperations(CudaSession session, DensePlan plan, int n)
            : this(
                new Dense(session, n, plan.Linear.InFeatures, plan.Linear.OutFeatures),
                plan.Relu is null ? null : new Activation(session, n, new Shape(plan.Linear.OutFeatures, 1, 1), plan.Dropout, plan.DropoutIndex))
        {
        }
    }
}
