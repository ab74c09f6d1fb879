namespace CudnnDigits.Tests.Reference;

/// <summary>Signals that a test sends to a program that it starts.</summary>
internal static class Signals
{
    private static readonly Dictionary<string, bool> Arrives = [];

    /// <summary>
    /// Skips the test where programs that it starts would be deaf to a signal: nohup and the background jobs of scripts have theirs
    /// ignored, and programs leave it at that.
    /// </summary>
    public static void Require(params IEnumerable<string> names)
    {
        foreach (string name in names.Distinct())
        {
            lock (Arrives)
            {
                if (!Arrives.TryGetValue(name, out bool arrives))
                {
                    Arrives[name] = arrives = FileNodes.Run("sh", "-c", $"trap 'exit 0' {name}; kill -{name} $$; exit 1");
                }

                Assert.SkipUnless(arrives, $"SIG{name} is ignored here, as by nohup or in a script's background job; run the tests in the foreground");
            }
        }
    }
}
