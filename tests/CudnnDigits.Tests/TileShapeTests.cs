using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Fused;

namespace CudnnDigits.Tests;

/// <summary>
/// How convolutions are cut into tiles, for GPUs of every size: what a kernel of native/kernels/fused writes and reads lies in the room
/// that it was given. tall.cuh says where pixels lie; the same is said here in other words.
/// </summary>
public class TileShapeTests
{
    private const int Kibi = 1024, SumBytes = (4 * 128 * 8) + (2 * 32 * 4); // bytes of shared memory

    private static readonly int[] Batches = [.. Enumerable.Range(1, 70), 127, 128, 131, 255, 256, 509, 1000, 1024, 2047, 4093, 4096];

    private static readonly int[] Multiprocessors = [1, 2, 16, 46, 68, 108, 132];

    /// <summary>An A100's, an H200's, and as little as a GPU since Ampere may have.</summary>
    private static TileRoom Room(int multiprocessors) =>
        new(multiprocessors, multiprocessors switch { 108 => 164, 132 => 228, _ => 100 } * Kibi);

    /// <summary>The declared networks, one with wide layers, and one of sides from 24 down to 3 with both sizes of window.</summary>
    private static readonly NetworkSpec[] Networks =
    [
        .. DigitNetworks.All,
        Of("deep", (64, 3, 1, false), (64, 3, 1, true), (128, 3, 1, false), (128, 3, 1, true), (256, 3, 1, false), (256, 3, 1, true)),
        Of("five", (64, 5, 4, false), (32, 5, 2, true)),
        Of("most", (128, 5, 2, false), (256, 5, 2, true)),
        Of("odd", (8, 5, 0, false), (24, 3, 0, true), (40, 5, 0, false), (72, 3, 2, true), (16, 5, 2, false), (32, 3, 0, false)),
        Of("one-pixel", (8, 5, 0, true), (8, 5, 0, true), (8, 3, 0, true), (16, 3, 1, false)),
    ];

    public static TheoryData<string, int> Cases => new MatrixTheoryData<string, int>(Networks.Select(network => network.Name), [2, 4]);

