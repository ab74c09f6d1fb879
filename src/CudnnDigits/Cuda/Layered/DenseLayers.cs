using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Model;

namespace CudnnDigits.Cuda.Layered;

/// <summary>
/// A dense layer's tensors, where its bias, ReLU and dropout are a kernel of their own: X (N, In); Z (N, Out), where the product is
/// written first; DZ, the gradient of Z, and then of the product.
/// </summary>
internal sealed record DenseTensors(DensePlan Plan, DeviceTensor X, DeviceTensor Z, DeviceTensor DZ);

/// <summary>The dense layers of a step, by cuBLAS and a kernel per activation, up to the product that the head begins with.</summary>
internal sealed class DenseLayers
{
    private readonly CudaSession _session;
    private readonly DeviceParameters _parameters;
    private readonly (Dense Product, Activation Activation, DenseTensors Tensors)[] _layers;
    private readonly Dense _last;
    private readonly string _lastWeights;
    private readonly DeviceTensor _x, _y, _dy, _sums;

    public DenseLayers(CudaSession session, LayeredNetwork net, int n, ulong seed)
    {
        (_session, _parameters, _sums) = (session, net.Parameters, net.Sums);
        _layers = [.. net.Denses.Select(t => (
            new Dense(session, n, t.Plan.Linear),
            new Activation(
                session, n, new Shape(t.Plan.Linear.OutFeatures, 1, 1), Dropout.Of(t.Plan.Dropout, t.Plan.DropoutIndex, seed)),
            t))];
        (_last, _lastWeights) = (new Dense(session, n, net.LastProduct), net.LastProduct.WeightName);
        (_x, _y, _dy) = (net.Denses is [.., { } before] ? before.Z : net.Features, net.Head.Y, net.Head.DY);
    }

    /// <summary>From the features to the product that the head begins with.</summary>
    public void Forward(DeviceTensor state, bool training)
    {
        foreach ((Dense product, Activation activation, DenseTensors t) in _layers)
        {
            product.Forward(t.X, _parameters.Operand(t.Plan.Linear.WeightName), t.Z);
            activation.Forward(state, t.Z, _parameters.Master(t.Plan.Linear.BiasName), t.Z, training);
        }

        _last.Forward(_x, _parameters.Operand(_lastWeights), _y);
    }

    /// <summary>
    /// The gradients of all dense layers' parameters, once the head has left the gradient of its product; the head's own are added up
    /// beside. The gradient of the features is left in dx, or nowhere where nothing before them is trained.
    /// </summary>
    public void Backward(Head head, DeviceTensor? dx)
    {
        // Only the optimizer reads gradients of parameters: they run on a branch, beside the gradients of data.
        using (_session.OpenBranch())
        {
            head.AddUp();
            _last.BackwardWeights(_x, _dy, _parameters.Gradient(_lastWeights));
        }

        (Dense after, string weights, DeviceTensor dy) = (_last, _lastWeights, _dy);
        for (int i = _layers.Length - 1; i >= 0; i--)
        {
            (Dense product, Activation activation, DenseTensors t) = _layers[i];
            after.BackwardData(_parameters.Operand(weights), dy, t.DZ);
            activation.Backward(t.Z, t.DZ, _sums, _parameters.Gradient(t.Plan.Linear.BiasName));
            using (_session.OpenBranch())
            {
                product.BackwardWeights(t.X, t.DZ, _parameters.Gradient(t.Plan.Linear.WeightName));
            }

            (after, weights, dy) = (product, t.Plan.Linear.WeightName, t.DZ);
        }

        if (dx is { } to)
        {
            after.BackwardData(_parameters.Operand(weights), dy, to);
        }
    }
}
