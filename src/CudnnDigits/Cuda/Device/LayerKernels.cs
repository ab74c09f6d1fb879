using System.Text.RegularExpressions;

namespace CudnnDigits.Cuda.Device;

/// <summary>
/// Kernels that the driver compiles when they are first launched, each by itself. One that is made for a layer has the numbers of the
/// layer's parameters in its code, so that the compiler leaves out what the layer does not need (docs/decisions/0023-kernels-for-layers.md).
/// </summary>
internal sealed partial class LayerKernels(KernelSource source, Func<KernelSource, KernelModule> load)
{
    /// <summary>Bytes at the start of the parameters that differ between launches of a layer: the batch.</summary>
    private const int OfLaunch = 8;

    private readonly Dictionary<string, KernelModule> _modules = [];
    private readonly Dictionary<string, Template> _templates = [];

    public IEnumerable<KernelModule> Modules => _modules.Values;

    /// <summary>A kernel as it is.</summary>
    public KernelModule Of(string kernel)
    {
        if (!_modules.TryGetValue(kernel, out KernelModule? module))
        {
            _modules[kernel] = module = load(source.Alone(kernel));
        }

        return module;
    }

    /// <summary>A kernel with these parameters' 32-bit numbers in its code, and zeros in the place of addresses that are null.</summary>
    public KernelModule Of<T>(string kernel, in T parameters)
        where T : unmanaged
    {
        if (!_templates.TryGetValue(kernel, out Template? template))
        {
            _templates[kernel] = template = new Template(source.Alone(kernel).Text);
        }

        ReadOnlySpan<byte> bytes = MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in parameters));
        string key = kernel + template.Key(bytes);
        if (!_modules.TryGetValue(key, out KernelModule? module))
        {
            _modules[key] = module = load(new KernelSource(template.With(bytes)));
        }

        return module;
    }

    /// <summary>The text of a kernel between its loads of parameters.</summary>
    private sealed partial class Template
    {
        private readonly List<(string Before, Load? Load)> _pieces = [];

        public Template(string text)
        {
            int done = 0;
            foreach (Match match in LoadOfParameter().Matches(text))
            {
                Load load = new(match);
                if (load.At >= OfLaunch && load.Type != "f64")
                {
                    _pieces.Add((text[done..match.Index], load));
                    done = match.Index + match.Length;
                }
            }

            _pieces.Add((text[done..], null));
        }

        /// <summary>What a layer's kernel differs by from another layer's.</summary>
        public string Key(ReadOnlySpan<byte> parameters)
        {
            StringBuilder key = new();
            foreach ((_, Load? load) in _pieces)
            {
                for (int i = 0; i < load?.To.Length; i++)
                {
                    key.Append(CultureInfo.InvariantCulture, $" {load.Number(parameters, i) ?? 1:x}");
                }
            }

            return key.ToString();
        }

        public string With(ReadOnlySpan<byte> parameters)
        {
            StringBuilder text = new();
            foreach ((string before, Load? load) in _pieces)
            {
                text.Append(before).Append(load?.With(parameters));
            }

            return text.ToString();
        }

        [GeneratedRegex(@"(@!?%p\d+ )?ld\.param\.(?:v\d\.)?([a-z]\d\d) \s*\{?([^\[}]*?)\}?, \[(?:%rd1|\w+_param_0)(?:\+(\d+))?\];")]
        private static partial Regex LoadOfParameter();
    }

    /// <summary>A load of one parameter or of neighbours, under a condition or none.</summary>
    private sealed class Load(Match match)
    {
        public string Type => match.Groups[2].Value;

        public string[] To { get; } = match.Groups[3].Value.Split(',', StringSplitOptions.TrimEntries);

        public int At { get; } = match.Groups[4].Success ? int.Parse(match.Groups[4].Value, CultureInfo.InvariantCulture) : 0;

        private bool IsAddress => Type == "u64";

        /// <summary>The bits of the i-th; null of an address that is not.</summary>
        public uint? Number(ReadOnlySpan<byte> parameters, int i) =>
            !IsAddress ? MemoryMarshal.Read<uint>(parameters[(At + (4 * i))..])
            : MemoryMarshal.Read<long>(parameters[(At + (8 * i))..]) == 0 ? 0
            : null;

        public string With(ReadOnlySpan<byte> parameters)
        {
            StringBuilder text = new();
            for (int i = 0; i < To.Length; i++)
            {
                if (Number(parameters, i) is not { } number)
                {
                    return match.Value;
                }

                if (To[i] != "_")
                {
                    string type = To[i].StartsWith("%rd", StringComparison.Ordinal) ? "b64" : "b32"; // into a wider register, too
                    text.Append(CultureInfo.InvariantCulture, $"{match.Groups[1].Value}mov.{type} {To[i]}, 0x{number:x}; ");
                }
            }

            return text.ToString();
        }
    }
}
