using System.Text.Json.Serialization;

namespace CudnnDigits;

/// <summary>Arithmetic of the training step. Weights, moments, statistics and sums are float32 in all of them.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<Precision>))]
public enum Precision
{
    /// <summary>True float32: what the CPU computes, and what a GPU is compared by.</summary>
    [JsonStringEnumMemberName("fp32")]
    Fp32,

    /// <summary>float32 whose products a GPU rounds to 10 bits of mantissa on the way into its tensor cores.</summary>
    [JsonStringEnumMemberName("tf32")]
    Tf32,

    /// <summary>bfloat16 activations and products, float32 sums and master weights.</summary>
    [JsonStringEnumMemberName("bf16")]
    Bf16,
}
