using System.Runtime.Intrinsics;
using CudnnDigits.Cpu;

namespace CudnnDigits.Tests.Cpu;

/// <summary>Every way to convolve against the sum in double, on shapes that leave tiles over in every way.</summary>
public unsafe class ConvolutionTests
{
    /// <summary>Direct sums of up to 576 products and F(4×4, 3×3) come to 4e-7 and 8e-7, F(2×2, 3×3) to 2e-7.</summary>
    private const double Direct = 1e-6, Small = 5e-7, Large = 2e-6;

    public static TheoryData<int, int, int, int, int> Shapes
    {
        get
        {
            TheoryData<int, int, int, int, int> shapes =
                new() { { 28, 28, 32, 32, 1 }, { 14, 14, 32, 64, 1 }, { 14, 14, 64, 64, 1 }, { 13, 13, 32, 64, 0 }, { 11, 11, 64, 32, 2 } };
            for (int h = 1; h <= 9; h++)
            {
                shapes.Add(h, 10 - h, 32, 32, 1);  // outputs 1 … 9 high and 9 … 1 wide: all numbers left over
                shapes.Add(h + 2, 11, 32, 32, 0);
            }

            return shapes;
        }
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Winograd_is_a_convolution(int h, int w, int c, int k, int padding)
    {
        Check<Simd512, Vector512<float>>(new ConvShape(c, h, w, k, 3, padding));
        Check<Simd256, Vector256<float>>(new ConvShape(c, h, w, k, 3, padding));
        Check<Simd128, Vector128<float>>(new ConvShape(c, h, w, k, 3, padding));
    }

    [Theory]
    [InlineData(1, 28, 3, 0)]
    [InlineData(1, 9, 3, 1)]
    [InlineData(1, 7, 5, 2)]
    [InlineData(32, 5, 1, 0)]
    [InlineData(32, 4, 3, 0)]
    public void Direct_convolution_and_its_pooled_form_agree(int c, int side, int r, int padding)
    {
        CheckDirect<Simd512, Vector512<float>>(new ConvShape(c, side, side, 32, r, padding));
        CheckDirect<Simd256, Vector256<float>>(new ConvShape(c, side, side, 32, r, padding));
        CheckDirect<Simd128, Vector128<float>>(new ConvShape(c, side, side, 32, r, padding));
    }

    private static void Check<S, V>(ConvShape conv)
        where S : struct, ISimd<V>
        where V : struct
    {
        using NativeArena arena = new();
        float* x = Input(arena, conv), w = Random(arena, conv.WeightSize, 2), u = arena.Floats(WinogradShape.WeightSize(conv));
        double[] expected = Convolve<S, V>(conv, x, w);
        Winograd<S, V>.TransformWeights(conv, w, null, u);
        foreach (bool small in new[] { true, false })
        {
            const float Mark = 12345;
            WinogradShape shape = new(conv, conv.OutH, conv.OutW, small);
            float* scratch = arena.Floats(Winograd<S, V>.ScratchSize(shape)), y = arena.Floats(conv.OutputSize + 1);
            y[conv.OutputSize] = Mark;
            Winograd<S, V>.Forward(shape, x, u, null, 1, scratch, y, conv.OutW * conv.K);
            Compare.Close(new Span<float>(y, conv.OutputSize), expected, small ? Small : Large, $"{conv}, small {small}");
            Assert.Equal(Mark, y[conv.OutputSize]); // nothing beyond the end
        }

        if (conv.OutH >= 2 && conv.OutW >= 2)
        {
            CheckPooled<S, V>(arena, conv, x, w, expected, 2);
        }

        CheckPooled<S, V>(arena, conv, x, w, expected, 1);
    }

    private static void CheckPooled<S, V>(NativeArena arena, ConvShape conv, float* x, float* w, double[] expected, int window)
        where S : struct, ISimd<V>
        where V : struct
    {
        PoolShape pool = new(conv.K, conv.OutH, conv.OutW, window);
        WinogradShape shape = new(conv, pool.OutH * window, pool.OutW * window, Small: false);
        float* scale = Random(arena, conv.K, 3), shift = Random(arena, conv.K, 4), u = arena.Floats(WinogradShape.WeightSize(conv));
        float* scratch = arena.Floats(Winograd<S, V>.ScratchSize(shape)), a = arena.Floats(pool.OutputSize),
        direct = arena.Floats(pool.OutputSize);
        double[] pooled = Pool(pool, expected, scale, shift);
        Winograd<S, V>.TransformWeights(conv, w, scale, u);
        Winograd<S, V>.Forward(shape, x, u, shift, window, scratch, a, pool.OutW * conv.K);
        Compare.Close(new Span<float>(a, pool.OutputSize), pooled, Large, $"{conv}, window {window}");
        Conv2d<S, V>.Predict(conv, pool, x, w, scale, shift, direct, pool.OutW * conv.K);
        Compare.Close(new Span<float>(direct, pool.OutputSize), pooled, Direct, $"{conv}, direct, window {window}");
    }

    private static void CheckDirect<S, V>(ConvShape conv)
        where S : struct, ISimd<V>
        where V : struct
    {
        using NativeArena arena = new();
        float* x = Input(arena, conv), w = Random(arena, conv.WeightSize, 2), y = arena.Floats(conv.OutputSize);
        double[] expected = Convolve<S, V>(conv, x, w);
        Conv2d<S, V>.Forward(conv, x, w, y);
        Compare.Close(new Span<float>(y, conv.OutputSize), expected, Direct, $"{conv}");
        float* scale = Random(arena, conv.K, 3), shift = Random(arena, conv.K, 4);
        for (int window = 1; window <= Math.Min(2, conv.OutH); window++)
        {
            PoolShape pool = new(conv.K, conv.OutH, conv.OutW, window);
            float* a = arena.Floats(pool.OutputSize);
            Conv2d<S, V>.Predict(conv, pool, x, w, scale, shift, a, pool.OutW * conv.K);
            Compare.Close(new Span<float>(a, pool.OutputSize), Pool(pool, expected, scale, shift), Direct, $"{conv}, window {window}");
        }
    }

    private static double[] Convolve<S, V>(ConvShape conv, float* x, float* w)
        where S : struct, ISimd<V>
        where V : struct
    {
        // The zeros around the image are a part of x, and the weights lie in panels.
        double[] image = new double[conv.InputSize], weights = new double[conv.WeightSize];
        for (int i = 0; i < image.Length; i++)
        {
            image[i] = x[i];
        }

        for (int i = 0; i < weights.Length; i++)
        {
            weights[i] = w[Conv2d<S, V>.WeightIndex(conv, i / (conv.R * conv.R * conv.C), i % conv.C, i / conv.C % (conv.R * conv.R))];
        }

        return PlainConvolution.Forward(conv with { H = conv.PaddedH, W = conv.PaddedW, Padding = 0 }, 1, image, weights);
    }

    private static double[] Pool(PoolShape pool, double[] y, float* scale, float* shift)
    {
        double[] a = new double[pool.OutputSize];
        for (int at = 0; at < a.Length; at++)
        {
            int k = at % pool.Channels, column = at / pool.Channels % pool.OutW, row = at / pool.Channels / pool.OutW;
            for (int i = 0; i < pool.Window * pool.Window; i++)
            {
                int pixel = (row * pool.Window + i / pool.Window) * pool.W + column * pool.Window + i % pool.Window;
                a[at] = Math.Max(a[at], scale[k] * y[pixel * pool.Channels + k] + shift[k]);
            }
        }

        return a;
    }

    /// <summary>Positive values as after a ReLU, zeros around them; behind them what must not matter.</summary>
    private static float* Input(NativeArena arena, ConvShape conv)
    {
        float* x = arena.Floats(conv.InputSize + WinogradShape.Slack(conv)), values = Random(arena, conv.InputSize, 1);
        for (int i = 0; i < conv.InputSize; i++)
        {
            int column = i / conv.C % conv.PaddedW - conv.Padding, row = i / conv.C / conv.PaddedW - conv.Padding;
            x[i] = column >= 0 && column < conv.W && row >= 0 && row < conv.H ? Math.Abs(values[i]) : 0;
        }

        new Span<float>(x + conv.InputSize, WinogradShape.Slack(conv)).Fill(1e6f);
        return x;
    }

    private static float* Random(NativeArena arena, int count, int seed)
    {
        float* values = arena.Floats(count);
        Random random = new(seed);
        for (int i = 0; i < count; i++)
        {
            values[i] = random.NextSingle() * 2 - 1;
        }

        return values;
    }
}
