namespace CudnnDigits.Tests.Reference;

/// <summary>Files that are not regular files, made in a scratch folder.</summary>
internal static class FileNodes
{
    /// <summary>Makes a FIFO; skips the test where there are none.</summary>
    public static string Fifo(string path)
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "needs mkfifo");
        Assert.True(Run("mkfifo", path), "mkfifo failed");
        return path;
    }

    /// <summary>Makes a device node, as /dev/null (3) or /dev/full (7) is; skips the test where that is not allowed.</summary>
    public static string Memory(string path, int minor)
    {
        Assert.SkipUnless(OperatingSystem.IsLinux() && Run("mknod", path, "c", "1", $"{minor}"), "mknod needs root, on Linux");
        Assert.SkipUnless(Opens(path), "devices do not work here");
        return path;
    }

    /// <summary>What a file is, not what it leads to.</summary>
    public static FileKind Kind(string path) => Posix.Status(path, follow: false).Kind;

    public static bool Run(string program, params string[] arguments)
    {
        try
        {
            using Process process =
                Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
            process.WaitForExit();
            return process.ExitCode == 0;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return false;
        }
    }

    private static bool Opens(string path)
    {
        try
        {
            using FileStream device = new(path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite);
            return true;
        }
        catch (UnauthorizedAccessException)
        {
            return false; // a file system that is mounted without devices
        }
    }
}
