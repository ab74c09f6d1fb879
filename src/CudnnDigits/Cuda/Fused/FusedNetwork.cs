using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Interop;
using CudnnDigits.Model;

namespace CudnnDigits.Cuda.Fused;

/// <summary>
/// The network `improved` in bfloat16 by kernels of our own, most of which span several layers (docs/decisions/0013-fused-convolutions.md).
/// It needs no library but the driver.
/// </summary>
internal sealed class FusedNetwork : CudaNetwork
{
    private readonly CudaSession _session;
    private readonly string _hiddenWeights;
    private readonly bool _training;

    /// <summary>Reserves everything in the arena.</summary>
    /// <param name="session">The device.</param>
    /// <param name="arena">Where to reserve.</param>
    /// <param name="network">The network.</param>
    /// <param name="batch">Samples in the largest step.</param>
    /// <param name="training">Whether it is trained.</param>
    /// <param name="warpgroups">Whether warpgroups multiply in the convolutions of a training step.</param>
    public FusedNetwork(CudaSession session, DeviceArena arena, NetworkSpec network, int batch, bool training, bool warpgroups)
        : base(session, arena, network, batch, training, fragments: true)
    {
        (_session, _training, _hiddenWeights) = (session, training, Plan.Denses[0].Linear.WeightName);
        Tensors = new FusedTensors(session, arena, Plan, Parameters, Input, batch, training) { UsesWarpgroups = warpgroups };
        Head = new HeadTensors(session, arena, Plan, Parameters, batch, FusedDense.MostRows(batch), training);
    }

    /// <summary>What lies between the kernels.</summary>
    public FusedTensors Tensors { get; }

    /// <summary>From the hidden dense layer's product on.</summary>
    public HeadTensors Head { get; }

    public override DeviceTensor Logits => Head.Logits;

    public override ILayers MakeLayers(CudaHandles handles, int batch, ulong seed, long workspaceLimit) => new Layers(_session, this, batch, seed);

    private sealed class Layers : ILayers
    {
        private readonly CudaSession _session;
        private readonly FusedNetwork _net;
        private readonly FusedConvolutions _convs;
        private readonly FusedDense _hidden;
        private readonly Head _head;
        private readonly ulong _seed;
        private readonly DeviceTensor _weights, _gradient;

        public Layers(CudaSession session, FusedNetwork net, int batch, ulong seed)
        {
            (_session, _net, _seed) = (session, net, seed);
            _convs = new FusedConvolutions(session, net.Tensors, seed, batch);
            _hidden = new FusedDense(session, net.Tensors, batch);
            _head = Common.Head.Make(session, net.Head, batch, _hidden.Parts);
            _weights = net.Parameters.Operand(net._hiddenWeights);
            _gradient = net._training ? net.Parameters.Gradient(net._hiddenWeights) : default;
        }

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

            _hidden.Forward(_net.Tensors.Z4, _weights, _net.Head.Y);
            if (training)
            {
                _head.Training(state, _seed);
            }
            else
            {
                _head.Prediction(state);
            }
        }

        public void Backward(DeviceTensor workspace)
        {
            // Only the optimizer reads gradients of parameters: they run on a branch, beside the gradients of data.
            using (_session.OpenBranch())
            {
                _head.AddUp();
                _hidden.BackwardWeights(_net.Tensors.Z4, _net.Head.DY, _gradient);
            }

            _hidden.BackwardData(_weights, _net.Head.DY);
            _convs.Backward();
            _session.Join();
        }

        public void PreparePrediction() => _convs.PreparePrediction();
    }
}
