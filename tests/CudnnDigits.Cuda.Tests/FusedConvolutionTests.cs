using CudnnDigits.Cuda.Interop;
using CudnnDigits.Data;
using CudnnDigits.Inference;
using CudnnDigits.Model;
using CudnnDigits.Numerics;
using CudnnDigits.Tests.Reference;
using CudnnDigits.Training;

namespace CudnnDigits.Cuda.Tests;

/// <summary>
/// Each fused kernel against plain loops in double that start from the very tensors the kernel read, so that one rounding
/// to bfloat16 is all that may lie between them. docs/numerics.md says where the tolerances come from.
/// </summary>
public class FusedConvolutionTests
{
    private const ulong Seed = 0x1234_5678_9ABC;
    private const double Rounded = 4e-3, Summed = 1e-4;

    [Theory]
    [InlineData(1, 0.25)]
    [InlineData(3, 0.25)]
    [InlineData(5, 0)]
    public void Every_kernel_follows_plain_loops(int n, double rate)
    {
        Gpu.Require();
        NetworkSpec network = DigitNetworks.Improved.WithDropout(rate);
        using CudaSession session = Gpu.Open(Precision.Bf16);
        using CudaContext.Scope scope = session.Context.Enter();
        using DeviceArena arena = new();
        CudaNetwork net = new(session, arena, network, n, training: true, Convolver.Overlapped);
        using DeviceLab lab = DeviceLab.On(session);
        arena.Allocate(session.Context);
        session.Stream.Clear((nint)arena.Base, arena.Bytes);
        using DeviceParameters parameters = net.Parameters;
        NetworkWeights weights = Start(network);
        parameters.Load(session.Stream, weights, new AdamState(network));
        new Adam(session).RoundWeights(parameters);
        FusedTensors t = net.Fused!;
        using FusedConvolutions convolutions = new(session, t, Seed, n);
        Random random = new(n);
        float[] x = Values(n * 784, () => random.NextDouble() < 0.7 ? 0 : random.NextDouble()), dz = Values(n * 3136, () => random.NextDouble() - 0.5);
        lab.Upload(x, t.X);
        DeviceTensor gradient = lab.Upload(dz, DeviceType.Bf16);

        convolutions.Forward(lab.State(n), training: true, net.Sums);
        Layer[] layers = [.. Enumerable.Range(0, 4).Select(i => new Layer(lab, t.Layers[i], weights, n))];
        double[] y1 = Convolve(Widen(x), layers[0].W, n, 28, 1, 32);
        layers[0].CheckStatistics(y1);
        double[] a1 = Activate(y1, layers[0], 1);
        float[] y2 = lab.Download(t.Y2), y3 = lab.Download(t.Y3), y4 = lab.Download(t.Y4), pooled2 = lab.Download(t.Pooled2), pooled4 = lab.Download(t.Pooled4);
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
        Assert.Equal(Activate(Widen(pooled4), layers[3], Keep(rate)), Widen(lab.Download(t.Z4)));

        session.PrepareBranches();
        session.SetBlasWorkspace(lab.Empty(CublasHandle.WorkspaceBytes, DeviceType.U8), lab.Empty(CublasHandle.WorkspaceBytes, DeviceType.U8));
        convolutions.Backward(gradient, net.GradientB, net.Sums);
        session.Join();
        Layer[] after = [.. Enumerable.Range(0, 4).Select(i => new Layer(lab, t.Layers[i], weights, n))];
        double[] du4 = Widen(lab.Download(gradient));
        Assert.Equal(Mask(Widen(dz), pooled4, layers[3], Keep(rate)), du4);
        double[] dy4 = after[3].CheckGradients(Widen(y4), Unpool(du4, y4, layers[3], n, 14));
        after[3].CheckWeights(dy4, a3, 14, 64, 64);
        double[] du3 = Widen(lab.Download(t.Du3));
        Compare.Close(Narrow(du3), Mask(Convolve(dy4, Turn(layers[3].W, 64, 64), n, 14, 64, 64), y3, layers[2], 1), Rounded, "du3");
        double[] dy3 = after[2].CheckGradients(Widen(y3), du3);
        after[2].CheckWeights(dy3, a2, 14, 32, 64);
        double[] du2 = Widen(lab.Download(t.Du2));
        Compare.Close(Narrow(du2), Mask(Convolve(dy3, Turn(layers[2].W, 32, 64), n, 14, 64, 32), pooled2, layers[1], Keep(rate)), Rounded, "du2");
        double[] dy2 = after[1].CheckGradients(Widen(y2), Unpool(du2, y2, layers[1], n, 28));
        after[1].CheckWeights(dy2, a1, 28, 32, 32);
        double[] du1 = Mask(Convolve(dy2, Turn(layers[1].W, 32, 32), n, 28, 32, 32), Narrow(a1), layers[0] with { Scale = Ones, Shift = new float[64] }, 1);
        double[] dy1 = after[0].CheckGradients(y1, du1, Rounded);
        after[0].CheckWeights(dy1, Widen(x), 28, 1, 32);
    }

