using CudnnDigits.Cuda;
using CudnnDigits.Data;
using CudnnDigits.Model;
using CudnnDigits.Training;

namespace CudnnDigits.Inference;

/// <summary>
/// A trained network that reads digits: from the host's memory, or, inside another CUDA pipeline, from device memory to
/// device memory on the caller's own stream. Everything is made when it is created (buffers, algorithms, captured graphs);
/// from then on Predict and Enqueue allocate nothing, on the host or on the device.
/// </summary>
/// <remarks>
/// Any number of threads may call it; calls take turns, and on a GPU those on different streams wait for each other on the
/// device, because they share its buffers. What is to run side by side needs a classifier each. <see cref="Dispose"/> waits
/// for calls that are under way; calls that come later throw <see cref="ObjectDisposedException"/>.
/// </remarks>
public sealed unsafe class DigitClassifier : IDisposable
{
    /// <summary>Most images in a forward pass; more would take gigabytes and gain nothing.</summary>
    internal const int MostBatchSize = 65536;

    private readonly Lock _gate = new();
    private readonly IClassifierDevice _device;
    private bool _disposed;

    /// <summary>Makes a classifier ready: on a GPU, libraries are loaded, algorithms chosen and steps captured now, and not later.</summary>
    /// <param name="weights">The network's weights, copied.</param>
    /// <param name="options">Where and how; null for the defaults.</param>
    /// <exception cref="InputException">There is no such device, it lacks memory, or it cannot compute in that precision.</exception>
    /// <exception cref="ArgumentException">The options contradict each other, a number is out of range, or a weight is none.</exception>
    /// <exception cref="CudaException">A call of CUDA failed.</exception>
    public DigitClassifier(NetworkWeights weights, ClassifierOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(weights);
        options ??= new ClassifierOptions();
        if (options.BatchSize is < 1 or > MostBatchSize)
        {
            throw new ArgumentOutOfRangeException(nameof(options), $"BatchSize is {options.BatchSize}, expected 1 to {MostBatchSize}");
        }

        if (!weights.IsFinite)
        {
            throw new ArgumentException("a weight is NaN or infinite, expected numbers", nameof(weights));
        }

        (Network, BatchSize) = (weights.Network, options.BatchSize);
        _device = BackendFactory.CreateClassifier(weights, options, out string? whyCpu);
        WhyCpu = whyCpu;
    }

    internal DigitClassifier(NetworkSpec network, int batchSize, IClassifierDevice device) => (Network, BatchSize, _device) = (network, batchSize, device);

    /// <summary>Name of the network that reads, such as "simple".</summary>
    public string Model => Network.Name;

    internal NetworkSpec Network { get; }

    /// <summary>Images in the largest forward pass.</summary>
    public int BatchSize { get; }

    /// <summary>What it runs on, for people: "CPU, 2 threads, AVX-512".</summary>
    public string Device => _device.Name;

    /// <summary>Arithmetic.</summary>
    public Precision Precision => _device.Precision;

    /// <summary>Why "auto" came down to the CPU, in one line; null where a GPU was taken or the CPU was asked for.</summary>
    public string? WhyCpu { get; }

    /// <summary>Makes a classifier from a file of weights.</summary>
    /// <param name="path">What <see cref="NetworkWeights.Load"/> takes: a safetensors file, or the folder of a run.</param>
    /// <param name="options">Where and how; null for the defaults.</param>
    /// <exception cref="InputException">The file does not hold one of the networks; or as the constructor.</exception>
    public static DigitClassifier Load(string path, ClassifierOptions? options = null) => new(NetworkWeights.Load(path), options);

