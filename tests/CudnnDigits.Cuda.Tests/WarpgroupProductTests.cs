using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Interop;
using static CudnnDigits.Cuda.CudaException;
using static CudnnDigits.Cuda.Interop.CudaDriver;

namespace CudnnDigits.Cuda.Tests;

/// <summary>
/// Where a product by warpgroups finds the elements of its factors in shared memory. native/kernels/fused/warpgroup.cuh and the
/// software device rest on one reading of the PTX ISA's matrix descriptor; this is a kernel of a single product, so that a
/// GPU that reads otherwise says what it reads instead.
/// </summary>
public class WarpgroupProductTests
{
    private const int Rows = 64, Columns = 32, Depth = 16, Threads = 128, Sums = Columns / 2, FactorBytes = 8192;

    private readonly record struct Factor(bool KMajor, int At, int Leading, int Stride)
    {
        /// <summary>Its descriptor, less where shared memory begins, which the kernel adds.</summary>
        public ulong Descriptor => (uint)(At >> 4) | (ulong)(uint)(Leading >> 4) << 16 | (ulong)(uint)(Stride >> 4) << 32;

        /// <summary>Byte at which the element of a row (of A; a column of B) and a place of what is summed over lies.</summary>
        public int Place(int row, int k) => At + (row / 8 * Stride) + (k / 8 * Leading)
            + (KMajor ? (row % 8 * 16) + (k % 8 * 2) : (k % 8 * 16) + (row % 8 * 2));
    }

    /// <summary>How else a descriptor might be meant.</summary>
    private static readonly (string Name, Func<Factor, Factor> Read)[] Readings =
    [
        ("as the kernels mean it", factor => factor),
        ("with leading and stride exchanged", factor => factor with { Leading = factor.Stride, Stride = factor.Leading }),
        ("from a multiple of 128 bytes on", factor => factor with { At = factor.At / 128 * 128 }),
        ("with its blocks turned", factor => factor with { KMajor = !factor.KMajor }),
        ("with leading and stride exchanged and its blocks turned",
            factor => new Factor(!factor.KMajor, factor.At, factor.Stride, factor.Leading)),
    ];

    [Theory]
    [InlineData(true, true)]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    public void Factors_lie_where_their_descriptors_say(bool kMajorA, bool kMajorB)
    {
        Gpu.RequireWarpgroups();

        // Distances that differ, so that none can be taken for another, and beginnings that nothing but 16 divides.
        Factor a = new(kMajorA, 16, kMajorA ? 1040 : 128, kMajorA ? 128 : 272),
        b = new(kMajorB, 4144, kMajorB ? 528 : 128, kMajorB ? 128 : 272);
        Random random = new(0);
        int[] numbers = [.. Enumerable.Range(0, FactorBytes / 2)
            .Select(_ => random.Next(-9, 10))]; // bfloat16 has them, and float32 the sums of their products
        float[] found = Multiply(a, b, numbers);
        string[] fit = [.. from left in Readings from right in Readings
            where Product(left.Read(a), right.Read(b), numbers).SequenceEqual(found) select $"A {left.Name}, B {right.Name}"];
        Assert.True(fit.Contains($"A {Readings[0].Name}, B {Readings[0].Name}"),
            $"this GPU reads {(fit.Length > 0 ? string.Join("; or ", fit) : "neither factor in a way that this test knows")}");
    }

    private static float[] Product(Factor a, Factor b, int[] numbers)
    {
        float[] sums = new float[Rows * Columns];
        for (int i = 0; i < sums.Length; i++)
        {
            (int row, int column) = (i / Columns, i % Columns);
            sums[i] = Enumerable.Range(0, Depth).Sum(k => numbers[a.Place(row, k) / 2] * numbers[b.Place(column, k) / 2]);
        }

        return sums;
    }

