using BenchmarkDotNet.Attributes;

namespace CudnnDigits.Benchmarks;

/// <summary>Winograd's method beside the direct one, on one image and one core, at every vector width.</summary>
public class WinogradBenchmarks
{
    private ConvLab _lab = null!;

    [Params(512, 256, 128)]
    public int VectorBits { get; set; }

    [ParamsSource(nameof(Layers))]
    public string Layer { get; set; } = "";

    /// <summary>The convolutions that Winograd's method computes: all but the networks' first.</summary>
    public static IEnumerable<string> Layers => ConvLab.Layers.Where(layer => layer.Value.Input.C > 1).Select(layer => layer.Key);

    [GlobalSetup]
    public void Setup() => _lab = ConvLab.Create(Layer, VectorBits);

    [GlobalCleanup]
    public void Cleanup() => _lab.Dispose();

    [Benchmark(Baseline = true)]
    public void Direct() => _lab.Direct();

    /// <summary>F(2×2, 3×3), as in training forward.</summary>
    [Benchmark]
    public void Small() => _lab.WinogradSmall();

    /// <summary>F(4×4, 3×3).</summary>
    [Benchmark]
    public void Large() => _lab.WinogradLarge();

    /// <summary>F(4×4, 3×3) with activation and pooling, as in inference.</summary>
    [Benchmark]
    public void Predict() => _lab.WinogradPredict();

    /// <summary>F(4×4, 3×3) on output gradients.</summary>
    [Benchmark]
    public void BackwardInput() => _lab.BackwardInput();

    [Benchmark]
    public void TransformWeights() => _lab.WinogradWeights();
}
