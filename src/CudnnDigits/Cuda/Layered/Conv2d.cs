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
internal sealed unsafe class Conv2d : IConvolution
{
    private const int MostProposals = 16;

    private readonly CudaSession _session;
    private readonly CudnnDescriptor _x, _w, _y;
    private readonly long _xCount, _wCount, _yCount;
    private readonly Pass _forward;
    private readonly Pass? _backwardWeights, _backwardData;

    /// <param name="session">The device.</param>
    /// <param name="handles">Where its descriptors belong.</param>
    /// <param name="plan">Shapes.</param>
    /// <param name="n">Samples.</param>
    /// <param name="workspaceLimit">Bytes that an algorithm may ask for.</param>
    /// <param name="training">Whether the backward passes are needed; of the first layer, that of the data is not.</param>
    public Conv2d(CudaSession session, CudaHandles handles, ConvPlan plan, int n, long workspaceLimit, bool training)
    {
        _session = session;
        (Conv2dLayer conv, Shape input, Shape output) = (plan.Conv, plan.Input, plan.Conv.Infer(plan.Input));
        (_xCount, _wCount, _yCount) = ((long)n * input.Size, (long)conv.OutChannels * conv.InChannels * conv.Kernel * conv.Kernel, (long)n * output.Size);
        int type = session.Precision == Precision.Bf16 ? TypeBFloat16 : TypeFloat;
        _x = CudnnDescriptor.Tensor(handles, type, n, input.C, input.H, input.W);
        _w = CudnnDescriptor.Filter(handles, type, conv.OutChannels, conv.InChannels, conv.Kernel, conv.Kernel);
        _y = CudnnDescriptor.Tensor(handles, type, n, output.C, output.H, output.W);
        (nint handle, nint x, nint w, nint y) = (session.Cudnn.Value, _x.Value, _w.Value, _y.Value);

        _forward = Choose(
            "forward", (d, count, returned, results) => cudnnGetConvolutionForwardAlgorithm_v7(handle, x, w, d, y, count, returned, results),
            (d, algorithm, bytes) => cudnnGetConvolutionForwardWorkspaceSize(handle, x, w, d, y, algorithm, bytes));
        if (!training)
        {
            return;
        }

        _backwardWeights = Choose(
            "backward weights", (d, count, returned, results) => cudnnGetConvolutionBackwardFilterAlgorithm_v7(handle, x, y, d, w, count, returned, results),
            (d, algorithm, bytes) => cudnnGetConvolutionBackwardFilterWorkspaceSize(handle, x, y, d, w, algorithm, bytes));
        if (input.C > 1)
        {
            _backwardData = Choose(
                "backward data", (d, count, returned, results) => cudnnGetConvolutionBackwardDataAlgorithm_v7(handle, w, y, d, x, count, returned, results),
                (d, algorithm, bytes) => cudnnGetConvolutionBackwardDataWorkspaceSize(handle, w, y, d, x, algorithm, bytes));
        }

        Pass Choose(string pass, Propose propose, Measure measure)
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
                    return new Pass(descriptor, results[i].Algorithm, workspaceBytes);
                }
            }

            throw new CudaUnavailableException(
                $"cuDNN has no {(session.Deterministic ? "deterministic " : "")}algorithm for {conv.Name}, {pass}, in {session.Precision.ToString().ToLowerInvariant()} on this GPU; try another --precision");
        }
    }

    private delegate CudnnStatus Propose(nint convolution, int requested, int* returned, CudnnAlgorithm* results);

    private delegate CudnnStatus Measure(nint convolution, int algorithm, nuint* bytes);

    /// <summary>
    /// Bytes that an algorithm may ask for, in a step of so many samples. In float32 those that lay images out anew take up to 200 KiB a
    /// sample of
    /// `improved`; where they may not, cuDNN proposes some that take ten times as long, or no deterministic one at all.
    /// </summary>
    public static long MostWorkspace(int batch) => Math.Max(256L << 20, batch * (256L << 10));

    public long WorkspaceBytes => Passes.Max(pass => pass.WorkspaceBytes);

    public string Algorithms => $"forward {ForwardName(_forward.Algorithm)}"
        + (_backwardData is { } data ? $", backward data {BackwardDataName(data.Algorithm)}" : "")
        + (_backwardWeights is { } weights ? $", backward weights {BackwardWeightsName(weights.Algorithm)}" : "");

    public void Forward(DeviceTensor x, DeviceTensor w, DeviceTensor y, DeviceTensor workspace)
    {
        float one = 1, zero = 0;
        Check(cudnnConvolutionForward(
            _session.Cudnn.Value, &one, _x.Value, X(x), _w.Value, W(w), _forward.Descriptor.Value, _forward.Algorithm,
            workspace.Holding(_forward.WorkspaceBytes, DeviceType.U8), (nuint)_forward.WorkspaceBytes, &zero, _y.Value, Y(y)));
    }

    public void BackwardData(DeviceTensor w, DeviceTensor dy, DeviceTensor dx, DeviceTensor workspace)
    {
        float one = 1, zero = 0;
        Pass pass = _backwardData!;
        Check(cudnnConvolutionBackwardData(
            _session.Cudnn.Value, &one, _w.Value, W(w), _y.Value, Y(dy), pass.Descriptor.Value, pass.Algorithm,
            workspace.Holding(pass.WorkspaceBytes, DeviceType.U8), (nuint)pass.WorkspaceBytes, &zero, _x.Value, X(dx)));
    }

    public void BackwardWeights(DeviceTensor x, DeviceTensor dy, DeviceTensor dw, DeviceTensor workspace)
    {
        float one = 1, zero = 0;
        Pass pass = _backwardWeights!;
        Check(cudnnConvolutionBackwardFilter(
            _session.Cudnn.Value, &one, _x.Value, X(x), _y.Value, Y(dy), pass.Descriptor.Value, pass.Algorithm,
            workspace.Holding(pass.WorkspaceBytes, DeviceType.U8), (nuint)pass.WorkspaceBytes, &zero, _w.Value, W(dw)));
    }

    private IEnumerable<Pass> Passes => new[] { _forward, _backwardData, _backwardWeights }.OfType<Pass>();

    private nint X(DeviceTensor tensor) => tensor.Holding(_xCount, _session.ActivationType);

    private nint W(DeviceTensor tensor) => tensor.Holding(_wCount, _session.ActivationType);

    private nint Y(DeviceTensor tensor) => tensor.Holding(_yCount, _session.ActivationType);

    private static string ForwardName(int algorithm) => Name(
        algorithm, "IMPLICIT_GEMM", "IMPLICIT_PRECOMP_GEMM", "GEMM", "DIRECT", "FFT", "FFT_TILING", "WINOGRAD", "WINOGRAD_NONFUSED");

    private static string BackwardDataName(int algorithm) => Name(algorithm, "ALGO_0", "ALGO_1", "FFT", "FFT_TILING", "WINOGRAD", "WINOGRAD_NONFUSED");

    private static string BackwardWeightsName(int algorithm) => Name(algorithm, "ALGO_0", "ALGO_1", "FFT", "ALGO_3", "WINOGRAD", "WINOGRAD_NONFUSED", "FFT_TILING");

    private static string Name(int algorithm, params string[] names) => (uint)algorithm < names.Length ? names[algorithm] : $"{algorithm}";

    /// <summary>One direction: a descriptor of its own, because its mathematics may differ.</summary>
    private sealed record Pass(CudnnDescriptor Descriptor, int Algorithm, long WorkspaceBytes);
}
