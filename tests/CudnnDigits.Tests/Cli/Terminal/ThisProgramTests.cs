using System.IO.Compression;
using CudnnDigits.Cli.Terminal;

namespace CudnnDigits.Tests.Cli.Terminal;

/// <summary>Command lines that the program tells people to run.</summary>
public sealed class ThisProgramTests : TestsWithFolder
{
    [Theory]
    [InlineData("bin/Release/net10.0", "", "dotnet run --project src/CudnnDigits.Cli -c Release --")]
    [InlineData("bin/Debug/net10.0", "", "dotnet run --project src/CudnnDigits.Cli --")]
    [InlineData("bin/Release/net10.0", "src/CudnnDigits.Cli", "dotnet run --project . -c Release --")]
    [InlineData("bin/Release/net10.0", "docs", "dotnet run --project ../src/CudnnDigits.Cli -c Release --")]
    [InlineData("bin/Release/net10.0/linux-x64/publish", "", "src/CudnnDigits.Cli/bin/Release/net10.0/linux-x64/publish/cudnn-digits")]
    public void After_dotnet_run_it_is_dotnet_run(string below, string workingDirectory, string expected)
    {
        _folder.Write("my repo/src/CudnnDigits.Cli/CudnnDigits.Cli.csproj", []);
        string project = _folder["my repo/src/CudnnDigits.Cli"], folder = Path.Combine(project, below),
        at = _folder["my repo/" + workingDirectory];
        Assert.Equal(expected,
            ThisProgram.Call(new Start(Path.Combine(folder, "cudnn-digits"), folder + "/", at.TrimEnd('/'), ["/usr/bin"]), Shell.Posix));
    }

    [Fact]
    public void From_elsewhere_the_project_is_quoted()
    {
        _folder.Write("my repo/src/CudnnDigits.Cli/CudnnDigits.Cli.csproj", []);
        string project = _folder["my repo/src/CudnnDigits.Cli"], folder = Path.Combine(project, "bin/Release/net10.0");
        Assert.Equal($"dotnet run --project '{project}' -c Release --",
            ThisProgram.Call(new Start(Path.Combine(folder, "cudnn-digits"), folder, "/srv/data/ada/runs", []), Shell.Posix));
    }

    [Fact]
    public void What_the_shell_finds_goes_by_its_name_and_all_else_by_its_path()
    {
        string program = _folder.Write("opt/digits/cudnn-digits", []), other = _folder.Write("opt/digits/digits", []);
        _folder.Make("bin");
        Assert.Equal("cudnn-digits", Call(program, "/", _folder["opt/digits"]));
        Assert.Equal("opt/digits/cudnn-digits", Call(program, _folder.Path, _folder["bin"]));
        Assert.Equal("./cudnn-digits", Call(program, _folder["opt/digits"], "", "nowhere\0", _folder["bin"]));
        Assert.Equal("opt/digits/digits", Call(other, _folder.Path, _folder["opt/digits"]));
        if (!OperatingSystem.IsWindows())
        {
            File.CreateSymbolicLink(_folder["bin/cudnn-digits"], program);
            Assert.Equal("cudnn-digits", Call(program, "/", _folder["bin"]));
        }

        static string Call(string executable, string at, params string[] path) =>
            ThisProgram.Call(new Start(executable, Path.GetDirectoryName(executable)!, at, path), Shell.Posix);
    }

    [Fact]
    public void Started_by_dotnet_it_is_its_assembly_or_the_tool()
    {
        Assert.Equal("dotnet 'my app/cudnn-digits.dll'",
            ThisProgram.Call(new Start("/usr/bin/dotnet", "/home/ada/my app/", "/home/ada", []), Shell.Posix));
        Assert.Equal("dotnet cudnn-digits",
            ThisProgram.Call(new Start("/usr/bin/dotnet", "/home/ada/.nuget/packages/cudnndigits.tool/0.1.0/tools/net10.0/any/",
            "/home/ada", []), Shell.Posix));
    }

    [Theory]
    [InlineData("runs/first/model.safetensors", "runs/first/model.safetensors")]
    [InlineData("ünï", "ünï")]
    [InlineData("", "''")]
    [InlineData("my runs", "'my runs'")]
    [InlineData("it's", @"'it'\''s'")]
    [InlineData("a\"b$HOME`c`;d&e|f*g?h(i)\\j!k#l~", "'a\"b$HOME`c`;d&e|f*g?h(i)\\j!k#l~'")]
    [InlineData("two\nlines's", @"$'two\x0alines\'s'")]
    [InlineData("~", "'~'")]
    public void Arguments_arrive_through_a_shell(string argument, string quoted)
    {
        Assert.Equal(quoted, Shell.Posix.Quote(argument));
        Assert.SkipUnless(File.Exists("/bin/bash"), "needs bash");
        using Process shell =
            Process.Start(new ProcessStartInfo("/bin/bash", ["-c", $"printf %s {quoted}"]) { RedirectStandardOutput = true })!;
        Assert.Equal(argument, shell.StandardOutput.ReadToEnd());
        shell.WaitForExit();
    }

