using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Interop;
using CudnnDigits.Model;
using static CudnnDigits.Cuda.CudaException;
using static CudnnDigits.Cuda.Interop.Cublas;

namespace CudnnDigits.Cuda.Layered;

/// <summary>
/// The products of a dense layer by cuBLAS, whose matrices are column-major: our row-major (N, In) is its (In, N). The kernel that reads
/// a product next adds the bias.
/// </summary>
/// <param name="session">The device.</param>
/// <param name="n">Samples, N.</param>
/// <param name="layer">Its sizes, In and Out.</param>
internal sealed unsafe class Dense(CudaSession session, int n, LinearLayer layer)
{
    private readonly CublasHandle _cublas = session.Cublas; // made now: not while something is captured
    private readonly int _compute = session.Precision == Precision.Tf32 ? Compute32FFastTf32 : Compute32F;

    /// <summary>y (N, Out) = x (N, In) · wᵀ, w (Out, In); y may be f32 whatever x is.</summary>
    public void Forward(DeviceTensor x, DeviceTensor w, DeviceTensor y) =>
        Multiply(Transposed, NotTransposed, layer.OutFeatures, n, layer.InFeatures, w, layer.InFeatures, x, layer.InFeatures, y, layer.OutFeatures);

    /// <summary>dX (N, In) = dY (N, Out) · w.</summary>
    public void BackwardData(DeviceTensor w, DeviceTensor dy, DeviceTensor dx) =>
        Multiply(NotTransposed, NotTransposed, layer.InFeatures, n, layer.OutFeatures, w, layer.InFeatures, dy, layer.OutFeatures, dx, layer.InFeatures);

    /// <summary>dW (Out, In) f32 = dYᵀ · x.</summary>
    public void BackwardWeights(DeviceTensor x, DeviceTensor dy, DeviceTensor dw) =>
        Multiply(NotTransposed, Transposed, layer.InFeatures, layer.OutFeatures, n, x, layer.InFeatures, dy, layer.OutFeatures, dw, layer.InFeatures);

    private void Multiply(int ta, int tb, int m, int columns, int k, DeviceTensor a, int lda, DeviceTensor b, int ldb, DeviceTensor c, int ldc)
    {
        float one = 1, zero = 0;
        long aCount = (long)lda * (ta == Transposed ? m : k), bCount = (long)ldb * (tb == Transposed ? k : columns), cCount = (long)ldc * columns;
        Check(cublasGemmEx(
            _cublas.Value, ta, tb, m, columns, k, &one, a.Holding(aCount, session.ActivationType), TypeOf(a), lda, b.Holding(bCount, session.ActivationType), TypeOf(b), ldb,
            &zero, c.Holding(cCount, c.Type), TypeOf(c), ldc, _compute, DefaultAlgorithm));
    }

    private static int TypeOf(DeviceTensor tensor) => tensor.Type == DeviceType.Bf16 ? TypeBFloat16 : TypeFloat;
}
