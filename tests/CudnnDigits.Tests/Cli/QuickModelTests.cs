using System.Net;
using System.Net.Sockets;
using CudnnDigits.Cli.Serve;

namespace CudnnDigits.Tests.Cli;

/// <summary>What serve does where no weights are given.</summary>
public sealed class QuickModelTests : TestsWithFolder
{
    [Fact]
    public void A_kept_model_comes_back_bit_by_bit_and_none_is_taken_for_another()
    {
        QuickModel simple = new("simple", _folder["cache"]), improved = new("improved", _folder["cache"]);
        TrainingState state = Untrained("simple");
        Assert.Null(simple.TryRead());
        Assert.Null(simple.TryKeep(state));
        Assert.Equal(state.Weights.Trained, simple.TryRead()!.Trained);
        Assert.Null(improved.TryRead());

        // Of another version, seed or network, under this one's name.
        Checkpoint.SaveWeights(simple.File, state.Weights, 1);
        Assert.Null(simple.TryRead());
        Assert.Null(improved.TryKeep(Untrained("improved")));
        File.Copy(improved.File, simple.File, overwrite: true);
        Assert.Null(simple.TryRead());
        Assert.Contains(Checkpoint.Version, Path.GetFileName(simple.File), StringComparison.Ordinal);
    }

    [Fact]
    public void A_damaged_model_is_made_again()
    {
        QuickModel quick = new("simple", _folder.Path);
        TrainingState state = Untrained("simple");
        Assert.Null(quick.TryKeep(state));
        byte[] good = File.ReadAllBytes(quick.File), flipped = [.. good];
        flipped[good.Length / 2] ^= 1;
        foreach (byte[] bad in new[] { flipped, good[..1000], [], [0x80, 2] })
        {
            File.WriteAllBytes(quick.File, bad);
            Assert.Null(quick.TryRead());
            Assert.Null(quick.TryKeep(state));
            Assert.NotNull(quick.TryRead());
        }
    }

    [Fact]
    public void What_stands_in_its_place_or_cannot_be_written_is_no_failure()
    {
        TrainingState state = Untrained("simple");
        QuickModel behindAFile = new("simple", Path.Combine(_folder.Write("file", [1]), "cache")), folder = new("simple", _folder["a"]),
        pipe = new("simple", _folder["b"]), nowhere = new("simple", "cache");
        Directory.CreateDirectory(folder.File);
        _folder.Make("b");
        foreach (QuickModel quick in OperatingSystem.IsWindows() ? [behindAFile, folder, nowhere]
            : new[] { behindAFile, folder, nowhere, pipe })
        {
            if (quick == pipe)
            {
                FileNodes.Fifo(pipe.File);
            }

            Assert.Null(quick.TryRead());
            Assert.NotEmpty(quick.TryKeep(state)!);
        }
    }

    [Fact]
    public void A_model_that_is_kept_is_served_at_once()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows() || OperatingSystem.IsMacOS(), "the cache folder is moved by XDG_CACHE_HOME");
        QuickModel kept = new("simple", Path.Combine(_folder.Path, "cudnn-digits", "serve"));
        Assert.Null(kept.TryKeep(Untrained("simple")));
        ProcessStartInfo info = CliProgram.Info("serve", "--model", "simple", "--device", "cpu", "--port", "0", "--json");
        info.Environment["XDG_CACHE_HOME"] = _folder.Path;
        Process process = Process.Start(info)!;
        CliProgram.ReadAddress(process);
        process.Kill();
        Assert.Equal($"model     no --weights: using the quick simple model of an earlier start, {kept.File}; weights of your own predict "
            + "better\n", CliProgram.Finish(process).Error);
    }

    [Fact]
    public void A_port_that_is_taken_is_said_before_anything_is_trained()
    {
        using TcpListener taken = new(IPAddress.Loopback, 0);
        taken.Start();
        int port = ((IPEndPoint)taken.LocalEndpoint).Port;
        CliProgram.AssertProgramRefuses($"--port {port}: cannot be used", "serve", "--port", $"{port}"); // one line: none of training
    }

    private static TrainingState Untrained(string network) => new(Initializer.Create(DigitNetworks.Find(network)!, 3));
}
