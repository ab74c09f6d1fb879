using CudnnDigits.Numerics;

namespace CudnnDigits.Tests.Numerics;

public class PhiloxTests
{
    /// <summary>Known answers of the authors' Random123 distribution (kat_vectors, philox4x32 10).</summary>
    [Theory]
    [InlineData(0x0u, 0x0u, 0x0u, 0x0u, 0x0000000000000000ul, 0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u)]
    [InlineData(0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu, 0xfffffffffffffffful, 0x408f276du, 0x41c83b0eu, 0xa20bc7c6u,
        0x6d5451fdu)]
    [InlineData(0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u, 0x299f31d0a4093822ul, 0xd16cfe09u, 0x94fdccebu, 0x5001e420u,
        0x24126ea1u)]
    public void Blocks_are_the_published_ones(uint c0, uint c1, uint c2, uint c3, ulong key, uint x, uint y, uint z, uint w) =>
        Assert.Equal((x, y, z, w), new Philox(key).Block(c0, c1, c2, c3));

    [Theory]
    [InlineData(1)]
    [InlineData(31)]
    [InlineData(32)]
    [InlineData(33)]
    [InlineData(1003)]
    public void Fill_gives_the_blocks_one_after_the_other(int length)
    {
        Philox random = new(0x0123456789abcdef);
        uint[] words = new uint[length];
        random.Fill(words, 7, 8, 9);
        for (int i = 0; i < length; i++)
        {
            (uint x, uint y, uint z, uint w) = random.Block((uint)i / 4, 7, 8, 9);
            Assert.Equal(new[] { x, y, z, w }[i % 4], words[i]);
        }
    }

    [Fact]
    public void Uniform_values_lie_in_the_half_open_unit_interval()
    {
        Assert.Equal(0, Philox.ToUniform(0));
        Assert.InRange(Philox.ToUniform(uint.MaxValue), 0.9999999f, 0.99999999f);
        Assert.Equal(9, Philox.ToIndex(uint.MaxValue, 10));
    }
}

public class LearningRateTests
{
    [Fact]
    public void One_cycle_rises_to_the_peak_and_falls_to_almost_nothing()
    {
        LearningRate rate = new(LearningRateSchedule.OneCycle, 3e-3, 1000);
        float[] rates = [.. Enumerable.Range(0, 1000).Select(step => rate.At(step, 0))];
        Assert.Equal(3e-3f / 25, rates[0], 1e-8f);
        Assert.Equal(3e-3f, rates.Max(), 1e-8f);
        Assert.Equal(299, Array.IndexOf(rates, rates.Max()));
        Assert.Equal(3e-3f / 25 / 1e4f, rates[^1], 1e-10f);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void One_cycle_of_a_few_steps_stays_a_number(int steps)
    {
        LearningRate rate = new(LearningRateSchedule.OneCycle, 1e-3, steps);
        Assert.All(Enumerable.Range(0, steps), step => Assert.InRange(rate.At(step, 0), 1e-10f, 1e-3f));
    }

    [Fact]
    public void Plateau_halves_after_two_epochs_without_better_validation()
    {
        Assert.Equal(0, LearningRate.Halvings([true, false, true, false]));
        Assert.Equal(1, LearningRate.Halvings([true, false, false]));
        Assert.Equal(2, LearningRate.Halvings([true, false, false, false, false, true]));
        LearningRate rate = new(LearningRateSchedule.Plateau, 1e-3, 10);
        Assert.Equal(2.5e-4f, rate.At(5, halvings: 2));
        Assert.Equal(1e-5f, rate.At(5, halvings: 20));
        Assert.Equal(1e-6f, new LearningRate(LearningRateSchedule.Plateau, 1e-6, 10).At(0, 0)); // asked for, so kept
    }

    [Fact]
    public void Constant_is_constant() => Assert.Equal(0.5f, new LearningRate(LearningRateSchedule.Constant, 0.5, 10).At(9, 3));
}

public class OrderTests
{
    [Fact]
    public void An_epoch_visits_every_row_once_in_an_order_of_its_own()
    {
        int[] rows = [.. Enumerable.Range(100, 500)];
        int[] first = EpochOrder.Create(rows, seed: 1, epoch: 0, shuffle: true),
        second = EpochOrder.Create(rows, seed: 1, epoch: 1, shuffle: true);
        Assert.Equal(rows, first.Order());
        Assert.NotEqual(first, second);
        Assert.Equal(first, EpochOrder.Create(rows, seed: 1, epoch: 0, shuffle: true));
        Assert.NotEqual(first, EpochOrder.Create(rows, seed: 2, epoch: 0, shuffle: true));
        Assert.Equal(rows, EpochOrder.Create(rows, seed: 1, epoch: 0, shuffle: false));
    }

    [Fact]
    public void The_split_holds_out_the_same_share_of_every_class()
    {
        byte[] labels = [.. Enumerable.Range(0, 1000).Select(i => (byte)(i % 7 % 5))];
        Split split = Split.Stratified(labels, 0.2, seed: 3);
        Assert.Equal(Enumerable.Range(0, 1000), split.Training.Concat(split.Validation).Order());
        for (int digit = 0; digit < 5; digit++)
        {
            int all = labels.Count(label => label == digit), held = split.Validation.Count(row => labels[row] == digit);
            Assert.Equal((int)Math.Round(0.2 * all, MidpointRounding.AwayFromZero), held);
        }

        Assert.Equal(split.Validation, Split.Stratified(labels, 0.2, seed: 3).Validation);
        Assert.NotEqual(split.Validation, Split.Stratified(labels, 0.2, seed: 4).Validation);
        Assert.Empty(Split.Stratified(labels, 0, seed: 3).Validation);

        Split tested = Split.Stratified(labels, 0.2, seed: 3, testShare: 0.3);
        Assert.Equal(split.Validation, tested.Validation);
        Assert.Equal(Enumerable.Range(0, 1000), tested.Training.Concat(tested.Validation).Concat(tested.Test).Order());
        Assert.InRange(tested.Test.Length, 295, 305);
    }

    [Theory]
    [InlineData(2)]
    [InlineData(5)]
    [InlineData(7)]
    public void Folds_hold_out_every_row_once_and_are_alike(int folds)
    {
        byte[] labels = [.. Enumerable.Range(0, 1003).Select(i => (byte)(i % 11 % 10))];
        Split[] splits = [.. Enumerable.Range(1, folds).Select(fold => new SplitSpec(3, 0.2, folds, fold).Draw(labels))];
        Assert.Equal(Enumerable.Range(0, labels.Length), splits.SelectMany(split => split.Validation).Order());
        Assert.All(splits, split => Assert.Equal(Enumerable.Range(0, labels.Length), split.Training.Concat(split.Validation).Order()));
        Assert.InRange(splits.Max(split => split.Validation.Length) - splits.Min(split => split.Validation.Length), 0, 1);
        for (int digit = 0; digit < 10; digit++)
        {
            int[] held = [.. splits.Select(split => split.Validation.Count(row => labels[row] == digit))];
            Assert.InRange(held.Max() - held.Min(), 0, 1);
        }

        Assert.NotEqual(splits[0].Validation, Split.StratifiedFold(labels, folds, 1, seed: 4).Validation);
        Assert.Throws<ArgumentOutOfRangeException>(() => Split.StratifiedFold(labels, folds, folds + 1, 3));
    }
}
