#if WINDOWS
#endif

namespace CudnnDigits.Native;

/// <summary>What stands between C and the exported methods: on Unix entry.c, which calls them by other names; on Windows nothing.</summary>
internal static unsafe partial class Entry
{
#if WINDOWS
    /// <summary>Goes before the names of the exported methods.</summary>
    public const string Prefix = "cudnn_digits_";

    private const uint Pin = 1, FromAddress = 4;

    /// <summary>The runtime's threads stay, so the library must: FreeLibrary has no effect from the first call on.</summary>
#pragma warning disable CA2255 // what C loads is no library of .NET's
    [ModuleInitializer]
    internal static void Stay() => GetModuleHandleEx(Pin | FromAddress, (nint)(delegate* unmanaged[Cdecl]<byte*>)&ClassifierExports.LastErrorText, out _);
#pragma warning restore CA2255

    [LibraryImport("kernel32", EntryPoint = "GetModuleHandleExW")]
    private static partial int GetModuleHandleEx(uint flags, nint address, out nint module);
#else
    /// <summary>Goes before the names of the exported methods.</summary>
    public const string Prefix = "managed_cudnn_digits_";
#endif
}
