namespace CudnnDigits.Tests.Reference;

/// <summary>Tests that write files: each has a folder of its own, which is deleted after it.</summary>
public abstract class TestsWithFolder : IDisposable
{
    private protected readonly TemporaryFolder _folder = new();

    public void Dispose()
    {
        _folder.Dispose();
        GC.SuppressFinalize(this);
    }
}