    [Fact]
    public void Features_of_a_prediction_follow_plain_loops_one_image_or_two_at_a_time()
    {
        Gpu.Require();
        NetworkSpec network = DigitNetworks.Improved;
        using CudaSession session = Gpu.Open(Precision.Bf16);
        using CudaContext.Scope scope = session.Context.Enter();
        using DeviceArena arena = new();
        int many = session.Multiprocessors + 3; // two at a time, and one that is left over
        CudaNetwork net = new(session, arena, network, many, training: false, Convolver.Overlapped);
        using DeviceLab lab = DeviceLab.On(session);
        arena.Allocate(session.Context);
        session.Stream.Clear((nint)arena.Base, arena.Bytes);
        using DeviceParameters parameters = net.Parameters;
        NetworkWeights weights = Start(network);
        Random random = new(3);
        for (int i = 0; i < weights.Statistics.Length; i++)
        {
            weights.Statistics[i] = (float)(0.2 + random.NextDouble());
        }

        parameters.Load(session.Stream, weights, null);
        new Adam(session).RoundWeights(parameters);
        FusedTensors t = net.Fused!;
        using FusedConvolutions together = new(session, t, Seed, many), alone = new(session, t, Seed, 1);
        together.PreparePrediction();
        float[] x = Values(many * 784, () => random.NextDouble() < 0.7 ? 0 : random.NextDouble());
        lab.Upload(x, t.X);
        together.Forward(lab.State(many), training: false, net.Sums);
        float[] features = lab.Download(t.Z4);

        const int Sample = 2;
        Layer[] layers = [.. Enumerable.Range(0, 4).Select(i => new Layer(lab, t.Layers[i], weights, 1))];
        float[] image = x[(Sample * 784)..((Sample + 1) * 784)];
        double[] a1 = Activate(Convolve(Widen(image), layers[0].W, 1, 28, 1, 32), layers[0], 1);
        double[] a2 = Pool(Convolve(a1, layers[1].W, 1, 28, 32, 32), layers[1], 28);
        double[] a3 = Activate(Convolve(a2, layers[2].W, 1, 14, 32, 64), layers[2], 1);
        double[] z4 = Pool(Convolve(a3, layers[3].W, 1, 14, 64, 64), layers[3], 14);
        float[] actual = features[(Sample * 3136)..((Sample + 1) * 3136)];
        Compare.Close(actual, z4, Rounded, "features");
        foreach (Layer layer in layers)
        {
            layer.CheckRunning();
        }

        lab.Upload(image, t.X);
        alone.Forward(lab.State(1), training: false, net.Sums);
        Assert.Equal(actual, lab.Download(t.Z4)[..3136]);

        static double[] Pool(double[] y, Layer layer, int side)
        {
            int half = side / 2;
            double[] pooled = new double[half * half * layer.Channels];
            for (int i = 0; i < pooled.Length; i++)
            {
                (int row, int column, int channel) = (i / layer.Channels / half, i / layer.Channels % half, i % layer.Channels);
                IEnumerable<float> window = new[] { (0, 0), (0, 1), (1, 0), (1, 1) }.Select(d => ((2 * row + d.Item1) * side + 2 * column + d.Item2) * layer.Channels + channel).Select(at => layer.U((float)y[at], at));
                pooled[i] = Bf16(Math.Max(window.Max(), 0));
            }

            return pooled;
        }
    }

