using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Layered;
using CudnnDigits.Model;

namespace CudnnDigits.Cuda.Fused;

/// <summary>
/// The three products of a dense layer for n samples, by native/kernels/family/product.cu: inputs and outputs are multiples of eight. The
/// activations, weights and gradients are of the session's activation type.
/// </summary>
internal sealed class Products(CudaSession session, int n, LinearLayer layer, bool isLast, DeviceTensor partial) : IDenseProduct
{
    /// <summary>Of y, the head reads every part. Stages of the sum that make a part worth its while.</summary>
    private const int MostParts = 16, LeastStages = 3;

    /// <summary>Samples of a part of a gradient of weights: fewer take less time than to add up the parts.</summary>
    private const int LeastSamples = 1024;

    private static readonly int Rows = KernelSource.Family["product_tile_rows"], Columns = KernelSource.Family["product_tile_columns"],
        StageBytes = KernelSource.Family["product_stage_bytes"], OfMultiprocessor = KernelSource.Family["product_blocks"];

    private readonly int _inputs = layer.InFeatures, _outputs = layer.OutFeatures;

    private readonly int _gradientParts = GradientParts(session, n, layer);

    /// <summary>In how many parts y comes: sums over a share of the inputs each, which who reads them adds up.</summary>
    public int Parts { get; } = !isLast ? 1 : Filling(
        session, layer.OutFeatures, n, Math.Clamp(layer.InFeatures * (int)session.ActivationType / (LeastStages * StageBytes), 1, MostParts));

    /// <summary>Values of partial sums of the gradient of a layer's weights, in steps of up to so many samples.</summary>
    public static long MostPartial(CudaSession session, int batch, LinearLayer layer)
    {
        int parts = GradientParts(session, batch, layer);
        return parts > 1 ? (long)parts * layer.OutFeatures * layer.InFeatures : 0;
    }

    /// <summary>Rows of y in steps of up to so many samples: samples times parts, at most.</summary>
    public static long MostRows(CudaSession session, int batch, int outputs) =>
        Math.Max(batch, Math.Min((long)batch * MostParts, OfMultiprocessor * session.Multiprocessors * Columns / Tiles(outputs, 1)));

    /// <summary>y (Parts, N, Out) f32 = x (N, In) · wᵀ, w (Out, In).</summary>
    public void Forward(DeviceTensor x, DeviceTensor w, DeviceTensor y) => Launch(new Product(
        W(w), X(x), y.Holding((long)Parts * n * _outputs, y.Type), _outputs, n, _inputs, Parts, 0, 0, y.Type == DeviceType.Bf16 ? 1 : 0));

    /// <summary>dX (N, In) = dY (N, Out) · w.</summary>
    public void BackwardData(DeviceTensor w, DeviceTensor dy, DeviceTensor dx) => Launch(
        new Product(W(w), Dy(dy), X(dx), _inputs, n, _outputs, 1, 1, 0, dx.Type == DeviceType.Bf16 ? 1 : 0));

    /// <summary>dW (Out, In) f32 = dYᵀ · x.</summary>
    public void BackwardWeights(DeviceTensor x, DeviceTensor dy, DeviceTensor dw)
    {
        DeviceTensor to = _gradientParts > 1 ? partial : dw;
        Launch(new Product(
            X(x), Dy(dy), to.Holding((long)_gradientParts * _outputs * _inputs, DeviceType.F32), _inputs, _outputs, n, _gradientParts, 1, 1, 0));
        if (_gradientParts > 1)
        {
            ColumnSums.AddUp(session, partial, _gradientParts, _outputs * _inputs, dw);
        }
    }

    /// <summary>Parts of a product of so many tiles that fill the GPU, at most so many.</summary>
    private static int Filling(CudaSession session, int rows, int columns, int most) =>
        (int)Math.Clamp(OfMultiprocessor * session.Multiprocessors / Tiles(rows, columns), 1, most);

    private static long Tiles(int rows, int columns) => (long)((rows + Rows - 1) / Rows) * ((columns + Columns - 1) / Columns);

    private static int GradientParts(CudaSession session, int samples, LinearLayer layer) =>
        Filling(session, layer.InFeatures, layer.OutFeatures, Math.Max(samples / LeastSamples, 1));

    private void Launch(Product product) =>
        session.LaunchFamily("product", ((int)Tiles(product.Rows, product.Columns) * product.Parts, 1), null, product);

    private nint X(DeviceTensor tensor) => tensor.Holding((long)n * _inputs, session.ActivationType);

    private nint Dy(DeviceTensor tensor) => tensor.Holding((long)n * _outputs, session.ActivationType);

    private nint W(DeviceTensor tensor) => tensor.Holding((long)_outputs * _inputs, session.ActivationType);
}

/// <summary>Parameters of the kernel, which says what they mean.</summary>
internal readonly record struct Product(
    nint Left, nint Right, nint To, int Rows, int Columns, int Sum, int Parts, int LeftTurned, int RightTurned, int Narrow);
