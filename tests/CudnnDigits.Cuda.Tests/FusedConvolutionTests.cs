using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Fused;
using CudnnDigits.Cuda.Interop;
using static CudnnDigits.Cuda.Tests.PlainLoops;

namespace CudnnDigits.Cuda.Tests;

/// <summary>
/// Each kernel of `improved` by warpgroups against plain loops in double that start from the very tensors the kernel read, so that one
/// rounding to bfloat16 is all that may lie between them. docs/numerics.md says where the tolerances come from.
/// </summary>
public class FusedConvolutionTests
{
    public FusedConvolutionTests() => Gpu.RequireFor(nameof(CudaKernels.Warpgroups));

    [Theory]
    [InlineData(1, 0)]
    [InlineData(3, 0.25)] // some blocks have two images and some have one
    [InlineData(0, 0.25)] // more images than blocks fit at once
    public void Every_kernel_follows_plain_loops(int n, double rate)
    {
        NetworkSpec network = DigitNetworks.Improved.WithDropout(rate);
        using CudaSession session = Gpu.Open(Precision.Bf16);
        using CudaContext.Scope scope = session.Context.Enter();
        n = n > 0 ? n : 2 * session.Multiprocessors + 1;
        using FusedLab fused = new(session, network, n, training: true);
        (FusedNetwork net, DeviceLab lab, DeviceParameters parameters) = (fused.Net, fused.Lab, fused.Net.Parameters);
        NetworkWeights weights = Start(network);
        parameters.Load(session.Stream, weights, new OptimizerState(network));
        Adam.RoundWeights(session, parameters);
        FusedTensors t = net.Tensors;
        FusedConvolutions convolutions = new(session, t, Seed, n);
        Random random = new(n);
        byte[] pixels = [.. Enumerable.Range(0, n * 784).Select(_ => (byte)(random.NextDouble() < 0.7 ? 0 : random.Next(256)))];
        float[] dy = Values(n * 256, () => random.NextDouble() - 0.5);

        DeviceTensor state = lab.State(n, pixels);
        convolutions.Gather(state, Gathering.ForTraining(AugmentationSpec.None, Seed));
        convolutions.Forward(state);
        float[] x = lab.Download(t.X);
        Assert.Equal(pixels.Select(pixel => (float)Bf16(pixel / 255f)), x);
        LayerState[] layers = [.. Enumerable.Range(0, 4).Select(i => new LayerState(lab, t.Layers[i], weights, n))];
        double[] y1 = Convolve(Widen(x), layers[0].W, n, 28, 1, 32);
        layers[0].CheckStatistics(y1);
        double[] a1 = Activate(y1, layers[0], 1);
        float[] y2 = lab.Download(t.Y2), y3 = lab.Download(t.Y3), y4 = lab.Download(t.Y4), pooled2 = lab.Download(t.Pooled2),
        pooled4 = lab.Download(t.Pooled4);
        Compare.Close(y2, Convolve(a1, layers[1].W, n, 28, 32, 32), Rounded, "y2");
        layers[1].CheckStatistics(Widen(y2));
        AssertPooled(pooled2, y2, layers[1], n, 28, rate, 0);
        double[] a2 = Activate(Widen(pooled2), layers[1], Keep(rate));
        Compare.Close(y3, Convolve(a2, layers[2].W, n, 14, 32, 64), Rounded, "y3");
        layers[2].CheckStatistics(Widen(y3));
        double[] a3 = Activate(Widen(y3), layers[2], 1);
        Compare.Close(y4, Convolve(a3, layers[3].W, n, 14, 64, 64), Rounded, "y4");
        layers[3].CheckStatistics(Widen(y4));
        AssertPooled(pooled4, y4, layers[3], n, 14, rate, 1);
        double[] z4 = Widen(lab.Download(t.Z4));
        Assert.Equal(Activate(Widen(pooled4), layers[3], Keep(rate)), z4);

        lab.Upload(dy, net.Head.DY);
        FusedDense hidden = new(session, t, n);
        DeviceTensor dw = parameters.Gradient("fc1.weight"), w = parameters.Operand("fc1.weight");
        hidden.Forward(t.Z4, w, net.Head.Y);
        hidden.BackwardWeights(t.Z4, net.Head.DY, dw);
        hidden.BackwardData(w, net.Head.DY);
        convolutions.Backward();
        session.Join();
        (double[] y, double[] dz, double[] dwExpected) = Dense(z4, Widen(lab.Download(w)), Widen(dy), n);
        Compare.Close(AddUp(lab.Download(net.Head.Y), hidden.Parts, y.Length), y, Summed, "y");
        Compare.Close(lab.Download(dw), dwExpected, Summed, "gradient of the hidden layer's weights");
        LayerState[] after = [.. Enumerable.Range(0, 4).Select(i => new LayerState(lab, t.Layers[i], weights, n))];
        double[] du4 = Widen(lab.Download(t.Du4));
        Compare.Close(Narrow(du4), Mask(dz, pooled4, layers[3], Keep(rate)), Rounded, "du4");
        double[] dy4 = after[3].CheckGradients(Widen(y4), Unpool(du4, y4, layers[3], n, 14));
        after[3].CheckWeights(dy4, a3, 14, 64, 64);
        double[] du3 = Widen(lab.Download(t.Du3));
        Compare.Close(Narrow(du3), Mask(Convolve(dy4, Turn(layers[3].W, 64, 64), n, 14, 64, 64), y3, layers[2], 1), Rounded, "du3");
        double[] dy3 = after[2].CheckGradients(Widen(y3), du3);
        after[2].CheckWeights(dy3, a2, 14, 32, 64);
        double[] du2 = Widen(lab.Download(t.Du2));
        Compare.Close(Narrow(du2), Mask(Convolve(dy3, Turn(layers[2].W, 32, 64), n, 14, 64, 32), pooled2, layers[1], Keep(rate)), Rounded,
            "du2");
        double[] dy2 = after[1].CheckGradients(Widen(y2), Unpool(du2, y2, layers[1], n, 28));
        after[1].CheckWeights(dy2, a1, 28, 32, 32);
        double[] du1 = Mask(Convolve(dy2, Turn(layers[1].W, 32, 32), n, 28, 32, 32), Narrow(a1),
            layers[0] with { Scale = Ones, Shift = new float[64] }, 1);
        double[] dy1 = after[0].CheckGradients(y1, du1, Rounded);
        after[0].CheckWeights(dy1, Widen(x), 28, 1, 32);
    }

