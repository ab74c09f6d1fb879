using CudnnDigits.Model;
using CudnnDigits.Training;

namespace CudnnDigits.Cli;

/// <summary>
/// Writes a run's states while training goes on: on a GPU an epoch may take less time than its 17 MB take to the disk. A state that comes while another is
/// being written is left to the next one or to <see cref="Save"/>, so the folder is behind by an epoch and a writing at most, and always whole.
/// </summary>
/// <param name="folder">The run's folder.</param>
/// <param name="record">What the run was started with.</param>
internal sealed class StateWriter(RunFolder folder, RunRecord record) : IDisposable
{
    private TrainingState? _copy; // what is being written: training goes on in the state itself
    private Task _writing = Task.CompletedTask;
    private long _step = -1; // of the state that was written last, or is being written

    /// <summary>Begins to write a state, unless one is still being written.</summary>
    /// <exception cref="IOException">One before could not be written.</exception>
    public void BeginSave(TrainingState state)
    {
        if (_writing.IsCompleted)
        {
            _writing.GetAwaiter().GetResult();
            TrainingState copy = _copy ??= new TrainingState(new NetworkWeights(state.Weights.Network));
            copy.CopyFrom(state);
            _step = copy.Optimizer.Step;
            _writing = Task.Run(() => folder.Save(copy, record));
        }
    }

    /// <summary>Returns when a state is on the disk.</summary>
    /// <exception cref="IOException">It, or one before, could not be written.</exception>
    public void Save(TrainingState state)
    {
        _writing.GetAwaiter().GetResult();
        if (_step != state.Optimizer.Step)
        {
            folder.Save(state, record);
            _step = state.Optimizer.Step;
        }
    }

    /// <summary>Waits for what is being written; whether that succeeds no longer matters.</summary>
    public void Dispose() => _writing.ContinueWith(_ => { }, TaskScheduler.Default).Wait();
}
