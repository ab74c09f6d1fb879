using CudnnDigits.Tests.Data;
using CudnnDigits.Tests.Runs;

namespace CudnnDigits.Tests.Files;

/// <summary>
/// Who may write into a folder, by the system's lock on its file, or by the file alone where the file system has no locks.
/// </summary>
public sealed class FolderLockTests : TestsWithFolder
{
    private static string Now => DateTime.UtcNow.ToString("yyyy-MM-dd HH:mm:ss.fffffff", System.Globalization.CultureInfo.InvariantCulture);

    private string File => _folder[".lock"];

    [Fact]
    public void A_folder_has_one_writer_whoever_that_is()
    {
        RunRecord record = DamagedRunFoldersTests.Record(TrainingOptions.For("simple"), GeneratedDigits.Create(2));
        using (RunFolder.Create(_folder["run"], record))
        {
            DataSourceTests.AssertRefused(
                $"is being written by process {Environment.ProcessId} on {Environment.MachineName}, since ",
                () => RunFolder.Open(_folder["run"], out _));
            DataSourceTests.AssertRefused("is being written by process", () => RunFolder.Create(_folder["run"], record));
            Assert.Equal("simple", new RunFolder(_folder["run"]).ReadRecord().Options.Model); // whoever only reads may come at any time
        }

        DataSourceTests.AssertRefused("holds a run already", () => RunFolder.Create(_folder["run"], record));
        using (RunFolder.Open(_folder["run"], out _))
        {
            using (FileStream text = new(_folder["run/.lock"], FileMode.Open, FileAccess.Write, FileShare.ReadWrite))
            {
                text.SetLength(0);
            }

            DataSourceTests.AssertRefused("is being written by another process", () => RunFolder.Open(_folder["run"], out _));
        }

        RunFolder.Open(_folder["run"], out _).Dispose();
        Assert.Equal(["run.json"], Directory.GetFiles(_folder["run"]).Select(Path.GetFileName)); // the lock is gone
        _folder.Write("run/.lock", "process 1 on elsewhere"); // as a kill leaves it
        RunFolder.Open(_folder["run"], out _).Dispose();
        DataSourceTests.AssertRefused("holds no run", () => RunFolder.Open(_folder.Path, out _));
        Assert.False(System.IO.File.Exists(_folder[".lock"]));
    }

    [Fact]
    public void What_is_no_lock_of_this_program_is_left_as_it_is()
    {
        RunFolder.Create(_folder["run"], DamagedRunFoldersTests.Record(TrainingOptions.For("simple"), GeneratedDigits.Create(2))).Dispose();
        _folder.Make("new");
        string path = _folder["run/.lock"], other = _folder.Write("other", "mine");
        System.IO.File.CreateSymbolicLink(path, other);
        Refuse();
        Assert.Equal(other, new FileInfo(path).LinkTarget);
        System.IO.File.Delete(path);
        System.IO.File.WriteAllText(path, "mine");
        Refuse();
        Assert.Equal("mine", System.IO.File.ReadAllText(path));
        DataSourceTests.AssertRefused("is not empty", () => RunFolder.Create(
            Path.GetDirectoryName(_folder.Write("new/.lock", "mine"))!, new RunFolder(_folder["run"]).ReadRecord()));
        System.IO.File.Delete(path);
        Directory.CreateDirectory(path);
        Refuse();
        Directory.Delete(path);
        if (!OperatingSystem.IsWindows())
        {
            FileNodes.Fifo(path);
            Refuse();
            System.IO.File.Delete(path);
        }

        RunFolder.Open(_folder["run"], out _).Dispose();
        Assert.Equal("mine", System.IO.File.ReadAllText(other));

        void Refuse() => DataSourceTests.AssertRefused($"{path}: is not a lock of this program; move it away",
            () => RunFolder.Open(_folder["run"], out _));
    }

