namespace CudnnDigits.Cli;

/// <summary>The user's cache folder, as the platform defines it: for files that can be made again.</summary>
internal static class CacheFolder
{
    /// <summary>This program's folder for one kind of files. It need not exist.</summary>
    public static string Of(string kind)
    {
        string home = Folder(Environment.SpecialFolder.UserProfile);
        string cache = OperatingSystem.IsWindows() ? Folder(Environment.SpecialFolder.LocalApplicationData)
            : OperatingSystem.IsMacOS() ? Path.Combine(home, "Library", "Caches")
            : Environment.GetEnvironmentVariable("XDG_CACHE_HOME") is { } xdg && Path.IsPathRooted(xdg) ? xdg // relative ones do not count
            : Path.Combine(home, ".cache");
        return Path.Combine(cache, "cudnn-digits", kind);

        static string Folder(Environment.SpecialFolder folder) =>
            Environment.GetFolderPath(folder, Environment.SpecialFolderOption.DoNotVerify);
    }
}
