namespace CudnnDigits.Tests.Reference;

/// <summary>A backend that the trainer asks for few steps at once, so that a test can stop a run between them.</summary>
internal sealed class StepsAtOnce(ITrainingBackend inner, int steps) : ITrainingBackend
{
    public NetworkSpec Network => inner.Network;

    public string Device => inner.Device;

    public Precision Precision => inner.Precision;

    public CudaDetails? CudaDetails => inner.CudaDetails;

    public int BatchSize => inner.BatchSize;

    public int StepsPerCall => steps;

    public void Load(NetworkWeights weights, OptimizerState optimizer) => inner.Load(weights, optimizer);

    public void Save(NetworkWeights weights, OptimizerState optimizer) => inner.Save(weights, optimizer);

    public void BeginEpoch(DigitDataset data, int epoch, ReadOnlySpan<int> order, EpochSums sums) =>
        inner.BeginEpoch(data, epoch, order, sums);

    public void RunSteps(int firstStep, ReadOnlySpan<float> learningRates) => inner.RunSteps(firstStep, learningRates);

    public EpochSums ReadSums() => inner.ReadSums();

    public void Predict(DigitDataset data, ReadOnlySpan<int> rows, Span<float> logits) => inner.Predict(data, rows, logits);

    public void Dispose() => inner.Dispose();
}
