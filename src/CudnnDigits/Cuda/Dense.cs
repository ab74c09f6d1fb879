using CudnnDigits.Cuda.Interop;
using CudnnDigits.Training;
using static CudnnDigits.Cuda.CudaException;
using static CudnnDigits.Cuda.Interop.Cublas;

namespace CudnnDigits.Cuda;

/// <summary>
/// Dense layer by cuBLAS, whose matrices are column-major: our row-major (N, In) is its (In, N). Biases are added by
/// whoever reads the product next.
/// </summary>
/// <param name="session">The device.</param>
/// <param name="n">Samples, N.</param>
/// <param name="inFeatures">In.</param>
/// <param name="outFeatures">Out.</param>
internal sealed unsafe class Dense(CudaSession session, int n, int inFeatures, int outFeatures) : IDense
{
    private readonly CublasHandle _cublas = session.Cublas; // made now: not while something is captured
    private readonly int _compute = session.Precision == Precision.Tf32 ? Compute32FFastTf32 : Compute32F;

    public int Parts => 1;

    public void Forward(DeviceTensor x, DeviceTensor w, DeviceTensor y) =>
        Multiply(Transposed, NotTransposed, outFeatures, n, inFeatures, w, inFeatures, x, inFeatures, y, outFeatures);

    public void BackwardData(DeviceTensor w, DeviceTensor dy, DeviceTensor dx) =>
        Multiply(NotTransposed, NotTransposed, inFeatures, n, outFeatures, w, inFeatures, dy, outFeatures, dx, inFeatures);

    public void BackwardWeights(DeviceTensor x, DeviceTensor dy, DeviceTensor dw) =>
        Multiply(NotTransposed, Transposed, inFeatures, outFeatures, n, x, inFeatures, dy, outFeatures, dw, inFeatures);

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
