using System.Runtime.InteropServices;
using System.Security.Cryptography;

namespace CudnnDigits.Tests.Reference;

/// <summary>Parts of an ONNX model as text, to compare two readers by.</summary>
internal static class OnnxText
{
    public static string Node(
        string type, IEnumerable<string> inputs, IEnumerable<string> outputs, Dictionary<string, string> integers,
        Dictionary<string, string> reals) =>
        $"{type} ({string.Join(',', inputs)}) -> ({string.Join(',', outputs)}) {string.Join(';', integers)} {string.Join(';', reals)}";

    public static string Tensor(IEnumerable<long> shape, float[] values) =>
        $"({string.Join(',', shape)}) {Convert.ToHexString(SHA256.HashData(MemoryMarshal.AsBytes<float>(values)))}";
}
