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

    /// <summary>The script says of each line that it is run, or why not, and fails where it names a line that is not there.</summary>
    [Fact]
    public void Its_command_lines_are_run_or_are_known_not_to_be()
    {
        Assert.SkipUnless(FileNodes.Run("python3", "-c", ""), "there is no python3");
        using Process script = Process.Start(new ProcessStartInfo("python3", [Path.Combine(SharedFiles.RepositoryRoot, "scripts/run-readme"), "--list"]) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        string[] lines = script.StandardOutput.ReadToEnd().TrimEnd().Split('\n');
        script.WaitForExit();
        Assert.True(script.ExitCode == 0, script.StandardError.ReadToEnd());
        Assert.All(lines, line => Assert.Matches("^(run|not here: .+)\t", line));
        Assert.Contains("run\tdotnet run --project src/CudnnDigits.Cli -c Release -- train", lines);
        Assert.InRange(lines.Count(line => line.StartsWith("not here", StringComparison.Ordinal)), 1, lines.Length / 3);

        // What is to be typed stands in a block, where the script sees it.
        string prose = Regex.Replace(File.ReadAllText(Path.Combine(SharedFiles.RepositoryRoot, "README.md")), "^```.*?^```", "", RegexOptions.Singleline | RegexOptions.Multiline);
        Assert.DoesNotMatch("`dotnet (add|pack|tool|run|publish|build|nuget)[^`]", prose);
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
