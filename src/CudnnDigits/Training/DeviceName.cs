namespace CudnnDigits.Training;

/// <summary>The values of --device: "auto", "cpu", "cuda" and "cuda:N".</summary>
internal static class DeviceName
{
    /// <summary>The ordinal of a GPU; null for "auto" and "cpu". Refuses other names.</summary>
    public static int? Ordinal(string device) => device switch
    {
        null => throw new ArgumentNullException(nameof(device)),
        "auto" or "cpu" => null,
        "cuda" => 0,
        _ when device.StartsWith("cuda:", StringComparison.Ordinal)
            && ushort.TryParse(device.AsSpan(5), NumberStyles.None, null, out ushort ordinal) => ordinal,
        _ => throw new InputException($"--device '{device}': no such device; choose auto, cpu, cuda or cuda:N"),
    };
}
