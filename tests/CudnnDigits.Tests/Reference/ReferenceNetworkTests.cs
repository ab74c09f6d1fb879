namespace CudnnDigits.Tests.Reference;

/// <summary>The yardstick itself: its backward passes against finite differences of its forward passes, all in double.</summary>
public class ReferenceNetworkTests
{
    private const double Delta = 1e-5;

    /// <summary>Central differences in double leave about Δ² ≈ 1e-10 of truncation and 1e-16/Δ ≈ 1e-11 of rounding.</summary>
    private const double Tolerance = 1e-6;

    public static TheoryData<string> Layers =>
        ["conv", "conv with bias, kernel 5", "batch norm", "max-pool 2", "max-pool 3", "dense", "everything"];

    [Theory]
    [MemberData(nameof(Layers))]
    public void Backward_agrees_with_finite_differences(string what)
    {
        Shape input = new(2, 8, 8);
        Layer[] body = what switch
        {
            "conv" => [new Conv2dLayer("conv", 2, 3, 3, 1, false)],
            "conv with bias, kernel 5" => [new Conv2dLayer("conv", 2, 3, 5, 0, true)],
            "batch norm" => [new BatchNorm2dLayer("bn", 2)],
            "max-pool 2" => [new MaxPool2dLayer("pool", 2)],
            "max-pool 3" => [new MaxPool2dLayer("pool", 3)],
            "dense" => [],
            _ => [new Conv2dLayer("conv", 2, 3, 3, 1, false), new BatchNorm2dLayer("bn", 3), new ReLULayer("relu"),
                new MaxPool2dLayer("pool", 2)],
        };
        int features = body.Aggregate(input, (shape, layer) => layer.Infer(shape)).Size;
        NetworkSpec network = new("test", input, [.. body, new FlattenLayer("flatten"), new LinearLayer("fc", features, 4)]);
        NetworkWeights weights = Initializer.Create(network, seed: 3);
        ReferenceNetwork reference = new(weights);
        Random random = new(1);
        double[] images = [.. Enumerable.Range(0, 3 * input.Size).Select(_ => random.NextDouble())];
        byte[] labels = [0, 3, 1];

        reference.ForwardBackward(images, labels);

        foreach (ParameterSlice slice in network.Parameters.Trained)
        {
            CheckDerivatives(slice.Name, reference.Parameters[slice.Name], reference.Gradients[slice.Name],
                () => reference.Loss(images, labels));
        }

        CheckDerivatives("input", images, reference.InputGradient, () => reference.Loss(images, labels));
    }

    public static TheoryData<string> Unseen => UnseenNetwork.Names;

    [Theory]
    [MemberData(nameof(Unseen))]
    public void Backward_of_an_odd_network_with_dropout_agrees_with_finite_differences(string name)
    {
        NetworkWeights weights = Initializer.Create(UnseenNetwork.All[name], seed: 3);
        ReferenceNetwork reference = new(weights, seed: 2);
        DigitDataset data = GeneratedDigits.Create(3, seed: 4);
        double[] images = Compare.Images(data, 3);
        byte[] labels = data.Labels.ToArray();
        reference.ForwardBackward(images, labels);
        foreach (ParameterSlice slice in weights.Network.Parameters.Trained)
        {
            CheckDerivatives(slice.Name, reference.Parameters[slice.Name], reference.Gradients[slice.Name],
                () => reference.Loss(images, labels));
        }
    }

    private static void CheckDerivatives(string name, double[] values, double[] gradient, Func<double> loss)
    {
        int stride = Math.Max(1, values.Length / 25);
        for (int i = 0; i < values.Length; i += stride)
        {
            double value = values[i];
            values[i] = value + Delta;
            double above = loss();
            values[i] = value - Delta;
            double below = loss();
            values[i] = value;
            double expected = (above - below) / (2 * Delta);
            Assert.True(Math.Abs(gradient[i] - expected) <= Tolerance * (1 + Math.Abs(expected)),
                $"{name}[{i}]: {gradient[i]}, finite difference {expected}");
        }
    }
}
