using CudnnDigits.Model;

namespace CudnnDigits.Cuda;

/// <summary>The convolution blocks layer by layer: cuDNN's convolution, batch norm and pooling, and our activation.</summary>
internal sealed class CudnnConvolutions : IConvolutions
{
    private readonly CudaNetwork _net;
    private readonly ulong _seed;
    private readonly Block[] _blocks;

    /// <param name="session">The device.</param>
    /// <param name="net">Tensors for at least <paramref name="batch"/> samples.</param>
    /// <param name="seed">Keys dropout.</param>
    /// <param name="batch">Samples.</param>
    /// <param name="workspaceLimit">Bytes of workspace that there may be.</param>
    /// <param name="training">Whether the backward passes are needed.</param>
    public CudnnConvolutions(CudaSession session, CudaNetwork net, ulong seed, int batch, long workspaceLimit, bool training)
    {
        (_net, _seed) = (net, seed);
        _blocks = [.. net.Convs.Select(tensors => new Block(session, tensors, batch, workspaceLimit, training))];
    }

    public long WorkspaceBytes => _blocks.Max(block => block.Conv.WorkspaceBytes);

    public IReadOnlyDictionary<string, string> Algorithms => _blocks.ToDictionary(block => block.Tensors.Plan.Conv.Name, block => block.Conv.Algorithms);

    public void PreparePrediction()
    {
    }

    public void Forward(DeviceTensor state, bool training, DeviceTensor workspace)
    {
        foreach ((Conv2d conv, BatchNorm2d? norm, MaxPool2d? pool, Activation activation, ConvTensors t) in _blocks)
        {
            conv.Forward(t.X, _net.Parameters.Operand(t.Plan.Conv.WeightName), t.Y, workspace);
            norm?.Forward(t.Y, t.Normal, t.Norm!.Value, training);
            pool?.Forward(t.Normal, t.Pooled);
            activation.Forward(state, t.Pooled, Bias(t), t.Z, _seed, training);
        }
    }

    public void Backward(DeviceTensor gradient, DeviceTensor other, DeviceTensor workspace)
    {
        DeviceParameters p = _net.Parameters;
        for (int i = _blocks.Length - 1; i >= 0; i--)
        {
            (Conv2d conv, BatchNorm2d? norm, MaxPool2d? pool, Activation activation, ConvTensors t) = _blocks[i];
            activation.Backward(t.Z, gradient, t.Plan.Conv.Bias ? _net.Sums : null);
            if (t.Plan.Conv.Bias)
            {
                activation.BackwardBias(_net.Sums, p.Gradient(t.Plan.Conv.BiasName));
            }

            if (pool is not null)
            {
                pool.Backward(t.Pooled, gradient, t.Normal, other);
                (gradient, other) = (other, gradient);
            }

            if (norm is not null)
            {
                norm.Backward(t.Y, gradient, other, t.Norm!.Value);
                (gradient, other) = (other, gradient);
            }

            conv.BackwardWeights(t.X, gradient, p.Gradient(t.Plan.Conv.WeightName), workspace);
            if (i > 0)
            {
                conv.BackwardData(p.Operand(t.Plan.Conv.WeightName), gradient, other, workspace);
                (gradient, other) = (other, gradient);
            }
        }
    }

    public void Dispose()
    {
        foreach (Block block in _blocks)
        {
            block.Conv.Dispose();
            block.Norm?.Dispose();
            block.Pool?.Dispose();
        }
    }

    private DeviceTensor? Bias(ConvTensors t) => t.Plan.Conv.Bias ? _net.Parameters.Master(t.Plan.Conv.BiasName) : null;

    /// <summary>The operations of a convolution block, in order. Its bias is added after pooling, which it does not change.</summary>
    private sealed record Block(Conv2d Conv, BatchNorm2d? Norm, MaxPool2d? Pool, Activation Activation, ConvTensors Tensors)
    {
        public Block(CudaSession session, ConvTensors t, int n, long workspaceLimit, bool training)
            : this(new Conv2d(session, t.Plan, n, workspaceLimit, training), null, null, null!, t)
        {
            Shape output = t.Plan.Conv.Infer(t.Plan.Input), pooled = t.Plan.Pool?.Infer(output) ?? output;
            Norm = t.Plan.Norm is null ? null : new BatchNorm2d(session, n, output);
            Pool = t.Plan.Pool is null ? null : new MaxPool2d(session, t.Plan.Pool, n, output);
            Activation = new Activation(session, n, pooled, t.Plan.Dropout, t.Plan.DropoutIndex);
        }
    }
}
