using CudnnDigits.Data;

namespace CudnnDigits.Training;

/// <summary>What a backend needs to know before its first step.</summary>
/// <param name="BatchSize">Samples in a step, at least 1.</param>
/// <param name="Seed">Keys augmentation and dropout.</param>
/// <param name="Augmentation">Applied to every training sample.</param>
/// <param name="Threads">CPU threads; 0 takes as many as there are processors. Results do not depend on it.</param>
public sealed record BackendOptions(int BatchSize, ulong Seed, AugmentationSpec Augmentation, int Threads = 0);
