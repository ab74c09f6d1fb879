using System.Text.RegularExpressions;

namespace CudnnDigits.Cuda.Device;

/// <summary>
/// Kernels that the driver compiles when they are first launched, each by itself. One that is made for a layer has the numbers of the
/// layer's parameters in its code, so that the compiler leaves out what the layer does not need: docs/decisions/0023-kernels-for-layers.md.
/// </summary>
internal sealed partial class LayerKernels(KernelSource source, Func<KernelSource, KernelModule> load)
{
    private readonly Dictionary<string, KernelModule> _modules = [];
    private readonly Dictionary<string, Template> _templates = [];

    public IEnumerable<KernelModule> Modules => _modules.Values.Concat(_templates.Values.SelectMany(template => template.Made));

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
            _templates[kernel] = template = new Template(source.Alone(kernel));
        }

        return template.Of(MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in parameters)), load);
    }

    /// <summary>The bits of a 32-bit parameter; of an address, 0 if it is null, else none.</summary>
    private static uint? Number(ReadOnlySpan<byte> parameters, int at, bool isAddress) =>
        !isAddress ? MemoryMarshal.Read<uint>(parameters[at..]) : MemoryMarshal.Read<long>(parameters[at..]) == 0 ? 0 : null;

    /// <summary>The text that the driver compiles for a layer.</summary>
    public static string Text<T>(KernelSource source, string kernel, in T parameters)
        where T : unmanaged => new Template(source.Alone(kernel)).With(MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in parameters)));

    /// <summary>The text of a kernel between what depends on its parameters: loads of them, and tests whether an address is null.</summary>
    private sealed partial class Template
    {
        private readonly List<(string Before, IPiece? Piece)> _pieces = [];
        private readonly (int At, bool IsAddress)[] _constants;
        private readonly List<(uint[] Constants, KernelModule Kernel)> _made = []; // few: one for each layer

        public Template(KernelSource kernel)
        {
            string text = kernel.Text;
            int done = 0, batch = kernel["bytes_of_batch"]; // at the start of the parameters: it differs between launches of a layer
            Dictionary<string, Load> addresses = [];
            HashSet<string> nulls = ["0"];
            foreach (Match match in LoadOrCopyOrTest().Matches(text, text.IndexOf(".entry ", StringComparison.Ordinal)))
            {
                if (Piece(match) is { } piece)
                {
                    _pieces.Add((text[done..match.Index], piece));
                    done = match.Index + match.Length;
                }
            }

            _pieces.Add((text[done..], null));
            _constants = [.. _pieces.Select(piece => piece.Piece).OfType<Load>().SelectMany(load => load.Constants).Distinct()];

            IPiece? Piece(Match match)
            {
                string address = match.Groups["address"].Value, to = match.Groups["to"].Value;
                Load? loaded = addresses.GetValueOrDefault(address);
                if (match.Groups["is"].Success)
                {
                    return loaded is not null && nulls.Contains(match.Groups["other"].Value) ? new Test(match, loaded) : null;
                }

                if (address.Length > 0) // a copy
                {
                    if (loaded is not null)
                    {
                        addresses[to] = loaded;
                    }
                    else if (nulls.Contains(address))
                    {
                        nulls.Add(to);
                    }

                    return null;
                }

                Load load = new(match);
                if (load is { IsAddress: true, To: [var register] })
                {
                    addresses[register] = load;
                }

                return load.At >= batch && load.Type != "f64" ? load : null;
            }
        }

        public IEnumerable<KernelModule> Made => _made.Select(made => made.Kernel);

        /// <summary>The kernel of these parameters. Each launch asks for it, so nothing is allocated once it is made.</summary>
        public KernelModule Of(ReadOnlySpan<byte> parameters, Func<KernelSource, KernelModule> load)
        {
            Span<uint> constants = stackalloc uint[_constants.Length];
            for (int i = 0; i < constants.Length; i++)
            {
                (int at, bool isAddress) = _constants[i];
                constants[i] = Number(parameters, at, isAddress) ?? 1;
            }

            foreach ((uint[] others, KernelModule kernel) in _made)
            {
                if (constants.SequenceEqual(others))
                {
                    return kernel;
                }
            }

            KernelModule made = load(new KernelSource(With(parameters)));
            _made.Add((constants.ToArray(), made));
            return made;
        }

        public string With(ReadOnlySpan<byte> parameters)
        {
            StringBuilder text = new();
            foreach ((string before, IPiece? piece) in _pieces)
            {
                text.Append(before).Append(piece?.With(parameters));
            }

            return text.ToString();
        }

        [GeneratedRegex(@"(?<if>@!?%p\d+ )?(?:ld\.param\.(?:v\d\.)?(?<type>[a-z]\d\d) \s*\{?(?<to>[^\[}]*?)\}?, "
            + @"\[(?:%rd1|\w+_param_0)(?:\+(?<at>\d+))?\];"
            + @"|setp\.(?<is>eq|ne)\.s64 \s*(?<to>%p\d+), (?<address>%rd\d+), (?<other>0|%rd\d+);"
            + @"|(?:cvta\.to\.global\.u64|mov\.[bu]64) \s*(?<to>%rd\d+), (?<address>0|%rd\d+);)")]
        private static partial Regex LoadOrCopyOrTest();
    }

    private interface IPiece
    {
        /// <summary>Its text where these are the parameters.</summary>
        string With(ReadOnlySpan<byte> parameters);
    }

    /// <summary>A load of one parameter or of neighbours, under a condition or none.</summary>
    private sealed class Load(Match match) : IPiece
    {
        public string Type => match.Groups["type"].Value;

        public string[] To { get; } = match.Groups["to"].Value.Split(',', StringSplitOptions.TrimEntries);

        public int At { get; } = match.Groups["at"] is { Success: true } at ? int.Parse(at.Value, CultureInfo.InvariantCulture) : 0;

        public bool IsAddress => Type == "u64";

        /// <summary>Where each of them is.</summary>
        public IEnumerable<(int At, bool IsAddress)> Constants => To.Select((_, i) => (Place(i), IsAddress));

        public string With(ReadOnlySpan<byte> parameters)
        {
            StringBuilder text = new();
            for (int i = 0; i < To.Length; i++)
            {
                if (Number(parameters, Place(i), IsAddress) is not { } number)
                {
                    return match.Value;
                }

                if (To[i] != "_")
                {
                    string type = To[i].StartsWith("%rd", StringComparison.Ordinal) ? "b64" : "b32"; // into a wider register, too
                    text.Append(CultureInfo.InvariantCulture, $"{match.Groups["if"].Value}mov.{type} {To[i]}, 0x{number:x}; ");
                }
            }

            return text.ToString();
        }

        private int Place(int i) => At + (i * (IsAddress ? 8 : 4));
    }

    /// <summary>A test whether an address is null: the compiler cannot know of those that are not.</summary>
    private sealed class Test(Match match, Load address) : IPiece
    {
        public string With(ReadOnlySpan<byte> parameters)
        {
            bool isNull = Number(parameters, address.At, isAddress: true) is not null, holds = isNull == (match.Groups["is"].Value == "eq");
            return $"{match.Groups["if"].Value}setp.eq.u32 {match.Groups["to"].Value}, 0, {(holds ? 0 : 1)};";
        }
    }
}
