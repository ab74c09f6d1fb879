using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Interop;
using CudnnDigits.Model;
using CudnnDigits.Training;

namespace CudnnDigits.Cuda.Fused;

/// <summary>
/// The network `improved` in bfloat16 by kernels of our own, most of which span several layers (docs/decisions/0013-fused-convolutions.md),
/// for GPUs whose warpgroups multiply. It needs no library but the driver.
/// </summary>
internal sealed class FusedNetwork : CudaNetwork
{
    private readonly CudaSession _session;
    private readonly DeviceTensor _weights, _gradient; // of the hidden layer

    /// <summary>Reserves everything in the arena; nothing is kept for prediction.</summary>
    public FusedNetwork(CudaSession session, DeviceArena arena, NetworkSpec network, int batch, IReadOnlyList<OptimizerBuffer>? kept)
        : base(session, arena, network, batch, kept, (rows, taps, columns) => new Fragments(rows, taps, columns))
    {
        bool training = kept is not null;
        string hidden = Plan.Denses[0].Linear.WeightName;
        (_session, _weights) = (session, Parameters.Operand(hidden));
        _gradient = training ? Parameters.Gradient(hidden) : default;
        Tensors = new FusedTensors(session, arena, Plan, Parameters, Input, batch, training);
        Head = new HeadTensors(session, arena, Plan, Parameters, batch, _ => FusedDense.MostRows(batch), training);
    }

    /// <summary>What lies between the kernels.</summary>
    public FusedTensors Tensors { get; }

    /// <summary>From the hidden dense layer's product on.</summary>
    public HeadTensors Head { get; }

    public override DeviceTensor Logits => Head.Logits;

    public override ILayers MakeLayers(CudaHandles handles, int batch, ulong seed, long workspaceLimit) =>
        new Layers(_session, this, new FusedDense(_session, Tensors, batch), batch, seed);

    private sealed class Layers(CudaSession session, FusedNetwork net, FusedDense hidden, int batch, ulong seed) : ILayers
    {
        private readonly FusedConvolutions _convs = new(session, net.Tensors, seed, batch);
        private readonly Head _head = new(session, net.Head, batch, hidden.Parts);

        public long WorkspaceBytes => 0;

        public IReadOnlyDictionary<string, string> Algorithms => _convs.Algorithms;

        public void Gather(DeviceTensor state, in Gathering gathering) => _convs.Gather(state, gathering);

        public void Forward(DeviceTensor state, bool training, DeviceTensor workspace)
        {
            if (training)
            {
                _convs.Forward(state);
            }
            else
            {
                _convs.Predict();
            }

            hidden.Forward(net.Tensors.Z4, net._weights, net.Head.Y);
            if (training)
            {
                _head.Training(state, seed);
            }
            else
            {
                _head.Prediction(state);
            }
        }

        public void Backward(DeviceTensor workspace)
        {
            // Only the optimizer reads gradients of parameters: they run on a branch, beside the gradients of data.
            using (session.OpenBranch())
            {
                _head.AddUp();
                hidden.BackwardWeights(net.Tensors.Z4, net.Head.DY, net._gradient);
            }

            hidden.BackwardData(net._weights, net.Head.DY);
            _convs.Backward();
            session.Join();
        }

        public void PreparePrediction() => _convs.PreparePrediction();
    }
}
