using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using V128 = System.Runtime.Intrinsics.Vector128<float>;
using V256 = System.Runtime.Intrinsics.Vector256<float>;
using V512 = System.Runtime.Intrinsics.Vector512<float>;

namespace CudnnDigits.Cpu;

/// <summary>
/// One vector width. Kernels are written once against this and compiled for each width: the JIT turns every member into one
/// instruction, as it always inlines methods of at most 16 bytes of IL. Products are fused (FMA) wherever the hardware can, so one machine
/// gives one result.
/// </summary>
internal unsafe interface ISimd<V>
    where V : struct
{
    static abstract int Lanes { get; }

    /// <summary>Rows of a register tile: with two columns of vectors, their accumulators fill the register file.</summary>
    static abstract int TileRows { get; }

    static abstract V Load(float* p);

    static abstract void Store(float* p, V v);

    /// <summary>As many bytes as there are lanes, as numbers.</summary>
    static abstract V FromBytes(byte* p);

    static abstract V Splat(float x);

    static abstract V Add(V a, V b);

    static abstract V Subtract(V a, V b);

    static abstract V Multiply(V a, V b);

    static abstract V Divide(V a, V b);

    static abstract V Sqrt(V a);

    /// <summary>a · b + c.</summary>
    static abstract V Fma(V a, V b, V c);

    /// <summary>The greater of the two; b if either is NaN, so that Max(0, x) hands a NaN on.</summary>
    static abstract V Max(V a, V b);

    /// <summary>Per lane: a &gt; b ? yes : no.</summary>
    static abstract V SelectGreater(V a, V b, V yes, V no);

    /// <summary>Per lane: word ≥ threshold ? x : 0.</summary>
    static abstract V KeepWhere(uint* words, uint threshold, V x);
}

internal readonly unsafe struct Simd512 : ISimd<V512>
{
    public static int Lanes => 16;

    public static int TileRows => 14;

    public static V512 Load(float* p) => Vector512.Load(p);

    public static void Store(float* p, V512 v) => v.Store(p);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V512 FromBytes(byte* p) => Vector512.ConvertToSingle(
        Vector512.WidenLower(Vector512.WidenLower(Vector128.Load(p).ToVector256Unsafe().ToVector512Unsafe())).AsInt32());

    public static V512 Splat(float x) => Vector512.Create(x);

    public static V512 Add(V512 a, V512 b) => a + b;

    public static V512 Subtract(V512 a, V512 b) => a - b;

    public static V512 Multiply(V512 a, V512 b) => a * b;

    public static V512 Divide(V512 a, V512 b) => a / b;

    public static V512 Sqrt(V512 a) => Vector512.Sqrt(a);

    public static V512 Fma(V512 a, V512 b, V512 c) => Vector512.FusedMultiplyAdd(a, b, c);

    public static V512 Max(V512 a, V512 b) => Vector512.MaxNative(a, b);

    public static V512 SelectGreater(V512 a, V512 b, V512 yes, V512 no) =>
        Vector512.ConditionalSelect(Vector512.GreaterThan(a, b), yes, no);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V512 KeepWhere(uint* words, uint threshold, V512 x) => Vector512.ConditionalSelect(
        Vector512.GreaterThanOrEqual(Vector512.Load(words), Vector512.Create(threshold)).AsSingle(), x, V512.Zero);
}

internal readonly unsafe struct Simd256 : ISimd<V256>
{
    public static int Lanes => 8;

    /// <summary>AVX2 names 16 registers; with AVX-512 the same width has 32.</summary>
    public static int TileRows => Avx512F.IsSupported ? 14 : 6;

    public static V256 Load(float* p) => Vector256.Load(p);

    public static void Store(float* p, V256 v) => v.Store(p);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V256 FromBytes(byte* p) => Vector256.ConvertToSingle(
        Vector256.WidenLower(Vector256.WidenLower(Vector64.Load(p).ToVector128Unsafe().ToVector256Unsafe())).AsInt32());

    public static V256 Splat(float x) => Vector256.Create(x);

    public static V256 Add(V256 a, V256 b) => a + b;

    public static V256 Subtract(V256 a, V256 b) => a - b;

    public static V256 Multiply(V256 a, V256 b) => a * b;

    public static V256 Divide(V256 a, V256 b) => a / b;

    public static V256 Sqrt(V256 a) => Vector256.Sqrt(a);

    public static V256 Fma(V256 a, V256 b, V256 c) => Vector256.FusedMultiplyAdd(a, b, c);

    public static V256 Max(V256 a, V256 b) => Vector256.MaxNative(a, b);

    public static V256 SelectGreater(V256 a, V256 b, V256 yes, V256 no) =>
        Vector256.ConditionalSelect(Vector256.GreaterThan(a, b), yes, no);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V256 KeepWhere(uint* words, uint threshold, V256 x) => Vector256.ConditionalSelect(
        Vector256.GreaterThanOrEqual(Vector256.Load(words), Vector256.Create(threshold)).AsSingle(), x, V256.Zero);
}

internal readonly unsafe struct Simd128 : ISimd<V128>
{
    public static int Lanes => 4;

    /// <summary>SSE names 16 registers; Arm64, and AVX-512 machines at this width, have 32.</summary>
    public static int TileRows => Avx512F.IsSupported || System.Runtime.Intrinsics.Arm.AdvSimd.Arm64.IsSupported ? 14 : 6;

    public static V128 Load(float* p) => Vector128.Load(p);

    public static void Store(float* p, V128 v) => v.Store(p);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V128 FromBytes(byte* p) => Vector128.ConvertToSingle(
        Vector128.WidenLower(Vector128.WidenLower(Vector128.CreateScalarUnsafe(*(uint*)p).AsByte())).AsInt32());

    public static V128 Splat(float x) => Vector128.Create(x);

    public static V128 Add(V128 a, V128 b) => a + b;

    public static V128 Subtract(V128 a, V128 b) => a - b;

    public static V128 Multiply(V128 a, V128 b) => a * b;

    public static V128 Divide(V128 a, V128 b) => a / b;

    public static V128 Sqrt(V128 a) => Vector128.Sqrt(a);

    /// <summary>Fused where there is an instruction for it; two roundings on SSE alone, where a software FMA would crawl.</summary>
    public static V128 Fma(V128 a, V128 b, V128 c) => Vector128.MultiplyAddEstimate(a, b, c);

    public static V128 Max(V128 a, V128 b) => Vector128.MaxNative(a, b);

    public static V128 SelectGreater(V128 a, V128 b, V128 yes, V128 no) =>
        Vector128.ConditionalSelect(Vector128.GreaterThan(a, b), yes, no);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V128 KeepWhere(uint* words, uint threshold, V128 x) => Vector128.ConditionalSelect(
        Vector128.GreaterThanOrEqual(Vector128.Load(words), Vector128.Create(threshold)).AsSingle(), x, V128.Zero);
}
