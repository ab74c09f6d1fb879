using CudnnDigits.Cpu;
using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Layered;

namespace CudnnDigits.Cuda.Tests;

/// <summary>What a convolution block is made of: convolution, batch norm, pooling.</summary>
public partial class OperationTests
{
    public static TheoryData<Precision, int, int, int, int, int, int, bool> Convolutions
    {
        get
        {
            TheoryData<Precision, int, int, int, int, int, int, bool> data = [];
            foreach (Precision precision in Enum.GetValues<Precision>())
            {
                data.Add(precision, 3, 1, 28, 32, 3, 1, false);
                data.Add(precision, 5, 1, 28, 32, 3, 0, false);
                data.Add(precision, 3, 32, 28, 32, 3, 1, false);
                data.Add(precision, 2, 32, 13, 64, 3, 0, false);
                data.Add(precision, 4, 64, 14, 64, 3, 1, false);
                data.Add(precision, 2, 16, 9, 24, 5, 2, false);
                data.Add(precision, 2, 8, 7, 8, 1, 0, false);
                data.Add(precision, 3, 1, 28, 32, 3, 1, true);
                data.Add(precision, 50, 1, 28, 32, 3, 0, true); // more runs of pixels than threads
                data.Add(precision, 2, 1, 7, 8, 3, 1, true);
                data.Add(precision, 1, 1, 3, 256, 3, 0, true);
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Convolutions))]
    public void Convolution(Precision precision, int n, int c, int side, int k, int kernel, int padding, bool ours) =>
        DeviceLab.Run(precision, lab =>
    {
        ConvShape shape = new(c, side, side, k, kernel, padding);
        float[] x = Values(precision, 1, n * side * side * c), w = Values(precision, 2, shape.WeightSize),
        dy = Values(precision, 3, n * shape.OutputSize);
        ConvPlan plan = new(new Conv2dLayer("conv", c, k, kernel, padding, false), null, null, null, 0, new Shape(c, side, side));
        IConvolution conv = ours ? new FirstConv2d(lab.Session, plan, n)
            : new Conv2d(lab.Session, lab.Session.Context.Handles, plan, n, 64 << 20, training: true);
        Assert.True(!ours || FirstConv2d.Fits(plan));
        DeviceTensor workspace = lab.Empty(Math.Max(conv.WorkspaceBytes, 1), DeviceType.U8);
        DeviceTensor dX = lab.Upload(x), dW = lab.Upload(w), dDY = lab.Upload(dy), y = lab.Empty(dy.Length), dx = lab.Empty(x.Length),
        dw = lab.Empty(w.Length);
        conv.Forward(dX, dW, y, workspace);
        Close(precision, CpuOps.ConvForward(shape, n, x, w), lab.Download(y), "y");
        conv.BackwardWeights(dX, dDY, dw, workspace);
        Close(precision, CpuOps.ConvBackwardWeights(shape, n, x, dy), lab.Download(dw), "dW");
        if (c > 1)
        {
            conv.BackwardData(dW, dDY, dx, workspace);
            Close(precision, CpuOps.ConvBackwardData(shape, n, w, dy), lab.Download(dx), "dX");
        }
    });

    /// <summary>They lay images out anew, and so ask for more the more samples there are.</summary>
    [Theory]
    [InlineData("simple")]
    [InlineData("improved")]
    public void Deterministic_algorithms_get_their_workspace_however_large_the_batch_is(string model) =>
        DeviceLab.Run(Precision.Fp32, lab =>
    {
        foreach (ConvPlan plan in new BlockPlan(DigitNetworks.Find(model)!).Convs)
        {
            foreach (int n in new[] { 64, 4096, 8192 })
            {
                Conv2d conv = new(lab.Session, lab.Session.Context.Handles, plan, n, Conv2d.MostWorkspace(n), training: true);
                Assert.Equal(plan.Input.C > 1,
                    conv.Algorithms.Contains("data", StringComparison.Ordinal)); // nobody asks for the gradient of the input
                if (Gpu.IsSoftware && n > 64 && plan.Input.C > 1)
                {
                    Assert.Throws<CudaUnavailableException>(() =>
                        new Conv2d(lab.Session, lab.Session.Context.Handles, plan, n, 64 << 20, training: true));
                }
            }
        }
    });

