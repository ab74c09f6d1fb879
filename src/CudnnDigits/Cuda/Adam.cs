using CudnnDigits.Cuda.Device;
using CudnnDigits.Training;

namespace CudnnDigits.Cuda;

/// <summary>The step of <see cref="OptimizerSpec"/> by our own kernels.</summary>
internal sealed class Adam(CudaSession session, OptimizerSpec spec)
{
    /// <summary>Counts the step and computes its scalars; after the first kernel of a step, and before its update.</summary>
    public void BeginStep(DeviceTensor state) =>
        session.Launch("begin_adam_step", 1, new AdamScalars(state.Address, spec.Beta1, spec.Beta2, spec.WeightDecay));

    /// <summary>Updates all parameters in one launch, with the scalars of the running step.</summary>
    public void Update(DeviceTensor state, DeviceParameters p) => Update(new AdamUpdate(
        state.Address, p.W.Address, p.DW.Address, p.NarrowDW?.Address ?? 0, p.State[0].Address, p.State[1].Address,
        p.Operands?.Address ?? 0, p.Places?.Address ?? 0, p.Arranged.First, p.Arranged.End, (int)p.W.Count,
        (int)(p.NarrowDW?.Count ?? 0), Rounding(session)));

    /// <summary>Updates parameters wherever they lie; β₁, β₂ and ε are filled in.</summary>
    internal void Update(AdamUpdate update)
    {
        long blocks = KernelSource.Common.Blocks("adam", update.Count, KernelSource.Common["adam_of_thread"]);
        session.Launch("adam", blocks, update with
        {
            Beta1 = (float)spec.Beta1,
            Rest1 = (float)(1 - spec.Beta1),
            Beta2 = (float)spec.Beta2,
            Rest2 = (float)(1 - spec.Beta2),
            Epsilon = (float)spec.Epsilon,
        });
    }

    /// <summary>After loading: makes what products read of the weights, where that is not the weights themselves.</summary>
    public static void RoundWeights(CudaSession session, DeviceParameters p)
    {
        if (p.Operands is { } to)
        {
            int count = (int)p.W.Count;
            WeightRounding rounding = new(
                p.W.Address, to.Address, p.Places?.Address ?? 0, p.Arranged.First, p.Arranged.End, count, Rounding(session));
            session.Launch("round_weights", KernelSource.Common.Blocks("round_weights", count), rounding);
        }
    }

    /// <summary>Rounding in adam.cu.</summary>
    private static uint Rounding(CudaSession session) => session.Precision switch { Precision.Bf16 => 0, Precision.Tf32 => 1, _ => 2 };
}

/// <summary>Parameters of the kernel begin_adam_step, as adam.cu has them.</summary>
internal readonly record struct AdamScalars(nint State, double Beta1, double Beta2, double WeightDecay);

/// <summary>Parameters of the kernel adam, as adam.cu has them.</summary>
internal readonly record struct AdamUpdate(
    nint State, nint W, nint DW, nint DW16, nint M, nint V, nint Operands, nint Places, int First, int End, int Count, int Narrow,
    uint Rounding, float Beta1 = 0, float Rest1 = 0, float Beta2 = 0, float Rest2 = 0, float Epsilon = 0);

/// <summary>Parameters of the kernel round_weights, as adam.cu has them.</summary>
internal readonly record struct WeightRounding(
    nint W, nint Operands, nint Places, int First, int End, int Count, uint Rounding);
