using CudnnDigits.Cuda.Device;
using CudnnDigits.Training;

namespace CudnnDigits.Cuda;

/// <summary>The step of <see cref="OptimizerSpec"/> by our own kernels.</summary>
/// <param name="session">The device.</param>
/// <param name="spec">β₁, β₂, ε and weight decay.</param>
internal sealed class Adam(CudaSession session, OptimizerSpec spec)
{
    /// <summary>
    /// Counts the step and computes its scalars: step size, bias correction, weight scale. Must come after the step's first kernel and
    /// before <see cref="Update(DeviceTensor, DeviceParameters)"/>; nothing else depends on it.
    /// </summary>
    /// <param name="state">Has the learning rate, and takes the scalars.</param>
    public void BeginStep(DeviceTensor state)
    {
        AdamScalars scalars = new() { State = state.Address, Beta1 = spec.Beta1, Beta2 = spec.Beta2, WeightDecay = spec.WeightDecay };
        session.Launch("begin_adam_step", 1, scalars);
    }

    /// <summary>Updates all parameters in one launch.</summary>
    /// <param name="state">Has the scalars of the running step.</param>
    /// <param name="p">Weights, gradients and moments.</param>
    public void Update(DeviceTensor state, DeviceParameters p) => Update(new AdamUpdate
    {
        State = state.Address,
        W = p.W.Address,
        DW = p.DW.Address,
        DW16 = p.NarrowDW?.Address ?? 0,
        M = p.State[0].Address,
        V = p.State[1].Address,
        W16 = p.Rounded?.Address ?? 0,
        Places = p.Places?.Address ?? 0,
        First = p.Arranged.First,
        End = p.Arranged.End,
        Count = (int)p.W.Count,
        Narrow = (int)(p.NarrowDW?.Count ?? 0),
    });

    /// <summary>Updates parameters wherever they lie; β₁, β₂ and ε are filled in.</summary>
    internal void Update(AdamUpdate update)
    {
        update.Beta1 = (float)spec.Beta1;
        update.Rest1 = (float)(1 - spec.Beta1);
        update.Beta2 = (float)spec.Beta2;
        update.Rest2 = (float)(1 - spec.Beta2);
        update.Epsilon = (float)spec.Epsilon;
        session.Launch("adam", Blocks("adam", update.Count, KernelSource.Common["adam_of_thread"]), update);
    }

    /// <summary>After loading: rounds the weights to bfloat16 for the products, where those read bfloat16.</summary>
    public static void RoundWeights(CudaSession session, DeviceParameters p)
    {
        if (p.Rounded is { } to)
        {
            WeightRounding rounding = new()
            {
                W = p.W.Address,
                W16 = to.Address,
                Places = p.Places?.Address ?? 0,
                First = p.Arranged.First,
                End = p.Arranged.End,
                Count = (int)p.W.Count,
            };
            session.Launch("round_weights", Blocks("round_weights", rounding.Count, 1), rounding);
        }
    }

    private static int Blocks(string kernel, int count, int ofThread)
    {
        int ofBlock = KernelSource.Common.Block(kernel).Threads * ofThread;
        return (count + ofBlock - 1) / ofBlock;
    }
}

/// <summary>Parameters of the kernel begin_adam_step, as adam.cu has them.</summary>
internal struct AdamScalars
{
    public nint State;
    public double Beta1, Beta2, WeightDecay;
}

/// <summary>Parameters of the kernel adam, as adam.cu has them.</summary>
internal struct AdamUpdate
{
    public nint State, W, DW, DW16, M, V, W16, Places;
    public int First, End, Count, Narrow;
    public float Beta1, Rest1, Beta2, Rest2, Epsilon;
}

/// <summary>Parameters of the kernel round_weights, as adam.cu has them.</summary>
internal struct WeightRounding
{
    public nint W, W16, Places;
    public int First, End, Count;
}