    [Theory]
    [InlineData(Precision.Fp32, 1)]
    [InlineData(Precision.Fp32, 2)]
    [InlineData(Precision.Fp32, 3)]
    [InlineData(Precision.Bf16, 1)]
    [InlineData(Precision.Bf16, 2)]
    public void Batch_norm_relu_and_pooling(Precision precision, int window) => DeviceLab.Run(precision, lab =>
    {
        const int N = 6, Side = 14, Channels = 32;
        PoolShape pool = new(Channels, Side, Side, window);
        Shape shape = new(Channels, Side, Side), pooled = new(Channels, pool.OutH, pool.OutW);
        float[] y = Values(precision, 1, N * shape.Size), gamma = Values(Precision.Fp32, 2, Channels),
        beta = Values(Precision.Fp32, 3, Channels), dA = Values(precision, 4, N * pooled.Size);
        CpuOps.NormResult expected = CpuOps.NormPool(pool, N, y, gamma, beta, dA);

        BatchNormTensors norm = new(
            lab.Upload(gamma, DeviceType.F32), lab.Upload(beta, DeviceType.F32), lab.Empty(Channels, DeviceType.F32),
            lab.Empty(Channels, DeviceType.F32),
            lab.Upload(new float[Channels], DeviceType.F32), lab.Upload([.. Enumerable.Repeat(1f, Channels)], DeviceType.F32),
            lab.Empty(Channels, DeviceType.F32), lab.Empty(Channels, DeviceType.F32));
        DeviceTensor x = lab.Upload(y), normal = lab.Empty(y.Length), p = window > 1 ? lab.Empty(dA.Length) : normal, z = window > 1
            ? lab.Empty(dA.Length) : normal;
        DeviceTensor gradient = lab.Upload(dA), unpooled = window > 1 ? lab.Empty(y.Length) : gradient, dX = lab.Empty(y.Length);
        BatchNorm2d layer = new(lab.Session, lab.Session.Context.Handles, N, shape, training: true);
        DeviceTensor workspace = lab.Empty(Math.Max(layer.WorkspaceBytes, 1), DeviceType.U8),
        reserve = lab.Empty(Math.Max(layer.ReserveBytes, 1), DeviceType.U8);
        MaxPool2d? pooling = window > 1
            ? new MaxPool2d(lab.Session, lab.Session.Context.Handles, new MaxPool2dLayer("pool", window), N, shape) : null;
        Activation activation = new(lab.Session, N, pooled, Dropout.None);
        layer.Training(x, normal, norm, workspace, reserve);
        pooling?.Forward(normal, p);
        activation.Forward(lab.State(N), p, null, z, training: true);
        activation.Backward(z, gradient, null, null);
        pooling?.Backward(p, gradient, normal, unpooled);
        layer.Backward(x, unpooled, dX, norm, workspace, reserve);

        Close(precision, expected.A, lab.Download(z), "a");
        // Rounded to bfloat16, neighbours in a window may be equal, and the first takes the gradient that was the other's.
        double? ties = precision == Precision.Bf16 && window > 1 ? 1e-2 : null;
        Close(precision, expected.DY, lab.Download(dX), "dY", ties);
        Close(precision, expected.DGamma, lab.Download(norm.DGamma), "dγ", ties);
        Close(precision, expected.DBeta, lab.Download(norm.DBeta), "dβ");
        Close(precision, expected.RunningMean, lab.Download(norm.RunningMean), "running mean");
        Close(precision, expected.RunningVariance, lab.Download(norm.RunningVariance), "running variance");
    });

    /// <summary>
    /// In evaluation: a convolution by the weights that batch norm is folded into, and a bias, is convolution and batch norm.
    /// </summary>
    [Theory]
    [MemberData(nameof(Precisions))]
    public void Batch_norm_folded_into_a_convolution(Precision precision) => DeviceLab.Run(precision, lab =>
    {
        const int N = 3, In = 8, Out = 16, Side = 9;
        ConvShape shape = new(In, Side, Side, Out, 3, 1);
        float[] x = Values(precision, 1, N * Side * Side * In), w = Values(precision, 2, shape.WeightSize),
        beta = Values(Precision.Fp32, 4, Out), mean = Values(Precision.Fp32, 5, Out);
        float[] gamma = [.. Values(Precision.Fp32, 3, Out).Select(value => value - 0.2f)],
        variance = [.. Values(Precision.Fp32, 6, Out).Select(value => 0.1f + value * value)];
        float[] y = CpuOps.ConvForward(shape, N, x, w);
        float[] expected = [.. y.Select((value, i) =>
            (float)(gamma[i % Out] * (value - mean[i % Out]) / Math.Sqrt(variance[i % Out] + BatchNorm2dLayer.Epsilon) + beta[i % Out]))];

        DeviceTensor none = lab.Empty(Out, DeviceType.F32);
        BatchNormTensors norm =
            new(lab.Upload(gamma, DeviceType.F32), lab.Upload(beta, DeviceType.F32), none, none, lab.Upload(mean, DeviceType.F32),
            lab.Upload(variance, DeviceType.F32), none, none);
        (DeviceTensor Weights, DeviceTensor Bias) folded = (lab.Empty(w.Length), lab.Empty(Out, DeviceType.F32));
        BatchNorm2d layer = new(lab.Session, lab.Session.Context.Handles, N, new Shape(Out, Side, Side), training: false);
        layer.Fold(lab.Upload(w, DeviceType.F32), norm, folded);
        float[] bias = lab.Download(folded.Bias);
        Close(precision, expected,
            [.. CpuOps.ConvForward(shape, N, x, lab.Download(folded.Weights)).Select((value, i) => value + bias[i % Out])], "y");
    });

