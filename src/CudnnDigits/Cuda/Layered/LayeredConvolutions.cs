using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Interop;
using CudnnDigits.Model;

namespace CudnnDigits.Cuda.Layered;

/// <summary>The convolution blocks of a step, layer by layer: cuDNN's convolution, batch norm and pooling, and our activation.</summary>
internal sealed class LayeredConvolutions
{
    private readonly LayeredNetwork _net;
    private readonly Block[] _blocks;
    private readonly long[] _reserves;

    public LayeredConvolutions(CudaSession session, CudaHandles handles, LayeredNetwork net, int batch, ulong seed, long workspaceLimit)
    {
        _net = net;
        BatchNorm2d?[] norms = [.. net.Convs.Select(t =>
            t.Norm is null ? null : new BatchNorm2d(session, handles, batch, t.Plan.Conv.Infer(t.Plan.Input), net.Trains))];
        _reserves = [.. norms.Select(norm => ((norm?.ReserveBytes ?? 0) + 255) / 256 * 256)];
        _blocks = [.. net.Convs.Zip(norms, MakeBlock)];

        Block MakeBlock(ConvTensors t, BatchNorm2d? norm)
        {
            Shape output = t.Plan.Conv.Infer(t.Plan.Input), pooled = t.Plan.Pool?.Infer(output) ?? output;
            return new Block(
                new Conv2d(session, handles, t.Plan, batch, workspaceLimit - _reserves.Sum(), net.Trains), norm,
                t.Plan.Pool is null ? null : new MaxPool2d(session, handles, t.Plan.Pool, batch, output),
                new Activation(session, batch, pooled, Dropout.Of(t.Plan.Dropout, t.Plan.DropoutIndex, seed)), t);
        }
    }

    /// <summary>What batch norm leaves for the backward pass, layer by layer, then what one call after another uses.</summary>
    public long WorkspaceBytes => _reserves.Sum()
        + _blocks.Select(block => Math.Max(block.Conv.WorkspaceBytes, block.Norm?.WorkspaceBytes ?? 0)).DefaultIfEmpty().Max();

    /// <summary>What computes each convolution, by their names.</summary>
    public IReadOnlyDictionary<string, string> Algorithms =>
        _blocks.ToDictionary(block => block.Tensors.Plan.Conv.Name, block => block.Conv.Algorithms);

    public void Forward(DeviceTensor state, bool training, DeviceTensor workspace)
    {
        DeviceTensor shared = Shared(workspace);
        for (int i = 0; i < _blocks.Length; i++)
        {
            (Block block, ConvTensors t) = (_blocks[i], _blocks[i].Tensors);
            DeviceTensor? bias = t.Plan.Conv.Bias ? _net.Parameters.Master(t.Plan.Conv.BiasName) : null;
            block.Conv.Forward(t.X, _net.Parameters.Operand(t.Plan.Conv.WeightName), t.Y, shared);
            if (training)
            {
                block.Norm?.Training(t.Y, t.Normal, t.Norm!.Value, shared, Reserve(workspace, i));
            }
            else
            {
                block.Norm?.Prediction(t.Y, t.Normal, t.Norm!.Value);
            }

            block.Pool?.Forward(t.Normal, t.Pooled);
            block.Activation.Forward(state, t.Pooled, bias, t.Z, training);
        }
    }

    /// <summary>Gradients of all parameters, from the gradient of the features in <see cref="LayeredNetwork.GradientA"/>.</summary>
    public void Backward(DeviceTensor workspace)
    {
        (DeviceTensor gradient, DeviceTensor other) = (_net.GradientA, _net.GradientB);
        DeviceParameters p = _net.Parameters;
        DeviceTensor shared = Shared(workspace);
        for (int i = _blocks.Length - 1; i >= 0; i--)
        {
            (Block block, ConvTensors t) = (_blocks[i], _blocks[i].Tensors);
            DeviceTensor? sums = t.Plan.Conv.Bias ? _net.Sums : null, dBias = t.Plan.Conv.Bias ? p.Gradient(t.Plan.Conv.BiasName) : null;
            block.Activation.Backward(t.Z, gradient, sums, dBias);
            if (block.Pool is not null)
            {
                block.Pool.Backward(t.Pooled, gradient, t.Normal, other);
                (gradient, other) = (other, gradient);
            }

            if (block.Norm is not null)
            {
                block.Norm.Backward(t.Y, gradient, other, t.Norm!.Value, shared, Reserve(workspace, i));
                (gradient, other) = (other, gradient);
            }

            block.Conv.BackwardWeights(t.X, gradient, p.Gradient(t.Plan.Conv.WeightName), shared);
            if (i > 0)
            {
                block.Conv.BackwardData(p.Operand(t.Plan.Conv.WeightName), gradient, other, shared);
                (gradient, other) = (other, gradient);
            }
        }
    }

    private DeviceTensor Shared(DeviceTensor workspace) => workspace.Slice(_reserves.Sum(), workspace.Count - _reserves.Sum());

    private DeviceTensor Reserve(DeviceTensor workspace, int block) => workspace.Slice(_reserves.Take(block).Sum(), _reserves[block]);

    /// <summary>The operations of a convolution block, in order. The bias is added after pooling: that gives the same.</summary>
    private sealed record Block(Conv2d Conv, BatchNorm2d? Norm, MaxPool2d? Pool, Activation Activation, ConvTensors Tensors);
}
