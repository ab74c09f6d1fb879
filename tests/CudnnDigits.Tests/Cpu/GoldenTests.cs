using CudnnDigits.Cpu;

namespace CudnnDigits.Tests.Cpu;

/// <summary>Both networks against PyTorch in float64: five Adam steps on one batch of 64.</summary>
public class GoldenTests
{
    public static TheoryData<string, int> Cases => new()
    {
        { "simple", 512 }, { "simple", 256 }, { "simple", 128 }, { "improved", 512 }, { "improved", 256 }, { "improved", 128 },
    };

    [Theory]
    [MemberData(nameof(Cases))]
    public void Five_steps_follow_PyTorch(string model, int vectorBits)
    {
        Golden golden = Golden.Load(model);
        using ITrainingBackend backend =
            CpuDevice.Create(golden.Start.Network, new BackendOptions(64, 0, AugmentationSpec.None), vectorBits);
        golden.AssertFollowedBy(backend, GoldenTolerance.Fp32);
    }

    [Theory]
    [InlineData("simple")]
    [LongData("improved")]
    public void The_reference_network_follows_PyTorch_to_double_precision(string model)
    {
        Golden golden = Golden.Load(model);
        ReferenceNetwork reference = new(golden.Start);
        double loss = reference.ForwardBackward(Compare.Images(golden.Data, 64), golden.Data.Labels.ToArray());
        Assert.Equal(golden.Losses[0], loss, 1e-9);
        foreach (ParameterSlice slice in golden.Start.Network.Parameters.Trained)
        {
            float[] gradient = Array.ConvertAll(reference.Gradients[slice.Name], value => (float)value);
            Compare.Close(gradient, golden.File.Doubles($"step0.grad.{slice.Name}"), 1e-6, slice.Name); // the file holds float32
        }
    }

    [Fact]
    public void Golden_images_are_the_first_rows_of_the_csv()
    {
        Golden golden = Golden.Load("simple");
        DigitDataset csv = SharedFiles.TrainingDigits;
        Assert.Equal(csv.Pixels[..golden.Data.Pixels.Length].ToArray(), golden.Data.Pixels.ToArray());
    }
}
