namespace CudnnDigits.Cli;

/// <summary>Writes a run's states in the background, because on a GPU an epoch may take less time than writing its 17 MB.</summary>
internal sealed class StateWriter(RunFolder folder, RunRecord record) : IDisposable
{
    private TrainingState? _copy; // is written while training changes the state itself
    private Task _writing = Task.CompletedTask;
    private long _step = -1; // of the state that was written last, or is being written

    /// <summary>Starts to write a state, unless one is still being written. Fails if an earlier one could not be written.</summary>
    public void BeginSave(TrainingState state)
    {
        if (_writing.IsCompleted)
        {
            _writing.GetAwaiter().GetResult();
            TrainingState copy = _copy ??= new TrainingState(new NetworkWeights(state.Weights.Network), record.Options.Kept);
            copy.CopyFrom(state);
            _step = copy.Optimizer.Step;
            _writing = Task.Run(() => folder.Save(copy, record));
        }
    }

    /// <summary>Writes a state, and returns when it is on the disk.</summary>
    public void Save(TrainingState state)
    {
        _writing.GetAwaiter().GetResult();
        if (_step != state.Optimizer.Step)
        {
            folder.Save(state, record);
            _step = state.Optimizer.Step;
        }
    }

    public void Dispose() => _writing.ContinueWith(_ => { }, TaskScheduler.Default).Wait();
}
