using System.Reflection;
using System.Runtime.InteropServices;
using CudnnDigits.Cuda.Device;

namespace CudnnDigits.Tests;

/// <summary>The PTX in the assembly beside the sources that launch it; no GPU is needed for that.</summary>
public partial class KernelTests
{
    /// <summary>What macros add to the name of a kernel that there is for several types or modes.</summary>
    private static readonly string[] Suffixes = ["_f32", "_bf16"];

    /// <summary>What stands before that, of kernels whose blocks make so many outputs.</summary>
    private static readonly string[] Widths = ["_32", "_64"];

    private static readonly string Kernels = Path.Combine(SharedFiles.RepositoryRoot, "native", "kernels");

    public static TheoryData<string> Modules => ["kernels", "fused"];

    /// <summary>
    /// A kernel has one parameter, a struct by value. Its twin in C# has fields of the same names and sizes in the same order as the
    /// kernel's
    /// source, and of the same size in all as the parameter in the PTX; and whatever the PTX loads of it is one of those fields.
    /// </summary>
    [Theory]
    [MemberData(nameof(Modules))]
    public void Parameters_of_kernels_have_the_same_layout_on_both_sides(string module)
    {
        string sources = SourcesOf(module), ptx = Encoding.UTF8.GetString(Source(module).Image);
        Dictionary<string, string> structs = ParameterStruct().Matches(sources).DistinctBy(match => match.Groups[1].Value)
            .ToDictionary(match => match.Groups[1].Value, match => match.Groups[2].Value);
        Dictionary<string, string> taken = Signature().Matches(sources).DistinctBy(match => match.Groups[1].Value)
            .ToDictionary(match => match.Groups[1].Value, match => match.Groups[2].Value);
        foreach (Match several in SignatureOfSeveral().Matches(sources))
        {
            foreach (string suffix in Suffixes.SelectMany(suffix => Widths.Select(width => width + suffix).Append(suffix)))
            {
                taken[several.Groups[1].Value + suffix] = several.Groups[2].Value;
            }
        }

        Assert.All(Source(module).Kernels, kernel =>
        {
            string name = taken[kernel];
            Type twin = typeof(KernelSource).Assembly.GetTypes()
                .Single(type => type.Name == name && type.Namespace!.StartsWith("CudnnDigits.Cuda", StringComparison.Ordinal));
            Field[] fields = [.. FieldsOf(twin)];
            (string Name, int Size)[] declared = [.. Declared(structs, name)];
            Assert.Equal(declared, fields.Select(field => (field.Name, field.Size)));

            string body = ptx[ptx.IndexOf($".visible .entry {kernel}(", StringComparison.Ordinal)..];
            body = body[..body.IndexOf("\n}", StringComparison.Ordinal)];
            Match parameter = Assert.Single(Parameter().Matches(body));
            Assert.Equal(Marshal.SizeOf(twin), int.Parse(parameter.Groups[1].Value, CultureInfo.InvariantCulture));
            HashSet<string> addresses = [$"{kernel}_param_0"];
            foreach (Match copy in Copy().Matches(body).Where(copy => addresses.Contains(copy.Groups[2].Value)))
            {
                addresses.Add(copy.Groups[1].Value);
            }

            Match[] loads = [.. Load().Matches(body).Where(load => addresses.Contains(load.Groups[4].Value))];
            Assert.NotEmpty(loads);
            foreach (Match load in loads)
            {
                int size = int.Parse(load.Groups[3].Value, CultureInfo.InvariantCulture) / 8, count = load.Groups[1].Success
                    ? int.Parse(load.Groups[1].Value, CultureInfo.InvariantCulture) : 1;
                int first = load.Groups[5].Success ? int.Parse(load.Groups[5].Value, CultureInfo.InvariantCulture) : 0;
                for (int at = first; at < first + count * size; at += size)
                {
                    Field field = Assert.Single(fields, field => field.Offset == at && field.Size == size);
                    Assert.True(load.Groups[2].Value != "f" || field.IsFloat, $"{kernel} loads {field.Name} as a float");
                }
            }
        });
    }

    [Fact]
    public void The_state_of_a_step_has_the_same_fields_on_both_sides()
    {
        Dictionary<string, string> structs = ParameterStruct().Matches(AllSources()).DistinctBy(match => match.Groups[1].Value)
            .ToDictionary(match => match.Groups[1].Value, match => match.Groups[2].Value);
        Assert.Equal(Declared(structs, nameof(StepState)), FieldsOf(typeof(StepState)).Select(field => (field.Name, field.Size)));
    }

