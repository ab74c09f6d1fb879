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
internal sealed unsafe class Dense(CudaSession session, int n, LinearLayer layer) : IDenseProduct
{
    private readonly CublasHandle _cublas = session.Cublas; // made now: not while something is captured
    private readonly int _compute = session.Precision == Precision.Tf32 ? Compute32FFastTf32 : Compute32F;

    public int Parts => 1;

    public void Forward(DeviceTensor x, DeviceTensor w, DeviceTensor y) =>
        Multiply(Transposed, w, NotTransposed, x, y, layer.OutFeatures, n, layer.InFeatures);

    public void BackwardData(DeviceTensor w, DeviceTensor dy, DeviceTensor dx) =>
        Multiply(NotTransposed, w, NotTransposed, dy, dx, layer.InFeatures, n, layer.OutFeatures);

    public void BackwardWeights(DeviceTensor x, DeviceTensor dy, DeviceTensor dw) =>
        Multiply(NotTransposed, x, Transposed, dy, dw, layer.InFeatures, layer.OutFeatures, n);

    /// <summary>c (rows, columns) = a (rows, k) · b (k, columns), where the two are not transposed.</summary>
    private void Multiply(int ofA, DeviceTensor a, int ofB, DeviceTensor b, DeviceTensor c, int rows, int columns, int k)
    {
        float one = 1, zero = 0;
        int lda = ofA == Transposed ? k : rows, ldb = ofB == Transposed ? columns : k;
        Check(cublasGemmEx(
            _cublas.Value, ofA, ofB, rows, columns, k, &one, a.Holding((long)rows * k, session.ActivationType), TypeOf(a), lda,
            b.Holding((long)k * columns, session.ActivationType), TypeOf(b), ldb,
            &zero, c.Holding((long)rows * columns, c.Type), TypeOf(c), rows, _compute, DefaultAlgorithm));
    }

    private static int TypeOf(DeviceTensor tensor) => tensor.Type == DeviceType.Bf16 ? TypeBFloat16 : TypeFloat;
}
