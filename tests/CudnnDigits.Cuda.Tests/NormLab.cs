using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Fused;

namespace CudnnDigits.Cuda.Tests;

/// <summary>Batch norm of one layer on the device, or a bias, with what a kernel leaves of it.</summary>
internal sealed class NormLab
{
    private readonly DeviceLab _lab;
    private readonly DeviceTensor _coefficients, _runningMean, _runningVariance, _dGamma, _dBeta, _arrived;

    /// <summary>gamma: none for a bias. blocks: sums that blocks leave; values: of one channel.</summary>
    public NormLab(DeviceLab lab, float[]? gamma, float[] beta, long sums, double values)
    {
        int channels = beta.Length;
        (_lab, Beta) = (lab, beta);
        _coefficients = F32(new float[6 * channels]);
        (_runningMean, _runningVariance) = (F32(new float[channels]), F32([.. Enumerable.Repeat(1f, channels)]));
        (_dGamma, _dBeta, _arrived) = (F32(new float[channels]), F32(new float[channels]), F32(new float[4]));
        Norm = new(
            lab.Empty(sums, DeviceType.F32).Address, _arrived.Address, _coefficients.Address, gamma is null ? 0 : F32(gamma).Address,
            F32(beta).Address, _runningMean.Address, _runningVariance.Address, _dGamma.Address, _dBeta.Address, values, channels);

        DeviceTensor F32(float[] of) => lab.Upload(of, DeviceType.F32);
    }

    public ChannelNorm Norm { get; }

    public float[] Beta { get; }

    /// <summary>What the activation reads, from the coefficients.</summary>
    public Affine Affine
    {
        get
        {
            nint row = Norm.Channels * sizeof(float), at = _coefficients.Address;
            return new(at, at + row, at + 2 * row, at + 3 * row);
        }
    }

    public float[] DGamma => _lab.Download(_dGamma);

    public float[] DBeta => _lab.Download(_dBeta);

    public float[] RunningMean
    {
        get => _lab.Download(_runningMean);
        init => _lab.Upload(value, _runningMean);
    }

    public float[] RunningVariance
    {
        get => _lab.Download(_runningVariance);
        init => _lab.Upload(value, _runningVariance);
    }

    /// <summary>Rows: scale, shift, from_y, constant, mean, 1/deviation.</summary>
    public float[] Coefficients
    {
        get => _lab.Download(_coefficients);
        set => _lab.Upload(value, _coefficients);
    }

    public float[] Row(int which) => Coefficients[(which * Norm.Channels)..((which + 1) * Norm.Channels)];

    /// <summary>All that a kernel leaves, to the bit.</summary>
    public float[] All => [.. Coefficients, .. RunningMean, .. RunningVariance, .. DGamma, .. DBeta];

    /// <summary>The next kernel finds no block that has left its sums.</summary>
    public void CheckArrived() => Assert.All(_lab.Download(_arrived), count => Assert.Equal(0, count));
}
