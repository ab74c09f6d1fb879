using System.Reflection;

namespace CudnnDigits.Cli.Terminal;

/// <summary>How a process was started.</summary>
internal sealed record Start(string Executable, string Folder, string WorkingDirectory, IReadOnlyList<string> SearchPath);

/// <summary>Command lines of this program that the user can copy: they start it as it was started, quoted for the user's shell.</summary>
internal static class ThisProgram
{
    public const string Name = "cudnn-digits";

    /// <summary>The beginning of a command line: "cudnn-digits", or "dotnet run --project src/CudnnDigits.Cli -c Release --".</summary>
    public static string Prefix { get; } =
        Assembly.GetEntryAssembly() == typeof(ThisProgram).Assembly && Environment.ProcessPath is { } executable
            ? Call(new Start(executable, AppContext.BaseDirectory, Environment.CurrentDirectory, SearchPath()), Shell.OfUser)
            : Name;

    /// <summary>A command line with arguments.</summary>
    public static string Command(params IEnumerable<string> arguments) =>
        string.Join(' ', arguments.Select(Shell.OfUser.Quote).Prepend(Prefix));

    /// <summary>The beginning of a command line for a given start and shell.</summary>
    public static string Call(Start start, Shell shell)
    {
        string folder = Path.TrimEndingDirectorySeparator(start.Folder), dll = Path.Combine(folder, Name + ".dll");
        if (ProjectOf(folder) is { } project)
        {
            string configuration = Path.GetRelativePath(project, folder).Split(Path.DirectorySeparatorChar)[1]; // bin/Release/net10.0
            string option = configuration == "Debug" ? "" : $" -c {shell.Quote(configuration)}";
            return $"dotnet run --project {shell.Quote(Shortest(project, start.WorkingDirectory))}{option} --";
        }

        if (Path.GetFileNameWithoutExtension(start.Executable) != "dotnet")
        {
            return start.SearchPath.Any(path => IsSame(path, start.Executable))
                ? Name
                : shell.QuoteProgram(Shortest(start.Executable, start.WorkingDirectory, isProgram: true));
        }

        // A local .NET tool is in the package cache, and "dotnet cudnn-digits" runs it.
        return folder.Split(Path.DirectorySeparatorChar).Contains("cudnndigits.tool", StringComparer.OrdinalIgnoreCase)
            ? $"dotnet {Name}"
            : $"dotnet {shell.Quote(Shortest(dll, start.WorkingDirectory))}";
    }

    private static string[] SearchPath() => Environment.GetEnvironmentVariable("PATH")?.Split(Path.PathSeparator) ?? [];

    /// <summary>The folder of the project that the program was built from. Null if it was published or installed.</summary>
    private static string? ProjectOf(string folder)
    {
        string? bin = folder;
        while (bin is not null && Path.GetFileName(bin) != "bin")
        {
            bin = Path.GetDirectoryName(bin);
        }

        return Path.GetDirectoryName(bin) is { } project && File.Exists(Path.Combine(project, "CudnnDigits.Cli.csproj"))
            && Path.GetFileName(folder) is not ("publish" or "native")
                ? project
                : null;
    }

    /// <summary>Whether the program's name, looked up in a folder of PATH, gives this file or a link to it.</summary>
    private static bool IsSame(string folder, string executable)
    {
        try
        {
            string found = Path.Combine(folder, Path.GetFileName(executable));
            return folder.Length > 0 && Path.GetFileNameWithoutExtension(executable) == Name && File.Exists(found)
                && (found == executable || new FileInfo(found).ResolveLinkTarget(returnFinalTarget: true)?.FullName == executable);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            return false; // PATH may contain anything
        }
    }

    /// <summary>A path as the user would type it here: relative if it is near.</summary>
    public static string Shortest(string path) => Shortest(path, Environment.CurrentDirectory);

    private static string Shortest(string path, string workingDirectory, bool isProgram = false)
    {
        string relative = Path.GetRelativePath(workingDirectory, path);
        return relative.StartsWith(Path.Combine("..", "..", ".."), StringComparison.Ordinal) ? path
            : isProgram && !relative.Contains(Path.DirectorySeparatorChar, StringComparison.Ordinal) ? Path.Combine(".", relative)
            : relative;
    }
}