    /// <summary>More samples than blocks; and the statistics of the first layer follow from the input as it was rounded.</summary>
    [Fact]
    public void A_step_begins_with_the_same_bits_whether_its_convolutions_are_fused_or_not()
    {
        NetworkSpec network = DigitNetworks.Improved;
        using CudaSession session = Gpu.Open(Precision.Bf16);
        using CudaContext.Scope scope = session.Context.Enter();
        int n = 4 * session.Multiprocessors + 3;
        using FusedLab fused = new(session, network, n, training: true);
        DeviceLab lab = fused.Lab;
        NetworkWeights weights = Start(network);
        fused.Net.Parameters.Load(session.Stream, weights, new OptimizerState(network));
        Adam.RoundWeights(session, fused.Net.Parameters);
        byte[] pixels = GeneratedDigits.Create(n, seed: 3).Pixels.ToArray();
        DeviceTensor one = lab.State(n + 1, pixels, epoch: 7, rate: 1e-3f), other = lab.State(n + 1, pixels, epoch: 7, rate: 1e-3f),
        x = lab.Empty(n * 784);
        FusedTensors t = fused.Net.Tensors;
        Gathering gathering = Gathering.ForTraining(AugmentationSpec.Standard with { Elastic = 3 }, Seed);
        new FusedConvolutions(session, t, Seed, n).Gather(one, gathering);
        new GatherAugment(session, n).Training(other, x, gathering);
        float[] actual = lab.Download(t.X);
        Assert.Equal(lab.Download(x), actual);
        (StepState after, StepState expected) = (lab.Download<StepState>(one), lab.Download<StepState>(other));
        (expected.Pixels, expected.Order, expected.LearningRates) = (after.Pixels, after.Order, after.LearningRates);
        Assert.Equal(expected, after);
        LayerState first = new(lab, t.Layers[0], weights, n);
        first.CheckStatistics(Convolve(Widen(actual), first.W, n, 28, 1, 32));
    }