    private static unsafe float[] Multiply(Factor a, Factor b, int[] numbers)
    {
        using CudaSession session = Gpu.Open(Precision.Bf16);
        using CudaContext.Scope scope = session.Context.Enter();
        using DeviceLab lab = DeviceLab.On(session);
        DeviceTensor from = lab.Upload(Array.ConvertAll(numbers, number => (float)number)), to = lab.Empty(Rows * Columns, DeviceType.F32);
        (nint fromAt, nint toAt, ulong left, ulong right, nint module, nint function) =
            (from.Address, to.Address, a.Descriptor, b.Descriptor, 0, 0);
        fixed (byte* image = Encoding.UTF8.GetBytes(Ptx(a.KMajor, b.KMajor) + "\0"), name = "product\0"u8)
        {
            Check(cuModuleLoadDataEx(out module, image, 0, null, null));
            Check(cuModuleGetFunction(out function, module, name));
        }

        void** parameters = stackalloc void*[] { &fromAt, &toAt, &left, &right };
        CuLaunchConfig config = new(1, 1, Threads, 0, session.Stream.Value);
        Check(cuLaunchKernelEx(&config, function, parameters, null));
        float[] threads = lab.Download(to), sums = new float[Rows * Columns];
        Check(cuModuleUnload(module));
        for (int i = 0; i < sums.Length; i++)
        {
            (int thread, int sum) = (i / Sums, i % Sums);
            int row = (thread / 32 * 16) + (thread % 32 / 4) + (sum / 2 % 2 * 8), column = (sum / 4 * 8) + (thread % 4 * 2) + (sum % 2);
            sums[(row * Columns) + column] = threads[i];
        }

        return sums;
    }

    /// <summary>Each thread copies 64 bytes to shared memory; the group multiplies once; each thread stores its sums.</summary>
    private static string Ptx(bool kMajorA, bool kMajorB)
    {
        IEnumerable<int> words = Enumerable.Range(0, Sums);
        string Each(Func<int, string> line) => string.Join('\n', words.Select(line));
        return $$"""
            .version 8.0
            .target sm_90a
            .address_size 64
            .visible .entry product(.param .u64 from, .param .u64 to, .param .u64 a, .param .u64 b)
            {
            .reg .pred %adds; .reg .b32 %r<3>; .reg .b64 %rd<7>; .reg .f32 %f<{{Sums}}>;
            .shared .align 128 .b8 factors[{{FactorBytes}}];
            ld.param.u64 %rd0, [from]; ld.param.u64 %rd1, [to]; ld.param.u64 %rd2, [a]; ld.param.u64 %rd3, [b];
            mov.u32 %r0, %tid.x; mul.wide.u32 %rd4, %r0, {{4 * Sums}}; add.s64 %rd0, %rd0, %rd4; add.s64 %rd1, %rd1, %rd4;
            mov.u64 %rd6, factors; shr.u64 %rd5, %rd6, 4; add.s64 %rd2, %rd2, %rd5; add.s64 %rd3, %rd3, %rd5; add.s64 %rd6, %rd6, %rd4;
            {{Each(i => $"ld.global.u32 %r1, [%rd0+{4 * i}]; st.shared.u32 [%rd6+{4 * i}], %r1; mov.f32 %f{i}, 0f00000000;")}}
            fence.proxy.async.shared::cta; bar.sync 0;
            mov.b32 %r2, 0; setp.ne.b32 %adds, %r2, 0;
            wgmma.fence.sync.aligned;
            wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 { {{string.Join(", ", words.Select(i => $"%f{i}"))}} },
                %rd2, %rd3, %adds, 1, 1, {{(kMajorA ? 0 : 1)}}, {{(kMajorB ? 0 : 1)}};
            wgmma.commit_group.sync.aligned;
            wgmma.wait_group.sync.aligned 0;
            {{Each(i => $"st.global.f32 [%rd1+{4 * i}], %f{i};")}}
            ret;
            }
            """;
    }
}