    [Theory]
    [InlineData(Precision.Fp32, 3, 28, 32, true)]
    [InlineData(Precision.Fp32, 4, 11, 64, true)] // a row and a column are in no window
    [InlineData(Precision.Fp32, 100, 26, 32, true)] // more windows than threads
    [InlineData(Precision.Fp32, 1, 3, 4, false)]
    [InlineData(Precision.Bf16, 4, 11, 64, true)]
    [InlineData(Precision.Bf16, 3, 28, 256, false)]
    public void Pooling_bias_relu_and_dropout_in_one_pass(Precision precision, int n, int side, int channels, bool withBias) =>
        DeviceLab.Run(precision, lab =>
    {
        const double Rate = 0.3;
        int half = side / 2, pooledSize = half * half * channels;
        float[] x = Values(precision, 1, n * side * side * channels), bias = withBias ? Values(Precision.Fp32, 2, channels)
            : new float[channels], dz = Values(precision, 3, n * pooledSize);
        int[] greatest = [.. Enumerable.Range(0, dz.Length).Select(Greatest)];
        float[] biased = [.. greatest.Select((at, i) => x[at] + bias[i % channels])];
        float[] z = CpuOps.Dropout(n, pooledSize, biased, Seed, Rate, layer: 2, epoch: 5), dx = new float[x.Length];
        double[] dBias = new double[channels];
        for (int i = 0; i < dz.Length; i++)
        {
            float masked = z[i] > 0 ? dz[i] * (float)(1 / (1 - Rate)) : 0;
            dx[greatest[i]] = masked;
            dBias[i % channels] += masked;
        }

        PooledActivation pooled = new(lab.Session, n, new Shape(channels, side, side), Dropout.Of(new DropoutLayer("drop", Rate), 2, Seed));
        DeviceTensor from = lab.Upload(x), to = lab.Empty(z.Length), gradient = lab.Upload(Array.ConvertAll(dx, _ => float.NaN)),
        state = lab.State(n, epoch: 5);
        DeviceTensor? biasOnDevice = withBias ? lab.Upload(bias, DeviceType.F32) : null, sums = withBias
            ? lab.Empty(Activation.MostSums * channels, DeviceType.F32) : null, total = withBias ? lab.Empty(channels, DeviceType.F32)
            : null;
        pooled.Forward(state, from, biasOnDevice, to, training: true);
        pooled.Backward(from, to, lab.Upload(dz), gradient, sums, total);
        Close(precision, z, lab.Download(to), "z");
        Close(precision, dx, lab.Download(gradient), "dX");
        Assert.Equal(dx.Select(value => value == 0), lab.Download(gradient).Select(value => value == 0));
        if (total is { } left)
        {
            Close(precision, Array.ConvertAll(dBias, value => (float)value), lab.Download(left), "dB");
        }

        x[greatest[0]] = float.NaN;
        lab.Upload(x, from);
        pooled.Forward(state, from, biasOnDevice, to, training: false);
        float[] predicted = lab.Download(to);
        Assert.True(float.IsNaN(predicted[0]));
        Close(precision, [.. biased.Select(value => Math.Max(value, 0)).Skip(1)], predicted[1..], "z in evaluation");

        int Greatest(int i) // the first of them
        {
            (int channel, int column, int row, int sample) =
                (i % channels, i / channels % half, i / channels / half % half, i / pooledSize);
            int corner = ((((sample * side) + (2 * row)) * side) + (2 * column)) * channels + channel;
            return new[] { corner, corner + channels, corner + (side * channels), corner + ((side + 1) * channels) }.MaxBy(at => x[at]);
        }
    });
}
