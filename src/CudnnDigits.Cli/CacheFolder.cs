namespace CudnnDigits.Cli;

/// <summary>Where what can be had again is kept: the user's cache folder, as the platform has it.</summary>
internal static class CacheFolder
{
    /// <summary>This program's folder for one kind of things; whether it exists is seen when something is written there.</summary>
    public static string Of(string kind)
    {
        string home = Folder(Environment.SpecialFolder.UserProfile);
        string cache = OperatingSystem.IsWindows()
            ? Folder(Environment.SpecialFolder.LocalApplicationData)
            : OperatingSystem.IsMacOS()
                ? Path.Combine(home, "Library", "Caches")
                : Environment.GetEnvironmentVariable("XDG_CACHE_HOME") is { } xdg && Path.IsPathRooted(xdg) ? xdg : Path.Combine(home, ".cache"); // the specification has relative paths ignored
        return Path.Combine(cache, "cudnn-digits", kind);

        static string Folder(Environment.SpecialFolder folder) => Environment.GetFolderPath(folder, Environment.SpecialFolderOption.DoNotVerify);
    }
}
