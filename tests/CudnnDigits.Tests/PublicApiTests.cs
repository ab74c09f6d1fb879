using System.Runtime.CompilerServices;
using CudnnDigits.Inference;
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
        string path = Path.Combine(Path.GetDirectoryName(ThisFile())!, "PublicApi.txt");
        string api = typeof(DigitClassifier).Assembly.GeneratePublicApi(new ApiGeneratorOptions { IncludeAssemblyAttributes = false }).ReplaceLineEndings("\n") + "\n";
        if (Environment.GetEnvironmentVariable("CUDNN_DIGITS_ACCEPT_API") == "1")
        {
            File.WriteAllText(path, api);
        }

        Assert.SkipUnless(File.Exists(path), "the sources are not on this machine");
        Assert.Equal(File.ReadAllText(path), api);
    }

    private static string ThisFile([CallerFilePath] string path = "") => path;
}
