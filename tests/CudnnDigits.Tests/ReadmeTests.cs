using CudnnDigits.Tests.Reference;

namespace CudnnDigits.Tests;

public class ReadmeTests
{
    [Fact]
    public void Its_listings_are_the_samples_that_are_built_and_run()
    {
        string text = File.ReadAllText(Path.Combine(SharedFiles.RepositoryRoot, "README.md"));
        string[] samples = [.. new[] { "*.cs", "*.cpp", "*.py" }.SelectMany(pattern => Directory.GetFiles(Path.Combine(SharedFiles.RepositoryRoot, "samples"), pattern, SearchOption.AllDirectories)).Where(file => !file.Contains("/obj/", StringComparison.Ordinal))];
        Assert.Equal(6, samples.Length);
        Assert.All(samples, sample => Assert.Contains($"\n{File.ReadAllText(sample)}```\n", text, StringComparison.Ordinal));
    }

    [Fact]
    public void It_names_every_command()
    {
        string text = File.ReadAllText(Path.Combine(SharedFiles.RepositoryRoot, "README.md"));
        string[] commands = [.. Cli.CliProgram.Run("--help").Output.Split('\n').SkipWhile(line => !line.StartsWith("Commands:", StringComparison.Ordinal)).Skip(1)
            .TakeWhile(line => line.StartsWith("  ", StringComparison.Ordinal)).Select(line => line.Trim().Split(' ')[0]).Where(word => word.Length > 0)];
        Assert.Contains("export", commands);
        Assert.All(commands, command => Assert.Contains($"| `{command}` |", text, StringComparison.Ordinal));
    }
}