    /// <summary>
    /// More samples than the test of all kernels can take: several blocks in every direction, the other size of tiles, fewer parts.
    /// </summary>
    [Theory]
    [InlineData(100)]
    [InlineData(600)]
    public void Products_of_the_hidden_layer_follow_plain_loops(int n)
    {
        using CudaSession session = Gpu.Open(Precision.Bf16);
        using CudaContext.Scope scope = session.Context.Enter();
        using FusedLab fused = new(session, DigitNetworks.Improved.WithDropout(0), n, training: true);
        (FusedNetwork net, DeviceLab lab, DeviceParameters parameters) = (fused.Net, fused.Lab, fused.Net.Parameters);
        FusedTensors t = net.Tensors;
        Random random = new(n);
        DeviceTensor w = parameters.Operand("fc1.weight"), dw = parameters.Gradient("fc1.weight");
        float[] x = Values(n * 3136, () => random.NextDouble() - 0.5), weights = Values(256 * 3136, () => random.NextDouble() - 0.5),
        dy = Values(n * 256, () => random.NextDouble() - 0.5);
        lab.Upload(x, t.Z4);
        lab.Upload(x, t.Pooled4); // its signs are the mask
        lab.Upload(weights, w);
        lab.Upload(dy, net.Head.DY);
        lab.Upload([.. Ones, .. new float[FusedTensors.CoefficientCount - 64]], t.Layers[3].Coefficients);
        FusedDense hidden = new(session, t, n);
        hidden.Forward(t.Z4, w, net.Head.Y);
        hidden.BackwardWeights(t.Z4, net.Head.DY, dw);
        hidden.BackwardData(w, net.Head.DY);
        (double[] y, double[] dz, double[] dwExpected) = Dense(Widen(x), Widen(weights), Widen(dy), n);
        Compare.Close(AddUp(lab.Download(net.Head.Y), hidden.Parts, y.Length), y, Summed, "y");
        Compare.Close(lab.Download(dw), dwExpected, Summed, "dW");
        float[] du4 = lab.Download(t.Du4);
        Compare.Close(du4, [.. dz.Select((value, i) => x[i] > 0 ? value : 0)], Rounded, "du4");
        double[] sums = new double[64];
        for (int i = 0; i < du4.Length; i++)
        {
            sums[i % 64] += du4[i];
        }

        Compare.Close(lab.Download(t.Layers[3].Norm.DBeta), sums, Summed, "dβ");
    }

