namespace CudnnDigits.Tests;

/// <summary>The networks of the program are declared in one file, and everything else enumerates them.</summary>
public class DigitNetworksTests
{
    public static TheoryData<string> Names => [.. DigitNetworks.Names];

    [Fact]
    public void The_program_names_networks_in_one_file()
    {
        string source = Path.Combine(SharedFiles.RepositoryRoot, "src"), names = string.Join('|', DigitNetworks.Names);
        Regex named = new("""DigitNetworks\.(?!Names|Default|All|Find|ForEach)\w+"""
            + $"""|["'`]({names})["'`]|--model(s)? ({names})|\b({names}) or ({names})\b""");
        string[] files = [.. Directory.EnumerateFiles(source, "*.cs", SearchOption.AllDirectories)
            .Where(file => !Path.GetRelativePath(source, file).Split(Path.DirectorySeparatorChar)
                .Any(part => part is "obj" or "bin"))
            .Where(file => Path.GetFileName(file) != "DigitNetworks.cs")];
        Assert.True(files.Length > 100, $"{files.Length} files");
        foreach (string file in files)
        {
            string? line = File.ReadLines(file)
                .FirstOrDefault(line => !line.TrimStart().StartsWith("//", StringComparison.Ordinal) && named.IsMatch(line));
            Assert.True(line is null, $"{file} names a network: {line}");
        }
    }

    [Fact]
    public void Networks_that_are_alike_are_named_in_a_list()
    {
        string names = string.Join(", ", DigitNetworks.Names[..^1]);
        Assert.Equal($"3 for {names} and {DigitNetworks.Names[^1]}", DigitNetworks.ForEach(_ => 3));
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Each_has_a_name_of_its_own_and_is_of_the_family_that_backends_run(string name)
    {
        NetworkSpec network = DigitNetworks.Find(name)!;
        Assert.Single(DigitNetworks.Names, name);
        Assert.Equal(network.Layers.Count, network.Layers.Select(layer => layer.Name).Distinct().Count());
        Assert.NotEmpty(new BlockPlan(network).Denses);
        Assert.Contains(DigitNetworks.Default, DigitNetworks.All);
        Assert.Equal(network.Training.Epochs, TrainingOptions.For(name).Epochs);
    }
}