    /// <summary>Reads one image.</summary>
    /// <param name="image">(28, 28) uint8, 0 = background … 255 = ink, as MNIST has them; <see cref="DigitPicture"/> makes one of
    /// a picture of any size.</param>
    /// <returns>The digit, its probability and those of the others.</returns>
    /// <exception cref="ArgumentException">The image has not 784 pixels.</exception>
    /// <exception cref="CudaException">A call of CUDA failed.</exception>
    /// <example>
    /// <code>
    /// using DigitClassifier classifier = DigitClassifier.Load("model.safetensors");
    /// DigitReading reading = classifier.Read(image);
    /// Console.WriteLine($"{reading.Digit}, probability {reading.Probability:P1}; that it is a nine: {reading.Probabilities[9]:P1}");
    /// </code>
    /// </example>
    public DigitReading Read(ReadOnlySpan<byte> image)
    {
        if (image.Length != DigitDataset.PixelCount)
        {
            throw new ArgumentException($"the image has {image.Length} pixels, expected {DigitDataset.PixelCount}: {DigitDataset.Side} rows of {DigitDataset.Side}, a byte each", nameof(image));
        }

        Span<float> logits = stackalloc float[DigitDataset.Classes];
        Predict(image, logits);
        return DigitReading.FromLogits(logits);
    }

    /// <summary>Reads all digits of a dataset, in forward passes of up to <see cref="BatchSize"/>.</summary>
    /// <param name="data">The digits, labelled or not.</param>
    /// <returns>(N), one reading for each digit, in their order.</returns>
    /// <exception cref="CudaException">A call of CUDA failed.</exception>
    /// <example>
    /// <code>
    /// DigitReading[] readings = classifier.Read(DataSource.Open("test.csv", DataPart.Prediction));
    /// </code>
    /// </example>
    public DigitReading[] Read(DigitDataset data)
    {
        ArgumentNullException.ThrowIfNull(data);
        float[] logits = new float[data.Count * DigitDataset.Classes];
        Predict(data.Pixels, logits);
        DigitReading[] readings = new DigitReading[data.Count];
        for (int row = 0; row < readings.Length; row++)
        {
            readings[row] = DigitReading.FromLogits(logits.AsSpan(row * DigitDataset.Classes, DigitDataset.Classes));
        }

        return readings;
    }

    /// <summary>Reads images of uint8 pixels, 0 … 255.</summary>
    /// <param name="images">(N, 1, 28, 28), N being as many as there is room for in <paramref name="logits"/>.</param>
    /// <param name="logits">(N, 10) f32, overwritten; <see cref="DigitReading.FromLogits"/> makes a reading of ten of them.</param>
    /// <param name="stride">Pixels from one image to the next, at least 0; 784 where they are packed.</param>
    /// <exception cref="ArgumentException">The lengths do not fit each other.</exception>
    /// <exception cref="CudaException">A call of CUDA failed.</exception>
    public void Predict(ReadOnlySpan<byte> images, Span<float> logits, int stride = DigitDataset.PixelCount)
    {
        int count = CheckHost(images.Length, logits.Length, stride);
        fixed (byte* pixels = images)
        {
            Predict(new ImageBatch((nint)pixels, count, PixelType.UInt8, stride), [], logits);
        }
    }

    /// <summary>Reads images of float32 pixels, 0 … 1.</summary>
    /// <param name="images">(N, 1, 28, 28), N being as many as there is room for in <paramref name="logits"/>.</param>
    /// <param name="logits">(N, 10) f32, overwritten; <see cref="DigitReading.FromLogits"/> makes a reading of ten of them.</param>
    /// <param name="stride">Pixels from one image to the next, at least 0; 784 where they are packed.</param>
    /// <exception cref="ArgumentException">The lengths do not fit each other.</exception>
    /// <exception cref="CudaException">A call of CUDA failed.</exception>
    public void Predict(ReadOnlySpan<float> images, Span<float> logits, int stride = DigitDataset.PixelCount)
    {
        int count = CheckHost(images.Length, logits.Length, stride);
        fixed (float* pixels = images)
        {
            Predict(new ImageBatch((nint)pixels, count, PixelType.Float32, stride), [], logits);
        }
    }