    [Fact]
    public void Predictions_take_the_running_statistics_and_drop_nothing()
    {
        Gpu.Require();
        NetworkSpec network = DigitNetworks.Improved;
        NetworkWeights weights = Start(network);
        DigitDataset digits = GeneratedDigits.Create(40, seed: 11);
        int[] rows = [.. Enumerable.Range(0, 40)];
        float[] fused = new float[400], reference = new float[400];
        foreach ((string convolutions, float[] logits) in new[] { ("fused", fused), ("cudnn", reference) })
        {
            using ITrainingBackend backend = Gpu.Create(network, new BackendOptions(16, 0, AugmentationSpec.None) { Precision = Precision.Bf16, Convolutions = convolutions });
            backend.Load(weights, new AdamState(network));
            backend.Predict(digits, rows, logits);
        }

        Compare.Close(fused, Widen(reference), 2e-2, "logits");
        using DigitClassifier classifier = new(weights, new ClassifierOptions { Device = "cuda", BatchSize = 16, Precision = Precision.Bf16, Convolutions = "overlapped" });
        float[] classified = new float[400];
        classifier.Predict(digits.Pixels, classified);
        Compare.Close(classified, Widen(fused), Gpu.IsSoftware ? 0 : 1e-3, "logits of the classifier"); // cuBLAS may sum otherwise for other sizes of step
    }

    [Fact]
    public void Steps_are_the_same_bits_captured_and_eager_every_time()
    {
        Gpu.Require();
        float[] captured = Bits("fused", graph: true);
        Assert.Equal(captured, Bits("fused", graph: false));
        Assert.Equal(captured, Bits("overlapped", graph: true));
        Assert.Equal(captured, Bits("overlapped", graph: false));

        static float[] Bits(string convolutions, bool graph)
        {
            DigitDataset digits = GeneratedDigits.Create(40, seed: 11);
            NetworkSpec network = DigitNetworks.Improved;
            NetworkWeights weights = Start(network);
            AdamState optimizer = new(network);
            using ITrainingBackend backend = Gpu.Create(network, new BackendOptions(16, 3, AugmentationSpec.Standard) { Precision = Precision.Bf16, CudaGraph = graph, Convolutions = convolutions });
            backend.Load(weights, optimizer);
            backend.BeginEpoch(digits, 0, [.. Enumerable.Range(0, 36)], default); // the last step has four
            backend.RunSteps(0, [1e-3f, 1e-3f, 1e-3f]);
            backend.Save(weights, optimizer);
            return [.. weights.Trained, .. weights.Statistics, (float)backend.ReadSums().Loss];
        }
    }

    [Theory]
    [InlineData("simple", Precision.Bf16, "this one is 'simple'")]
    [InlineData("improved", Precision.Tf32, "add --precision bf16")]
    public void What_they_cannot_run_is_said(string model, Precision precision, string expected)
    {
        Gpu.Require();
        InputException e = Assert.Throws<InputException>(() => Gpu.Create(DigitNetworks.Find(model)!, new BackendOptions(4, 0, AugmentationSpec.None) { Precision = precision, Convolutions = "fused" }));
        Assert.Contains(expected, e.Message, StringComparison.Ordinal);
    }

    private static float[] Ones => [.. Enumerable.Repeat(1f, 64)];

    /// <summary>Batch norm's parameters moved away from 1 and 0, some below zero: pooling before or after it is not the same then.</summary>
    private static NetworkWeights Start(NetworkSpec network)
    {
        NetworkWeights weights = Initializer.Create(network, 5);
        Random random = new(1);
        foreach (string name in new[] { "bn1", "bn2", "bn3", "bn4" })
        {
            foreach (ref float gamma in weights[$"{name}.weight"])
            {
                gamma = (float)(random.NextDouble() * 2 - 0.5);
            }

            foreach (ref float beta in weights[$"{name}.bias"])
            {
                beta = (float)(random.NextDouble() - 0.3);
            }
        }

        return weights;
    }

    private static double Keep(double rate) => (float)(1 / (1 - rate));

    private static float[] Values(int count, Func<double> draw) => [.. Enumerable.Range(0, count).Select(_ => Bf16(draw()))];

    private static float Bf16(double value) => BitConverter.UInt32BitsToSingle((uint)DeviceLab.Round((float)value) << 16);

    private static double[] Widen(float[] values) => Array.ConvertAll(values, value => (double)value);

    private static float[] Narrow(double[] values) => Array.ConvertAll(values, value => (float)value);

    /// <summary>relu(u), rounded; 0 where a pooled y is marked as dropped.</summary>
    private static double[] Activate(double[] y, Layer layer, double keep) =>
        [.. y.Select((value, i) => double.IsNaN(value) ? 0 : (double)Bf16((float)(Math.Max(layer.U((float)value, i), 0) * (float)keep)))];