    [Theory]
    [MemberData(nameof(Modules))]
    public void A_launch_is_told_how_many_threads_and_how_much_shared_memory_a_block_has(string module)
    {
        KernelSource source = Source(module);
        Assert.All(source.Kernels, kernel => Assert.InRange(source.Block(kernel).Threads, 32, 1024));
        string[] published = [.. SharedMemory().Matches(Encoding.UTF8.GetString(source.Image)).Select(match => match.Groups[1].Value)];
        Assert.Equal(published.Order(), source.Kernels.Where(kernel => source.Block(kernel).SharedBytes > 0).Order());
    }

    [Theory]
    [MemberData(nameof(Modules))]
    public void Every_kernel_has_a_caller(string module)
    {
        string folder = Path.Combine(SharedFiles.RepositoryRoot, "src", "CudnnDigits", "Cuda");
        string sources = string.Concat(Directory.EnumerateFiles(folder, "*.cs", SearchOption.AllDirectories).Select(File.ReadAllText));
        Assert.All(Source(module).Kernels, name =>
        {
            string? suffix = Suffixes.FirstOrDefault(suffix => name.EndsWith(suffix, StringComparison.Ordinal));
            string both = name[..^(suffix?.Length ?? 0)]; // what CudaSession.KernelSuffix is added to
            string? width = Widths.FirstOrDefault(width => both.EndsWith(width, StringComparison.Ordinal));
            Assert.True(sources.Contains($"\"{name}\"", StringComparison.Ordinal)
                || sources.Contains($"\"{both}\"", StringComparison.Ordinal)
                || (width is not null && sources.Contains($"\"{both[..^(width.Length - 1)]}{{", StringComparison.Ordinal)), name);
        });
    }

    /// <summary>nvcc, which is not on every machine, would call the kernel where clang calls the function.</summary>
    [Fact]
    public void No_function_on_the_device_has_the_name_of_a_kernel()
    {
        string sources = AllSources();
        string[] functions = [.. DeviceFunction().Matches(sources).Select(match => match.Groups[1].Value)];
        Assert.Contains("philox_block", functions);
        Assert.Empty(functions.Intersect(Modules.SelectMany(module => Source(module.Data).Kernels)));
    }

    [Fact]
    public void Every_kernel_for_float32_has_one_for_bfloat16()
    {
        string[] entries = [.. KernelSource.Fused.Kernels];
        Assert.NotEmpty(entries);
        Assert.All(entries.Where(name => name.EndsWith("_f32", StringComparison.Ordinal)),
            name => Assert.Contains(name.Replace("_f32", "_bf16", StringComparison.Ordinal), entries));
    }

    [Theory]
    [InlineData("8.0", Precision.Tf32, "", "7.5", "sm_80")]
    [InlineData("8.9", Precision.Fp32, "fp32", "7.5", "sm_80")]
    [InlineData("9.0", Precision.Bf16, "sm_90 sm_90a bf16", "8.0", "sm_90a")]
    [InlineData("9.0", Precision.Fp32, "sm_90 sm_90a fp32", "8.0", "sm_90a")]
    [InlineData("12.0", Precision.Tf32, "sm_90", "8.0", "sm_90")]
    public void What_stands_behind_a_switch_is_code_where_it_is_chosen(
        string capability, Precision precision, string switches, string version, string target)
    {
        string[] chosen = KernelSource.Switches(Version.Parse(capability), precision);
        Assert.Equal(switches, string.Join(' ', chosen));
        KernelSource source = KernelSource.Fused.With(chosen);
        Assert.Equal((version, target), (source.Version, source.Target));
        Assert.Equal(KernelSource.Fused.Kernels, source.Kernels);
        string[] before = Lines(KernelSource.Fused), after = Lines(source);
        Assert.Equal(before.Length, after.Length);
        Assert.Equal(chosen.Contains("sm_90"), after.Contains("\tgriddepcontrol.wait;"));
        for (int i = 0; i < before.Length; i++)
        {
            string[] parts = before[i].Split("//@");
            string expected = parts[0] + string.Concat(parts.Skip(1).Select(part =>
                chosen.Contains(part.Split(' ')[0]) ? part[(part.IndexOf(' ', StringComparison.Ordinal) + 1)..] : "//@" + part));
            Assert.True(expected == after[i] || i < 3, after[i]); // the header has been compared
        }

        static string[] Lines(KernelSource source) => Encoding.UTF8.GetString(source.Image).Split('\n');
    }

