using CudnnDigits.Data;

namespace CudnnDigits.Model;

/// <summary>
/// The digit networks: 28×28 pixels (pixel/255) in, ten logits out. This is the only place that names them; everything else
/// enumerates <see cref="All"/> or takes <see cref="Default"/>.
/// </summary>
internal static class DigitNetworks
{
    private static readonly Shape Digit = new(1, 28, 28);

    /// <summary>The simple CNN of the university report; 225,034 parameters.</summary>
    public static NetworkSpec Simple { get; } = new("simple", Digit,
    [
        new Conv2dLayer("conv1", 1, 32, Kernel: 3, Padding: 0, Bias: true), new ReLULayer("relu1"), new MaxPool2dLayer("pool1", 2),
        new Conv2dLayer("conv2", 32, 64, Kernel: 3, Padding: 0, Bias: true), new ReLULayer("relu2"), new MaxPool2dLayer("pool2", 2),
        new FlattenLayer("flatten"), new LinearLayer("fc1", 1600, 128), new ReLULayer("relu3"), new LinearLayer("fc2", 128, 10),
    ])
    {
        Training = new(Epochs: 5, BatchSize: 64, AugmentationSpec.None),
        Report = new(LowersRate: false, Augmented: false, TrainingAccuracy: 0.9912, ValidationAccuracy: 0.9854, KaggleScore: 0.98585),
    };

    /// <summary>The improved CNN of the university report: more layers, batch normalization, dropout; 870,826 parameters.</summary>
    public static NetworkSpec Improved { get; } = new("improved", Digit,
    [
        new Conv2dLayer("conv1", 1, 32, Kernel: 3, Padding: 1, Bias: false), new BatchNorm2dLayer("bn1", 32), new ReLULayer("relu1"),
        new Conv2dLayer("conv2", 32, 32, Kernel: 3, Padding: 1, Bias: false), new BatchNorm2dLayer("bn2", 32), new ReLULayer("relu2"),
        new MaxPool2dLayer("pool1", 2), new DropoutLayer("drop1", 0.25),
        new Conv2dLayer("conv3", 32, 64, Kernel: 3, Padding: 1, Bias: false), new BatchNorm2dLayer("bn3", 64), new ReLULayer("relu3"),
        new Conv2dLayer("conv4", 64, 64, Kernel: 3, Padding: 1, Bias: false), new BatchNorm2dLayer("bn4", 64), new ReLULayer("relu4"),
        new MaxPool2dLayer("pool2", 2), new DropoutLayer("drop2", 0.25),
        new FlattenLayer("flatten"), new LinearLayer("fc1", 3136, 256), new ReLULayer("relu5"), new DropoutLayer("drop3", 0.5),
        new LinearLayer("fc2", 256, 10),
    ])
    {
        Training = new(Epochs: 12, BatchSize: 128, AugmentationSpec.Standard),
        Report = new(LowersRate: true, Augmented: true, TrainingAccuracy: 0.9884, ValidationAccuracy: 0.9890, KaggleScore: 0.98614),
    };

    /// <summary>The multilayer perceptron of the university report; 535,818 parameters.</summary>
    public static NetworkSpec Mlp { get; } = new("mlp", Digit,
    [
        new FlattenLayer("flatten"),
        new LinearLayer("fc1", 784, 512), new ReLULayer("relu1"), new DropoutLayer("drop1", 0.2),
        new LinearLayer("fc2", 512, 256), new ReLULayer("relu2"), new DropoutLayer("drop2", 0.2),
        new LinearLayer("fc3", 256, 10),
    ])
    {
        Training = new(Epochs: 12, BatchSize: 128, AugmentationSpec.None),
    };

    /// <summary>All networks, in the order in which they are listed for users.</summary>
    public static IReadOnlyList<NetworkSpec> All { get; } = [Simple, Improved, Mlp];

    /// <summary>The network that is taken where none is named.</summary>
    public static NetworkSpec Default => Improved;

    public static string[] Names => [.. All.Select(network => network.Name)];

    /// <summary>A network by name, or null.</summary>
    public static NetworkSpec? Find(string name) => All.FirstOrDefault(network => network.Name == name);

    /// <summary>Says of each network what it has, such as "5 for simple, 12 for improved and mlp".</summary>
    public static string ForEach(Func<NetworkSpec, object> value) => string.Join(
        ", ", All.GroupBy(value, network => network.Name).Select(names => $"{names.Key} for {InputException.Joined([.. names])}"));
}
