namespace CudnnDigits.Inference;

/// <summary>The device of a <see cref="DigitClassifier"/>, used by one thread at a time.</summary>
internal interface IClassifierDevice : IDisposable
{
    /// <summary>A description: "CPU, 2 threads, AVX-512".</summary>
    string Name { get; }

    Precision Precision { get; }

    /// <summary>Computes the logits of images in host memory.</summary>
    /// <param name="images">The images.</param>
    /// <param name="rows">The rows to read; if empty, all in order.</param>
    /// <param name="logits">(rows, classes) f32; at least one row.</param>
    void Predict(in ImageBatch images, ReadOnlySpan<int> rows, Span<float> logits);

    /// <summary>Enqueues the computation for images in device memory, and returns at once.</summary>
    /// <param name="images">At least one image.</param>
    /// <param name="logits">The device address of (count, classes) f32.</param>
    /// <param name="stream">A CUstream.</param>
    /// <exception cref="InvalidOperationException">This is not a CUDA device.</exception>
    void Enqueue(in ImageBatch images, nint logits, nint stream);
}
