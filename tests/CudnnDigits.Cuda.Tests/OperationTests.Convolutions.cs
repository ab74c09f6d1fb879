using CudnnDigits.Cpu;
using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Layered;

namespace CudnnDigits.Cuda.Tests;

/// <summary>What a convolution block is made of: convolution, batch norm, pooling.</summary>
public partial class OperationTests
{
    public static TheoryData<Precision, int, int, int, int, int, int> Convolutions
    {
        get
        {
            TheoryData<Precision, int, int, int, int, int, int> data = [];
            foreach (Precision precision in Enum.GetValues<Precision>())
            {
                data.Add(precision, 3, 1, 28, 32, 3, 1);
                data.Add(precision, 5, 1, 28, 32, 3, 0);
                data.Add(precision, 3, 32, 28, 32, 3, 1);
                data.Add(precision, 2, 32, 13, 64, 3, 0);
                data.Add(precision, 4, 64, 14, 64, 3, 1);
                data.Add(precision, 2, 16, 9, 24, 5, 2);
                data.Add(precision, 2, 8, 7, 8, 1, 0);
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Convolutions))]
    public void Convolution(Precision precision, int n, int c, int side, int k, int kernel, int padding) =>
        DeviceLab.Run(precision, lab =>
    {
        ConvShape shape = new(c, side, side, k, kernel, padding);
        float[] x = Values(precision, 1, n * side * side * c), w = Values(precision, 2, shape.WeightSize),
        dy = Values(precision, 3, n * shape.OutputSize);
        ConvPlan plan = new(new Conv2dLayer("conv", c, k, kernel, padding, false), null, null, null, 0, new Shape(c, side, side));
        Conv2d conv = new(lab.Session, lab.Session.Context.Handles, plan, n, 64 << 20, training: true);
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
}
