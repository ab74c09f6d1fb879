namespace CudnnDigits.Tests.Reference;

/// <summary>
/// Real digits and PyTorch's references, which are not part of the repository; tests that need them skip where they are absent.
/// </summary>
internal static class SharedFiles
{
    private static readonly Lazy<DigitDataset> Training = new(() => DataSource.Open(Path("data/train.csv"), DataPart.Training));

    /// <summary>All 42,000 labelled digits.</summary>
    public static DigitDataset TrainingDigits => Training.Value;

    /// <summary>A file under CUDNN_DIGITS_SHARED, or ../shared beside the repository; skips the test where it is absent.</summary>
    public static string Path(string name)
    {
        string root = Environment.GetEnvironmentVariable("CUDNN_DIGITS_SHARED") ?? System.IO.Path.Combine(RepositoryRoot, "..", "shared");
        string path = System.IO.Path.GetFullPath(System.IO.Path.Combine(root, name));
        bool exists = File.Exists(path);
        Assert.True(exists || Environment.GetEnvironmentVariable("CUDNN_DIGITS_REQUIRE_SHARED") != "1", $"{path} is required but absent");
        Assert.SkipUnless(exists, "real digits or PyTorch's references are absent; CUDNN_DIGITS_SHARED names the folder that holds them, "
            + "as data/train.csv and golden/");
        return path;
    }

    public static string RepositoryRoot
    {
        get
        {
            string folder = AppContext.BaseDirectory;
            while (!File.Exists(System.IO.Path.Combine(folder, "CudnnDigits.sln")))
            {
                folder = System.IO.Path.GetDirectoryName(folder)
                    ?? throw new InvalidOperationException("the tests do not run inside the repository");
            }

            return folder;
        }
    }
}
