using System.Runtime.Intrinsics;
using BenchmarkDotNet.Attributes;
using CudnnDigits.Cpu;
using CudnnDigits.Model;

namespace CudnnDigits.Benchmarks;

/// <summary>The first dense layer of each network on one core, at the machine's widest vectors.</summary>
public unsafe class DenseBenchmarks
{
    private NativeArena _arena = null!;
    private DenseShape _shape;
    private float* _x, _w, _dw, _y, _dYTransposed, _dX;

    [ParamsSource(nameof(Networks))]
    public string Network { get; set; } = "";

    [Params(1, 64)]
    public int Batch { get; set; }

    public static IEnumerable<string> Networks => DigitNetworks.Names;

    [GlobalSetup]
    public void Setup()
    {
        _arena = new NativeArena();
        LinearLayer linear = new BlockPlan(DigitNetworks.Find(Network)!).Denses[0].Linear;
        _shape = new DenseShape(linear.InFeatures, linear.OutFeatures);
        _x = _arena.Floats(64L * _shape.In);
        _dX = _arena.Floats(64L * _shape.In);
        _y = _arena.Floats(64L * _shape.Out);
        _dYTransposed = _arena.Floats(64L * _shape.Out);
        _w = _arena.Floats(_shape.WeightSize);
        _dw = _arena.Floats(_shape.WeightSize);
    }

    [GlobalCleanup]
    public void Cleanup() => _arena.Dispose();

    [Benchmark]
    public void Forward()
    {
        if (Vector512.IsHardwareAccelerated)
        {
            Forward<Simd512, Vector512<float>>();
        }
        else
        {
            Forward<Simd256, Vector256<float>>();
        }
    }

    [Benchmark]
    public void Backward()
    {
        if (Vector512.IsHardwareAccelerated)
        {
            Backward<Simd512, Vector512<float>>();
        }
        else
        {
            Backward<Simd256, Vector256<float>>();
        }
    }

    private void Forward<S, V>()
        where S : struct, ISimd<V>
        where V : struct
    {
        for (int item = 0; item < Dense<S, V>.ForwardItems(_shape, Batch); item++)
        {
            Dense<S, V>.Forward(item, _shape, Batch, _x, _w, _w, relu: true, _y);
        }
    }

    private void Backward<S, V>()
        where S : struct, ISimd<V>
        where V : struct
    {
        for (int item = 0; item < Dense<S, V>.BackwardItems(_shape); item++)
        {
            Dense<S, V>.Backward(item, _shape, Batch, _x, _w, _y, _dYTransposed, 64, _dw, _dX);
        }
    }
}
