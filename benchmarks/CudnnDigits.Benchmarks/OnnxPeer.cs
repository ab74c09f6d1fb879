using System.Diagnostics;
using CudnnDigits.Cli.Exchange;
using CudnnDigits.Data;
using CudnnDigits.Model;
using CudnnDigits.Training;
using Microsoft.ML.OnnxRuntime;

namespace CudnnDigits.Benchmarks;

/// <summary>
/// Inference by ONNX Runtime on the weights that <c>cudnn-digits bench</c> has, after its logits were compared with ours, in the
/// settings in which it was fastest (docs/decisions/0030): its threads spin, its memory comes from an arena by a plan, as it does by
/// itself; all its optimizations of the graph; input and output bound once.
/// </summary>
internal static class OnnxPeer
{
    /// <summary>Two orders of summation in float32 over these networks part by about 1e-6.</summary>
    private const double Tolerance = 1e-5;

    private const int Compared = 256;

    /// <summary>Images per second, the best of the repetitions.</summary>
    /// <param name="network">The network.</param>
    /// <param name="batch">Digits in a call.</param>
    /// <param name="threads">Threads of ONNX Runtime.</param>
    /// <param name="steps">Calls in a repetition.</param>
    /// <param name="repetitions">Repetitions.</param>
    /// <exception cref="InvalidDataException">Its logits are not ours.</exception>
    public static double Measure(NetworkSpec network, int batch, int threads, int steps, int repetitions)
    {
        using SessionOptions options = new()
        {
            IntraOpNumThreads = threads,
            InterOpNumThreads = 1,
            ExecutionMode = ExecutionMode.ORT_SEQUENTIAL,
            GraphOptimizationLevel = GraphOptimizationLevel.ORT_ENABLE_ALL,
        };
        NetworkWeights weights = Initializer.Create(network, seed: 0);
        using InferenceSession session = new(OnnxWriter.Write(weights, keepBatchNorm: true), options);
        Compare(session, weights);

        using Call call = new(session, Pixels(GeneratedDigits.Create(batch)), batch);
        double best = double.MaxValue;
        for (int repetition = 0; repetition <= repetitions; repetition++) // the first warms up: it can only be slower
        {
            long start = Stopwatch.GetTimestamp();
            for (int step = 0; step < steps; step++)
            {
                call.Run();
            }

            best = Math.Min(best, Stopwatch.GetElapsedTime(start).TotalSeconds);
        }

        return (double)steps * batch / best;
    }

    private static void Compare(InferenceSession session, NetworkWeights weights)
    {
        DigitDataset digits = GeneratedDigits.Create(Compared);
        using Call call = new(session, Pixels(digits), digits.Count);
        call.Run();

        float[] ours = new float[digits.Count * DigitDataset.Classes];
        using ITrainingBackend backend = BackendFactory.Create("cpu", weights.Network, new BackendOptions(64, 0, AugmentationSpec.None));
        backend.Load(weights, new OptimizerState(weights.Network));
        backend.Predict(digits, [.. Enumerable.Range(0, digits.Count)], ours);

        double difference = Math.Sqrt(ours.Zip(call.Logits, (a, b) => Math.Pow(a - b, 2)).Sum() / call.Logits.Sum(b => (double)b * b));
        if (!(difference < Tolerance))
        {
            throw new InvalidDataException(
                $"ONNX Runtime's logits of {weights.Network.Name} differ from ours by {difference:e1} relative L2");
        }
    }

    private static float[] Pixels(DigitDataset digits) =>
        [.. from row in Enumerable.Range(0, digits.Count) from pixel in digits.Image(row).ToArray() select pixel / 255f];

    /// <summary>One batch with input and output bound once, so that a run copies and allocates as little as it can.</summary>
    private sealed class Call : IDisposable
    {
        private readonly InferenceSession _session;
        private readonly RunOptions _options = new();
        private readonly OrtValue _images, _logits;
        private readonly OrtIoBinding _binding;

        public Call(InferenceSession session, float[] pixels, int batch)
        {
            _session = session;
            Logits = new float[batch * DigitDataset.Classes];
            _images = OrtValue.CreateTensorValueFromMemory(pixels, [batch, 1, DigitDataset.Side, DigitDataset.Side]);
            _logits = OrtValue.CreateTensorValueFromMemory(Logits, [batch, DigitDataset.Classes]);
            _binding = session.CreateIoBinding();
            _binding.BindInput("images", _images);
            _binding.BindOutput("logits", _logits);
        }

        public float[] Logits { get; }

        public void Run() => _session.RunWithBinding(_options, _binding);

        public void Dispose()
        {
            _binding.Dispose();
            _images.Dispose();
            _logits.Dispose();
            _options.Dispose();
        }
    }
}
