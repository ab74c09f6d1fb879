using System.Diagnostics;
using System.Text.Json.Nodes;

namespace CudnnDigits.GpuCheck;

/// <summary>A line of a program's output, and when it came, in seconds from the program's start.</summary>
internal readonly record struct TimedLine(double Seconds, string Text);

/// <summary>How a program ended.</summary>
internal sealed record ToolResult(int ExitCode, bool TimedOut, double Seconds, List<TimedLine> Output, List<TimedLine> Error)
{
    /// <summary>Standard output as one text.</summary>
    public string Text => string.Join('\n', Output.Select(line => line.Text));

    /// <summary>The last line that says anything.</summary>
    public string LastWord => Error.Concat(Output).LastOrDefault(line => line.Text.Trim().Length > 0).Text ?? "no output";
}

/// <summary>Where the check runs: the bundle's folder, the report's folder, the time that is left.</summary>
/// <param name="Output">Folder of report and logs.</param>
/// <param name="Data">Digits to train on, or null.</param>
/// <param name="Limit">Time for everything.</param>
/// <param name="Quick">Smallest sizes.</param>
internal sealed record Workplace(string Output, string? Data, TimeSpan Limit, bool Quick)
{
    /// <summary>What an earlier run measured of a benchmark that did not pass, or null.</summary>
    public JsonNode? Measured { get; set; }

    private readonly Stopwatch _clock = Stopwatch.StartNew();
    private readonly Lock _asking = new();
    private (bool Known, string? Python) _torch;

    public TimeSpan Elapsed => _clock.Elapsed;

    /// <summary>Time that is left, less what the report needs.</summary>
    public TimeSpan Left => Limit - Elapsed - TimeSpan.FromSeconds(2);

    /// <summary>Program, tests and this check lie beside each other; the rest of the bundle one folder up.</summary>
    public static string App => AppContext.BaseDirectory;

    public static string Bundle => Path.GetFullPath(Path.Combine(App, ".."));

    public static string Digits => Path.Combine(App, "cudnn-digits");

    /// <summary>The python3 that has PyTorch with CUDA, or null.</summary>
    public string? Torch
    {
        get
        {
            lock (_asking)
            {
                if (!_torch.Known)
                {
                    string? python = Find("python3");
                    _torch = (true, python is not null
                        && Run("torch", 60, python, ["-c", "import torch; assert torch.cuda.is_available()"]).ExitCode == 0 ? python
                        : null);
                }

                return _torch.Python;
            }
        }
    }

    /// <summary>A program on PATH, in the usual places of the CUDA toolkit, or below one of these patterns; or null.</summary>
    public static string? Find(string name, params string[] more) =>
        (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator)
        .Concat(["/usr/local/cuda/bin", "/opt/cuda/bin", .. more])
        .Select(folder => Path.Combine(folder, name))
        .FirstOrDefault(File.Exists);

    /// <summary>Runs a program, with a log of everything it says.</summary>
    /// <param name="log">Name of the log, without its ending.</param>
    /// <param name="most">Seconds it may take; it is killed then.</param>
    /// <param name="program">What to run.</param>
    /// <param name="arguments">Its arguments.</param>
    /// <param name="environment">Added to the environment.</param>
    public ToolResult Run(string log, double most, string program, IEnumerable<string> arguments,
        params (string Name, string Value)[] environment)
    {
        Directory.CreateDirectory(Path.Combine(Output, "logs"));
        ProcessStartInfo info =
            new(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true, WorkingDirectory = Output };
        foreach ((string name, string value) in environment)
        {
            info.Environment[name] = value;
        }

        using Process process = new() { StartInfo = info };
        Stopwatch clock = Stopwatch.StartNew();
        List<TimedLine> output = [], error = [];
        using StreamWriter file = new(Path.Combine(Output, "logs", log + ".log"));
        file.WriteLine($"$ {program} {string.Join(' ', info.ArgumentList)}");
        process.OutputDataReceived += (_, line) => Keep(output, line.Data);
        process.ErrorDataReceived += (_, line) => Keep(error, line.Data);
        process.Start();
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        bool ended = process.WaitForExit(TimeSpan.FromSeconds(Math.Max(1, Math.Min(most, Left.TotalSeconds))));
        if (!ended)
        {
            process.Kill(entireProcessTree: true);
        }

        process.WaitForExit();
        return new ToolResult(ended ? process.ExitCode : -1, !ended, clock.Elapsed.TotalSeconds, output, error);

        void Keep(List<TimedLine> lines, string? text)
        {
            if (text is not null)
            {
                lock (file)
                {
                    lines.Add(new TimedLine(clock.Elapsed.TotalSeconds, text));
                    file.WriteLine(text);
                }
            }
        }
    }
}