    /// <summary>Reads some digits of a dataset.</summary>
    /// <param name="data">The digits.</param>
    /// <param name="rows">Which of them.</param>
    /// <param name="logits">(rows, 10) f32, overwritten.</param>
    /// <exception cref="ArgumentException">There is no such row, or the lengths do not fit each other.</exception>
    /// <exception cref="CudaException">A call of CUDA failed.</exception>
    public void Predict(DigitDataset data, ReadOnlySpan<int> rows, Span<float> logits)
    {
        ArgumentNullException.ThrowIfNull(data);
        if (logits.Length != (long)rows.Length * DigitDataset.Classes)
        {
            throw new ArgumentException($"there is room for {logits.Length} logits, and {rows.Length} rows have {(long)rows.Length * DigitDataset.Classes}", nameof(logits));
        }

        if (rows.ContainsAnyExceptInRange(0, data.Count - 1))
        {
            throw new ArgumentException($"a row is not one of the {data.Count}", nameof(rows));
        }

        fixed (byte* pixels = data.Pixels)
        {
            Predict(new ImageBatch((nint)pixels, data.Count), rows, logits);
        }
    }

    /// <summary>
    /// Enqueues a prediction from device memory to device memory and returns: nothing is copied to the host, and nothing is
    /// waited for. The same bits as <see cref="Predict(ReadOnlySpan{byte}, Span{float}, int)"/>.
    /// </summary>
    /// <remarks>
    /// Where the stream is being captured, the prediction becomes part of the caller's graph. A replay counts as a call of
    /// this classifier that it cannot see: it must not overlap others, and the classifier must outlive the graph.
    /// </remarks>
    /// <param name="images">Device memory, not to be changed before the work on the stream is done.</param>
    /// <param name="logits">Device address, a multiple of 4, of (Count, 10) f32, overwritten.</param>
    /// <param name="stream">A stream (CUstream) of this classifier's context; 0 for the legacy default stream.</param>
    /// <exception cref="InvalidOperationException">The classifier runs on the CPU.</exception>
    /// <exception cref="ArgumentException">An address is 0 or misaligned, or the count negative.</exception>
    /// <exception cref="CudaException">A call of CUDA failed.</exception>
    /// <example>
    /// <code>
    /// using DigitClassifier classifier = DigitClassifier.Load("model.safetensors", new ClassifierOptions { CudaContext = context });
    /// classifier.Enqueue(new ImageBatch(images, Count: 100), logits, stream); // returns at once
    /// </code>
    /// </example>
    public void Enqueue(in ImageBatch images, nint logits, nint stream)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(images.Count, nameof(images));
        if (images.Type is not (PixelType.UInt8 or PixelType.Float32))
        {
            throw new ArgumentException($"there is no pixel type {(int)images.Type}", nameof(images));
        }

        if (images.Count > 0 && (images.Address == 0 || images.Address % images.BytesPerPixel != 0))
        {
            throw new ArgumentException("the address of the images is 0, or no multiple of their pixels' size", nameof(images));
        }

        if (images.Count > 0 && (logits == 0 || logits % sizeof(float) != 0))
        {
            throw new ArgumentException("the address of the logits is 0, or no multiple of 4", nameof(logits));
        }

        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            if (images.Count > 0)
            {
                _device.Enqueue(images, logits, stream);
            }
        }
    }

    /// <summary>Waits for what is under way and gives everything back. Not to be called while a stream is being captured: CUDA would break the capture off.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            if (!_disposed)
            {
                _disposed = true;
                _device.Dispose();
            }
        }
    }

    private void Predict(in ImageBatch images, ReadOnlySpan<int> rows, Span<float> logits)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            if (!logits.IsEmpty)
            {
                _device.Predict(images, rows, logits);
            }
        }
    }

    /// <summary>The number of images that a call in host memory is about.</summary>
    /// <param name="images">Number of their pixels, under the name that the caller knows.</param>
    /// <param name="logits">Number of logits that there is room for.</param>
    /// <param name="stride">Pixels from one image to the next.</param>
    private static int CheckHost(int images, int logits, int stride)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(stride);
        int count = logits / DigitDataset.Classes;
        if (logits % DigitDataset.Classes != 0)
        {
            throw new ArgumentException($"there is room for {logits} logits, and every image has {DigitDataset.Classes}", nameof(logits));
        }

        long needed = count == 0 ? 0 : (long)(count - 1) * stride + DigitDataset.PixelCount;
        return images >= needed
            ? count
            : throw new ArgumentException($"{count} images, {stride} pixels from one to the next, are {needed} pixels, and {images} are given", nameof(images));
    }
}
