using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Layered;

namespace CudnnDigits.Cuda.Fused;

/// <summary>
/// The three products of a dense layer for n samples, by native/kernels/fused/product.cu: inputs and outputs are multiples of eight. The
/// activations, weights and gradients are of the session's activation type. In parts: the head, which reads y, adds them up.
/// </summary>
internal sealed class Products(CudaSession session, int n, int inputs, int outputs, bool inParts) : IDenseProduct
{
    /// <summary>The head reads every part of y; and a part of fewer stages of the sum is not worth its while.</summary>
    private const int MostParts = 16, LeastStages = 3;

    private static readonly int Rows = KernelSource.Fused["product_tile_rows"], Columns = KernelSource.Fused["product_tile_columns"],
        StageBytes = KernelSource.Fused["product_stage_bytes"], OfMultiprocessor = KernelSource.Fused["product_blocks"];

    /// <summary>So many that they fill the GPU.</summary>
    public int Parts { get; } = !inParts ? 1 : (int)Math.Clamp(
        Slots(session) / Tiles(outputs, n), 1, Math.Clamp(inputs * (int)session.ActivationType / (LeastStages * StageBytes), 1, MostParts));

    /// <summary>Rows of y in steps of up to so many samples: samples times parts, at most.</summary>
    public static long MostRows(CudaSession session, int batch, int outputs) =>
        Math.Max(batch, Math.Min((long)batch * MostParts, Slots(session) * Columns / Tiles(outputs, 1)));

    public void Forward(DeviceTensor x, DeviceTensor w, DeviceTensor y) => Launch(new Product(
        W(w), X(x), y.Holding((long)Parts * n * outputs, y.Type), outputs, n, inputs, Parts, 0, 0, y.Type == DeviceType.Bf16 ? 1 : 0));

    public void BackwardData(DeviceTensor w, DeviceTensor dy, DeviceTensor dx) => Launch(
        new Product(W(w), Dy(dy), X(dx), inputs, n, outputs, 1, 1, 0, dx.Type == DeviceType.Bf16 ? 1 : 0));

    /// <summary>On a branch. In one part: to add parts up takes longer than they save, beside other kernels.</summary>
    public void BackwardWeights(DeviceTensor x, DeviceTensor dy, DeviceTensor dw) => Launch(
        new Product(X(x), Dy(dy), dw.Holding((long)outputs * inputs, DeviceType.F32), inputs, outputs, n, 1, 1, 1, 0), overlapped: false);

    /// <summary>Blocks that the GPU runs at once.</summary>
    private static long Slots(CudaSession session) => OfMultiprocessor * session.Multiprocessors;

    private static long Tiles(int rows, int columns) => (long)((rows + Rows - 1) / Rows) * ((columns + Columns - 1) / Columns);

    private void Launch(Product product, bool overlapped = true) =>
        session.LaunchFused("product", (Tiles(product.Rows, product.Columns) * product.Parts, 1), null, product, overlapped);

    private nint X(DeviceTensor tensor) => tensor.Holding((long)n * inputs, session.ActivationType);

    private nint Dy(DeviceTensor tensor) => tensor.Holding((long)n * outputs, session.ActivationType);

    private nint W(DeviceTensor tensor) => tensor.Holding((long)outputs * inputs, session.ActivationType);
}

/// <summary>Parameters of the kernel, which says what they mean.</summary>
internal readonly record struct Product(
    nint Left, nint Right, nint To, int Rows, int Columns, int Sum, int Parts, int LeftTurned, int RightTurned, int Narrow);
