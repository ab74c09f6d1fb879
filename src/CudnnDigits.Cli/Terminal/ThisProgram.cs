using System.Reflection;

namespace CudnnDigits.Cli.Terminal;

/// <summary>How a process was started, as far as it can be seen.</summary>
/// <param name="Executable">The file that runs: the program itself, the tool's shim, or dotnet.</param>
/// <param name="Folder">The folder of the program's assembly.</param>
/// <param name="WorkingDirectory">Where relative paths begin.</param>
/// <param name="SearchPath">The folders in which the shell looks for a command.</param>
internal sealed record Start(string Executable, string Folder, string WorkingDirectory, IReadOnlyList<string> SearchPath);

/// <summary>
/// Command lines of this program that the reader can run as they stand: by the means by which it was started, quoted for the
/// reader's shell. Every message that names a command takes it from here.
/// </summary>
internal static class ThisProgram
{
    /// <summary>Its name, for messages and where nothing better is known.</summary>
    public const string Name = "cudnn-digits";

    private static readonly Lazy<string> Started = new(() => Assembly.GetEntryAssembly() == typeof(ThisProgram).Assembly && Environment.ProcessPath is { } executable
        ? Call(new Start(executable, AppContext.BaseDirectory, Environment.CurrentDirectory, Environment.GetEnvironmentVariable("PATH")?.Split(Path.PathSeparator) ?? []), Shell.OfUser)
        : Name);

    /// <summary>What stands before the arguments: "cudnn-digits", or "dotnet run --project src/CudnnDigits.Cli -c Release --".</summary>
    public static string Prefix => Started.Value;

    /// <summary>A whole command line.</summary>
    public static string Command(params IEnumerable<string> arguments) => string.Join(' ', arguments.Select(Shell.OfUser.Quote).Prepend(Prefix));

    /// <summary>The same for a given start and shell.</summary>
    public static string Call(Start start, Shell shell)
    {
        string folder = Path.TrimEndingDirectorySeparator(start.Folder), dll = Path.Combine(folder, Name + ".dll");
        if (ProjectOf(folder) is { } project)
        {
            string configuration = folder.Split(Path.DirectorySeparatorChar).SkipWhile((part, i) => i < project.Split(Path.DirectorySeparatorChar).Length + 1).First();
            return $"dotnet run --project {shell.Quote(Shortest(project, start.WorkingDirectory))}{(configuration == "Debug" ? "" : $" -c {shell.Quote(configuration)}")} --";
        }

        if (Path.GetFileNameWithoutExtension(start.Executable) != "dotnet")
        {
            return start.SearchPath.Any(path => IsSame(path, start.Executable)) ? Name : shell.QuoteProgram(Shortest(start.Executable, start.WorkingDirectory, isProgram: true));
        }

        // A tool that a repository's manifest names lies in the packages' cache, and "dotnet cudnn-digits" runs it.
        return folder.Contains($"{Path.DirectorySeparatorChar}cudnndigits.tool{Path.DirectorySeparatorChar}", StringComparison.OrdinalIgnoreCase)
            ? $"dotnet {Name}"
            : $"dotnet {shell.Quote(Shortest(dll, start.WorkingDirectory))}";
    }

    /// <summary>The project below whose bin folder the program was built to be run, not published; null where there is none.</summary>
    private static string? ProjectOf(string folder)
    {
        for (string? below = folder, above = Path.GetDirectoryName(folder); above is not null; (below, above) = (above, Path.GetDirectoryName(above)))
        {
            if (Path.GetFileName(below) == "bin")
            {
                return File.Exists(Path.Combine(above, "CudnnDigits.Cli.csproj")) && Path.GetFileName(folder) is not ("publish" or "native") ? above : null;
            }
        }

        return null;
    }

    /// <summary>Whether the shell, asked for the program by its name, finds this file in that folder, or a link to it.</summary>
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
            return false; // PATH may name anything
        }
    }

    /// <summary>A path as it would be typed here.</summary>
    public static string Shortest(string path) => Shortest(path, Environment.CurrentDirectory);

    /// <summary>A path as it would be typed.</summary>
    private static string Shortest(string path, string workingDirectory, bool isProgram = false)
    {
        string relative = Path.GetRelativePath(workingDirectory, path);
        return relative.StartsWith(Path.Combine("..", "..", ".."), StringComparison.Ordinal) ? path
            : isProgram && !relative.Contains(Path.DirectorySeparatorChar, StringComparison.Ordinal) ? Path.Combine(".", relative)
            : relative;
    }
}
