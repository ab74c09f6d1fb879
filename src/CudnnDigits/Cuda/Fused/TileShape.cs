using CudnnDigits.Cuda.Device;
using CudnnDigits.Model;

namespace CudnnDigits.Cuda.Fused;

/// <summary>
/// A convolution as its kernel sees it; Convolution in native/kernels/fused/tall.cuh has the same fields and says what they are. It also
/// says how the kernel is launched: in blocks that take one tile after another.
/// </summary>
internal readonly record struct TileShape(
    int Height, int Width, int Channels, int OutHeight, int OutWidth, int Outs, int Side, int Padding, int Pools, int Pairs,
    int Rows, int Slots, int Plane, int Pitch, int Fragments, int Parts, int WidthOfBlock, int Ring, uint WidthFactor, uint PeriodFactor,
    uint AcrossFactor, uint DownFactor)
{
    /// <summary>Bytes of a unit of channels.</summary>
    private const int Unit = 16;

    private const int PixelsOfFragment = 16;

    private const int MostParts = 3;

    /// <summary>
    /// Sums that a block leaves for the first layer's parameters: FirstBlocks in native/kernels/fused/first_sums.cuh.
    /// </summary>
    public static readonly int FirstSums = KernelSource.Fused["first_sums_of_group"];

    /// <summary>Warps of a block.</summary>
    public static readonly int Warps = KernelSource.Fused["warps_of_convolution"];

    private static readonly int PieceBytes = KernelSource.Fused["piece_bytes_of_weights"], // of 32 outputs
        MostFragments = KernelSource.Fused["most_fragments_of_warp"];

    private int Period => Height + Padding;

    /// <summary>Columns of an image, or pairs of them, and rows, or pairs of them.</summary>
    private int Across => (OutWidth + Pools) >> Pools;

    private int Down => (OutHeight + Pairs) >> Pairs;

    /// <summary>Bytes of weights in shared memory.</summary>
    private int RingBytes => Ring * Side * PieceBytes * (WidthOfBlock / 32);

    /// <summary>Groups of outputs, of which each block makes one.</summary>
    public int Groups => (Outs + WidthOfBlock - 1) / WidthOfBlock;

    /// <summary>For how many blocks that convolve a multiprocessor has registers.</summary>
    public int BlocksAtOnce => WidthOfBlock == 32 ? 3 : 2;

    /// <summary>Dynamic shared memory of a block that convolves.</summary>
    public int SharedBytes => (4 * Plane * Unit) + RingBytes;

    /// <summary>The forward convolution of a layer, for so many samples on so many multiprocessors.</summary>
    public static TileShape Forward(ConvPlan plan, int samples, TileRoom room, int elementBytes) =>
        Fastest(Of(plan, plan.Pool is null ? 0 : 1, 1), samples, room, elementBytes, mayBeWide: plan.Input.C > 1, true, candidate =>
            (0, plan.Input.C > 1 ? 0 : First(plan, candidate.Slots).InputBytes(elementBytes)));

    /// <summary>That of the second layer where it makes the activation of the first one.</summary>
    public static TileShape Second(ConvPlan plan, ConvPlan first, int samples, TileRoom room, int elementBytes) =>
        Fastest(Of(plan, plan.Pool is null ? 0 : 1, 1), samples, room, elementBytes, mayBeWide: true, true, candidate =>
            (0, First(first, candidate.Slots).ActivationBytes(elementBytes)));

    /// <summary>
    /// The convolution of dY with the weights turned round that gives the gradient of the layer's input. first: the layer below, where its
    /// weights' gradient is made on the way.
    /// </summary>
    public static TileShape BackwardData(ConvPlan plan, ConvPlan? first, int samples, TileRoom room, int elementBytes)
    {
        Shape output = plan.Conv.Infer(plan.Input);
        int padding = plan.Conv.Kernel - 1 - plan.Conv.Padding;
        return Fastest(
            Of(output, plan.Input, plan.Conv.Kernel, padding, 0, 1), samples, room, elementBytes, first is null, first is null, candidate =>
            {
                if (first is null)
                {
                    return (0, 0);
                }

                // Its input and sums, and scratch of each warp, for du of its pixels with what their windows see, and for sums in the
                // same place.
                int ofWindow = elementBytes > 2 ? 0 : 32;
                int ofPixels = candidate.Fragments * PixelsOfFragment * ((32 * elementBytes) + ofWindow);
                int scratch = Math.Max(ofPixels, FirstSums * sizeof(float));
                return (PlaneOf(scratch / Unit, 1), First(first, candidate.Rows, 1).FirstBytes(elementBytes));
            });
    }

    /// <summary>
    /// The gradient of a layer's weights: rows of the tall image, planes of dY and of the input, rows of x. first: the layer below, where
    /// its activation is made.
    /// </summary>
    public static TileShape BackwardWeights(ConvPlan plan, ConvPlan? first, TileRoom room, int elementBytes)
    {
        // Floats take twice the room: there, a multiprocessor with 100 KiB has one block.
        int bytes = ChannelsOfWeights(plan.Conv.OutChannels) * elementBytes;
        int most = Math.Max(room.OfBlock(2), elementBytes == 2 ? 0 : 75 << 10);
        return TallRows(plan, elementBytes, (rows, plane) => bytes * plane + BytesOfFirst(rows) <= most);

        int BytesOfFirst(int rows) =>
            plan.Input.C == 1 ? First(plan, rows).InputBytes(elementBytes)
            : first is null ? 0
            : First(first, rows + plan.Conv.Kernel - 1).ActivationBytes(elementBytes);
    }

    /// <summary>The first layer's windows, of so many rows of its output at a time; or below a convolution, of pairs of them.</summary>
    public static TileShape First(ConvPlan plan, int rows, int pairs = 0)
    {
        TileShape shape = Of(plan.Input, plan.Conv.Infer(plan.Input), plan.Conv.Kernel, plan.Conv.Padding, 0, pairs);
        return (shape with { WidthOfBlock = 32 }).WithRows(rows);
    }

    /// <summary>So many samples in tiles of output.</summary>
    public Batch Tiled(int samples) => new(samples, ((samples * Down) + Rows - 1) / Rows);

    /// <summary>So many samples in tiles of the tall image, for gradients of weights.</summary>
    public Batch TallTiled(int samples) => new(samples, ((samples * Period) + Rows - 1) / Rows);

    /// <summary>Bytes of planes of a block that makes gradients of weights.</summary>
    public int WeightBytes(int elementBytes) => Plane * ChannelsOfWeights(Outs) * elementBytes;

    /// <summary>Bytes of the first layer's input in shared memory: WindowTile in native/kernels/fused/first_layer.cuh.</summary>
    public int InputBytes(int elementBytes) => (Slots + Side) * (Pitch + (Pitch % 2)) * elementBytes;

    /// <summary>
    /// The same, and of the first layer's weights as factors of its activation: FirstActivation in
    /// native/kernels/fused/first_activation.cuh.
    /// </summary>
    public int ActivationBytes(int elementBytes)
    {
        int ofChunk = 64 / elementBytes; // outputs, with as many bytes for each as below
        return InputBytes(elementBytes) + ((Outs + ofChunk - 1) / ofChunk * ofChunk * 64);
    }

    /// <summary>
    /// Bytes of the first layer's input, of its sums, and of its weights as factors of y of a group of outputs (a KiB for eight words of
    /// taps), behind what is free while the sums are added up.
    /// </summary>
    public int FirstBytes(int elementBytes) =>
        (FirstSums * sizeof(float)) + (elementBytes / 2 * 1024) + InputBytes(elementBytes);

    /// <summary>Channels of a block: 64 outputs, or 32 where there are no more, and 32 inputs.</summary>
    private static int ChannelsOfWeights(int outs) => (outs > 32 ? 64 : 32) + 32;

    /// <summary>A layer's convolution; that of the first, of what windows see.</summary>
    private static TileShape Of(ConvPlan plan, int pools, int pairs)
    {
        (Shape output, int side) = (plan.Conv.Infer(plan.Input), plan.Conv.Kernel);
        return plan.Input.C > 1
            ? Of(plan.Input, output, side, plan.Conv.Padding, pools, pairs)
            : Of(output with { C = side * side }, output, 1, 0, pools, pairs);
    }

    private static TileShape Of(Shape input, Shape output, int side, int padding, int pools, int pairs) => new(
        input.H, input.W, input.C, output.H, output.W, output.C, side, padding, pools, pairs, 0, 0, 0, input.W + padding, 0, 1, 0, 0,
        Factor((input.W + 1) / 2), Factor(input.H + padding), Factor((output.W + pools) >> pools), Factor((output.H + pairs) >> pairs));

    /// <summary>By which a kernel multiplies to divide; Divisor in tall.cuh.</summary>
    public static uint Factor(int divisor) => divisor == 1 ? 0 : uint.MaxValue / (uint)divisor + 1;

    /// <summary>
    /// The outputs and pixels of a block for which a multiprocessor has least to do, roughly: products at eight cycles each, sixteen
    /// bytes of input at one, a wait for each tile.
    /// </summary>
    /// <param name="shape">Without a tile.</param>
    /// <param name="samples">Of the batch.</param>
    /// <param name="room">Of the GPU.</param>
    /// <param name="elementBytes">Bytes of an element.</param>
    /// <param name="mayBeWide">Whether blocks of 64 outputs do what is asked.</param>
    /// <param name="mayHaveParts">Whether what is filled may be multiplied in parts, which saves rows that two tiles read.</param>
    /// <param name="more">What a candidate needs more: positions of a plane, at least, and bytes of shared memory.</param>
    private static TileShape Fastest(
        TileShape shape, int samples, TileRoom room, int elementBytes, bool mayBeWide, bool mayHaveParts,
        Func<TileShape, (int Plane, int Bytes)> more)
    {
        int chunks = (shape.Channels * elementBytes + 63) / 64, columns = shape.Across << shape.Pools;
        while (columns % 2 == 0 && (2 * shape.Pitch - columns) % 8 != 0)
        {
            // Eight pixels are loaded together: those that go on in the next two rows are in the banks that would follow.
            shape = shape with { Pitch = shape.Pitch + 1 };
        }

        (int Fragments, int Parts)[] sizes =
        [
            .. Enumerable.Range(1, MostFragments / 2).Select(pairs => (2 * pairs, 1)),
            .. Enumerable.Range(2, chunks == 1 && mayHaveParts ? MostParts - 1 : 0).Select(parts => (MostFragments, parts)),
        ];
        (TileShape Shape, double Cycles) best = (shape, double.MaxValue);
        foreach (int width in shape.Outs > 32 && mayBeWide && elementBytes == 2 ? new[] { 64, 32 } : [32])
        {
            foreach ((int fragments, int parts) in sizes)
            {
                TileShape candidate = shape with { Fragments = fragments, Parts = parts, WidthOfBlock = width };
                int ofPart = fragments * Warps * PixelsOfFragment >> (1 + shape.Pools); // columns
                int most = parts * ofPart / shape.Across, tooFew = (parts - 1) * ofPart / shape.Across;
                while (most > tooFew && !Fits(most, ref candidate))
                {
                    most--;
                }

                if (most == tooFew)
                {
                    continue;
                }

                double ofTile = chunks * (shape.Side * shape.Side * parts * fragments * width * 2.0 + candidate.Slots * shape.Width);
                long tiles = (long)candidate.Tiled(samples).Tiles * candidate.Groups;
                int ofMultiprocessor = (int)((tiles + room.Multiprocessors - 1) / room.Multiprocessors);
                double cycles = ofMultiprocessor * ofTile + 2000.0 * chunks * (ofMultiprocessor + 1) / 2;
                best = cycles < best.Cycles ? (candidate, cycles) : best;
            }
        }

        return best.Shape;

        // With all weights in shared memory, or with what is multiplied next; a column of a window of 5 is long enough to wait for one.
        bool Fits(int rows, ref TileShape candidate)
        {
            int most = room.OfBlock(candidate.BlocksAtOnce);
            candidate = candidate.WithRows(rows);
            (int plane, int bytes) = more(candidate);
            candidate = candidate with { Plane = Math.Max(candidate.Plane, plane), Ring = chunks * 2 * shape.Side };
            if (candidate.SharedBytes + bytes > most && candidate.Parts == 1)
            {
                candidate = candidate with { Ring = shape.Side > 3 ? 2 : 3 };
            }

            return candidate.SharedBytes + bytes <= most;
        }
    }

    /// <summary>With so many rows of output in a tile.</summary>
    private TileShape WithRows(int rows)
    {
        int slots = 0;
        for (int first = 0; first < Down; first++)
        {
            slots = Math.Max(slots, SlotOf(first + rows - 1) + Pairs + Side - SlotOf(first));
        }

        return this with { Rows = rows, Slots = slots, Plane = PlaneOf(slots * Pitch + Padding, 1) };
    }

    /// <summary>Tiles of as many rows of the tall image as fit.</summary>
    private static TileShape TallRows(ConvPlan plan, int elementBytes, Func<int, int, bool> fits)
    {
        TileShape shape = Of(plan, 1, 0); // dY by pairs of columns
        int rows = 1, side = shape.Side, pitch = shape.Pitch;
        while (fits(rows + 1, Plane(rows + 1)))
        {
            rows++;
        }

        return shape with { WidthOfBlock = 64, Rows = rows, Slots = rows + side - 1, Plane = Plane(rows) };

        // Sixteen positions are read together. Words of four planes are, in float32.
        int Plane(int count) => PlaneOf((count * pitch + 15) / 16 * 16 + (side - 1) * pitch + side, elementBytes == 2 ? 1 : 4);
    }

    private int SlotOf(int row) => (row / Down * Period) + (row % Down << Pairs);

    /// <summary>So that what is read or written together lies in different banks: a remainder by eight of sixteen bytes.</summary>
    private static int PlaneOf(int positions, int remainder) => (positions - remainder + 7) / 8 * 8 + remainder;
}

/// <summary>What tiles are made for.</summary>
/// <param name="Multiprocessors">Of the GPU.</param>
/// <param name="SharedMemory">Bytes of each.</param>
internal readonly record struct TileRoom(int Multiprocessors, int SharedMemory)
{
    /// <summary>
    /// Bytes of dynamic shared memory of a block where so many run at once; or two, where each would have less than 50 KiB: no GPU since
    /// Ampere has less than 100. A block may have 99. The driver takes one KiB of each, and kernels declare up to two.
    /// </summary>
    public int OfBlock(int blocks) => Math.Min(Math.Max(SharedMemory / blocks, 50 << 10), 100 << 10) - (3 << 10);
}
