using System.Runtime.CompilerServices;

namespace CudnnDigits.Tests;

public class ReadmeTests
{
    private static readonly string Root = Path.GetFullPath(Path.Combine(Path.GetDirectoryName(ThisFile())!, "../.."));

    [Fact]
    public void Its_listings_are_the_samples_that_are_built_and_run()
    {
        string readme = Path.Combine(Root, "README.md");
        Assert.SkipUnless(File.Exists(readme), "the sources are not on this machine");
        string text = File.ReadAllText(readme);
        string[] samples = [.. new[] { "*.cs", "*.cpp", "*.py" }.SelectMany(pattern => Directory.GetFiles(Path.Combine(Root, "samples"), pattern, SearchOption.AllDirectories)).Where(file => !file.Contains("/obj/", StringComparison.Ordinal))];
        Assert.Equal(5, samples.Length);
        Assert.All(samples, sample => Assert.Contains($"\n{File.ReadAllText(sample)}```\n", text, StringComparison.Ordinal));
    }

    [Fact]
    public void It_names_every_command()
    {
        string readme = Path.Combine(Root, "README.md");
        Assert.SkipUnless(File.Exists(readme), "the sources are not on this machine");
        string text = File.ReadAllText(readme);
        string[] commands = [.. Cli.CliProgram.Run("--help").Output.Split('\n').SkipWhile(line => !line.StartsWith("Commands:", StringComparison.Ordinal)).Skip(1)
            .TakeWhile(line => line.StartsWith("  ", StringComparison.Ordinal)).Select(line => line.Trim().Split(' ')[0]).Where(word => word.Length > 0)];
        Assert.Contains("export", commands);
        Assert.All(commands, command => Assert.Contains($"| `{command}` |", text, StringComparison.Ordinal));
    }

    private static string ThisFile([CallerFilePath] string path = "") => path;
}
