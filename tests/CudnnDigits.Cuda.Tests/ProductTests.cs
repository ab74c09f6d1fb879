using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Fused;

namespace CudnnDigits.Cuda.Tests;

/// <summary>The products of dense layers against plain loops in double, on factors as they are stored.</summary>
public class ProductTests
{
    /// <summary>Both factors of a product rounded to nearest, 2⁻¹¹ at most, come to 2.9e-4; cut off, they would come to 8e-4.</summary>
    private const double NearestTf32 = 5e-4;

    public static TheoryData<Precision, int, int, int> Shapes()
    {
        TheoryData<Precision, int, int, int> all = [];
        foreach (Precision precision in new[] { Precision.Bf16, Precision.Tf32, Precision.Fp32 })
        {
            all.Add(precision, 1, 8, 8); // almost nothing of a tile exists
            all.Add(precision, 1, 1600, 256); // in parts
            all.Add(precision, 67, 264, 136); // several tiles each way, and the last one of few
            all.Add(precision, 131, 72, 24);
            all.Add(precision, 64, 128, 128); // whole tiles
            all.Add(precision, 521, 16, 8); // more samples than anything else
        }

        return all;
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Products_follow_plain_loops_and_have_the_same_bits_every_time(Precision precision, int n, int inputs, int outputs) =>
        DeviceLab.Run(precision, lab =>
        {
            Products products = new(lab.Session, n, inputs, outputs, inParts: true);
            Random random = new(n + inputs);
            float[] x = Draw(n * inputs), w = Draw(outputs * inputs), dy = Draw(n * outputs);
            (DeviceTensor onX, DeviceTensor onW, DeviceTensor onDy) = (lab.Upload(x), lab.Upload(w), lab.Upload(dy));
            (float[] y, float[] dx, float[] dw) = Run();
            (float[] y2, float[] dx2, float[] dw2) = Run();
            Assert.Equal((IEnumerable<float>)[.. y, .. dx, .. dw], [.. y2, .. dx2, .. dw2]);

            double[] a = Stored(x), b = Stored(w), c = Stored(dy);
            double tolerance = precision switch { Precision.Fp32 => 1e-6, Precision.Tf32 => NearestTf32, _ => PlainLoops.Summed };
            float[] added = PlainLoops.AddUp(y, products.Parts, n * outputs);
            Compare.Close(added, Sums(n, outputs, inputs, (i, j, k) => a[i * inputs + k] * b[j * inputs + k]), tolerance, "y");
            Compare.Close(
                dx, Sums(n, inputs, outputs, (i, j, k) => c[i * outputs + k] * b[k * inputs + j]),
                precision == Precision.Bf16 ? PlainLoops.Rounded : tolerance, "dX");
            Compare.Close(dw, Sums(outputs, inputs, n, (i, j, k) => c[k * outputs + i] * a[k * inputs + j]), tolerance, "dW");
            Assert.True(n * products.Parts <= Products.MostRows(lab.Session, n, outputs));
            Assert.True(products.Parts > 1 || inputs < 1600);

            float[] Draw(int count) => [.. Enumerable.Range(0, count).Select(_ => (float)(random.NextDouble() - 0.5))];

            double[] Stored(float[] values) =>
                Array.ConvertAll(values, value => precision == Precision.Bf16 ? (double)PlainLoops.Bf16(value) : value);

            (float[] Y, float[] Dx, float[] Dw) Run()
            {
                DeviceTensor onY = lab.Empty((long)products.Parts * n * outputs, DeviceType.F32), onDx = lab.Empty(n * inputs),
                onDw = lab.Empty(outputs * inputs, DeviceType.F32);
                products.Forward(onX, onW, onY);
                products.BackwardData(onW, onDy, onDx);
                products.BackwardWeights(onX, onDy, onDw);
                return (lab.Download(onY), lab.Download(onDx), lab.Download(onDw));
            }
        });

    private static double[] Sums(int rows, int columns, int length, Func<int, int, int, double> term)
    {
        double[] sums = new double[rows * columns];
        Parallel.For(0, sums.Length, at =>
        {
            for (int k = 0; k < length; k++)
            {
                sums[at] += term(at / columns, at % columns, k);
            }
        });
        return sums;
    }
}
