using CudnnDigits.Cuda;
using CudnnDigits.Data;
using CudnnDigits.Inference;
using CudnnDigits.Model;
using CudnnDigits.Training;

namespace CudnnDigits;

/// <summary>
/// A trained network that reads digits from host memory or, inside another CUDA pipeline, from device memory to device memory on the
/// caller's stream. The constructor creates all buffers, selects algorithms and captures graphs; Predict and Enqueue allocate nothing,
/// neither on the host nor on the device.
/// </summary>
/// <remarks>
/// The class is thread-safe. Calls run one after another, and on a GPU calls on different streams wait for each other on the device,
/// because they share its buffers. For parallel calls, create several classifiers. <see cref="Dispose"/> waits for running calls;
/// later calls throw <see cref="ObjectDisposedException"/>.
/// </remarks>
public sealed unsafe class DigitClassifier : IDisposable
{
    /// <summary>The most images in a forward pass. More would need gigabytes and would not be faster.</summary>
    internal const int MostBatchSize = 65536;

    private readonly Lock _gate = new();
    private readonly IClassifierDevice _device;
    private bool _disposed;

    /// <summary>Creates a classifier. On a GPU this loads the libraries, selects algorithms and captures graphs.</summary>
    /// <param name="weights">The network's weights; they are copied.</param>
    /// <param name="options">The options; null for the defaults.</param>
    /// <exception cref="InputException">The device does not exist, lacks memory, or does not support the precision.</exception>
    /// <exception cref="ArgumentException">Options contradict each other or are out of range, or a weight is not finite.</exception>
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

    internal DigitClassifier(NetworkSpec network, int batchSize, IClassifierDevice device) =>
        (Network, BatchSize, _device) = (network, batchSize, device);

    /// <summary>Name of the network that reads, such as "simple".</summary>
    public string Model => Network.Name;

    internal NetworkSpec Network { get; }

    /// <summary>The most images in a forward pass.</summary>
    public int BatchSize { get; }

    /// <summary>A description of the device: "CPU, 2 threads, AVX-512".</summary>
    public string Device => _device.Name;

    /// <summary>The precision of the arithmetic.</summary>
    public Precision Precision => _device.Precision;

    /// <summary>The reason why "auto" selected the CPU, in one line; null if a GPU was selected or the CPU was requested.</summary>
    public string? WhyCpu { get; }

    /// <summary>Creates a classifier from a file of weights.</summary>
    /// <param name="path">A safetensors file or the folder of a run, as for <see cref="DigitTrainer.LoadWeights"/>.</param>
    /// <param name="options">The options; null for the defaults.</param>
    /// <exception cref="InputException">The file does not hold a known network; or see the constructor.</exception>
    public static DigitClassifier Load(string path, ClassifierOptions? options = null) => new(DigitTrainer.LoadWeights(path), options);

