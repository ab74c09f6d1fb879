using System.Runtime.InteropServices;
using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Fused;

namespace CudnnDigits.Tests;

/// <summary>The text of kernels that are made for a layer; no GPU is needed for that.</summary>
public partial class LayerKernelTests
{
    private static readonly ConvForward Forward = new(
        new Batch(1000, 2000),
        new TileShape(28, 28, 32, 28, 28, 32, 3, 1, 1, 1, 4, 10, 313, 31, 4, 1, 32, 6, 0x12345, 0x23456, 0x34567, 0x45678),
        new PreviousLayer(Y: 11, new Affine(12, 13, 0, 0), KeepScale: 1.25f, Drops: 1), W: 14, Y: 15, Pooled: 0, State: 16,
        new Dropout(Seed: 18, Threshold: 19, Layer: 20, KeepScale: 1.5f), Gamma: 0, Activation: default, Norm: default,
        First: default, FirstW: 0);

    public static TheoryData<string> Kernels => ["conv_forward_32_bf16", "conv_forward_64_bf16", "conv_forward_32_f32"];

    /// <summary>Each load of 32 bits is the number that the parameters have, but for the batch; so is an address that is null.</summary>
    [Theory]
    [MemberData(nameof(Kernels))]
    public void Numbers_of_the_layer_take_the_place_of_its_parameters(string kernel)
    {
        string before = KernelSource.Fused.Alone(kernel).Text, after = Text(kernel, Forward);
        string[] lines = before.Split('\n'), made = after.Split('\n');
        Assert.Equal(lines.Length, made.Length);
        Assert.StartsWith(before[..before.IndexOf(".entry ", StringComparison.Ordinal)], after, StringComparison.Ordinal);
        int numbers = 0, addresses = 0;
        ReadOnlySpan<byte> bytes = MemoryMarshal.AsBytes(new ReadOnlySpan<ConvForward>(in Forward));
        for (int i = 0; i < lines.Length; i++)
        {
            Match load = LoadOfOne().Match(lines[i]);
            if (!load.Success)
            {
                continue;
            }

            int at = load.Groups["at"].Success ? int.Parse(load.Groups["at"].Value, CultureInfo.InvariantCulture) : 0;
            string to = load.Groups["to"].Value;
            long value = load.Groups["type"].Value == "u64"
                ? MemoryMarshal.Read<long>(bytes[at..]) : MemoryMarshal.Read<uint>(bytes[at..]);
            bool stays = at < 8 || (load.Groups["type"].Value == "u64" && value != 0) || load.Groups["type"].Value == "f64";
            if (stays)
            {
                Assert.Equal(lines[i], made[i]);
                addresses += at < 8 ? 0 : 1;
            }
            else
            {
                Assert.Contains(string.Create(CultureInfo.InvariantCulture, $" {to}, 0x{value:x};"), made[i], StringComparison.Ordinal);
                numbers++;
            }
        }

        Assert.InRange(numbers, 20, lines.Length);
        Assert.InRange(addresses, 3, lines.Length);
    }

    /// <summary>Another batch has the same kernel, another shape or an address where there was none has not.</summary>
    [Theory]
    [MemberData(nameof(Kernels))]
    public void Batches_share_a_kernel_and_layers_do_not(string kernel)
    {
        string text = Text(kernel, Forward);
        Assert.Equal(text, Text(kernel, Forward with { Batch = new(1, 1), Y = 16 }));
        Assert.NotEqual(text, Text(kernel, Forward with { Shape = Forward.Shape with { Channels = 64 } }));
        Assert.NotEqual(text, Text(kernel, Forward with { Pooled = 17 }));
    }

    /// <summary>No test is left whether one of the parameters' addresses is null: what is still tested is a number.</summary>
    [Theory]
    [MemberData(nameof(Kernels))]
    public void Whether_an_address_is_null_is_known(string kernel)
    {
        string text = Text(kernel, Forward);
        Assert.Matches(KnownTest(), text);
        Assert.All(
            TestOfNull().Matches(text),
            test => Assert.Contains($"mov.b64 {test.Groups[1].Value}, 0x", text, StringComparison.Ordinal));
    }

    private static string Text(string kernel, in ConvForward parameters) => LayerKernels.Text(KernelSource.Fused, kernel, parameters);

    [GeneratedRegex(@"ld\.param\.(?<type>[a-z]\d\d) \s*(?<to>%\w+), \[(?:%rd1|\w+_param_0)(?:\+(?<at>\d+))?\];")]
    private static partial Regex LoadOfOne();

    [GeneratedRegex(@"setp\.eq\.u32 %p\d+, 0, [01];")]
    private static partial Regex KnownTest();

    [GeneratedRegex(@"setp\.(?:eq|ne)\.s64 \s*%p\d+, (%rd\d+), 0;")]
    private static partial Regex TestOfNull();
}