    [Theory]
    [MemberData(nameof(Cases))]
    public void What_a_tile_reads_lies_in_the_room_of_its_block(string network, int elementBytes)
    {
        List<ConvPlan> convs = new BlockPlan(Find(network)).Convs;
        ConvPlan first = convs.FirstOrDefault()!, second = convs.ElementAtOrDefault(1)!;
        foreach ((ConvPlan plan, int batch, int multiprocessors) in Layers(network))
        {
            ConvPlan? below = first is { Conv.Kernel: 3, Pool: null, Dropout: null } && plan == second ? first : null; // is never stored
            int factors = 0; // bytes
            TileShape[] shapes =
            [
                TileShape.Forward(plan, batch, Room(multiprocessors), elementBytes),
                TileShape.BackwardData(plan, null, batch, Room(multiprocessors), elementBytes),
                TileShape.BackwardData(plan, below, batch, Room(multiprocessors), elementBytes),
            ];
            foreach (TileShape shape in plan.Input.C > 1 ? shapes : shapes[..1])
            {
                CheckRows(shape, batch);
                int across = (shape.OutWidth + shape.Pools) >> shape.Pools, pixels = 2 << shape.Pools; // in pairs of rows
                Assert.InRange(shape.Rows * across * pixels, 1, shape.Parts * shape.Fragments * 4 * 16);
                Assert.Equal(0, shape.Fragments % 2); // which are in two fragments
                Assert.True(shape.WidthOfBlock == 64 || shape.WidthOfBlock == 32);
                Assert.Equal(1, shape.Plane % 8); // four units of two pairs of pixels, with one between them, lie in different banks
                Assert.InRange(shape.Pitch, shape.Width + shape.Padding, shape.Width + shape.Padding + 3);
                int columns = across << shape.Pools; // as if the next two rows followed
                Assert.True(columns % 2 != 0 || ((2 * shape.Pitch) - columns) % 8 == 0, $"{shape}: rows are {shape.Pitch} apart");
                int room = (4 * shape.Plane * 16) + (shape.Ring * shape.Side * 32 * shape.WidthOfBlock);
                int input = CheckInput(plan, shape.Slots);
                Assert.InRange(shape.SharedBytes, Math.Max(room, SumBytes), Most(shape.BlocksAtOnce) - input);
                int stages = (shape.Channels * elementBytes + 63) / 64 * 2 * shape.Side;
                Assert.True(shape.Ring == stages || (shape.Ring == (shape.Side > 3 ? 2 : 3) && shape.Parts == 1));
                Assert.True(shape.Parts == 1 || stages == 2 * shape.Side, $"{shape}: parts of more than one chunk of channels");
            }

            if (below is not null)
            {
                TileShape shape = shapes[2], gradient = TileShape.First(below, shape.Rows, 1);
                int sums = 6 * 512, ofWindow = elementBytes > 2 ? 0 : 32, steps = elementBytes / 2; // of eight words of taps
                Assert.Equal(32, shape.WidthOfBlock);
                Assert.InRange(Math.Max(shape.Fragments * 16 * ((32 * elementBytes) + ofWindow), sums), 1, shape.Plane * 16); // in a plane
                int all = sums + (steps * 1024) + CheckInput(below, shape.Rows, 1);
                Assert.Equal((shape.Rows, shape.Tiled(batch)), (gradient.Rows, gradient.Tiled(batch)));
                Assert.Equal(all, gradient.FirstBytes(elementBytes));
                Assert.InRange(shape.SharedBytes + all, 0, Most(3));

                TileShape reading = TileShape.Second(plan, below, batch, Room(multiprocessors), elementBytes);
                CheckRows(reading, batch);
                Assert.InRange(reading.WidthOfBlock, 32, elementBytes == 2 && plan.Conv.OutChannels > 32 ? 64 : 32);

                // Factors: steps of eight words of what windows see of their lines, for sixteen bytes of channels by 32 lanes.
                int ofWord = 4 / elementBytes, words = 3 * ((3 + ofWord - 1) / ofWord), ofChunk = 64 / elementBytes;
                factors = (below.Conv.OutChannels + ofChunk - 1) / ofChunk * ((words + 7) / 8) * ofWord * (4 / elementBytes) * 512;
                int behindReading = factors + CheckInput(below, reading.Slots);
                Assert.Equal(behindReading, TileShape.First(below, reading.Slots).ActivationBytes(elementBytes));
                Assert.InRange(reading.SharedBytes + behindReading, SumBytes, Most(reading.BlocksAtOnce));
            }

            TileShape weights = TileShape.BackwardWeights(plan, below, Room(multiprocessors), elementBytes);
            int channels = weights.Outs > 32 ? 96 : 64, behind = factors + CheckInput(below ?? plan, weights.Slots);
            CheckWeights(weights, weights.TallTiled(batch), channels * elementBytes, (elementBytes == 2 ? Most(2) : 97 * Kibi) - behind);

            // So many blocks fit at once, or two: with a KiB of the driver, and two that kernels declare. None has more than 99.
            int Most(int blocks)
            {
                int all = Room(multiprocessors).SharedMemory;
                return Math.Min(all / (all == 100 * Kibi ? 2 : blocks), 100 * Kibi) - (3 * Kibi);
            }
        }

        // Bytes of the first layer's input that windows of so many rows see, with a window of zeros behind it; of others, none.
        int CheckInput(ConvPlan plan, int rows, int pairs = 0)
        {
            if (plan.Input.C > 1)
            {
                return 0;
            }

            TileShape shape = TileShape.First(plan, rows, pairs);
            CheckRows(shape, samples: 32);
            Assert.Equal(rows, shape.Rows);
            int line = shape.Width + shape.Padding, positions = (shape.Slots + shape.Side) * (line + (line % 2));
            Assert.Equal(positions * elementBytes, shape.InputBytes(elementBytes));
            return positions * elementBytes;
        }

        void CheckWeights(TileShape shape, Batch batch, int bytesOfPosition, int most)
        {
            int pitch = shape.Pitch, last = ((shape.Rows * pitch) + 15) / 16 * 16 - 1;
            int all = batch.Samples * (shape.Height + shape.Padding), before = shape.Rows * (batch.Tiles - 1);
            Assert.InRange(all, before + 1, before + shape.Rows);
            Assert.True(shape.Plane > last + ((shape.Side - 1) * (pitch + 1)), $"{shape}: what the last tap sees of the last position");
            Assert.True(shape.Plane >= (shape.Slots * pitch) + shape.Padding, $"{shape}: the last row of the input");
            Assert.Equal(shape.Plane * bytesOfPosition, shape.WeightBytes(elementBytes));
            Assert.InRange(shape.Plane * bytesOfPosition, 0, most);
        }
    }

    /// <summary>The blocks of each kernel leave as many sums as there is room for.</summary>
    [Theory]
    [MemberData(nameof(Cases))]
    public void What_blocks_leave_has_room(string network, int elementBytes)
    {
        foreach (int multiprocessors in Multiprocessors)
        {
            FusedBuffers buffers = new(new DeviceArena(), new BlockPlan(Find(network)), multiprocessors, training: true);
            foreach ((ConvPlan plan, int batch, _) in Layers(network, multiprocessors))
            {
                foreach (TileShape shape in new[]
                {
                    TileShape.Forward(plan, batch, Room(multiprocessors), elementBytes),
                    TileShape.BackwardData(plan, null, batch, Room(multiprocessors), elementBytes),
                })
                {
                    Batch tiled = shape.Tiled(batch);
                    (int x, int y) = tiled.Grid(multiprocessors * shape.BlocksAtOnce, shape.Groups);
                    Assert.InRange(x, 1, tiled.Tiles);
                    Assert.True(y * shape.WidthOfBlock >= shape.Outs);
                    Assert.True((long)x * y * 2 * shape.WidthOfBlock <= buffers.Partial.Count, $"{shape} on {multiprocessors}");
                    Assert.True((shape.Outs + 31) / 32 <= buffers.Arrived.Count);
                }

                if (plan.Input.C == 1)
                {
                    int groups = (plan.Conv.OutChannels + 31) / 32, sums = TileShape.FirstSums * groups;
                    Assert.True((long)Math.Max(multiprocessors * 3 / groups, 1) * sums <= buffers.FirstPartial.Count);
                    Assert.True(sums <= buffers.FirstSums.Count);
                }
            }
        }
    }

