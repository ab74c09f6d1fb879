using CudnnDigits.Cli;

namespace CudnnDigits.Tests.Cli;

/// <summary>States that are written while training goes on in them.</summary>
public sealed class StateWriterTests : TestsWithFolder
{
    private readonly RunRecord _record = new(
        "1", DateTime.UnixEpoch, TrainingOptions.For("improved"), null, new RunData(null, 1, ""), "cpu", "CPU", Precision.Fp32, false, "",
        null);

    [Fact]
    public void What_is_written_is_the_state_as_it_was()
    {
        RunFolder folder = RunFolder.Create(_folder["run"], _record);
        TrainingState state = new(Initializer.Create(DigitNetworks.Improved, 0));
        using (StateWriter writer = new(folder, _record))
        {
            EndEpoch(state);
            writer.BeginSave(state);
            EndEpoch(state); // 14 MB are not on the disk yet
        }

        AssertWritten(folder, epochs: 1);
    }

    [Fact]
    public void States_that_come_too_soon_are_left_out_but_never_the_last()
    {
        RunFolder folder = RunFolder.Create(_folder["run"], _record);
        TrainingState state = new(Initializer.Create(DigitNetworks.Improved, 0));
        using StateWriter writer = new(folder, _record);
        for (int i = 0; i < 5; i++)
        {
            EndEpoch(state);
            writer.BeginSave(state);
        }

        writer.Save(state);
        AssertWritten(folder, epochs: 5);

        DateTime written = File.GetLastWriteTimeUtc(folder.StateFile);
        writer.Save(state);
        Assert.Equal(written, File.GetLastWriteTimeUtc(folder.StateFile)); // once is enough
    }

    [Fact]
    public void A_state_that_cannot_be_written_is_told_with_the_next()
    {
        RunFolder folder = RunFolder.Create(_folder["run"], _record);
        TrainingState state = new(Initializer.Create(DigitNetworks.Improved, 0));
        Directory.Delete(folder.Path, recursive: true);
        using StateWriter writer = new(folder, _record);
        writer.BeginSave(state);
        Assert.ThrowsAny<IOException>(() => writer.Save(state));
        Assert.ThrowsAny<IOException>(() => writer.BeginSave(state));
    }

    /// <summary>All weights are 1 after the first epoch, 2 after the second.</summary>
    private static void EndEpoch(TrainingState state)
    {
        state.Epoch++;
        state.Optimizer.Step++;
        state.History.Add(new EpochRecord(state.Epoch, 0.5, 0.9, 0.5, 0.9, 1e-3, 1, 100));
        Array.Fill(state.Weights.Trained, state.Epoch);
        Array.Fill(state.Best.Trained, state.Epoch);
        Array.Fill(state.Optimizer.Buffers[0], state.Epoch);
        Array.Fill(state.Optimizer.Buffers[1], state.Epoch);
    }

    private static void AssertWritten(RunFolder folder, int epochs)
    {
        TrainingState state = Checkpoint.LoadState(folder.StateFile, DigitNetworks.Improved);
        Assert.Equal((epochs, epochs), (state.Epoch, state.Optimizer.Step));
        Assert.All(new[] { state.Weights.Trained, state.Best.Trained, state.Optimizer.Buffers[0], state.Optimizer.Buffers[1] },
            values => Assert.False(values.AsSpan().ContainsAnyExcept((float)epochs)));
        Assert.Equal(epochs, folder.ReadHistory().Count);
        Assert.False(Checkpoint.LoadWeights(Path.Combine(folder.Path, "model.safetensors")).Weights.Trained.AsSpan()
            .ContainsAnyExcept((float)epochs));
    }
}
