namespace CudnnDigits.Cli.Exchange;

/// <summary>The command <c>export</c>: writes weights in another format.</summary>
internal static class ExportCommand
{
    /// <summary>The option that names the file to write, and so has the place of --out.</summary>
    public const string Onnx = "--onnx";

    private static readonly Option<string> Target = new(Onnx)
    {
        Description = "The ONNX file to write: images (N, 1, 28, 28) in, pixel/255; logits (N, 10) out. - is standard output.",
        HelpName = "FILE",
        Required = true,
    };

    private static readonly Option<bool> KeepBatchNorm =
        CommonOptions.Flag("--keep-batch-norm", "Keep batch norm as separate nodes. Default: fold it into the convolutions.");

    public static Command Create() => CommonOptions.NewCommand(
        "export", "Write weights as an ONNX model, for other runtimes.",
        [CommonOptions.Weights, Target, KeepBatchNorm, CommonOptions.Json], Run);

    private static void Run(ParseResult result)
    {
        string target = result.GetRequiredValue(Target), path = RunFolder.WeightsOf(result.GetRequiredValue(CommonOptions.Weights));
        OutputFile output = new(Target.Name, target, result.GetValue(CommonOptions.Json), [path]);
        (NetworkWeights weights, IReadOnlyDictionary<string, string> metadata) = WeightsFile.Load(path);
        byte[] model = OnnxWriter.Write(weights, result.GetValue(KeepBatchNorm), metadata);
        output.Write(file => file.Write(model));
        output.Tell(
            new ExportResult(target, weights.Network.Name, model.Length),
            $"{weights.Network.Name}, {model.Length:N0} bytes\nmodel     {output}");
    }
}