    /// <summary>The gradient of u from that of what follows ReLU and dropout, rounded where the kernels round it.</summary>
    private static double[] Mask(double[] gradient, float[] y, Layer layer, double keep) =>
        [.. gradient.Select((value, i) => !float.IsNaN(y[i]) && layer.U(y[i], i) > 0 ? (double)Bf16((float)(value * keep)) : 0)];

    private static void AssertPooled(float[] pooled, float[] y, Layer layer, int n, int side, double rate, uint dropoutLayer)
    {
        int half = side / 2, size = half * half * layer.Channels;
        uint threshold = (uint)(rate * 4294967296.0);
        for (int sample = 0; sample < n; sample++)
        {
            uint[] words = new uint[size];
            new Philox(Seed).Fill(words, (uint)sample, 0, RandomPurpose.Dropout + dropoutLayer);
            for (int i = 0; i < size; i++)
            {
                float expected = words[i] < threshold ? float.NaN : y[Best(y, layer, sample, i / layer.Channels / half, i / layer.Channels % half, i % layer.Channels, side)];
                Assert.Equal(expected, pooled[sample * size + i]);
            }
        }
    }

    /// <summary>Where the first maximum of u in a 2×2 window lies.</summary>
    private static int Best(float[] y, Layer layer, int sample, int row, int column, int channel, int side)
    {
        int[] at = [.. new[] { (0, 0), (0, 1), (1, 0), (1, 1) }.Select(d => ((sample * side + 2 * row + d.Item1) * side + 2 * column + d.Item2) * layer.Channels + channel)];
        return at.MaxBy(i => layer.U(y[i], i));
    }

    private static double[] Unpool(double[] du, float[] y, Layer layer, int n, int side)
    {
        double[] all = new double[y.Length];
        int half = side / 2;
        for (int i = 0; i < du.Length; i++)
        {
            int pixel = i / layer.Channels;
            all[Best(y, layer, pixel / (half * half), pixel / half % half, pixel % half, i % layer.Channels, side)] = du[i];
        }

        return all;
    }

    /// <summary>(N, side, side, In) ∗ (Out, 3, 3, In), padding 1.</summary>
    private static double[] Convolve(double[] x, float[] w, int n, int side, int inputs, int outputs)
    {
        double[] y = new double[n * side * side * outputs];
        Parallel.For(0, n * side, line =>
        {
            (int sample, int row) = (line / side, line % side);
            for (int column = 0; column < side; column++)
            {
                for (int tap = 0; tap < 9; tap++)
                {
                    (int r, int c) = (row + tap / 3 - 1, column + tap % 3 - 1);
                    if (r >= 0 && r < side && c >= 0 && c < side)
                    {
                        ReadOnlySpan<double> from = x.AsSpan(((sample * side + r) * side + c) * inputs, inputs);
                        for (int k = 0; k < outputs; k++)
                        {
                            ReadOnlySpan<float> taps = w.AsSpan((k * 9 + tap) * inputs, inputs);
                            double sum = 0;
                            for (int i = 0; i < inputs; i++)
                            {
                                sum += from[i] * taps[i];
                            }

                            y[((sample * side + row) * side + column) * outputs + k] += sum;
                        }
                    }
                }
            }
        });
        return y;
    }

    /// <summary>(Out, 3, 3, In) to (In, 3, 3, Out), each window turned round.</summary>
    private static float[] Turn(float[] w, int inputs, int outputs)
    {
        float[] turned = new float[w.Length];
        for (int i = 0; i < w.Length; i++)
        {
            (int k, int tap, int c) = (i / (9 * inputs), i / inputs % 9, i % inputs);
            turned[(c * 9 + 8 - tap) * outputs + k] = w[i];
        }

        return turned;
    }

    /// <summary>A layer's weights and what batch norm came to, as they lie on the device.</summary>
    private sealed record Layer(int Channels, float[] W, float[] DW, float[] DGamma, float[] DBeta, float[] RunningMean, float[] RunningVariance, float[] Gamma, float[] Beta, float[] All, int N)
    {
        public Layer(DeviceLab lab, FusedLayer layer, NetworkWeights weights, int n)
            : this(
                layer.Plan.Conv.OutChannels, lab.Download(layer.W), Gradient(lab, layer.DW), Gradient(lab, layer.Norm.DGamma), Gradient(lab, layer.Norm.DBeta),
                lab.Download(layer.Norm.RunningMean), lab.Download(layer.Norm.RunningVariance), weights[$"{layer.Plan.Norm!.Name}.weight"].ToArray(), weights[$"{layer.Plan.Norm.Name}.bias"].ToArray(),
                lab.Download(layer.Coefficients), n)
        {
        }

