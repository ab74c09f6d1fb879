using System.Diagnostics;
using CudnnDigits.Data;
using CudnnDigits.Tests.Data;
using CudnnDigits.Tests.Reference;
using CudnnDigits.Training;

namespace CudnnDigits.Tests.Training;

/// <summary>A folder on a file system that has no locks: there its file alone says who writes.</summary>
public sealed class FolderLockTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    private static string Now => DateTime.UtcNow.ToString("yyyy-MM-dd HH:mm:ss.fffffff", System.Globalization.CultureInfo.InvariantCulture);

    private string File => _folder[".lock"];

    public void Dispose() => _folder.Dispose();

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
        System.IO.File.WriteAllText(File, $"process {Environment.ProcessId} on {Environment.MachineName}, since 2026-01-01 00:00:00.0000000 UTC, without locks");
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
        System.IO.File.WriteAllText(File, $"process {Environment.ProcessId} on {Environment.MachineName}, since 2026-01-01 00:00:00.0000000 UTC, without locks"); // left by a kill
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
