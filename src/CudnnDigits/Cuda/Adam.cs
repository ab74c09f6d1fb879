namespace CudnnDigits.Cuda;

/// <summary>Adam over all parameters in one launch of our own kernel.</summary>
/// <param name="session">The device.</param>
internal sealed unsafe class Adam(CudaSession session)
{
    private const int Threads = 256, OfThread = 4; // as adam.cu has them

    /// <param name="state">Step size and bias correction of the running step.</param>
    /// <param name="p">Weights, gradients and moments.</param>
    public void Update(DeviceTensor state, DeviceParameters p)
    {
        nint stateAt = state.Address, w = p.W.Address, dw = p.DW.Address, narrowDW = p.NarrowDW?.Address ?? 0, m = p.M.Address, v = p.V.Address;
        nint rounded = p.Rounded?.Address ?? 0, places = p.Places?.Address ?? 0;
        (int first, int end) = p.Arranged;
        int count = (int)p.W.Count, narrow = (int)(p.NarrowDW?.Count ?? 0);
        void** parameters = stackalloc void*[] { &stateAt, &w, &dw, &narrowDW, &m, &v, &rounded, &places, &first, &end, &count, &narrow };
        session.Launch("adam", (Blocks(count, OfThread), 1), (Threads, 1), parameters);
    }

    /// <summary>After loading: the weights once more as the products read them, where those are bfloat16.</summary>
    public void RoundWeights(DeviceParameters p)
    {
        if (p.Rounded is { } to)
        {
            nint w = p.W.Address, rounded = to.Address, places = p.Places?.Address ?? 0;
            (int first, int end) = p.Arranged;
            int count = (int)p.W.Count;
            void** parameters = stackalloc void*[] { &w, &rounded, &places, &first, &end, &count };
            session.Launch("round_weights", (Blocks(count, 1), 1), (Threads, 1), parameters);
        }
    }

    private static int Blocks(int count, int ofThread) => (count + Threads * ofThread - 1) / (Threads * ofThread);
}
