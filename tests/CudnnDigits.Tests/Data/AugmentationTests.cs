using System.Runtime.Intrinsics;
using CudnnDigits.Cpu;
using CudnnDigits.Numerics;

namespace CudnnDigits.Tests.Data;

public unsafe class AugmentationTests
{
    private static readonly DigitDataset Digits = GeneratedDigits.Create(10);

    [Fact]
    public void The_identity_changes_nothing()
    {
        float[] plain = Plain(3), mapped = Mapped(3, new AffineMap(1, 0, 0, 0, 1, 0));
        Assert.Equal(plain, mapped);
        Assert.Equal(Digits.Image(3).ToArray().Select(pixel => pixel / 255f), plain);
    }

    [Fact]
    public void A_whole_shift_moves_pixels_and_brings_in_background()
    {
        float[] plain = Plain(2), mapped = Mapped(2, new AffineMap(1, 0, 3, 0, 1, -2));
        for (int i = 0; i < 784; i++)
        {
            int x = i % 28 + 3, y = i / 28 - 2;
            Assert.Equal(x is >= 0 and < 28 && y is >= 0 and < 28 ? plain[y * 28 + x] : 0, mapped[i]);
        }
    }

    [Fact]
    public void Maps_far_outside_give_background() =>
        Assert.All(Mapped(1, new AffineMap(1, 0, 1e6f, 0, 1, -1e6f)), value => Assert.Equal(0, value));

    /// <summary>Bilinear sampling and the map itself, once more in double.</summary>
    [Fact]
    public void Drawn_maps_undo_zoom_rotation_and_shift_about_the_centre()
    {
        AugmentationSpec spec = new(25, 0.15f, 0.2f);
        Philox random = new(11);
        for (uint sample = 0; sample < 20; sample++)
        {
            (uint a, uint b, uint c, uint d) = random.Block(0, sample, 4, RandomPurpose.Augmentation);
            double angle = Signed(a) * 25 * Math.PI / 180, shiftX = Signed(b) * 0.15 * 28, shiftY = Signed(c) * 0.15 * 28, zoom = 1
                + Signed(d) * 0.2;
            AffineMap map = spec.Draw(random, sample, 4);

            // A source point (x, y), zoomed, rotated and shifted, must map back to itself.
            (double x, double y) = (5.0 + sample, 20.0 - sample);
            double u = (x - 13.5) * zoom, v = (y - 13.5) * zoom;
            double outX = u * Math.Cos(angle) - v * Math.Sin(angle) + 13.5 + shiftX, outY = u * Math.Sin(angle) + v * Math.Cos(angle) + 13.5
                + shiftY;
            Assert.Equal(x, map.XX * outX + map.XY * outY + map.X0, 1e-4);
            Assert.Equal(y, map.YX * outX + map.YY * outY + map.Y0, 1e-4);
        }

        static double Signed(uint word) => 2.0 * (word >> 8) / (1 << 24) - 1;
    }

    [Fact]
    public void Half_a_pixel_is_the_mean_of_two()
    {
        float[] plain = Plain(4), mapped = Mapped(4, new AffineMap(1, 0, 0.5f, 0, 1, 0));
        for (int i = 0; i < 783; i++)
        {
            float next = i % 28 < 27 ? plain[i + 1] : 0;
            Assert.Equal((plain[i] + next) / 2, mapped[i], 1e-6f);
        }
    }

    /// <summary>Every knot displaced alike is a shift, whatever the weights between them: they sum to 1.</summary>
    [Fact]
    public void Knots_that_are_displaced_alike_shift_the_picture()
    {
        float[] knots = new float[AugmentationSpec.ElasticWords];
        knots.AsSpan(0, 25).Fill(3);
        knots.AsSpan(25, 25).Fill(-2);
        Assert.All(Mapped(2, new AffineMap(1, 0, 3, 0, 1, -2)).Zip(Mapped(2, new AffineMap(1, 0, 0, 0, 1, 0), knots)),
            pair => Assert.Equal(pair.First, pair.Second, 1e-4f));
    }

    /// <summary>
    /// The picture of a sample, once more in double: knots from the same words, each pixel's displacement from Keys' kernel as he writes
    /// it.
    /// </summary>
    [Fact]
    public void Elastic_distortion_follows_Keys_in_double()
    {
        AugmentationSpec spec = new(Elastic: 4);
        Philox random = new(11);
        float[] knots = new float[AugmentationSpec.ElasticWords];
        Assert.True(spec.DrawElastic(random, 6, 4, knots).Length >= 50);
        Assert.All(knots, knot => Assert.InRange(knot, -4, 4));
        Assert.Equal((Philox.ToUniform(random.Block(1, 6, 4, RandomPurpose.Augmentation).Y) * 2 - 1) * 4, knots[1]);
        Assert.True(AugmentationSpec.Standard.DrawElastic(random, 6, 4, knots).IsEmpty);
        float[] plain = Plain(6), actual = Mapped(6, new AffineMap(1, 0, 0, 0, 1, 0), knots);
        for (int i = 0; i < 784; i++)
        {
            double x = i % 28 + Displacement(0, i % 28, i / 28), y = i / 28 + Displacement(25, i % 28, i / 28);
            double expected = 0;
            for (int k = 0; k < 784; k++)
            {
                expected += plain[k] * Math.Max(0, 1 - Math.Abs(x - k % 28)) * Math.Max(0, 1 - Math.Abs(y - k / 28)); // bilinear
            }

            Assert.Equal(expected, actual[i], 1e-4);
        }

        double Displacement(int first, int column, int row)
        {
            double sum = 0;
            for (int down = -2; down <= 6; down++)
            {
                for (int across = -2; across <= 6; across++)
                {
                    double knot = knots[first + 5 * Math.Clamp(down, 0, 4) + Math.Clamp(across, 0, 4)];
                    sum += knot * Keys(row * 4 / 27.0 - down) * Keys(column * 4 / 27.0 - across);
                }
            }

            return sum;
        }

        static double Keys(double s) => Math.Abs(s) switch
        {
            < 1 => 1.5 * Math.Pow(Math.Abs(s), 3) - 2.5 * s * s + 1,
            < 2 => -0.5 * Math.Pow(Math.Abs(s), 3) + 2.5 * s * s - 4 * Math.Abs(s) + 2,
            _ => 0,
        };
    }

    private static float[] Plain(int row)
    {
        float[] x = new float[784];
        fixed (float* to = x)
        {
            GatherAugment<Simd256, Vector256<float>>.Forward(Digits.Image(row), to, 28);
        }

        return x;
    }

    private static float[] Mapped(int row, AffineMap map, float[]? knots = null)
    {
        float[] x = new float[784];
        fixed (float* to = x)
        {
            GatherAugment<Simd256, Vector256<float>>.Forward(Digits.Image(row), map, knots, to, 28);
        }

        return x;
    }
}
