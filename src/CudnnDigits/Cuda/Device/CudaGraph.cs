using CudnnDigits.Cuda.Interop;
using static CudnnDigits.Cuda.CudaException;
using static CudnnDigits.Cuda.Interop.CudaDriver;

namespace CudnnDigits.Cuda.Device;

/// <summary>Work that was captured once, to be replayed with one call.</summary>
internal sealed unsafe class CudaGraph : CudaHandle
{
    private CudaGraph(CudaHandles owner, nint executable, int nodes)
        : base(owner)
    {
        Own(executable);
        Nodes = nodes;
    }

    /// <summary>Kernels and copies in it.</summary>
    public int Nodes { get; }

    /// <summary>Captures what a body enqueues; nothing of it runs. Only this thread's calls are held to the rules of capture.</summary>
    /// <param name="owner">Where the graph belongs; its context is current on this thread.</param>
    /// <param name="stream">The stream that the body enqueues on.</param>
    /// <param name="enqueue">The body.</param>
    public static CudaGraph Capture(CudaHandles owner, CudaStream stream, Action enqueue)
    {
        nint graph = 0, executable;
        Check(cuStreamBeginCapture_v2(stream.Value, CaptureThreadLocal));
        try
        {
            enqueue();
        }
        catch
        {
            cuStreamEndCapture(stream.Value, &graph); // the stream is usable again; what it says matters no more
            Destroy(graph);
            throw;
        }

        Check(cuStreamEndCapture(stream.Value, &graph));
        try
        {
            nuint nodes;
            Check(cuGraphGetNodes(Given(graph), null, &nodes));
            Check(cuGraphInstantiateWithFlags(&executable, graph, 0));
            return new CudaGraph(owner, executable, (int)nodes);
        }
        finally
        {
            Destroy(graph);
        }

        static void Destroy(nint graph)
        {
            if (graph != 0)
            {
                cuGraphDestroy(graph);
            }
        }
    }

    /// <summary>Replays it.</summary>
    public void Launch(nint stream) => Check(cuGraphLaunch(Value, stream));

    protected override void Destroy(nint value) => cuGraphExecDestroy(value);
}
