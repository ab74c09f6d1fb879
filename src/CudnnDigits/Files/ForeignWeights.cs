namespace CudnnDigits.Files;

/// <summary>Recognises other formats that people give as weights by their first bytes, and says how to save them as safetensors.</summary>
internal static class ForeignWeights
{
    private const int Start = 64; // bytes that are looked at
    private const string Give = "give a .safetensors file, or the folder of a run";
    private const string FromPyTorch =
        "save its weights as safetensors, in Python: safetensors.torch.save_file(torch.load(\"model.pt\"), \"model.safetensors\"); "
        + "docs/weights.md shows it for files that hold more than a state_dict";
    private const string FromKeras =
        "is a Keras file; save its arrays as safetensors, under PyTorch's names and in PyTorch's layouts, in Python: "
        + "safetensors.numpy.save_file({\"conv1.weight\": net.get_layer(\"conv1\").get_weights()[0].transpose(3, 2, 0, 1), …}, "
        + "\"model.safetensors\"); docs/weights.md shows all of it";

    /// <summary>Pickle's LONG1 with torch's magic number, 0x1950a86a20f9469cfc6c: files of torch.save before version 1.6.</summary>
    private static ReadOnlySpan<byte> TorchMagic => [0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

    /// <summary>Says what an open file is and what to do about it. Null, with nothing read, if it may be a safetensors file.</summary>
    public static string? Describe(InputFile file)
    {
        ReadOnlySpan<byte> start = file.Peek(Start);
        return IsSafeTensors(start) ? null
            : start.StartsWith("PK\x03\x04"u8) ? DescribeZip(file)
            : start.IndexOf(TorchMagic) >= 0 ? $"is a PyTorch file, as torch.save wrote it before version 1.6; {FromPyTorch}"
            : start is [0x80, >= 2 and <= 5, ..] ? $"is a Python pickle; if it holds a network or a state_dict of PyTorch, {FromPyTorch}"
            : start is [0x89, (byte)'H', (byte)'D', (byte)'F', ..] ? FromKeras
            : start is [0x93, .. var rest] && rest.StartsWith("NUMPY"u8)
                ? "is a single NumPy array; save all arrays of the network as safetensors, in Python: "
                    + "safetensors.numpy.save_file({\"conv1.weight\": array, …}, \"model.safetensors\")"
            : IsOnnx(start) ? "is an ONNX model, which is not accepted here; give the safetensors file that it was made from"
            : start is [0x1f, 0x8b, ..] ? "is packed by gzip; unpack it first, with gunzip"
            : start.StartsWith("version https://git-lfs"u8) ? "is a Git LFS pointer, not the file itself; fetch that with git lfs pull"
            : start.IsEmpty ? $"is empty; {Give}"
            : start.TrimStart("\uFEFF \r\n\t"u8) is [(byte)'<', ..] ? "is a web page, not the file that it offers; download that"
            : start.Length >= 8 && IsText(start)
                ? $"not a safetensors file: it is text that begins with '{KnownFile.Shorten(Encoding.ASCII.GetString(start), 16)}'; {Give}"
            : KnownFile.Name(start) is { } kind ? $"not a safetensors file: it is {kind}; {Give}"
            : start.StartsWith("GGUF"u8) || start.IndexOf("TFL3"u8) == 4 ? $"is a file of llama.cpp or TensorFlow Lite; {Give}"
            : null;
    }

    /// <summary>Whether a file begins as ONNX does: a protocol buffer with the format's version, then any other field of a model.</summary>
    public static bool IsOnnx(ReadOnlySpan<byte> start) =>
        !IsSafeTensors(start) && start is [0x08, > 0 and < 0x80, 0x12 or 0x1a or 0x22 or 0x28 or 0x32 or 0x3a or 0x42, ..];

    /// <summary>Whether a file begins as safetensors does: a plausible length, and a JSON object.</summary>
    public static bool IsSafeTensors(ReadOnlySpan<byte> start) => start is [_, _, _, _, 0, 0, 0, 0, (byte)'{', ..];

    private static string DescribeZip(InputFile file)
    {
        byte[] start = file.Peek(32 << 10).ToArray(), end = []; // zip stores names before the entries and in a list at the end
        if (file.Seekable() is { } all)
        {
            all.Position = Math.Max(0, all.Length - (64 << 10));
            end = new byte[all.Length - all.Position];
            all.ReadExactly(end);
        }

        return Has("constants.pkl"u8)
                ? "is a TorchScript file; save its weights as safetensors, in Python: "
                    + "safetensors.torch.save_file(torch.jit.load(\"model.pt\").state_dict(), \"model.safetensors\")"
            : Has("data.pkl"u8) ? $"is a PyTorch file; {FromPyTorch}"
            : Has("model.weights.h5"u8) ? FromKeras
            : Has(".npy"u8)
                ? "is a NumPy archive; save it as safetensors, in Python: "
                    + "safetensors.numpy.save_file(dict(numpy.load(\"model.npz\")), \"model.safetensors\"); "
                    + "its arrays must have PyTorch's names and layouts"
            : "is a zip file; if it contains a .safetensors file, unpack it and give that";

        bool Has(ReadOnlySpan<byte> name) => start.AsSpan().IndexOf(name) >= 0 || end.AsSpan().IndexOf(name) >= 0;
    }

    private static bool IsText(ReadOnlySpan<byte> bytes) =>
        !bytes.ContainsAnyExceptInRange((byte)'\t', (byte)'~') && !bytes.ContainsAnyInRange((byte)14, (byte)31);
}