    /// <summary>Reads one image.</summary>
    /// <param name="image">(28, 28) uint8, 0 = background … 255 = ink, as in MNIST; <see cref="DigitPicture"/> converts pictures of any
    /// size.</param>
    /// <returns>The digit and the probabilities of all digits.</returns>
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
            throw new ArgumentException($"the image has {image.Length} pixels, expected {DigitDataset.PixelCount}: "
                + $"{DigitDataset.Side} rows of {DigitDataset.Side}, a byte each", nameof(image));
        }

        Span<float> logits = stackalloc float[DigitDataset.Classes];
        Predict(image, logits);
        return DigitReading.FromLogits(logits);
    }

    /// <summary>Reads all digits of a dataset, in forward passes of up to <see cref="BatchSize"/>.</summary>
    /// <param name="data">The digits, labelled or not.</param>
    /// <returns>(N), one reading for each digit, in the order of the dataset.</returns>
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
        return [.. logits.Chunk(DigitDataset.Classes).Select(row => DigitReading.FromLogits(row))];
    }

    /// <summary>Evaluates the network on labelled digits.</summary>
    /// <param name="data">Labelled digits, at least one.</param>
    /// <exception cref="ArgumentException">The digits have no labels, or there are none.</exception>
    /// <example>
    /// <code>
    /// Metrics metrics = classifier.Evaluate(DataSource.Open("mnist", DataPart.Evaluation));
    /// Console.WriteLine($"{metrics.Accuracy:P2} of {metrics.Samples} digits; of the nines {metrics.Classes[9].Recall:P1}");
    /// Console.WriteLine($"{metrics.Confusion[4][9]} fours were read as nines");
    /// </code>
    /// </example>
    public Metrics Evaluate(DigitDataset data)
    {
        ArgumentNullException.ThrowIfNull(data);
        return data.Count > 0
            ? Evaluate(data, [.. Enumerable.Range(0, data.Count)])
            : throw new ArgumentException($"{data.Name}: there are no digits to evaluate on", nameof(data));
    }

    /// <summary>Evaluates the network on some rows of labelled digits.</summary>
    /// <param name="data">Labelled digits.</param>
    /// <param name="rows">Rows to evaluate, from 0, at least one.</param>
    /// <exception cref="ArgumentException">The digits have no labels, a row is out of range, or no row is given.</exception>
    public Metrics Evaluate(DigitDataset data, ReadOnlySpan<int> rows)
    {
        ArgumentNullException.ThrowIfNull(data);
        if (!data.HasLabels)
        {
            throw new ArgumentException($"{data.Name}: the digits carry no labels to compare with", nameof(data));
        }

        if (rows.IsEmpty)
        {
            throw new ArgumentException("no row is given, expected at least one", nameof(rows));
        }

        float[] logits = new float[rows.Length * DigitDataset.Classes];
        Predict(data, rows, logits);
        return Metrics.FromLogits(logits, [.. rows.ToArray().Select(row => data.Labels[row])]);
    }

    /// <summary>Reads images of uint8 pixels, 0 … 255.</summary>
    /// <param name="images">(N, 1, 28, 28); the length of <paramref name="logits"/> determines N.</param>
    /// <param name="logits">(N, 10) f32, overwritten; <see cref="DigitReading.FromLogits"/> turns ten logits into a reading.</param>
    /// <param name="stride">Pixels from one image to the next, at least 0; 784 without gaps.</param>
    /// <exception cref="ArgumentException">The lengths do not match.</exception>
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
    /// <inheritdoc cref="Predict(ReadOnlySpan{byte}, Span{float}, int)"/>
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
    /// <param name="rows">The rows to read.</param>
    /// <param name="logits">(rows, 10) f32, overwritten.</param>
    /// <exception cref="ArgumentException">A row does not exist, or the lengths do not match.</exception>
    /// <exception cref="CudaException">A call of CUDA failed.</exception>
    public void Predict(DigitDataset data, ReadOnlySpan<int> rows, Span<float> logits)
    {
        ArgumentNullException.ThrowIfNull(data);
        if (logits.Length != (long)rows.Length * DigitDataset.Classes)
        {
            throw new ArgumentException(
                $"there is room for {logits.Length} logits, and {rows.Length} rows have {(long)rows.Length * DigitDataset.Classes}",
                nameof(logits));
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
    /// Enqueues a prediction from device memory to device memory and returns at once, without copies to the host. The result has the same
    /// bits as that of <see cref="Predict(ReadOnlySpan{byte}, Span{float}, int)"/>.
    /// </summary>
    /// <remarks>
    /// If the stream is being captured, the prediction becomes part of the caller's graph. Replays of the graph must not overlap with other
    /// calls of this classifier, and the classifier must outlive the graph.
    /// </remarks>
    /// <param name="images">Device memory, which must not change before the work on the stream is done.</param>
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

    /// <summary>
    /// Waits for running calls and frees all resources. Do not call it while a stream is being captured: CUDA would abort the capture.
    /// </summary>
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

    /// <summary>Checks the lengths of pixels and logits, and returns the number of images.</summary>
    private static int CheckHost(int images, int logits, int stride)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(stride);
        int count = logits / DigitDataset.Classes;
        if (logits % DigitDataset.Classes != 0)
        {
            throw new ArgumentException($"there is room for {logits} logits, and every image has {DigitDataset.Classes}", nameof(logits));
        }

        long needed = count == 0 ? 0 : (long)(count - 1) * stride + DigitDataset.PixelCount;
        return images >= needed ? count : throw new ArgumentException(
            $"{count} images, {stride} pixels from one to the next, are {needed} pixels, and {images} are given", nameof(images));
    }
}