    private static KernelSource Source(string module) => module == "kernels" ? KernelSource.Common : KernelSource.Fused;

    private static string AllSources() =>
        string.Concat(Directory.EnumerateFiles(Kernels, "*.cu*", SearchOption.AllDirectories).Select(File.ReadAllText));

    /// <summary>What a module is made of: structs of different modules may have the same name.</summary>
    private static string SourcesOf(string module) => string.Concat(
        new[] { "common", module == "kernels" ? "layered" : module }
            .SelectMany(folder => Directory.EnumerateFiles(Path.Combine(Kernels, folder), "*.cu*", SearchOption.AllDirectories))
            .Select(File.ReadAllText));

    /// <summary>Fields of a struct in C#, those of structs in it among them.</summary>
    private static IEnumerable<Field> FieldsOf(Type type, int at = 0) =>
        type.GetFields(BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance).SelectMany(field =>
        {
            int offset = at + (int)Marshal.OffsetOf(type, field.Name);
            return field.FieldType.IsPrimitive
                ? [new Field(NameOf(field), offset, Marshal.SizeOf(field.FieldType), field.FieldType == typeof(float)
                    || field.FieldType == typeof(double))]
                : FieldsOf(field.FieldType, offset);
        });

    /// <summary>Without what the compiler adds to the name of a record's field.</summary>
    private static string NameOf(FieldInfo field) => field.Name.Split('<', '>') is [_, { } property, _] ? property.ToUpperInvariant()
        : field.Name.ToUpperInvariant();

    /// <summary>The same of a struct in the kernels' source.</summary>
    private static IEnumerable<(string Name, int Size)> Declared(Dictionary<string, string> structs, string name) =>
        FieldDeclaration().Matches(structs[name]).SelectMany(field => field.Groups[1].Value.Trim() switch
        {
            string type when structs.ContainsKey(type) => Declared(structs, type),
            "int" or "unsigned" or "float" => Named(field, 4),
            string type when type.EndsWith('*') || type is "long long" or "unsigned long long" or "double" => Named(field, 8),
            string other => throw new InvalidOperationException($"{name}: {other}"),
        });

    private static IEnumerable<(string Name, int Size)> Named(Match field, int size) =>
        field.Groups[2].Value.Split(',')
            .Select(name => (name.Trim(' ', '*').Replace("_", "", StringComparison.Ordinal).ToUpperInvariant(), size));

    private sealed record Field(string Name, int Offset, int Size, bool IsFloat);

    [GeneratedRegex(@"struct (\w+) \{\n((?:    [^\n(){}]*;[^\n]*\n)+)(?:\};|\n)")]
    private static partial Regex ParameterStruct();

    [GeneratedRegex(@"^    ([^;/]*?)(\w+(?:, \*?\w+)*);", RegexOptions.Multiline)]
    private static partial Regex FieldDeclaration();

    [GeneratedRegex(@"KERNEL\([^)]*\)\s+(\w+)\((\w+)(?:<\w+>)? \w+\)")]
    private static partial Regex Signature();

    [GeneratedRegex(@"(?:KERNELS(?:_OF_MODES)?|CONVOLUTIONS)\((\w+), (\w+)[,)]")]
    private static partial Regex SignatureOfSeveral();

    [GeneratedRegex(@"\.param [^\n]*_param_\d+(?:\[(\d+)\])?")]
    private static partial Regex Parameter();

    [GeneratedRegex(@"mov\.[bu]64 \s*(%rd\d+), (%rd\d+|\w+_param_0);")]
    private static partial Regex Copy();

    [GeneratedRegex(@"ld\.param(?:\.v(\d))?\.([a-z])(\d+) [^\[\n]*\[([%\w]+)(?:\+(\d+))?\]")]
    private static partial Regex Load();

    [GeneratedRegex(@"\.u32 (\w+)_shared_bytes = ")]
    private static partial Regex SharedMemory();

    [GeneratedRegex(@"(?:DEVICE_INLINE|__device__)[^;{}()]*?(\w+)\(")]
    private static partial Regex DeviceFunction();
}
