using System.Runtime.InteropServices;

namespace CudnnDigits.Cpu;

/// <summary>Zeroed, 64-byte-aligned buffers outside the garbage collector's heap, freed together.</summary>
internal sealed unsafe class NativeArena : IDisposable
{
    private const nuint Alignment = 64;

    private readonly List<nint> _blocks = [];

    ~NativeArena() => Free();

    public float* Floats(long count) => (float*)Allocate(count, sizeof(float));

    public uint* Words(long count) => (uint*)Allocate(count, sizeof(uint));

    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    private void* Allocate(long count, int size)
    {
        // One cache line more, so that a last vector may be read whole.
        nuint bytes = checked((nuint)count * (nuint)size) + Alignment;
        void* block = NativeMemory.AlignedAlloc(bytes, Alignment);
        _blocks.Add((nint)block);
        NativeMemory.Clear(block, bytes);
        return block;
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
