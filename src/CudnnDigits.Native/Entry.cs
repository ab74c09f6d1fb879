#if WINDOWS
#endif

namespace CudnnDigits.Native;

/// <summary>The names of the exported methods. On Unix, C calls entry.c, which calls them under other names.</summary>
internal static unsafe partial class Entry
{
#if WINDOWS
    public const string Prefix = "cudnn_digits_";

    private const uint Pin = 1, FromAddress = 4;

    /// <summary>Keeps the library loaded after FreeLibrary, because the runtime's threads run on.</summary>
#pragma warning disable CA2255 // the analyzer's advice is for libraries that .NET loads; C loads this one
    [ModuleInitializer]
    internal static void Stay() =>
        GetModuleHandleEx(Pin | FromAddress, (nint)(delegate* unmanaged[Cdecl]<byte*>)&ClassifierExports.LastErrorText, out _);
#pragma warning restore CA2255

    [LibraryImport("kernel32", EntryPoint = "GetModuleHandleExW")]
    private static partial int GetModuleHandleEx(uint flags, nint address, out nint module);
#else
    public const string Prefix = "managed_cudnn_digits_";
#endif
}
