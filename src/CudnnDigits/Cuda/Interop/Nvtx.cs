namespace CudnnDigits.Cuda.Interop;

/// <summary>Named ranges on a profiler's timeline. Without NVIDIA's NVTX library they cost nothing and do nothing.</summary>
internal static unsafe class Nvtx
{
    private static readonly delegate* unmanaged<byte*, int> Push;
    private static readonly delegate* unmanaged<int> Pop;

    static Nvtx()
    {
        if (NativeLibraries.FindNvtx() is { } library
            && NativeLibrary.TryGetExport(library.Handle, "nvtxRangePushA", out nint push)
            && NativeLibrary.TryGetExport(library.Handle, "nvtxRangePop", out nint pop))
        {
            Push = (delegate* unmanaged<byte*, int>)push;
            Pop = (delegate* unmanaged<int>)pop;
        }
    }

    /// <summary>Opens a range on this thread until disposed of; allocates nothing. The name is a u8 literal, which ends with a 0.</summary>
    public static Range Open(ReadOnlySpan<byte> name)
    {
        if (Push is not null)
        {
            fixed (byte* text = name)
            {
                Push(text);
            }
        }

        return new Range(Pop);
    }

    /// <summary>Opens a range whose name is put together.</summary>
    public static Range Open(string name) => Open(Encoding.UTF8.GetBytes(name + "\0"));

    /// <summary>An open range, or nothing.</summary>
    public readonly ref struct Range(delegate* unmanaged<int> pop)
    {
        private readonly delegate* unmanaged<int> _pop = pop;

        public void Dispose()
        {
            if (_pop is not null)
            {
                _pop();
            }
        }
    }
}
