using PublicApiGenerator;

namespace CudnnDigits.Tests;

public class PublicApiTests
{
    /// <summary>
    /// PublicApi.txt beside this file is what others build on. Where a change to it is meant, let it be seen in the same
    /// commit: CUDNN_DIGITS_ACCEPT_API=1 writes the file anew.
    /// </summary>
    [Fact]
    public void Nothing_public_changes_unnoticed()
    {
        string path = Path.Combine(SharedFiles.RepositoryRoot, "tests/CudnnDigits.Tests/PublicApi.txt");
        string api = typeof(DigitClassifier).Assembly.GeneratePublicApi(new ApiGeneratorOptions { IncludeAssemblyAttributes = false })
            .ReplaceLineEndings("\n") + "\n";
        if (Environment.GetEnvironmentVariable("CUDNN_DIGITS_ACCEPT_API") == "1")
        {
            File.WriteAllText(path, api);
        }

        Assert.Equal(File.ReadAllText(path), api);
    }
}
