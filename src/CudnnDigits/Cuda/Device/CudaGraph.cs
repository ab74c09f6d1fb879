using CudnnDigits.Cuda.Interop;
using static CudnnDigits.Cuda.CudaException;
using static CudnnDigits.Cuda.Interop.CudaDriver;

namespace CudnnDigits.Cuda.Device;

/// <summary>Work that was captured once, to be replayed with one call.</summary>
internal sealed unsafe class CudaGraph : CudaHandle
{
    private CudaGraph(CudaHandles owner, nint executable, int nodes)
        : base(owner, executable) => Nodes = nodes;

    /// <summary>Kernels and copies in it.</summary>
    public int Nodes { get; }

    /// <summary>Captures what a body enqueues; nothing of it runs. Only this thread's calls are held to the rules of capture.</summary>
    public static CudaGraph Capture(CudaHandles owner, CudaStream stream, Action enqueue)
    {
        nint graph = 0;
        CuResult ended = CuResult.Success;
        Check(cuStreamBeginCapture_v2(stream.Value, CaptureThreadLocal));
        try
        {
            try
            {
                enqueue();
            }
            finally
            {
                ended = cuStreamEndCapture(stream.Value, out graph); // where the body failed too: the stream is usable again
            }

            Check(ended, nameof(cuStreamEndCapture));
            Check(cuGraphGetNodes(Given(graph), null, out nuint nodes));
            Check(cuGraphInstantiateWithFlags(out nint executable, graph, 0));
            return new CudaGraph(owner, executable, (int)nodes);
        }
        finally
        {
            if (graph != 0)
            {
                cuGraphDestroy(graph);
            }
        }
    }

    public void Launch(nint stream) => Check(cuGraphLaunch(Value, stream));

    protected override void Destroy(nint value) => cuGraphExecDestroy(value);
}