    [Fact]
    public void Features_of_a_prediction_follow_plain_loops_one_image_or_two_at_a_time()
    {
        NetworkSpec network = DigitNetworks.Improved;
        using CudaSession session = Gpu.Open(Precision.Bf16);
        using CudaContext.Scope scope = session.Context.Enter();
        int many = session.Multiprocessors + 3; // two at a time, and one that is left over
        using FusedLab fused = new(session, network, many, training: false);
        (FusedNetwork net, DeviceLab lab, DeviceParameters parameters) = (fused.Net, fused.Lab, fused.Net.Parameters);
        NetworkWeights weights = Start(network);
        Random random = new(3);
        for (int i = 0; i < weights.Statistics.Length; i++)
        {
            weights.Statistics[i] = (float)(0.2 + random.NextDouble());
        }

        parameters.Load(session.Stream, weights, null);
        Adam.RoundWeights(session, parameters);
        FusedTensors t = net.Tensors;
        FusedConvolutions together = new(session, t, Seed, many), alone = new(session, t, Seed, 1);
        together.PreparePrediction();
        float[] x = Values(many * 784, () => random.NextDouble() < 0.7 ? 0 : random.NextDouble());
        lab.Upload(x, t.X);
        together.Predict();
        float[] features = lab.Download(t.Z4);

        const int Sample = 2;
        LayerState[] layers = [.. Enumerable.Range(0, 4).Select(i => new LayerState(lab, t.Layers[i], weights, 1))];
        float[] image = x[(Sample * 784)..((Sample + 1) * 784)];
        double[] a1 = Activate(Convolve(Widen(image), layers[0].W, 1, 28, 1, 32), layers[0], 1);
        double[] a2 = Pool(Convolve(a1, layers[1].W, 1, 28, 32, 32), layers[1], 28);
        double[] a3 = Activate(Convolve(a2, layers[2].W, 1, 14, 32, 64), layers[2], 1);
        double[] z4 = Pool(Convolve(a3, layers[3].W, 1, 14, 64, 64), layers[3], 14);
        float[] actual = features[(Sample * 3136)..((Sample + 1) * 3136)];
        Compare.Close(actual, z4, Rounded, "features");
        foreach (LayerState layer in layers)
        {
            layer.CheckRunning();
        }

        lab.Upload(image, t.X);
        alone.Predict();
        Assert.Equal(actual, lab.Download(t.Z4)[..3136]);

        static double[] Pool(double[] y, LayerState layer, int side)
        {
            int half = side / 2;
            double[] pooled = new double[half * half * layer.Channels];
            for (int i = 0; i < pooled.Length; i++)
            {
                (int row, int column, int channel) = (i / layer.Channels / half, i / layer.Channels % half, i % layer.Channels);
                IEnumerable<float> window =
                    new[] { (0, 0), (0, 1), (1, 0),
                    (1, 1) }.Select(d => ((2 * row + d.Item1) * side + 2 * column + d.Item2) * layer.Channels + channel)
                    .Select(at => layer.U((float)y[at], at));
                pooled[i] = Bf16(Math.Max(window.Max(), 0));
            }

            return pooled;
        }
    }

    [Fact]
    public void Predictions_take_the_running_statistics_and_drop_nothing()
    {
        NetworkSpec network = DigitNetworks.Improved;
        NetworkWeights weights = Start(network);
        DigitDataset digits = GeneratedDigits.Create(40, seed: 11);
        int[] rows = [.. Enumerable.Range(0, 40)];
        float[] fused = new float[400], reference = new float[400];
        foreach ((CudaKernels kernels, float[] logits) in new[] { (CudaKernels.Warpgroups, fused), (CudaKernels.Layered, reference) })
        {
            using ITrainingBackend backend =
                Gpu.Create(network, new BackendOptions(16, 0, AugmentationSpec.None) { Precision = Precision.Bf16, Kernels = kernels });
            backend.Load(weights, new OptimizerState(network));
            backend.Predict(digits, rows, logits);
        }

        Compare.Close(fused, Widen(reference), 2e-2, "logits");
        using DigitClassifier classifier =
            new(weights, new ClassifierOptions
            {
                Device = "cuda",
                BatchSize = 16,
                Precision = Precision.Bf16,
                Kernels = CudaKernels.Warpgroups
            });
        float[] classified = new float[400];
        classifier.Predict(digits.Pixels, classified);
        Compare.Close(classified, Widen(fused), Gpu.IsSoftware ? 0 : 1e-3,
            "logits of the classifier"); // cuBLAS may sum otherwise for other sizes of step
    }

