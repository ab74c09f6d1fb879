using CsCheck;
using CudnnDigits.Cli.Exchange;

namespace CudnnDigits.Tests.Data;

/// <summary>
/// Random files at every reader, and mutated ones at those that have no plain reader beside them: each parses, or gives an <see
/// cref="InputException"/> of one line; nothing else is thrown, and memory stays in proportion to the file.
/// </summary>
public sealed class ReaderPropertyTests : TestsWithFolder
{
    private const int Iterations = 300;
    private const long AlwaysAllowedMemory = 64 << 20;

    public static TheoryData<string> Formats => ["csv", "csv.gz", "zip", "idx", "idx.gz", "weights", "onnx", "state", "run.json"];

    /// <summary>Those whose damaged files <see cref="MutatedFileTests"/> does not compare with another reader's.</summary>
    public static TheoryData<string> OwnFormats => ["weights", "state", "run.json"];

    [Theory]
    [MemberData(nameof(OwnFormats))]
    public void Mutated_files_parse_or_are_refused(string format)
    {
        foreach (Mutation mutation in Mutations.Of(Good(format), usually: 100))
        {
            try
            {
                IsRefused(format, mutation.Bytes);
            }
            catch (Exception e)
            {
                throw new InvalidOperationException($"{mutation}: {e.GetType().Name}: {e.Message}", e);
            }
        }
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public void Random_bytes_are_refused(string format) =>
        Gen.Byte.Array[0, 2000].Sample(bytes => Assert.True(IsRefused(format, bytes)), iter: Iterations, threads: 1);

    private byte[] Good(string format)
    {
        switch (format)
        {
            case "weights":
                Checkpoint.SaveWeights(_folder["good"], Initializer.Create(DigitNetworks.Simple, 0), 1);
                return File.ReadAllBytes(_folder["good"]);
            case "state":
                Checkpoint.SaveState(_folder["good"], new TrainingState(Initializer.Create(DigitNetworks.Simple, 0)));
                return File.ReadAllBytes(_folder["good"]);
            default:
                RunFolder.Create(_folder["run"], new RunRecord(
                    "1", DateTime.UnixEpoch, TrainingOptions.For("simple"), null, new RunData(null, 1, ""), "cpu", "CPU", Precision.Fp32,
                    false, "", null));
                return File.ReadAllBytes(Path.Combine(_folder["run"], "run.json"));
        }
    }

    /// <summary>Whether a file is refused, in one line; otherwise it is read. Neither takes much memory.</summary>
    private bool IsRefused(string format, byte[] bytes)
    {
        bool isRefused = false;
        long before = GC.GetAllocatedBytesForCurrentThread();
        try
        {
            Parse(format, bytes);
        }
        catch (InputException e)
        {
            isRefused = true;
            Assert.DoesNotContain('\n', e.Message);
            Assert.InRange(e.Message.Length, 10, 600);
        }

        long used = GC.GetAllocatedBytesForCurrentThread() - before;
        Assert.True(used < AlwaysAllowedMemory + 100L * bytes.Length, $"{used} bytes for a file of {bytes.Length}");
        return isRefused;
    }

    private void Parse(string format, byte[] bytes)
    {
        switch (format)
        {
            case "weights":
                Checkpoint.LoadWeights(_folder.Write("file.safetensors", bytes));
                break;
            case "onnx":
                WeightsFile.Load(_folder.Write("file.onnx", bytes));
                break;
            case "state":
                Checkpoint.LoadState(_folder.Write("file.safetensors", bytes), DigitNetworks.Simple);
                break;
            case "run.json":
                _folder.Make("run");
                _folder.Write("run/run.json", bytes);
                new RunFolder(_folder["run"]).ReadRecord();
                break;
            case "idx" or "idx.gz":
                string folder = _folder["idx"];
                Directory.CreateDirectory(folder);
                _folder.Write(format == "idx" ? "idx/t10k-images-idx3-ubyte" : "idx/t10k-images-idx3-ubyte.gz", bytes);
                DataSource.Open(folder, DataPart.Prediction);
                break;
            default:
                DataSource.Open(_folder.Write($"file.{format}", bytes), DataPart.Training);
                break;
        }
    }
}
