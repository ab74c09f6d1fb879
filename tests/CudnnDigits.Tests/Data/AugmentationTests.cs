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
    public void Maps_far_outside_give_background() => Assert.All(Mapped(1, new AffineMap(1, 0, 1e6f, 0, 1, -1e6f)), value => Assert.Equal(0, value));

    /// <summary>Bilinear sampling and the map itself, once more in double.</summary>
    [Fact]
    public void Drawn_maps_undo_zoom_rotation_and_shift_about_the_centre()
    {
        AugmentationSpec spec = new(25, 0.15f, 0.2f);
        Philox random = new(11);
        for (uint sample = 0; sample < 20; sample++)
        {
            (uint a, uint b, uint c, uint d) = random.Block(0, sample, 4, RandomPurpose.Augmentation);
            double angle = Signed(a) * 25 * Math.PI / 180, shiftX = Signed(b) * 0.15 * 28, shiftY = Signed(c) * 0.15 * 28, zoom = 1 + Signed(d) * 0.2;
            AffineMap map = spec.Draw(random, sample, 4);

            // A source point (x, y), zoomed, rotated and shifted, must map back to itself.
            (double x, double y) = (5.0 + sample, 20.0 - sample);
            double u = (x - 13.5) * zoom, v = (y - 13.5) * zoom;
            double outX = u * Math.Cos(angle) - v * Math.Sin(angle) + 13.5 + shiftX, outY = u * Math.Sin(angle) + v * Math.Cos(angle) + 13.5 + shiftY;
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

    private static float[] Plain(int row)
    {
        float[] x = new float[784];
        fixed (float* to = x)
        {
            GatherAugment<Simd256, Vector256<float>>.Forward(Digits.Image(row), to, 28);
        }

        return x;
    }

    private static float[] Mapped(int row, AffineMap map)
    {
        float[] x = new float[784];
        fixed (float* to = x)
        {
            GatherAugment<Simd256, Vector256<float>>.Forward(Digits.Image(row), map, to, 28);
        }

        return x;
    }
}
