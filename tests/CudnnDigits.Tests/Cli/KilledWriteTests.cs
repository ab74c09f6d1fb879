namespace CudnnDigits.Tests.Cli;

/// <summary>
/// Commands that are killed while they write over a file: it holds what it held, or what it was to hold, never a part of either.
/// <see cref="Mutations.Factor"/> multiplies how often.
/// </summary>
public sealed class KilledWriteTests : TestsWithFolder
{
    private const int Usually = 3;

    public static TheoryData<string, string> Commands => new()
    {
        { "predict", "predict --weights model.safetensors --data digits.csv --device cpu --out" },
        { "export", "export --weights model.safetensors --onnx" },
        { "data show", "data show --data digits.csv --out" },
        { "data generate", "data generate --count 1500 --seed 3 --out" },
    };

    [Theory]
    [MemberData(nameof(Commands))]
    public void A_killed_command_leaves_the_old_file_or_the_new_one(string name, string command)
    {
        Checkpoint.SaveWeights(_folder["model.safetensors"], Initializer.Create(DigitNetworks.Simple, 0), 1);
        _folder.Write("digits.csv", DigitFiles.Csv(GeneratedDigits.Create(1000, seed: 2)));
        string[] arguments = [.. command.Split(' ').Select(word => word is "model.safetensors" or "digits.csv" ? _folder[word] : word)];
        string target = _folder["out/file" + (name == "data generate" ? ".csv" : name == "export" ? ".onnx" : "")];
        _folder.Make("out");
        Stopwatch clock = Stopwatch.StartNew();
        CliProgram.Run([.. arguments, target]).Succeeded();
        TimeSpan time = clock.Elapsed;
        byte[] old = new byte[100_000], fresh = File.ReadAllBytes(target);

        Random random = new(1);
        for (double left = Usually * Mutations.Factor; left > 0; left--)
        {
            File.WriteAllBytes(target, old);
            TimeSpan patience = random.NextDouble() * time;
            bool atTheWrite = random.Next(2) == 0;
            using Process process = CliProgram.Start([.. arguments, target]);
            clock.Restart();
            while (!process.HasExited && (atTheWrite ? Directory.GetFiles(_folder["out"]).Length == 1 : clock.Elapsed < patience))
            {
                Thread.Yield();
            }

            process.Kill();
            process.WaitForExit();
            byte[] found = File.ReadAllBytes(target);
            Assert.True(found.AsSpan().SequenceEqual(old) || found.AsSpan().SequenceEqual(fresh),
                $"{name}, killed after {clock.Elapsed}: {found.Length} bytes that are neither");
        }

        CliProgram.Run([.. arguments, target]).Succeeded();
        Assert.Equal(fresh, File.ReadAllBytes(target));
        Assert.Equal([target], Directory.GetFiles(_folder["out"])); // what a kill left half-written is gone
    }
}
