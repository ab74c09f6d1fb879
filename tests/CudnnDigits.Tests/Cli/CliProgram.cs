using System.CommandLine;
using CudnnDigits.Cli;
using CudnnDigits.Cli.Terminal;

namespace CudnnDigits.Tests.Cli;

/// <summary>Runs the program as a user would, in a process of its own.</summary>
internal static class CliProgram
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(3);

    public sealed record Result(int ExitCode, string Output, string Error)
    {
        /// <summary>Fails, with what the program said, unless it ended with 0.</summary>
        public Result Succeeded()
        {
            Assert.True(ExitCode == 0, $"exit code {ExitCode}: {Error}{Output}");
            return this;
        }
    }

    public static Result Run(params string[] arguments) => Finish(Start(arguments));

    public static Result RunIn(string folder, string environment, string value, params string[] arguments) =>
        RunIn(folder, [(environment, value)], arguments);

    public static Result RunIn(string folder, IEnumerable<(string Name, string Value)> environment, params string[] arguments)
    {
        ProcessStartInfo info = Info(arguments);
        info.WorkingDirectory = folder;
        foreach ((string name, string value) in environment)
        {
            info.Environment[name] = value;
        }

        return Finish(Process.Start(info)!);
    }

    /// <summary>The program as machine code.</summary>
    public static Result RunNative(string file, params string[] arguments) =>
        Finish(Process.Start(new ProcessStartInfo(file, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!);

    public static Process Start(params string[] arguments) => Process.Start(Info(arguments))!;

    /// <summary>Reads the JSON that a server prints when it is ready.</summary>
    public static string ReadAddress(Process process)
    {
        string json = "";
        while (!json.EndsWith("}\n", StringComparison.Ordinal))
        {
            json += (process.StandardOutput.ReadLine()
                ?? throw new InvalidOperationException($"the server did not start: {process.StandardError.ReadToEnd()}")) + "\n";
        }

        using JsonDocument ready = JsonDocument.Parse(json);
        return ready.RootElement.GetProperty("url").GetString()!;
    }

    public static Result Finish(Process process)
    {
        using (process)
        {
            Task<string> output = process.StandardOutput.ReadToEndAsync(), error = process.StandardError.ReadToEndAsync();
            if (!process.WaitForExit(Patience))
            {
                process.Kill();
                Assert.Fail($"the program hung: {error.Result}");
            }

            return new Result(process.ExitCode, output.Result, error.Result);
        }
    }

    /// <summary>
    /// A command that is refused. In the inner loop it runs in this process, which takes little time. There it knows the library's readers
    /// alone, and only its message is checked.
    /// </summary>
    public static void AssertRefused(string says, params string[] arguments)
    {
        if (Mutations.Factor <= 1)
        {
            Assert.Contains(says, Refusal(arguments).ReplaceLineEndings(" "), StringComparison.Ordinal);
        }
        else
        {
            AssertProgramRefuses(says, arguments);
        }
    }

    /// <summary>Exit code 2 and one line on standard error that says the right thing.</summary>
    public static void AssertProgramRefuses(string says, params string[] arguments)
    {
        Result result = Run(arguments);
        Assert.Equal(2, result.ExitCode);
        Assert.Empty(result.Output);
        string line = Assert.Single(result.Error.TrimEnd('\n').Split('\n'));
        Assert.StartsWith("cudnn-digits: error: ", line, StringComparison.Ordinal);
        Assert.Contains(says, line, StringComparison.Ordinal);
    }

    /// <summary>Runs a command in this process, up to what it throws: for many refusals in little time.</summary>
    public static int Invoke(params string[] arguments)
    {
        ParseResult parsed = CommandLine.Create().Parse(arguments);
        return CommandLine.Refusal(parsed) is { } refusal
            ? throw new InputException(refusal)
            : parsed.Invoke(new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null });
    }

    /// <summary>What a command says instead of doing anything, in this process.</summary>
    public static string Refusal(params string[] arguments) => Assert.Throws<InputException>(() => Invoke(arguments)).Message;

    /// <summary>Starts a shell's script in which "$@" is the program.</summary>
    public static Process Shell(string script, params string[] arguments)
    {
        ProcessStartInfo info = Info(arguments);
        return Process.Start(
            new ProcessStartInfo("sh", ["-c", script, "sh", info.FileName, .. info.ArgumentList])
            {
                RedirectStandardOutput = true,
                RedirectStandardError = true
            })!;
    }

    /// <summary>How the program, started so, calls itself where it says what to run next.</summary>
    public static string Command =>
        ThisProgram.Call(new Start(Info().FileName, AppContext.BaseDirectory, Environment.CurrentDirectory, []),
        CudnnDigits.Cli.Terminal.Shell.OfUser);

    /// <summary>By the installed runtime, or by the one beside the tests where they were published with it.</summary>
    public static ProcessStartInfo Info(params string[] arguments)
    {
        string program = Path.Combine(AppContext.BaseDirectory, "cudnn-digits");
        ProcessStartInfo info = File.Exists(Path.Combine(AppContext.BaseDirectory, "libcoreclr.so"))
            ? new ProcessStartInfo(program, arguments)
            : new ProcessStartInfo("dotnet", ["exec", program + ".dll", .. arguments]);
        (info.RedirectStandardOutput, info.RedirectStandardError) = (true, true);
        return info;
    }
}
