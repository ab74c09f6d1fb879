using System.Buffers.Text;
using System.Reflection;

namespace CudnnDigits.Cuda.Device;

/// <summary>
/// Our own kernels (native/kernels) as PTX embedded in this assembly, and the numbers that a launch needs: only the kernels' sources
/// declare those. Threads of a block are in each entry, as .maxntid; all other numbers come from the macro PUBLISH.
/// What stands behind "//@name " in a line is code only where that switch is chosen: <see cref="With"/>.
/// </summary>
internal sealed class KernelSource
{
    /// <summary>The version of the PTX language in which the switches for GPUs are written.</summary>
    private const string VersionOfSwitches = "8.0";

    private readonly Dictionary<string, int> _published = [];
    private readonly Dictionary<string, (int Threads, int SharedBytes)> _kernels = [];

    /// <summary>Kernels that are given as text.</summary>
    public KernelSource(string text)
        : this(Encoding.ASCII.GetBytes(text + '\0'))
    {
    }

    private KernelSource(byte[] image)
    {
        Image = image;
        ReadOnlySpan<byte> rest = Image;
        Version = Word(Behind(ref rest, ".version "u8), (byte)'\n');
        Target = Word(Behind(ref rest, ".target "u8), (byte)'\n');
        while (Behind(ref rest, ".visible .global .align 4 .u32 "u8) is { Length: > 0 } published)
        {
            _published[Word(published, (byte)' ')] = Number(Behind(ref rest, "= "u8));
        }

        while (Behind(ref rest, ".visible .entry "u8) is { Length: > 0 } entry)
        {
            string name = Word(entry, (byte)'(');
            _kernels[name] = (Number(Behind(ref rest, ".maxntid "u8)), _published.GetValueOrDefault(name + "_shared_bytes"));
        }
    }

    /// <summary>The kernels of the layered path, and those that every step needs.</summary>
    public static KernelSource Common => field ??= new(Embedded("kernels.ptx"));

    /// <summary>The fused kernels, for every network and precision.</summary>
    public static KernelSource Fused => field ??= new(Embedded("fused.ptx"));

    /// <summary>The oldest GPU that any kernels run on.</summary>
    public static Version OldestGpu => new(Common.Target[^2] - '0', Common.Target[^1] - '0');

    /// <summary>PTX, with a zero at its end.</summary>
    public byte[] Image { get; }

    public string Text => Encoding.ASCII.GetString(Image)[..^1];

    /// <summary>Version of the PTX language, such as "7.5".</summary>
    public string Version { get; }

    /// <summary>The oldest GPU the kernels run on, such as "sm_75".</summary>
    public string Target { get; }

    public IReadOnlyCollection<string> Kernels => _kernels.Keys;

    /// <summary>
    /// The switches for a GPU and a precision: sm_90 from compute capability 9.0 on, sm_90a on 9.0 alone, fp32, which makes products as
    /// accurate as float32 of those in tf32, and bf16, with which the common kernels store activations so.
    /// </summary>
    public static string[] Switches(Version computeCapability, Precision precision) =>
    [
        .. computeCapability.Major >= 9 ? ["sm_90"] : Array.Empty<string>(),
        .. computeCapability == new Version(9, 0) ? ["sm_90a"] : Array.Empty<string>(),
        .. precision switch { Precision.Fp32 => ["fp32"], Precision.Bf16 => ["bf16"], _ => Array.Empty<string>() },
    ];

    /// <summary>The oldest CUDA whose driver compiles the kernels for a GPU: CUDA 11.n brought PTX 7.n, and 12.0 brought 8.0.</summary>
    public static Version OldestCuda(Version computeCapability)
    {
        Version ptx = System.Version.Parse(Switches(computeCapability, Precision.Tf32).Length > 0 ? VersionOfSwitches : Common.Version);
        return new Version(ptx.Major + 4, ptx.Minor);
    }

    /// <summary>The same kernels with what these switches choose, for the newest GPU that one of them names which is found.</summary>
    public KernelSource With(params string[] switches)
    {
        string text = Text;
        string[] found = [.. switches.Where(name => text.Contains($"//@{name} ", StringComparison.Ordinal))];
        text = found.Aggregate(text, (text, name) => text.Replace($"//@{name} ", "", StringComparison.Ordinal));
        if (found.LastOrDefault(name => name.StartsWith("sm_", StringComparison.Ordinal)) is { } target)
        {
            string before = $".version {Version}\n.target {Target}\n", then = $".version {VersionOfSwitches}\n.target {target}\n";
            text = text.Replace(before, then, StringComparison.Ordinal);
        }

        return new KernelSource(text);
    }

    /// <summary>One of the kernels, with all that stands before the first.</summary>
    public KernelSource Alone(string kernel)
    {
        const string Entry = ".visible .entry ", End = "\n}\n";
        string text = Text;
        int begin = text.IndexOf($"{Entry}{kernel}(", StringComparison.Ordinal), end = text.IndexOf(End, begin, StringComparison.Ordinal);
        return new KernelSource(text[..text.IndexOf(Entry, StringComparison.Ordinal)] + text[begin..(end + End.Length)]);
    }

    /// <summary>A number that the kernels publish, by its name in their source.</summary>
    public int this[string name] => _published[name];

    /// <summary>Threads of a block of a kernel, and its dynamic shared memory in bytes.</summary>
    public (int Threads, int SharedBytes) Block(string kernel) => _kernels[kernel];

    /// <summary>Blocks of a kernel whose threads have so many elements each.</summary>
    public long Blocks(string kernel, long elements, int ofThread = 1)
    {
        int ofBlock = _kernels[kernel].Threads * ofThread;
        return (elements + ofBlock - 1) / ofBlock;
    }

    private static byte[] Embedded(string resource)
    {
        using Stream stream = Assembly.GetExecutingAssembly().GetManifestResourceStream(resource)
            ?? throw new InvalidOperationException($"{resource} is not embedded");
        byte[] image = new byte[stream.Length + 1]; // the driver wants a zero at the end
        stream.ReadExactly(image, 0, (int)stream.Length);
        return image;
    }

    /// <summary>The text after the next occurrence of a word, which becomes the rest; if there is none, empty and unchanged.</summary>
    private static ReadOnlySpan<byte> Behind(ref ReadOnlySpan<byte> rest, ReadOnlySpan<byte> word)
    {
        int at = rest.IndexOf(word);
        if (at < 0)
        {
            return [];
        }

        rest = rest[(at + word.Length)..];
        return rest;
    }

    private static string Word(ReadOnlySpan<byte> from, byte end) => Encoding.UTF8.GetString(from[..from.IndexOf(end)]).Trim();

    private static int Number(ReadOnlySpan<byte> from) =>
        Utf8Parser.TryParse(from, out int value, out _) ? value : throw new InvalidOperationException("the PTX lacks a number");
}
