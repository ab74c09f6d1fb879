using CudnnDigits.Tests.Data;

namespace CudnnDigits.Tests.Runs;

public sealed class CheckpointTests : TestsWithFolder
{
    public static TheoryData<string> Networks => [.. DigitNetworks.Names];

    [Theory]
    [InlineData("simple", 225_034)]
    [InlineData("improved", 870_826)]
    [InlineData("mlp", 535_818)]
    public void Weights_come_back_bit_by_bit_and_name_their_network(string model, int parameters)
    {
        NetworkWeights weights = Initializer.Create(DigitNetworks.Find(model)!, 3);
        Assert.Equal(parameters, weights.Trained.Length);
        Checkpoint.SaveWeights(_folder["w"], weights, steps: 12);
        (NetworkWeights back, IReadOnlyDictionary<string, string> metadata, _) = Checkpoint.LoadWeights(_folder["w"]);
        Assert.Equal(model, back.Network.Name);
        Assert.Equal(weights.Trained, back.Trained);
        Assert.Equal(weights.Statistics, back.Statistics);
        Assert.Equal("pixel/255", metadata["input_scaling"]);
        Assert.Equal("pt", metadata["format"]);
        SafeTensors file = SafeTensors.Read(_folder["w"]);
        Assert.Equal(model == "improved" ? [12L] : null, file.Names.Contains("bn1.num_batches_tracked")
            ? file.Integers("bn1.num_batches_tracked") : null);
        Assert.Equal(model == "mlp" ? [512L, 784L] : [32L, 1L, 3L, 3L], file.Shape(weights.Network.Parameters.Trained[0].Name)!);
    }

    [Theory]
    [MemberData(nameof(Networks))]
    public void A_file_from_PyTorch_is_recognised_by_names_and_shapes(string model)
    {
        NetworkWeights weights = Initializer.Create(DigitNetworks.Find(model)!, 3);
        SafeTensors.Write(_folder["w"], [], Tensors(weights)); // no metadata of ours
        NetworkWeights back = Checkpoint.LoadWeights(_folder["w"]).Weights;
        Assert.Equal(model, back.Network.Name);
        Assert.Equal(weights.Trained, back.Trained);
    }

    [Fact]
    public void Initial_weights_are_PyTorchs_in_range_and_differ_by_seed()
    {
        NetworkWeights weights = Initializer.Create(DigitNetworks.Improved, 3);
        float bound = 1 / MathF.Sqrt(64 * 9);
        Assert.InRange(weights["conv4.weight"].ToArray().Max(MathF.Abs), 0.99f * bound, bound);
        Assert.InRange(weights["fc1.bias"].ToArray().Max(MathF.Abs), 0.95f / MathF.Sqrt(3136), 1 / MathF.Sqrt(3136));
        Assert.Equal(bound / MathF.Sqrt(3), MathF.Sqrt(weights["conv4.weight"].ToArray().Average(w => w * w)), 1e-3f);
        Assert.All(weights["bn1.weight"].ToArray(), value => Assert.Equal(1, value));
        Assert.All(weights["bn1.running_var"].ToArray(), value => Assert.Equal(1, value));
        Assert.NotEqual(weights.Trained, Initializer.Create(DigitNetworks.Improved, 4).Trained);
    }

    [Fact]
    public void Bad_weights_are_refused()
    {
        string path = _folder["w"];
        NetworkWeights weights = Initializer.Create(DigitNetworks.Simple, 0);
        Checkpoint.SaveWeights(path, weights, 0);
        byte[] good = File.ReadAllBytes(path);

        Refused("another network's weights", () => Checkpoint.LoadWeights(path, DigitNetworks.Improved));
        Refused("no such file", () => Checkpoint.LoadWeights(_folder["absent"]));
        Refused("shorter than", () => Load([1, 2, 3]));
        Refused("claims a header of 9223372036854775807 bytes", () => Load([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, .. good[8..]]));
        Refused("not a safetensors file", () => Load(Encoding.ASCII.GetBytes(new string('x', 5000))));
        Refused("does not fit the file", () => Load(good[..^1000]));
        Refused("does not fit the file",
            () => Load(Header("""{"conv1.weight":{"dtype":"F32","shape":[4000000000,4000000000,4000000000],"data_offsets":[0,4]}}""", 4)));
        Refused("does not fit the file", () => Load(Header("""{"conv1.weight":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}""", 4)));
        Refused("header is not what", () => Load(Header("""{"conv1.weight":{"shape":[1]}}""", 4)));
        Refused("header is not what", () => Load(Header("[1,2]", 4)));
        Refused("no network of this program", () => Load(Header("{}", 0)));

        weights["conv2.bias"][5] = float.NaN;
        Checkpoint.SaveWeights(path, weights, 0);
        Refused("tensor conv2.bias holds NaN", () => Checkpoint.LoadWeights(path));
        NetworkWeights improved = Initializer.Create(DigitNetworks.Improved, 0);
        Checkpoint.SaveWeights(path, improved, 0);
        Refused("holds weights but no training state", () => Checkpoint.LoadState(path, DigitNetworks.Improved));
        improved["bn2.running_var"][1] = -1;
        Checkpoint.SaveWeights(path, improved, 0);
        Refused("negative variance", () => Checkpoint.LoadWeights(path));
    }

    private static NamedTensor[] Tensors(NetworkWeights weights) =>
        [.. weights.Network.Parameters.Trained.Concat(weights.Network.Parameters.Statistics)
            .Select(slice => new NamedTensor(slice.Name, slice.Shape, weights.Slice(slice).ToArray()))];

    private static void Refused(string says, Action action) => DataSourceTests.AssertRefused(says, action);

    private static byte[] Header(string json, int data) =>
        [.. BitConverter.GetBytes((long)json.Length), .. Encoding.ASCII.GetBytes(json), .. new byte[data]];

    private void Load(byte[] bytes) => Checkpoint.LoadWeights(_folder.Write("bad", bytes));
}
