using CudnnDigits.Training;

namespace CudnnDigits.Inference;

/// <summary>What a <see cref="DigitClassifier"/> runs on; used by one thread at a time.</summary>
internal interface IClassifierDevice : IDisposable
{
    /// <summary>For people: "CPU, 2 threads, AVX-512".</summary>
    string Name { get; }

    Precision Precision { get; }

    /// <summary>Logits of images in host memory; returns when they are there.</summary>
    /// <param name="images">The images.</param>
    /// <param name="rows">Which of them; all in order where this is empty.</param>
    /// <param name="logits">(rows, classes) f32; at least one row.</param>
    void Predict(in ImageBatch images, ReadOnlySpan<int> rows, Span<float> logits);

    /// <summary>Enqueues the same for images in device memory, and returns.</summary>
    /// <param name="images">At least one.</param>
    /// <param name="logits">Device address of (count, classes) f32.</param>
    /// <param name="stream">A CUstream.</param>
    /// <exception cref="InvalidOperationException">This is no CUDA device.</exception>
    void Enqueue(in ImageBatch images, nint logits, nint stream);
}
