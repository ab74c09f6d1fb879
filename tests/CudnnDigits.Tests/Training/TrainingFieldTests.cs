using System.IO.Compression;
using CudnnDigits.Tests.Cli;
using CudnnDigits.Tests.Data;

namespace CudnnDigits.Tests.Training;

/// <summary>The one table of what a training can be told, and the files that earlier versions wrote without its younger fields.</summary>
public sealed partial class TrainingFieldTests : IDisposable
{
    /// <summary>
    /// A run of simple, one epoch from weights that are all 0 (so that the file is small), with --rotate 7 and --weight-decay 0.01,
    /// written before there were β₁, β₂ and ε.
    /// </summary>
    private static readonly string OldRun =
        Path.Combine(SharedFiles.RepositoryRoot, "tests/CudnnDigits.Tests/Training/Fixtures/run-0.1.0.zip");

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    /// <summary>Each value that options hold is in the table once: what the table lacks would not be saved.</summary>
    [Fact]
    public void The_table_has_every_property_of_the_options()
    {
        string[] flat = [.. Leaves(typeof(TrainingOptions)).Order()];
        Assert.Equal(flat, TrainingField.All.Select(field => field.Name).Order());

        static IEnumerable<string> Leaves(Type type) => type.GetProperties()
            .Where(property => property.SetMethod is { IsPublic: true } && !property.GetMethod!.IsStatic)
            .SelectMany(property => property.PropertyType.Name.EndsWith("Spec", StringComparison.Ordinal) ? Leaves(property.PropertyType)
                : [property.Name]);
    }

    /// <summary>Through run.json and back, each field apart, so that none is taken for another.</summary>
    [Fact]
    public void Every_field_comes_back_from_json()
    {
        TrainingOptions options = TrainingOptions.For("improved");
        foreach (TrainingField field in TrainingField.All)
        {
            string other = field.Name switch
            {
                "Model" => "simple",
                "Schedule" => "plateau",
                "KeepLast" => "true",
                "Shuffle" => "false",
                "Fold" or "Folds" or "Epochs" or "BatchSize" or "EarlyStop" or "Seed" => "3",
                _ => "0.25",
            };
            TrainingOptions changed = field.Parse(options, other)!;
            Assert.NotEqual(options, changed);
            string json = JsonSerializer.Serialize(changed, TrainingJson.Default.TrainingOptions);
            Assert.Equal(changed, JsonSerializer.Deserialize(json, TrainingJson.Default.TrainingOptions));
            Assert.Contains($"\"{field.JsonName}\":", json, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void The_header_of_C_has_every_real_number_in_the_order_of_the_table()
    {
        string header = File.ReadAllText(Path.Combine(SharedFiles.RepositoryRoot, "include/cudnn_digits.h"));
        string size = File.ReadAllText(Path.Combine(SharedFiles.RepositoryRoot, "src/CudnnDigits.Native/Structures.cs"));
        int begin = header.IndexOf("typedef struct cudnn_digits_training_options", StringComparison.Ordinal);
        string options = header[begin..header.IndexOf("} cudnn_digits_training_options;", StringComparison.Ordinal)];
        string[] names = [.. TrainingField.All.Where(field => field.IsReal && field.Option is not null).Select(field => field.JsonName)];
        Assert.Equal(names, Double().Matches(options).Select(match => match.Groups[1].Value));
        Assert.Contains($"[InlineArray({names.Length})]", size, StringComparison.Ordinal);
    }

    [Fact]
    public void An_option_s_help_says_its_default() =>
        Assert.All(TrainingField.All.Where(field => field.Option is not null),
            field => Assert.Matches(@"^[A-Z].*\. Default: \S.*\.$", field.HelpText));

    [Fact]
    public void A_run_of_the_version_before_resumes_as_that_version_would_have()
    {
        string run = Unpack();
        Assert.Equal(0, CliProgram.Invoke("train", "--resume", run, "--epochs", "2", "--quiet"));
        RunFolder folder = new(run);
        EpochRecord last = folder.ReadHistory()[^1];
        Assert.Equal(2, last.Epoch);
        Assert.Equal(2.3028250425119055, last.TrainLoss, 1e-9); // as the version before went on
        Assert.Equal(2.302620992339416, last.ValidationLoss!.Value, 1e-9);
        TrainingOptions options = folder.ReadRecord().Options;
        Assert.Equal(new OptimizerSpec { LearningRate = 3e-3, WeightDecay = 0.01 }, options.Optimizer);
        Assert.Equal(new AugmentationSpec(Rotate: 7), options.Augmentation);
    }

    [Fact]
    public void A_field_that_this_version_does_not_know_is_named()
    {
        string run = Unpack(), file = Path.Combine(run, "run.json");
        string text = RunFiles.WithoutSum(File.ReadAllText(file));
        File.WriteAllText(file, text.Replace("\"zoom\": 0", "\"zoom\": 0, \"no_such_field\": 3", StringComparison.Ordinal));
        DataSourceTests.AssertRefused("options.no_such_field", () => new RunFolder(run).ReadRecord());
    }

    private string Unpack()
    {
        ZipFile.ExtractToDirectory(OldRun, _folder["run"]);
        return _folder["run"];
    }

    [GeneratedRegex(@"^    double (\w+);", RegexOptions.Multiline)]
    private static partial Regex Double();
}
