using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Interop;
using CudnnDigits.Model;
using static CudnnDigits.Cuda.CudaException;
using static CudnnDigits.Cuda.Interop.Cudnn;

namespace CudnnDigits.Cuda.Layered;

/// <summary>
/// Convolution by cuDNN, channels last. The algorithm of each pass is cuDNN's own first proposal that is allowed: a choice
/// without timing, so that a resumed run makes the same one.
/// </summary>
internal sealed unsafe class Conv2d
{
    private const int MostProposals = 16;

    private static readonly string[] ForwardNames =
        ["IMPLICIT_GEMM", "IMPLICIT_PRECOMP_GEMM", "GEMM", "DIRECT", "FFT", "FFT_TILING", "WINOGRAD", "WINOGRAD_NONFUSED"];

    private static readonly string[] DataNames = ["ALGO_0", "ALGO_1", "FFT", "FFT_TILING", "WINOGRAD", "WINOGRAD_NONFUSED"];

    private static readonly string[] WeightsNames = ["ALGO_0", "ALGO_1", "FFT", "ALGO_3", "WINOGRAD", "WINOGRAD_NONFUSED", "FFT_TILING"];

    private readonly CudaSession _session;
    private readonly CudnnHandle _cudnn;
    private readonly CudnnTensor _x, _y;
    private readonly CudnnDescriptor _w;
    private readonly long _wCount;
    private readonly Pass _forward;
    private readonly Pass? _backwardWeights, _backwardData;

    /// <summary>No algorithm may ask for more bytes than the limit.</summary>
    public Conv2d(CudaSession session, CudaHandles handles, ConvPlan plan, int n, long workspaceLimit, bool training)
    {
        (_session, _cudnn) = (session, session.Cudnn);
        Conv2dLayer conv = plan.Conv;
        _wCount = (long)conv.OutChannels * conv.InChannels * conv.Kernel * conv.Kernel;
        _x = new CudnnTensor(session, handles, n, plan.Input);
        _w = CudnnDescriptor.Filter(handles, CudnnTensor.TypeOf(session), conv.OutChannels, conv.InChannels, conv.Kernel, conv.Kernel);
        _y = new CudnnTensor(session, handles, n, conv.Infer(plan.Input));
        (nint handle, nint x, nint w, nint y) = (_cudnn.Value, _x.Descriptor, _w.Value, _y.Descriptor);

        _forward = Choose(
            "forward", ForwardNames,
            (d, count, returned, found) => cudnnGetConvolutionForwardAlgorithm_v7(handle, x, w, d, y, count, returned, found),
            (d, algorithm, bytes) => cudnnGetConvolutionForwardWorkspaceSize(handle, x, w, d, y, algorithm, bytes));
        if (training && plan.Input.C > 1) // nobody asks for the gradient of the input
        {
            _backwardData = Choose(
                "backward data", DataNames,
                (d, count, returned, found) => cudnnGetConvolutionBackwardDataAlgorithm_v7(handle, w, y, d, x, count, returned, found),
                (d, algorithm, bytes) => cudnnGetConvolutionBackwardDataWorkspaceSize(handle, w, y, d, x, algorithm, bytes));
        }

        if (training)
        {
            _backwardWeights = Choose(
                "backward weights", WeightsNames,
                (d, count, returned, found) => cudnnGetConvolutionBackwardFilterAlgorithm_v7(handle, x, y, d, w, count, returned, found),
                (d, algorithm, bytes) => cudnnGetConvolutionBackwardFilterWorkspaceSize(handle, x, y, d, w, algorithm, bytes));
        }

        Pass Choose(string pass, string[] names, Propose propose, Measure measure)
        {
            int math = session.Precision switch { Precision.Fp32 => MathFma, Precision.Tf32 => MathDefault, _ => MathTensorOp };
            CudnnDescriptor descriptor = CudnnDescriptor.Convolution(handles, conv.Padding, math);
            CudnnAlgorithm* results = stackalloc CudnnAlgorithm[MostProposals];
            int returned;
            Check(propose(descriptor.Value, MostProposals, &returned, results), $"{conv.Name}, {pass}: algorithms");
            for (int i = 0; i < Math.Min(returned, MostProposals); i++)
            {
                if (results[i].Status != CudnnStatus.Success || (session.Deterministic && results[i].Determinism != 1))
                {
                    continue;
                }

                // In fp32 the mathematics stay as asked for, whatever is proposed: nothing may round products to TF32.
                Check(cudnnSetConvolutionMathType(descriptor.Value, session.Precision == Precision.Fp32 ? MathFma : results[i].MathType));
                nuint bytes = 0;
                CudnnStatus measured = measure(descriptor.Value, results[i].Algorithm, &bytes);
                if (measured is >= CudnnStatus.NotSupported and < CudnnStatus.InternalError)
                {
                    continue;
                }

                Check(measured, $"{conv.Name}, {pass}: workspace");
                long workspaceBytes = Size(bytes, $"the workspace of {conv.Name}, {pass},");
                if (workspaceBytes <= workspaceLimit)
                {
                    int algorithm = results[i].Algorithm;
                    string name = (uint)algorithm < names.Length ? names[algorithm] : $"{algorithm}";
                    return new Pass($"{pass} {name}", descriptor, algorithm, workspaceBytes);
                }
            }

            throw new CudaUnavailableException(
                $"cuDNN has no {(session.Deterministic ? "deterministic " : "")}algorithm for {conv.Name}, {pass}, in "
                + $"{session.Precision.ToString().ToLowerInvariant()} on this GPU; try another --precision");
        }
    }

