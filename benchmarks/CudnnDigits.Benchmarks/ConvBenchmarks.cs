using BenchmarkDotNet.Attributes;

namespace CudnnDigits.Benchmarks;

/// <summary>The operations of a convolution block on one image and one core, at every vector width.</summary>
public class ConvBenchmarks
{
    private ConvLab _lab = null!;

    [Params(512, 256, 128)]
    public int VectorBits { get; set; }

    [ParamsSource(nameof(Layers))]
    public string Layer { get; set; } = "";

    public static IEnumerable<string> Layers => ConvLab.Layers.Keys;

    [GlobalSetup]
    public void Setup() => _lab = ConvLab.Create(Layer, VectorBits);

    [GlobalCleanup]
    public void Cleanup() => _lab.Dispose();

    [Benchmark]
    public void Direct() => _lab.Direct();

    [Benchmark]
    public void DirectPredict() => _lab.DirectPredict();

    [Benchmark]
    public void BackwardWeights() => _lab.BackwardWeights();

    [Benchmark]
    public void Statistics() => _lab.Statistics();

    [Benchmark]
    public void Activation() => _lab.Activation();

    [Benchmark]
    public void ActivationSums() => _lab.ActivationSums();

    [Benchmark]
    public void ActivationBackward() => _lab.ActivationBackward();
}