        private static float[] Gradient(DeviceLab lab, DeviceTensor tensor) => tensor.Count > 0 ? lab.Download(tensor) : []; // none where nothing is trained

        public float[] Scale { get; init; } = All[..64];

        public float[] Shift { get; init; } = All[64..128];

        /// <summary>After batch norm, as the kernels compute it.</summary>
        public float U(float y, int index) => MathF.FusedMultiplyAdd(y, Scale[index % Channels], Shift[index % Channels]);

        public void CheckRunning()
        {
            for (int c = 0; c < Channels; c++)
            {
                double scale = Gamma[c] / Math.Sqrt(RunningVariance[c] + 1e-5);
                Assert.Equal(scale, Scale[c], 1e-6);
                Assert.Equal(Beta[c] - scale * RunningMean[c], Shift[c], 1e-6);
            }
        }

        public void CheckStatistics(double[] y)
        {
            for (int c = 0; c < Channels; c++)
            {
                double[] values = [.. y.Where((_, i) => i % Channels == c)];
                double mean = values.Average(), variance = values.Average(value => (value - mean) * (value - mean)), scale = Gamma[c] / Math.Sqrt(variance + 1e-5);
                double deviation = Math.Sqrt(variance);
                Assert.Equal(mean, All[128 + c], Summed * deviation);
                Assert.Equal(1, All[192 + c] * Math.Sqrt(variance + 1e-5), Summed);
                Assert.Equal(scale, Scale[c], Summed * Math.Abs(scale));
                Assert.Equal(Beta[c] - scale * mean, Shift[c], Summed);
                Assert.Equal(0.1 * mean, RunningMean[c], Summed * deviation);
                Assert.Equal(0.9 + 0.1 * variance * values.Length / (values.Length - 1), RunningVariance[c], Summed);
            }
        }

        /// <summary>dγ and dβ; gives dY, rounded.</summary>
        public double[] CheckGradients(double[] y, double[] du, double tolerance = Summed)
        {
            double count = y.Length / Channels;
            double[] gamma = new double[Channels], beta = new double[Channels];
            for (int i = 0; i < y.Length; i++)
            {
                gamma[i % Channels] += du[i] * (y[i] - All[128 + i % Channels]) * All[192 + i % Channels];
                beta[i % Channels] += du[i];
            }

            Compare.Close(DGamma, gamma, tolerance, $"dγ of {Channels}");
            Compare.Close(DBeta, beta, tolerance, $"dβ of {Channels}");
            return [.. y.Select((value, i) =>
            {
                int c = i % Channels;
                double normal = (value - All[128 + c]) * All[192 + c];
                return (double)Bf16(Scale[c] * (du[i] - beta[c] / count - normal * gamma[c] / count));
            })];
        }

        public void CheckWeights(double[] dy, double[] input, int side, int inputs, int outputs)
        {
            double[] dw = new double[9 * inputs * outputs];
            Parallel.For(0, outputs, k =>
            {
                for (int pixel = 0; pixel < N * side * side; pixel++)
                {
                    (int sample, int row, int column) = (pixel / (side * side), pixel / side % side, pixel % side);
                    for (int tap = 0; tap < 9; tap++)
                    {
                        (int r, int c) = (row + tap / 3 - 1, column + tap % 3 - 1);
                        if (r >= 0 && r < side && c >= 0 && c < side)
                        {
                            ReadOnlySpan<double> from = input.AsSpan(((sample * side + r) * side + c) * inputs, inputs);
                            Span<double> to = dw.AsSpan((k * 9 + tap) * inputs, inputs);
                            double gradient = dy[pixel * outputs + k];
                            for (int i = 0; i < inputs; i++)
                            {
                                to[i] += gradient * from[i];
                            }
                        }
                    }
                }
            });
            Compare.Close(DW, dw, inputs == 1 ? 1e-2 : Rounded, $"gradient of the weights, {inputs} to {outputs}");
        }
    }
}