    private delegate CudnnStatus Propose(nint convolution, int requested, int* returned, CudnnAlgorithm* results);

    private delegate CudnnStatus Measure(nint convolution, int algorithm, nuint* bytes);

    /// <summary>
    /// Bytes that an algorithm may ask for, in a step of so many samples. In float32 those that lay images out anew take up to 200 KiB a
    /// sample of `improved`; where they may not, cuDNN proposes some that take ten times as long, or no deterministic one at all.
    /// </summary>
    public static long MostWorkspace(int batch) => Math.Max(256L << 20, batch * (256L << 10));

    /// <summary>Bytes of workspace that the passes need.</summary>
    public long WorkspaceBytes => Passes.Max(pass => pass.WorkspaceBytes);

    /// <summary>What computes each pass.</summary>
    public string Algorithms => string.Join(", ", Passes.Select(pass => pass.Name));

    private IEnumerable<Pass> Passes => new[] { _forward, _backwardData, _backwardWeights }.OfType<Pass>();

    /// <summary>y = x ∗ w; x (N, H, W, C), w (K, R, S, C), y (N, H', W', K).</summary>
    public void Forward(DeviceTensor x, DeviceTensor w, DeviceTensor y, DeviceTensor workspace)
    {
        float one = 1, zero = 0;
        Check(cudnnConvolutionForward(
            _cudnn.Value, &one, _x.Descriptor, _x.At(x), _w.Value, W(w), _forward.Convolution.Value, _forward.Algorithm,
            _forward.Workspace(workspace), (nuint)_forward.WorkspaceBytes, &zero, _y.Descriptor, _y.At(y)));
    }

    /// <summary>dX from dY.</summary>
    public void BackwardData(DeviceTensor w, DeviceTensor dy, DeviceTensor dx, DeviceTensor workspace)
    {
        float one = 1, zero = 0;
        Pass pass = _backwardData!;
        Check(cudnnConvolutionBackwardData(
            _cudnn.Value, &one, _w.Value, W(w), _y.Descriptor, _y.At(dy), pass.Convolution.Value, pass.Algorithm,
            pass.Workspace(workspace), (nuint)pass.WorkspaceBytes, &zero, _x.Descriptor, _x.At(dx)));
    }

    /// <summary>dW from x and dY, in the type of the activations.</summary>
    public void BackwardWeights(DeviceTensor x, DeviceTensor dy, DeviceTensor dw, DeviceTensor workspace)
    {
        float one = 1, zero = 0;
        Pass pass = _backwardWeights!;
        Check(cudnnConvolutionBackwardFilter(
            _cudnn.Value, &one, _x.Descriptor, _x.At(x), _y.Descriptor, _y.At(dy), pass.Convolution.Value, pass.Algorithm,
            pass.Workspace(workspace), (nuint)pass.WorkspaceBytes, &zero, _w.Value, W(dw)));
    }

    private nint W(DeviceTensor tensor) => tensor.Holding(_wCount, _session.ActivationType);

    /// <summary>One direction: a descriptor of its own, because its mathematics may differ.</summary>
    private sealed record Pass(string Name, CudnnDescriptor Convolution, int Algorithm, long WorkspaceBytes)
    {
        public nint Workspace(DeviceTensor tensor) => tensor.Holding(WorkspaceBytes, DeviceType.U8);
    }
}
