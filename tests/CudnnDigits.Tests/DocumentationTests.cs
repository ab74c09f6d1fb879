namespace CudnnDigits.Tests;

/// <summary>README, docs and the other pages: their links, their command lines, their listings and their length.</summary>
public partial class DocumentationTests
{
    private const int LongestLine = 140;

    /// <summary>Every page, by its path from the root of the repository.</summary>
    public static TheoryData<string> Pages => [.. Files("*.md").Order(StringComparer.Ordinal)];

    [Theory, MemberData(nameof(Pages))]
    public void Its_links_lead_to_files_and_headings(string page)
    {
        string folder = Path.GetDirectoryName(page)!;
        foreach (Match link in Link().Matches(Prose(page)).Where(link => !link.Groups[1].Value.Contains("://", StringComparison.Ordinal)))
        {
            string[] parts = link.Groups[1].Value.Split('#');
            string target = parts[0].Length == 0 ? page : Path.Combine(folder, parts[0]);
            Assert.True(Path.Exists(Full(target)), $"{page}: there is no {target}");
            Assert.True(parts.Length == 1 || Anchors(target).Contains(parts[1]),
                $"{page}: no heading has the anchor of {link.Groups[1].Value}");
        }
    }

    /// <summary>Lines fit a window, and the pages that people read first stay short.</summary>
    [Theory, MemberData(nameof(Pages))]
    public void It_is_no_longer_than_it_may_be(string page)
    {
        string[] lines = File.ReadAllLines(Full(page));
        Assert.All(lines, (line, index) => Assert.True(line.Length <= LongestLine, $"{page}, line {index + 1}: {line.Length} characters"));
        int most = page switch
        {
            "README.md" => 200,
            "docs/architecture.md" => 120,
            "docs/performance.md" => 250,
            _ when page.StartsWith("docs/decisions/", StringComparison.Ordinal) => 30,
            _ => int.MaxValue,
        };
        Assert.InRange(lines.Length, 1, most);
    }

    [Theory, InlineData("src"), InlineData("native/kernels"), InlineData("tests"), InlineData("benchmarks"), InlineData("samples")]
    public void Lines_of_sources_fit_a_window(string folder)
    {
        IEnumerable<string> files = Directory.EnumerateFiles(Full(folder), "*.c*", SearchOption.AllDirectories)
            .Where(file => Path.GetExtension(file) is ".cs" or ".cu" or ".cuh" or ".cpp" or ".c" && !Generated().IsMatch(file));
        Assert.Empty(
            from file in files
            from line in File.ReadLines(file).Index()
            where line.Item.Length > LongestLine
            select $"{file}:{line.Index + 1}");
    }

    /// <summary>A command that is to be typed stands in a block, where scripts/run-readme sees it.</summary>
    [Theory, MemberData(nameof(Pages))]
    public void It_has_its_commands_in_blocks(string page) =>
        Assert.DoesNotMatch("`dotnet (add|pack|tool|run|publish|build|nuget)[^`]", Prose(page));

