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
internal sealed class DenseLayers(CudaSession session, LayeredNetwork net, int n, ulong seed)
{
    private readonly (Dense Product, Activation Activation, DenseTensors Tensors)[] _layers = [.. net.Denses.Select(t => (
        new Dense(session, n, t.Plan.Linear),
        new Activation(session, n, new Shape(t.Plan.Linear.OutFeatures, 1, 1), Dropout.Of(t.Plan.Dropout, t.Plan.DropoutIndex, seed)),
        t))];

    private readonly Dense _last = new(session, n, net.LastProduct);
    private readonly DeviceTensor _x = net.Denses is [.., { } before] ? before.Z : net.Features;

    /// <summary>From the features to the product that the head begins with.</summary>
    public void Forward(DeviceTensor state, bool training)
    {
        foreach ((Dense product, Activation activation, DenseTensors t) in _layers)
        {
            product.Forward(t.X, net.Parameters.Operand(t.Plan.Linear.WeightName), t.Z);
            activation.Forward(state, t.Z, net.Parameters.Master(t.Plan.Linear.BiasName), t.Z, training);
        }

        _last.Forward(_x, net.Parameters.Operand(net.LastProduct.WeightName), net.Head.Y);
    }

    /// <summary>
    /// The gradients of all dense layers' parameters, once the head has left the gradient of its product; the head's own are added up
    /// beside. The gradient of the features is left in dx, or nowhere where nothing before them is trained.
    /// </summary>
    public void Backward(Head head, DeviceTensor? dx)
    {
        // Only the optimizer reads gradients of parameters: they run on a branch, beside the gradients of data.
        using (session.OpenBranch())
        {
            head.AddUp();
            _last.BackwardWeights(_x, net.Head.DY, net.Parameters.Gradient(net.LastProduct.WeightName));
        }

        (Dense after, string weights, DeviceTensor dy) = (_last, net.LastProduct.WeightName, net.Head.DY);
        for (int i = _layers.Length - 1; i >= 0; i--)
        {
            (Dense product, Activation activation, DenseTensors t) = _layers[i];
            after.BackwardData(net.Parameters.Operand(weights), dy, t.DZ);
            activation.Backward(t.Z, t.DZ, net.Sums, net.Parameters.Gradient(t.Plan.Linear.BiasName));
            using (session.OpenBranch())
            {
                product.BackwardWeights(t.X, t.DZ, net.Parameters.Gradient(t.Plan.Linear.WeightName));
            }

            (after, weights, dy) = (product, t.Plan.Linear.WeightName, t.DZ);
        }

        if (dx is { } to)
        {
            after.BackwardData(net.Parameters.Operand(weights), dy, to);
        }
    }
}
