namespace CudnnDigits.Cpu;

/// <summary>Zeroed, 64-byte-aligned buffers outside the garbage collector's heap, freed together.</summary>
internal sealed unsafe class NativeArena : IDisposable
{
    private const nuint Alignment = 64;
    private const int LinesInPage = 64, StaggerLines = 19;

    private readonly List<nint> _blocks = [];

    ~NativeArena() => Free();

    public long Bytes { get; private set; }

    public float* Floats(long count) => (float*)Allocate(count, sizeof(float));

    public uint* Words(long count) => (uint*)Allocate(count, sizeof(uint));

    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    private void* Allocate(long count, int size)
    {
        // One cache line more, so that a last vector may be read whole; and a start of its own within a page: large blocks
        // would all begin at the same place in one, and loads wait for stores that differ from them only in the page.
        nuint stagger = (nuint)(_blocks.Count * StaggerLines % LinesInPage) * Alignment;
        nuint bytes = checked((nuint)count * (nuint)size) + Alignment + stagger;
        void* block = NativeMemory.AlignedAlloc(bytes, Alignment);
        _blocks.Add((nint)block);
        Bytes += (long)bytes;
        NativeMemory.Clear(block, bytes);
        return (byte*)block + stagger;
    }

    private void Free()
    {
        foreach (nint block in _blocks)
        {
            NativeMemory.AlignedFree((void*)block);
        }

        _blocks.Clear();
    }
}