    /// <summary>The script says for each line whether it is run, or why not. It fails if it names a line that no page has.</summary>
    [Fact]
    public void Command_lines_are_run_or_are_known_not_to_be()
    {
        Assert.SkipUnless(FileNodes.Run("python3", "-c", ""), "there is no python3");
        using Process script = Process.Start(new ProcessStartInfo("python3", [Full("scripts/run-readme"), "--list"])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        })!;
        string[] lines = script.StandardOutput.ReadToEnd().TrimEnd().Split('\n');
        script.WaitForExit();
        Assert.True(script.ExitCode == 0, script.StandardError.ReadToEnd());
        Assert.All(lines, line => Assert.Matches("^(run|not here: .+)\t", line));
        Assert.Contains("run\tREADME.md\tdotnet run --project src/CudnnDigits.Cli -c Release -- train", lines);
        Assert.InRange(lines.Count(line => line.StartsWith("not here", StringComparison.Ordinal)), 1, lines.Length / 3);
    }

    [Fact]
    public void Readme_names_every_command()
    {
        string text = File.ReadAllText(Full("README.md"));
        string[] commands = [.. Cli.CliProgram.Run("--help").Output.Split('\n')
            .SkipWhile(line => !line.StartsWith("Commands:", StringComparison.Ordinal)).Skip(1)
            .TakeWhile(line => line.StartsWith("  ", StringComparison.Ordinal))
            .Select(line => line.Trim().Split(' ')[0]).Where(word => word.Length > 0)];
        Assert.Contains("export", commands);
        Assert.All(commands, command => Assert.Contains($"| `{command}` |", text, StringComparison.Ordinal));
    }

    /// <summary>Every sample is linked, and every listing is a part of a sample, which scripts/run-samples builds and runs.</summary>
    [Fact]
    public void Embedding_shows_the_samples()
    {
        const string Page = "docs/embedding.md";
        string[] samples = [.. new[] { "*.cs", "*.cpp", "*.py" }.SelectMany(Files)
            .Where(file => file.StartsWith("samples/", StringComparison.Ordinal) && !file.Contains("/obj/", StringComparison.Ordinal))];
        Assert.Equal(6, samples.Length);
        Assert.All(samples, sample => Assert.Contains($"(../{sample})", Prose(Page), StringComparison.Ordinal));

        string[] texts = [.. samples.Select(sample => Unindented(File.ReadAllText(Full(sample))))];
        string[] listings = [.. Listing().Matches(File.ReadAllText(Full(Page))).Select(match => Unindented(match.Groups[1].Value))];
        Assert.InRange(listings.Length, 3, 20);
        Assert.All(listings, listing => Assert.Contains(texts, text => text.Contains(listing, StringComparison.Ordinal)));
    }

    /// <summary>The map leads somewhere: every type, folder and kernel file that it names exists.</summary>
    [Fact]
    public void Architecture_names_what_exists()
    {
        string[] names = [.. Name().Matches(Prose("docs/architecture.md")).Select(match => match.Groups[1].Value).Distinct()];
        string source = string.Concat(Directory.GetFiles(Full("src"), "*.cs", SearchOption.AllDirectories).Select(File.ReadAllText));
        HashSet<string> folders = [.. new[] { "src", "tests" }.SelectMany(root =>
            Directory.GetDirectories(Full(root), "*", SearchOption.AllDirectories)).Select(folder => Path.GetFileName(folder))];
        Assert.InRange(names.Length, 30, 200);
        Assert.All(names, name => Assert.True(
            char.IsLower(name[0]) ? name.Contains(".cu", StringComparison.Ordinal) ? File.Exists(Full($"native/kernels/{name}"))
                : Directory.Exists(Full(name))
            : folders.Contains(name) || Regex.IsMatch(source, $@"\b(class|record|struct|interface|enum) {name.Split('.')[0]}\b"),
            $"docs/architecture.md names {name}, which is nowhere"));
    }

    /// <summary>A type with or without a member, a kernel file, or a folder.</summary>
    [GeneratedRegex(@"`([A-Z]\w+(?:\.\w+)?|[\w/]+\.cuh?|(?:src|native|tests|include|benchmarks|samples|scripts)(?:/[\w./]+)?)`")]
    private static partial Regex Name();

    [GeneratedRegex(@"\]\(([^)\s]+)\)")]
    private static partial Regex Link();

    [GeneratedRegex(@"^```(?:csharp|cpp|python)\n(.*?)^```", RegexOptions.Singleline | RegexOptions.Multiline)]
    private static partial Regex Listing();

    [GeneratedRegex("^```.*?^```", RegexOptions.Singleline | RegexOptions.Multiline)]
    private static partial Regex Block();

    private static string Full(string file) => Path.Combine(SharedFiles.RepositoryRoot, file);

    private static IEnumerable<string> Files(string pattern) => new[] { "", "docs", "samples" }.SelectMany(folder =>
        Directory.GetFiles(Full(folder), pattern, folder.Length == 0 ? SearchOption.TopDirectoryOnly : SearchOption.AllDirectories)
            .Select(file => Path.GetRelativePath(SharedFiles.RepositoryRoot, file).Replace('\\', '/')));

    [GeneratedRegex(@"[/\\](bin|obj|build|runs|packages)[/\\]")]
    private static partial Regex Generated();

    private static string Prose(string page) => Block().Replace(File.ReadAllText(Full(page)), "");

    private static string Unindented(string code) => string.Join('\n', code.Split('\n').Select(line => line.Trim()));

    /// <summary>The anchors that GitHub gives the headings of a page.</summary>
    private static HashSet<string> Anchors(string page) =>
        [.. Prose(page).Split('\n').Where(line => line.StartsWith('#')).Select(line => new string(
            [.. line.TrimStart('#').Trim().ToLowerInvariant().Where(c => char.IsLetterOrDigit(c) || c is ' ' or '-' or '_')])
                .Replace(' ', '-'))];
}