    [Fact]
    public void Windows_shells_have_rules_of_their_own()
    {
        Assert.Equal(@"C:\runs\first", Shell.Cmd.Quote(@"C:\runs\first"));
        Assert.Equal(@"C:\runs\first", Shell.PowerShell.Quote(@"C:\runs\first"));
        Assert.Equal(@"""C:\my runs\\""", Shell.Cmd.Quote(@"C:\my runs\"));
        Assert.Equal(@"""a&b""", Shell.Cmd.Quote("a&b"));
        Assert.Equal(@"'C:\it''s $mine'", Shell.PowerShell.Quote(@"C:\it's $mine"));
        Assert.Equal(@"& 'C:\my tools\cudnn-digits.exe'", Shell.PowerShell.QuoteProgram(@"C:\my tools\cudnn-digits.exe"));
        Assert.Equal(@"C:\tools\cudnn-digits.exe", Shell.PowerShell.QuoteProgram(@"C:\tools\cudnn-digits.exe"));
        Assert.Equal(@"""C:\my tools\cudnn-digits.exe""", Shell.Cmd.QuoteProgram(@"C:\my tools\cudnn-digits.exe"));
        Assert.Same(Shell.Posix, Shell.Of(isWindows: false, _ => "x"));
        Assert.Same(Shell.Cmd, Shell.Of(isWindows: true, name => name == "PROMPT" ? "$P$G" : null));
        Assert.Same(Shell.PowerShell, Shell.Of(isWindows: true, _ => null));
        Assert.Same(Shell.Posix, Shell.Of(isWindows: true, name => name == "SHELL" ? "/usr/bin/bash" : null));
    }

    /// <summary>What there is to predict is found where it is; what is not there is not named.</summary>
    [LongFact]
    public void What_comes_next_after_training_is_there()
    {
        byte[] csv = DigitFiles.Csv(GeneratedDigits.Create(100, seed: 2));
        string train = _folder.Write("my data/train.csv", csv);
        Assert.EndsWith($" serve --weights '{_folder["my run 0"]}'", Next(0, train), StringComparison.Ordinal);

        string test = _folder.Write("my data/test.csv", csv);
        Assert.EndsWith($" predict --weights '{_folder["my run 1"]}' --data '{test}'", Next(1, train),
            StringComparison.Ordinal);

        string zip = _folder["digits.zip"];
        ZipFile.CreateFromDirectory(_folder["my data"], zip);
        Assert.EndsWith($" --data {zip}", Next(2, zip), StringComparison.Ordinal);
        File.Delete(test);
        File.Delete(zip);
        ZipFile.CreateFromDirectory(_folder["my data"], zip);
        Assert.Contains(" serve --weights ", Next(3, zip), StringComparison.Ordinal);

        string Next(int run, string data)
        {
            CliProgram.Result result =
                CliProgram.Run("train", "--data", data, "--model", "simple", "--epochs", "1", "--quiet", "--out", _folder[$"my run {run}"])
                .Succeeded();
            string next = result.Output.TrimEnd().Split('\n')[^1];
            Assert.StartsWith($"next      {CliProgram.Command} ", next, StringComparison.Ordinal);
            return next;
        }
    }

    [Theory]
    [InlineData("there is no NVIDIA driver: libcuda.so.1 was not found; if this machine has an NVIDIA GPU, install its driver",
        "(no NVIDIA driver; see info)")]
    [InlineData("there is no NVIDIA GPU on this machine (the driver is there; see nvidia-smi)", "(no NVIDIA GPU; see info)")]
    [InlineData("cuDNN is missing: libcudnn.so.9 was not found; install it", "(cuDNN is missing: libcudnn.so.9 was not found; install it)")]
    public void Why_it_is_not_on_a_GPU_is_said_without_an_order(string why, string said) =>
        Assert.Equal(said, new CudnnDigits.Cli.Machine("auto", null, Deterministic: false, CudaGraph: true, 0).WhyCpu(why));

    [Fact]
    public void A_command_that_is_too_long_goes_on_in_the_next_line_as_the_shell_takes_it()
    {
        string command = $"cudnn-digits predict --weights {Shell.Posix.Quote("it's runs/first")} --data 'my test.csv' --out a.csv";
        string[] lines = Shell.Posix.Wrap(command, 40);
        Assert.Equal(
            ["cudnn-digits predict --weights \\", "'it'\\''s runs/first' --data \\", "'my test.csv' --out a.csv"], lines);
        Assert.Equal(["cudnn-digits predict ^", "--weights x"], Shell.Cmd.Wrap("cudnn-digits predict --weights x", 24));
        Assert.Equal(["cudnn-digits predict `", "--weights x"], Shell.PowerShell.Wrap("cudnn-digits predict --weights x", 24));
        string rare = $"cudnn-digits train --data {Shell.Posix.Quote("a\nb'c d")}";
        Assert.Equal([rare], Shell.Posix.Wrap(rare, 20));
        Assert.SkipWhen(OperatingSystem.IsWindows(), "needs a shell");
        using Process shell = CliProgram.Shell($"printf '%s|' {string.Join("\n      ", lines)}");
        Assert.Equal(
            "cudnn-digits|predict|--weights|it's runs/first|--data|my test.csv|--out|a.csv|", CliProgram.Finish(shell).Output);
    }
}