    [Theory]
    [InlineData(40, 9, 1, 2)]
    [InlineData(32, 25, 1, 4)]
    [InlineData(8, 9, 8, 2)]
    [InlineData(24, 9, 40, 2)]
    [InlineData(40, 25, 72, 2)]
    [InlineData(64, 9, 64, 2)]
    [InlineData(8, 25, 24, 4)]
    [InlineData(72, 9, 40, 4)]
    [InlineData(256, 9, 128, 4)]
    public void Every_weight_has_a_place_of_its_own(int rows, int taps, int columns, int elementBytes)
    {
        StageOrder order = new(rows, taps, columns, elementBytes);
        bool[] taken = new bool[order.Size];
        for (int row = 0; row < rows; row++)
        {
            for (int tap = 0; tap < taps; tap++)
            {
                for (int column = 0; column < columns; column++)
                {
                    int place = order.Place(row, tap, column);
                    Assert.False(taken[place], $"row {row}, tap {tap}, column {column} is at {place}, where another is");
                    taken[place] = true;
                }
            }
        }
    }

    /// <summary>Tiles take all rows of output, and each reads no more rows of the tall image than it has room for.</summary>
    private static void CheckRows(TileShape shape, int samples)
    {
        int down = (shape.OutHeight + shape.Pairs) >> shape.Pairs, all = samples * down, pitch = shape.Pitch;
        int tiles = shape.Tiled(samples).Tiles;
        Assert.Equal((all + shape.Rows - 1) / shape.Rows, tiles);
        for (int tile = 0; tile < Math.Min(tiles, down); tile++) // then the same comes again
        {
            int last = Math.Min((tile + 1) * shape.Rows, all) - 1, slots = Slot(last) + shape.Pairs + shape.Side - Slot(tile * shape.Rows);
            Assert.True(slots <= shape.Slots, $"{shape}: tile {tile} reads {slots} rows");
            int position = ((slots - 1) * pitch) + shape.OutWidth - 1 + shape.Side - 1; // the last tap of the last pixel
            Assert.True(position < Math.Min((shape.Slots * pitch) + shape.Padding, shape.Plane), $"{shape}: tile {tile} reads {position}");
        }

        int Slot(int row) => (row / down * (shape.Height + shape.Padding)) + (row % down << shape.Pairs);
    }

    private static NetworkSpec Find(string name) => Networks.Single(network => network.Name == name);

    private static IEnumerable<(ConvPlan Plan, int Batch, int Multiprocessors)> Layers(string network, params int[] multiprocessors) =>
        from plan in new BlockPlan(Find(network)).Convs
        from batch in Batches
        from count in multiprocessors.Length > 0 ? multiprocessors : Multiprocessors
        select (plan, batch, count);

    /// <summary>Layers of so many outputs, side of a window, padding, and whether they are pooled.</summary>
    private static NetworkSpec Of(string name, params (int Outs, int Side, int Padding, bool Pool)[] convs)
    {
        List<Layer> layers = [];
        Shape shape = new(1, 28, 28);
        foreach ((int outs, int side, int padding, bool pool) in convs)
        {
            int i = layers.Count;
            Layer[] block =
            [
                new Conv2dLayer($"conv{i}", shape.C, outs, side, padding, Bias: true), new ReLULayer($"relu{i}"),
                .. pool ? [new MaxPool2dLayer($"pool{i}", 2)] : Array.Empty<Layer>(),
            ];
            layers.AddRange(block);
            shape = block.Aggregate(shape, (before, layer) => layer.Infer(before));
        }

        return new(name, new Shape(1, 28, 28),
        [
            .. layers, new FlattenLayer("flatten"), new LinearLayer("fc1", shape.Size, 32), new ReLULayer("relu"),
            new LinearLayer("fc2", 32, 10),
        ]);
    }

    /// <summary>As Divisor divides in native/kernels/fused/tall.cuh.</summary>
    [Fact]
    public void Rows_of_the_largest_batch_are_divided_exactly()
    {
        const int MostRows = 32; // of an image of 28 rows, with four rows of zeros
        for (int divisor = 1; divisor <= MostRows; divisor++)
        {
            ulong factor = TileShape.Factor(divisor);
            for (int quotient = 1; quotient <= FusedNetwork.MostSamples; quotient++)
            {
                int last = quotient * divisor - 1; // where a quotient ends
                int quotientOfLast = factor == 0 ? last : (int)((ulong)last * factor >> 32);
                if (quotientOfLast != quotient - 1)
                {
                    Assert.Fail($"{last} / {divisor} is {quotientOfLast}");
                }
            }
        }
    }
}
