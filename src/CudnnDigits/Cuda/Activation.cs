using CudnnDigits.Model;

namespace CudnnDigits.Cuda;

/// <summary>Bias, ReLU and dropout in one pass over an activation, by our own kernels; and the gradient of a bias.</summary>
/// <param name="session">The device.</param>
/// <param name="n">Samples.</param>
/// <param name="shape">Shape of one sample, channels last.</param>
/// <param name="dropout">Dropout after the ReLU, or null.</param>
/// <param name="dropoutIndex">Which dropout layer of the network it is, from 0.</param>
internal sealed unsafe class Activation(CudaSession session, int n, Shape shape, DropoutLayer? dropout, int dropoutIndex)
{
    /// <summary>Rows of partial sums of a bias gradient, at most.</summary>
    public const int MostSums = 512;

    private const int Threads = 256, Lanes = 32, Groups = Threads / Lanes;

    private readonly string _forward = "activation_forward" + session.KernelSuffix, _backward = "activation_backward" + session.KernelSuffix;
    private readonly float _keepScale = dropout is { Rate: > 0 } ? (float)(1 / (1 - dropout.Rate)) : 1;

    /// <summary>z = dropout(relu(y + bias)); z may be y.</summary>
    /// <param name="state">Says which samples these are, for dropout.</param>
    /// <param name="y">(N, H, W, C).</param>
    /// <param name="bias">(C) f32, or null.</param>
    /// <param name="z">(N, H, W, C).</param>
    /// <param name="seed">The run's seed.</param>
    /// <param name="training">False leaves dropout out.</param>
    public void Forward(DeviceTensor state, DeviceTensor y, DeviceTensor? bias, DeviceTensor z, ulong seed, bool training)
    {
        uint threshold = training && dropout is { Rate: > 0 } ? dropout.Threshold : 0;
        float keepScale = training ? _keepScale : 1;
        nint stateAt = state.Address, yAt = Z(y), biasAt = bias?.Holding(shape.C, DeviceType.F32) ?? 0, zAt = Z(z);
        int samples = n, size = shape.Size, channels = shape.C;
        uint layer = (uint)dropoutIndex;
        void** parameters = stackalloc void*[] { &stateAt, &yAt, &biasAt, &zAt, &samples, &size, &channels, &threshold, &keepScale, &seed, &layer };
        long quads = (long)n * ((size + 3) / 4);
        session.Launch(_forward, ((quads + Threads - 1) / Threads, 1), (Threads, 1), parameters);
    }

    /// <summary>dZ to dY in place, and the gradient of the bias where there is one.</summary>
    /// <param name="z">What forward gave.</param>
    /// <param name="dz">(N, H, W, C), overwritten by dY.</param>
    /// <param name="sums">Room for (<see cref="MostSums"/>, C) f32, or null without a bias.</param>
    /// <param name="dBias">(C) f32, or null without a bias.</param>
    public void Backward(DeviceTensor z, DeviceTensor dz, DeviceTensor? sums, DeviceTensor? dBias)
    {
        int channels = shape.C, rows = n * shape.H * shape.W;
        nint zAt = Z(z), dzAt = Z(dz), sumsAt = sums is { } room ? Sums(room) : 0;
        float keepScale = _keepScale;
        void** parameters = stackalloc void*[] { &zAt, &dzAt, &sumsAt, &rows, &channels, &keepScale };
        session.Launch(_backward, (Across(channels), Chunks), (Lanes, Groups), parameters);
        if (sums is { } left && dBias is { } total)
        {
            AddUp(session, left, Chunks, channels, total);
        }
    }

    /// <summary>Adds up rows of sums, always in the same order.</summary>
    /// <param name="session">The device.</param>
    /// <param name="sums">(rows, channels) f32.</param>
    /// <param name="rows">How many.</param>
    /// <param name="channels">How long they are.</param>
    /// <param name="total">(channels) f32 or bf16.</param>
    public static void AddUp(CudaSession session, DeviceTensor sums, int rows, int channels, DeviceTensor total)
    {
        nint sumsAt = sums.Holding((long)rows * channels, DeviceType.F32), totalAt = total.Holding(channels, total.Type);
        void** parameters = stackalloc void*[] { &sumsAt, &totalAt, &rows, &channels };
        session.Launch(total.Type == DeviceType.Bf16 ? "column_sums_bf16" : "column_sums_f32", (Across(channels), 1), (Lanes, Groups), parameters);
    }

    private static int Across(int channels) => (channels + Lanes - 1) / Lanes;

    private int Chunks => Math.Min((n * shape.H * shape.W + Lanes - 1) / Lanes, MostSums);

    private nint Sums(DeviceTensor tensor) => tensor.Holding((long)Chunks * shape.C, DeviceType.F32);

    private nint Z(DeviceTensor tensor) => tensor.Holding((long)n * shape.Size, session.ActivationType);
}
