using System.Reflection;
using System.Xml.Linq;

namespace CudnnDigits.Tests.Api;

/// <summary>The XML docs as the package has them: what an editor shows beside every name.</summary>
public class DocumentationTests
{
    private static readonly XDocument Docs = XDocument.Load(Path.ChangeExtension(typeof(DigitClassifier).Assembly.Location, "xml"));

    [Fact]
    public void Examples_are_compiled_and_every_main_entry_has_one()
    {
        string compiled = Lines(File.ReadAllText(Path.Combine(SharedFiles.RepositoryRoot, "tests/CudnnDigits.Tests/Api/Examples.cs")));
        (string Member, string Code)[] examples =
            [.. Docs.Descendants("example").Elements("code")
            .Select(code => (code.Ancestors("member").Single().Attribute("name")!.Value, Lines(code.Value)))];
        Assert.All(examples, example => Assert.Contains(example.Code, compiled, StringComparison.Ordinal));
        string[] mainEntries =
        [
            "T:CudnnDigits.Data.DigitDataset", "T:CudnnDigits.DigitTrainer", "M:CudnnDigits.DigitTrainer.Train(",
            "T:CudnnDigits.Training.TrainingOptions",
            "M:CudnnDigits.DigitClassifier.Read(", "M:CudnnDigits.DigitClassifier.Enqueue(", "M:CudnnDigits.DigitClassifier.Evaluate(",
        ];
        Assert.All(mainEntries, entry => Assert.Contains(examples, example => example.Member.StartsWith(entry, StringComparison.Ordinal)));
    }

    [Fact]
    public void Docs_of_what_is_public_refer_to_nothing_that_is_not()
    {
        HashSet<string> open = [.. Docs.Descendants("member").Select(member => member.Attribute("name")!.Value).Where(IsPublic)];
        var hidden =
            from member in Docs.Descendants("member")
            where open.Contains(member.Attribute("name")!.Value)
            from reference in member.Descendants().Attributes("cref")
            where reference.Value[2..].StartsWith("CudnnDigits.", StringComparison.Ordinal) && !open.Contains(reference.Value)
            select $"{member.Attribute("name")!.Value} refers to {reference.Value}";
        Assert.Contains("T:CudnnDigits.DigitClassifier", open);
        Assert.Contains("P:CudnnDigits.Training.TrainingOptions.Epochs", open);
        Assert.Empty(hidden);
    }

    /// <summary>Whether a name of the docs stands for a public type, or for a public member of one.</summary>
    private static bool IsPublic(string name)
    {
        const BindingFlags Public = BindingFlags.Public | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly;
        string path = name[2..].Split('(')[0];
        if (name[0] == 'T')
        {
            return Find(path)?.IsVisible ?? false;
        }

        int dot = path.LastIndexOf('.');
        return Find(path[..dot]) is { IsVisible: true } type
            && type.GetMember(path[(dot + 1)..].Replace("#ctor", ".ctor", StringComparison.Ordinal), Public).Length > 0;

        static Type? Find(string type) => typeof(DigitClassifier).Assembly.GetType(type);
    }

    /// <summary>The text's lines, without what they are indented by.</summary>
    private static string Lines(string text) => string.Join('\n', text.Trim().Split('\n').Select(line => line.Trim()));
}
