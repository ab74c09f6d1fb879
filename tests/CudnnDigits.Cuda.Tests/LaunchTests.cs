using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Interop;

namespace CudnnDigits.Cuda.Tests;

/// <summary>How a step gets to the device: how many launches, and that what they take has the shape that kernels expect.</summary>
public class LaunchTests
{
    private static BackendOptions Options(int batch, Precision precision) =>
        new(batch, 3, AugmentationSpec.Standard) { Precision = precision, Deterministic = true };

    [Fact]
    public unsafe void Within_an_epoch_there_is_nothing_but_graph_launches()
    {
        const ulong Steps = 13;
        Gpu.RequireSoftware(); // it counts the calls
        DigitDataset digits = GeneratedDigits.Create(100, seed: 11);
        delegate* unmanaged<byte*, ulong> count = (delegate* unmanaged<byte*, ulong>)Gpu.SoftwareExport("softcuda_calls");
        using ITrainingBackend backend = Gpu.Create(DigitNetworks.Simple, Options(8, Precision.Fp32));
        backend.Load(Initializer.Create(backend.Network, 0), new OptimizerState(backend.Network));
        backend.BeginEpoch(digits, 0, [.. Enumerable.Range(0, 100)], default);
        ulong launches = Count("cuGraphLaunch\0"u8), all = count(null);
        backend.RunSteps(0, [.. Enumerable.Repeat(1e-3f, (int)Steps)]); // the last has 4 samples
        Assert.Equal(Steps, Count("cuGraphLaunch\0"u8) - launches);
        Assert.Equal(Steps + 3, count(null) - all); // and: enter the context, upload the learning rates, leave the context

        float[] rates = [1e-3f, 1e-3f];
        backend.BeginEpoch(digits, 1, [.. Enumerable.Range(0, 100)], default);
        long before = GC.GetAllocatedBytesForCurrentThread();
        backend.RunSteps(0, rates);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);

        ulong Count(ReadOnlySpan<byte> name)
        {
            fixed (byte* text = name)
            {
                return count(text);
            }
        }
    }

    /// <summary>No driver promises to wait for kernels before it unloads them, and what is forgotten is collected in any order.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public unsafe void Kernels_stay_loaded_until_what_was_launched_is_done(bool onOurStream)
    {
        using CudaSession session = Gpu.Open(Precision.Fp32);
        using CudaContext.Scope scope = session.Context.Enter();
        using CudaStream caller = new(session.Context.Handles);
        using CudaEvent done = new(session.Context.Handles);
        using DeviceMemory state = new(session.Context.Handles, sizeof(StepState));
        session.Kernels.Launch(onOurStream ? session.Stream.Value : caller.Value, "begin_image_step", (1, 1),
            new BeginImageStep { State = state.Value });
        if (!onOurStream)
        {
            done.Record(caller.Value);
            session.KeepKernels(done);
        }

        session.Kernels.Dispose();
        session.Stream.Dispose();
        done.Dispose();
        caller.Synchronize(); // it would say that a kernel has failed
    }

    /// <summary>Of a training step and of a prediction; docs/many-machines.md reckons with the fused step of `improved`.</summary>
    [Theory]
    [InlineData("improved", nameof(CudaKernels.Layered), 39, 17)]
    [InlineData("improved", nameof(CudaKernels.Fused), 24, 6)]
    [InlineData("simple", nameof(CudaKernels.Fused), 17, 5)]
    [InlineData("mlp", nameof(CudaKernels.Fused), 13, 5)]
    public unsafe void A_step_is_so_many_launches(string model, string kernels, int training, int prediction)
    {
        Gpu.Require();
        Assert.SkipUnless(Gpu.IsSoftware, "the libraries of a GPU may launch several kernels for a call");
        using CudaSession session = Gpu.Open(Precision.Bf16);
        using CudaContext.Scope scope = session.Context.Enter();
        DeviceArena arena = new();
        NetworkSpec network = DigitNetworks.Find(model)!;
        CudaNetwork net = NetworkKind.Choose(session.Context.Gpu, session.Precision, network, Gpu.Kernels(kernels))
            .Make(session, arena, network, 4, new OptimizerSpec().Buffers);
        using CudaStep step =
            session.Context.Handles.Make(handles => new CudaStep(session, handles, net, Options(4, Precision.Bf16), 4, 1 << 30));
        DeviceTensor workspace = arena.Reserve(Math.Max(step.Layers.WorkspaceBytes, 1), DeviceType.U8);
        session.ReserveBlasWorkspaces(arena, ofBranches: true);
        arena.Allocate(session.Context.Handles);
        step.SetWorkspace(workspace);
        session.UseBlasWorkspaces();

        // Once as a backend does: kernels are compiled when they are first launched, which a capture forbids.
        int[] order = [0, 1, 2, 3];
        using ResidentDigits digits = session.Context.Handles.Make(
            handles => new ResidentDigits(handles, session.Stream, GeneratedDigits.Create(order.Length, seed: 1)));
        using RowBuffers rows = session.Context.Handles.Make(handles => new RowBuffers(handles, order.Length));
        session.Stream.Clear((nint)arena.Base, arena.Bytes);
        net.Parameters.Load(session.Stream, Initializer.Create(network, 0), new OptimizerState(network));
        StepState[] states = [rows.Begin(session.Stream, digits, order)];
        using PinnedMemory staging = new(session.Context.Handles, sizeof(StepState));
        foreach (DeviceTensor state in new[] { net.TrainingState, net.PredictionState })
        {
            session.Stream.Upload(state.Address, staging.Pointer, states);
        }

        step.EnqueueTraining();
        step.EnqueuePrediction();
        session.Stream.Synchronize();
        using CudaGraph train = CudaGraph.Capture(session.Context.Handles, session.Stream, step.EnqueueTraining),
        predict = CudaGraph.Capture(session.Context.Handles, session.Stream, step.EnqueuePrediction);
        Assert.Equal((training, prediction), (train.Nodes, predict.Nodes));
    }
}
