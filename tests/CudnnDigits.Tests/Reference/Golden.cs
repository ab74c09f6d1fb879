using CudnnDigits.Data;
using CudnnDigits.Model;

namespace CudnnDigits.Tests.Reference;

/// <summary>A PyTorch reference: one batch, the start, and what five steps made of it.</summary>
internal sealed record Golden(SafeTensors File, NetworkWeights Start, DigitDataset Data, double[] Losses)
{
    public static Golden Load(string model)
    {
        SafeTensors file = SafeTensors.Read(SharedFiles.Path($"golden/{model}.safetensors"));
        NetworkSpec network = DigitNetworks.Find(model)!.WithDropout(0);
        NetworkWeights start = new(network);
        foreach (ParameterSlice slice in network.Parameters.Trained.Concat(network.Parameters.Statistics))
        {
            file.Floats($"init.{slice.Name}").CopyTo(start.Slice(slice));
        }

        byte[] pixels = Array.ConvertAll(file.Floats("input.images"), value => (byte)MathF.Round(value * 255));
        byte[] labels = Array.ConvertAll(file.Integers("input.labels"), value => (byte)value);
        return new Golden(file, start, new DigitDataset("golden batch", pixels, labels), file.Doubles("losses"));
    }
}