    [Fact]
    public void A_lock_whose_holder_does_not_say_its_name_yet_is_asked_again()
    {
        RunFolder.Create(_folder["run"], DamagedRunFoldersTests.Record(TrainingOptions.For("simple"), GeneratedDigits.Create(2))).Dispose();
        bool refused = true;
        for (int rounds = 0; rounds < 5 && refused; rounds++) // on a machine that is very busy the lock is held longer than anybody asks
        {
            FileStream held = new(_folder["run/.lock"], FileMode.Create, FileAccess.ReadWrite, OperatingSystem.IsWindows()
                ? FileShare.ReadWrite : FileShare.None);
            using ManualResetEventSlim asks = new();
            Thread opens = new(() =>
            {
                asks.Set();
                refused = DataSourceTests.Refused(() => RunFolder.Open(_folder["run"], out _).Dispose());
            });
            opens.Start();
            asks.Wait(TestContext.Current.CancellationToken);
            Thread.Sleep(10);
            held.Dispose();
            opens.Join();
        }

        Assert.False(refused);
    }

    [Fact]
    public void Without_locks_the_file_keeps_others_out_until_it_is_given_back()
    {
        using (Take())
        {
            Refuse($"process {Environment.ProcessId} on {Environment.MachineName}");
        }

        Assert.False(System.IO.File.Exists(File));
        Take().Dispose();
    }

    [Fact]
    public void Without_locks_a_process_of_another_machine_may_be_running()
    {
        System.IO.File.WriteAllText(File, "process 1 on another, since 2026-01-01 00:00:00.0000000 UTC");
        Refuse("process 1 on another");
        Assert.True(System.IO.File.Exists(File));
    }

    [Fact]
    public void Without_locks_what_a_kill_has_left_keeps_nobody_out()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "needs sleep");
        using Process other = Process.Start("sleep", "600");
        System.IO.File.WriteAllText(File, $"process {other.Id} on {Environment.MachineName}, since 2026-01-01 00:00:00.0000000 UTC");
        Take().Dispose(); // the number is another's by now: that one began later
        System.IO.File.WriteAllText(File, $"process {other.Id} on {Environment.MachineName}, since {Now} UTC");
        Refuse($"process {other.Id} on");
        other.Kill();
        other.WaitForExit();
        Take().Dispose();
        System.IO.File.WriteAllText(File, ""); // killed before it could sign
        Take().Dispose();
    }

    [Fact]
    public void Without_locks_a_process_of_the_same_number_has_ended()
    {
        System.IO.File.WriteAllText(File,
            $"process {Environment.ProcessId} on {Environment.MachineName}, since 2026-01-01 00:00:00.0000000 UTC, without locks");
        Take().Dispose();
    }

    [Fact]
    public void Who_has_locks_asks_who_has_none()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "needs sleep");
        using Process other = Process.Start("sleep", "600");
        System.IO.File.WriteAllText(File, $"process {other.Id} on {Environment.MachineName}, since {Now} UTC, without locks");
        DataSourceTests.AssertRefused("UTC, without locks, as ", () => FolderLock.Take(_folder.Path));
        other.Kill();
        other.WaitForExit();
        FolderLock.Take(_folder.Path).Dispose();
    }

    [Fact]
    public void Without_locks_one_of_many_gets_the_folder()
    {
        System.IO.File.WriteAllText(File, $"process {Environment.ProcessId} on {Environment.MachineName}, since 2026-01-01 "
            + "00:00:00.0000000 UTC, without locks"); // left by a kill
        int taken = 0;
        Parallel.For(0, 16, new ParallelOptions { MaxDegreeOfParallelism = 16 }, _ =>
        {
            try
            {
                Take();
                Interlocked.Increment(ref taken);
            }
            catch (InputException)
            {
                // As it should be for all others.
            }
        });
        Assert.Equal(1, taken);
    }

    private FolderLock Take() => FolderLock.TakeWithoutLocks(_folder.Path, File);

    private void Refuse(string holder) => DataSourceTests.AssertRefused($"is being written by {holder}", () => Take());
}
