using CudnnDigits.Tests.Cli;

namespace CudnnDigits.Tests;

/// <summary>What the tests say of tests that do not run, by running some of them in a process of their own.</summary>
public class SkipTests
{
    [Fact]
    public void Tests_that_are_skipped_for_one_reason_are_one_line()
    {
        string[] skips = Skips(environment: ("CUDNN_DIGITS_SHARED", "/nowhere"), "exec \"$0\" \"$@\"", "-class",
            "CudnnDigits.Tests.Cpu.GoldenTests");
        Assert.Matches("^ *[0-9]{1,3} tests \\[SKIP\\]$", Assert.Single(skips));
    }

    [Fact]
    public void Where_a_signal_is_ignored_its_tests_are_skipped()
    {
        string[] skips = Skips(environment: default, "trap '' INT; exec \"$0\" \"$@\"", "-method",
            "*.Ctrl_C_saves_first_and_the_run_resumes_to_the_same_bits");
        Assert.Contains("Ctrl_C", Assert.Single(skips), StringComparison.Ordinal);
    }

    private static string[] Skips((string Name, string Value) environment, string script, params string[] arguments)
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "needs a shell");
        ProcessStartInfo info =
            new("sh", ["-c", script, Environment.ProcessPath!, .. arguments, "-noColor", "-explicit", "on"])
            {
                RedirectStandardOutput =
            true,
                RedirectStandardError = true
            };
        foreach (string required in info.Environment.Keys.Where(name => name.StartsWith("CUDNN_DIGITS_REQUIRE", StringComparison.Ordinal))
            .ToArray())
        {
            info.Environment.Remove(required);
        }

        if (environment.Name is not null)
        {
            info.Environment[environment.Name] = environment.Value;
        }

        CliProgram.Result result = CliProgram.Finish(Process.Start(info)!);
        Assert.True(result.ExitCode == 0, result.Output);
        return [.. result.Output.Split('\n').Where(line => line.Contains("[SKIP]", StringComparison.Ordinal))];
    }
}
