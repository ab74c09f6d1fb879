namespace CudnnDigits.Data;

/// <summary>Built-in digits.</summary>
public static class GeneratedDigits
{
    /// <summary>Epochs.</summary>
    public const int DefaultEpochs = 8;

    /// <summary>Creates.</summary>
    /// <param name="count">How many.</param>
    public static DigitDataset Create(int count = 10_000) => new("generated", new byte[count * 784], new byte[count]);
}
