using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Model;

namespace CudnnDigits.Cuda.Layered;

/// <summary>The three products of a dense layer, y = x · wᵀ and its gradients, for n samples.</summary>
internal interface IDenseProduct
{
    /// <summary>In how many parts y comes: sums over a share of the inputs each, which who reads them adds up.</summary>
    int Parts { get; }

    /// <summary>y = x (N, In) · wᵀ, w (Out, In): (Parts, N, Out) f32 for the head, else (N, Out) of the activations' type.</summary>
    void Forward(DeviceTensor x, DeviceTensor w, DeviceTensor y);

    /// <summary>dX (N, In) = dY (N, Out) · w.</summary>
    void BackwardData(DeviceTensor w, DeviceTensor dy, DeviceTensor dx);

    /// <summary>dW (Out, In) f32 = dYᵀ · x.</summary>
    void BackwardWeights(DeviceTensor x, DeviceTensor dy, DeviceTensor dw);
}

/// <summary>
/// A dense layer's tensors, where its bias, ReLU and dropout are a kernel of their own: X (N, In); Z (N, Out), where the product is
/// written first; DZ, the gradient of Z, and then of the product.
/// </summary>
internal sealed record DenseTensors(DensePlan Plan, DeviceTensor X, DeviceTensor Z, DeviceTensor DZ);

/// <summary>All that a network keeps of its dense layers, which begin with the features.</summary>
internal sealed class DenseChain
{
    /// <summary>Reserves it; the head's product may come in as many rows as are given for so many outputs.</summary>
    public DenseChain(
        CudaSession session, DeviceArena arena, BlockPlan plan, DeviceParameters parameters, DeviceTensor features, int batch,
        bool training, Func<Shape, DeviceTensor> activations, Func<LinearLayer, long> rows)
    {
        (Parameters, Features) = (parameters, features);
        Head = new HeadTensors(session, arena, plan, parameters, batch, rows, training);
        int last = plan.Denses.Count - (Head.Hidden is null ? 1 : 2);
        Last = plan.Denses[last].Linear;
        DeviceTensor x = features;
        foreach (DensePlan dense in plan.Denses.Take(last))
        {
            Shape output = new(dense.Linear.OutFeatures, 1, 1);
            DeviceTensor z = activations(output);
            Layers.Add(new DenseTensors(dense, x, z, arena.Reserve(training ? (long)batch * output.Size : 0, session.ActivationType)));
            x = z;
        }

        LastX = x;
    }

    public DeviceParameters Parameters { get; }

    /// <summary>What is flattened: the input of the first dense layer.</summary>
    public DeviceTensor Features { get; }

    /// <summary>The dense layers before <see cref="Last"/>.</summary>
    public List<DenseTensors> Layers { get; } = [];

    /// <summary>The dense layer whose product the head begins with, and its input.</summary>
    public LinearLayer Last { get; }

    public DeviceTensor LastX { get; }

    public HeadTensors Head { get; }
}

/// <summary>
/// The dense layers of a step, by products of any kind and a kernel per activation, and the head. Sums: partial sums of a bias gradient,
/// (<see cref="Activation.MostSums"/>, the widest layer) f32.
/// </summary>
internal sealed class DenseLayers
{
    private readonly CudaSession _session;
    private readonly DenseChain _chain;
    private readonly DeviceTensor _sums;
    private readonly ulong _seed;
    private readonly (IDenseProduct Product, Activation Activation, DenseTensors Tensors)[] _layers;
    private readonly IDenseProduct _last;
    private readonly Head _head;

    /// <summary>Makes them for n samples, with products from a function that is told which layer is the last.</summary>
    public DenseLayers(
        CudaSession session, DenseChain chain, DeviceTensor sums, int n, ulong seed, Func<LinearLayer, bool, IDenseProduct> product)
    {
        (_session, _chain, _sums, _seed) = (session, chain, sums, seed);
        _layers = [.. chain.Layers.Select(t => (
            product(t.Plan.Linear, false),
            new Activation(session, n, new Shape(t.Plan.Linear.OutFeatures, 1, 1), Dropout.Of(t.Plan.Dropout, t.Plan.DropoutIndex, seed)),
            t))];
        _last = product(chain.Last, true);
        _head = new Head(session, chain.Head, n, _last.Parts);
    }

    /// <summary>From the features to the logits, and in training to the gradient of the last product.</summary>
    public void Forward(DeviceTensor state, bool training)
    {
        DeviceParameters p = _chain.Parameters;
        foreach ((IDenseProduct product, Activation activation, DenseTensors t) in _layers)
        {
            product.Forward(t.X, p.Operand(t.Plan.Linear.WeightName), t.Z);
            activation.Forward(state, t.Z, p.Master(t.Plan.Linear.BiasName), t.Z, training);
        }

        _last.Forward(_chain.LastX, p.Operand(_chain.Last.WeightName), _chain.Head.Y);
        if (training)
        {
            _head.Training(state, _seed);
        }
        else
        {
            _head.Prediction(state);
        }
    }

    /// <summary>
    /// The gradients of all parameters of dense layers and head. The gradient of the features is left in dx, or nowhere where nothing
    /// before them is trained.
    /// </summary>
    public void Backward(DeviceTensor? dx)
    {
        DeviceParameters p = _chain.Parameters;

        // Only the optimizer reads gradients of parameters: they run on a branch, beside the gradients of data.
        using (_session.OpenBranch())
        {
            _head.AddUp();
            _last.BackwardWeights(_chain.LastX, _chain.Head.DY, p.Gradient(_chain.Last.WeightName));
        }

        (IDenseProduct after, string weights, DeviceTensor dy) = (_last, _chain.Last.WeightName, _chain.Head.DY);
        for (int i = _layers.Length - 1; i >= 0; i--)
        {
            (IDenseProduct product, Activation activation, DenseTensors t) = _layers[i];
            after.BackwardData(p.Operand(weights), dy, t.DZ);
            activation.Backward(t.Z, t.DZ, _sums, p.Gradient(t.Plan.Linear.BiasName));
            using (_session.OpenBranch())
            {
                product.BackwardWeights(t.X, t.DZ, p.Gradient(t.Plan.Linear.WeightName));
            }

            (after, weights, dy) = (product, t.Plan.Linear.WeightName, t.DZ);
        }

        if (dx is { } to)
        {
            after.BackwardData(p.Operand(weights), dy, to);
        }
    }
}