    /// <summary>What dropout has taken away is marked by a NaN: it must not be taken for one that the arithmetic has made.</summary>
    [Theory]
    [InlineData("conv1.weight")]
    [InlineData("bn2.weight")]
    [InlineData("conv4.weight")]
    [InlineData("bn4.bias")]
    public void A_run_that_diverged_says_so(string parameter)
    {
        NetworkSpec network = DigitNetworks.Improved;
        NetworkWeights weights = Start(network);
        weights[parameter].Fill(float.NaN);
        using ITrainingBackend backend =
            Gpu.Create(network, new BackendOptions(8, 3, AugmentationSpec.None)
            {
                Precision = Precision.Bf16,
                Kernels = CudaKernels.Warpgroups
            });
        backend.Load(weights, new OptimizerState(network));
        backend.BeginEpoch(GeneratedDigits.Create(8, seed: 11), 0, [.. Enumerable.Range(0, 8)], default);
        backend.RunSteps(0, [1e-3f]);
        Assert.True(double.IsNaN(backend.ReadSums().Loss));
    }

    [Fact]
    public void Steps_are_the_same_bits_captured_and_eager_overlapped_and_not()
    {
        float[] captured = Bits(graph: true, overlap: true);
        Assert.Equal(captured, Bits(graph: false, overlap: true));
        Assert.Equal(captured, Bits(graph: true, overlap: false));

        float[] Bits(bool graph, bool overlap)
        {
            DigitDataset digits = GeneratedDigits.Create(10, seed: 11);
            NetworkSpec network = DigitNetworks.Improved;
            NetworkWeights weights = Start(network);
            OptimizerState optimizer = new(network);
            using ITrainingBackend backend =
                Gpu.Create(network, new BackendOptions(4, 3, AugmentationSpec.Standard)
                {
                    Precision = Precision.Bf16,
                    CudaGraph = graph,
                    Overlap = overlap,
                    Kernels = CudaKernels.Warpgroups
                });
            backend.Load(weights, optimizer);
            backend.BeginEpoch(digits, 0, [.. Enumerable.Range(0, 9)], default); // the last step has one
            backend.RunSteps(0, [1e-3f, 1e-3f, 1e-3f]);
            backend.Save(weights, optimizer);
            return [.. weights.Trained, .. weights.Statistics, (float)backend.ReadSums().Loss];
        }
    }

    /// <summary>
    /// Adam rounds every weight into the places where the kernels read it, as loading does: a run that is resumed goes on to the bit.
    /// </summary>
    [Fact]
    public void What_Adam_leaves_is_what_loading_leaves()
    {
        NetworkSpec network = DigitNetworks.Improved;
        DigitDataset digits = GeneratedDigits.Create(4, seed: 11);
        NetworkWeights weights = Start(network), expected = new(network), actual = new(network);
        OptimizerState optimizer = new(network), unused = new(network);
        using ITrainingBackend backend = Create(), resumed = Create();
        backend.Load(weights, optimizer);
        Step(backend, epoch: 0);
        backend.Save(weights, optimizer);
        Step(backend, epoch: 1);
        backend.Save(expected, unused);
        resumed.Load(weights, optimizer);
        Step(resumed, epoch: 1);
        resumed.Save(actual, unused);
        Assert.Equal(expected.Trained, actual.Trained);
        Assert.Equal(expected.Statistics, actual.Statistics);

        ITrainingBackend Create() =>
            Gpu.Create(network, new BackendOptions(4, 3, AugmentationSpec.Standard)
            {
                Precision = Precision.Bf16,
                Kernels = CudaKernels.Warpgroups
            });

        void Step(ITrainingBackend on, int epoch)
        {
            on.BeginEpoch(digits, epoch, [0, 1, 2, 3], default);
            on.RunSteps(0, [1e-3f]);
        }
    }

    /// <summary>A network for the fused kernels, all of its tensors zero.</summary>
    private sealed class FusedLab : IDisposable
    {
        public FusedLab(CudaSession session, NetworkSpec network, int samples, bool training)
        {
            DeviceArena arena = new();
            Net = new FusedNetwork(session, arena, network, samples, training ? new OptimizerSpec().Buffers : null);
            Lab = DeviceLab.On(session);
            arena.Allocate(session.Context.Handles);
            session.Stream.Clear((nint)arena.Base, arena.Bytes);
        }

        public FusedNetwork Net { get; }

        public DeviceLab Lab { get; }

        public void Dispose() => Lab.Dispose();
    }
}
