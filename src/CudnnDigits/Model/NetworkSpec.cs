using CudnnDigits.Data;

namespace CudnnDigits.Model;

/// <summary>Shape of one sample's activation: channels, height, width. After <see cref="FlattenLayer"/>: features, 1, 1.</summary>
/// <param name="C">Channels, or features.</param>
/// <param name="H">Height.</param>
/// <param name="W">Width.</param>
internal readonly record struct Shape(int C, int H, int W)
{
    /// <summary>Values in one sample, C·H·W.</summary>
    public int Size => C * H * W;
}

/// <summary>One layer; its name is the prefix of its parameters in a PyTorch state_dict.</summary>
/// <param name="Name">Name, unique in the network.</param>
internal abstract record Layer(string Name)
{
    internal string WeightName => $"{Name}.weight";

    internal string BiasName => $"{Name}.bias";

    /// <summary>The output shape for an input shape.</summary>
    /// <param name="input">Shape of one sample.</param>
    /// <exception cref="ArgumentException">The layer cannot take this input.</exception>
    public virtual Shape Infer(Shape input) => input;

    private protected ArgumentException Refusal(Shape input) => new($"{Name} cannot take an input of {input}");
}

/// <summary>2-D convolution (cross-correlation), square kernel, stride 1; weight (OutChannels, InChannels, Kernel, Kernel).</summary>
/// <param name="Name">Name.</param>
/// <param name="InChannels">C.</param>
/// <param name="OutChannels">K.</param>
/// <param name="Kernel">R = S.</param>
/// <param name="Padding">Zeros on each side, 0 … Kernel − 1.</param>
/// <param name="Bias">Whether there is a bias (OutChannels).</param>
internal sealed record Conv2dLayer(string Name, int InChannels, int OutChannels, int Kernel, int Padding, bool Bias) : Layer(Name)
{
    public override Shape Infer(Shape input)
    {
        Shape output = new(OutChannels, input.H + 2 * Padding - Kernel + 1, input.W + 2 * Padding - Kernel + 1);
        return input.C == InChannels && Padding >= 0 && Padding < Kernel && output.H > 0 && output.W > 0
            ? output
            : throw Refusal(input);
    }
}

/// <summary>Batch normalization over N, H, W: eps 1e-5, momentum 0.1, unbiased running variance, as PyTorch's.</summary>
/// <param name="Name">Name.</param>
/// <param name="Channels">C.</param>
internal sealed record BatchNorm2dLayer(string Name, int Channels) : Layer(Name)
{
    /// <summary>Added to the variance before the root.</summary>
    public const double Epsilon = 1e-5;

    /// <summary>Share of the batch in the new running statistics: new = 0.9 · old + 0.1 · batch.</summary>
    public const double Momentum = 0.1;

    public override Shape Infer(Shape input) =>
        input.C == Channels ? input : throw Refusal(input);
}

/// <summary>max(x, 0).</summary>
/// <param name="Name">Name.</param>
internal sealed record ReLULayer(string Name) : Layer(Name);

/// <summary>Max-pooling, window = stride, odd rows and columns dropped; the first maximum in row-major order takes the gradient.</summary>
/// <param name="Name">Name.</param>
/// <param name="Window">Height, width and stride of the window.</param>
internal sealed record MaxPool2dLayer(string Name, int Window) : Layer(Name)
{
    public override Shape Infer(Shape input) => input.H >= Window && input.W >= Window
        ? input with { H = input.H / Window, W = input.W / Window }
        : throw Refusal(input);
}

/// <summary>Inverted dropout: in training, zero with probability Rate, else scaled by 1/(1 − Rate).</summary>
/// <param name="Name">Name.</param>
/// <param name="Rate">0 ≤ Rate &lt; 1.</param>
internal sealed record DropoutLayer(string Name, double Rate) : Layer(Name)
{
    /// <summary>An element is dropped where its random word is below this: Rate · 2³².</summary>
    internal uint Threshold => (uint)Math.Min(Rate * 4294967296.0, uint.MaxValue);
}

/// <summary>(C, H, W) to one vector, in that order.</summary>
/// <param name="Name">Name.</param>
internal sealed record FlattenLayer(string Name) : Layer(Name)
{
    public override Shape Infer(Shape input) => new(input.Size, 1, 1);
}

/// <summary>y = W x + b; weight (OutFeatures, InFeatures), bias (OutFeatures).</summary>
/// <param name="Name">Name.</param>
/// <param name="InFeatures">Length of x.</param>
/// <param name="OutFeatures">Length of y.</param>
internal sealed record LinearLayer(string Name, int InFeatures, int OutFeatures) : Layer(Name)
{
    public override Shape Infer(Shape input) => input == new Shape(InFeatures, 1, 1)
        ? new Shape(OutFeatures, 1, 1)
        : throw Refusal(input);
}

/// <summary>How a network is trained where the user does not say otherwise.</summary>
/// <param name="Epochs">Passes over the training digits.</param>
/// <param name="BatchSize">Digits in a step.</param>
/// <param name="Augmentation">How each digit is varied anew in each epoch.</param>
internal sealed record TrainingDefaults(int Epochs, int BatchSize, AugmentationSpec Augmentation);

/// <summary>How the university report trained a network, and what it reached: accuracies are shares, 0 … 1.</summary>
/// <param name="LowersRate">Whether a schedule lowered the learning rate from 0.001; else it stayed there.</param>
/// <param name="Augmented">Whether the digits were augmented.</param>
/// <param name="TrainingAccuracy">On the digits trained on.</param>
/// <param name="ValidationAccuracy">On the 20 % held out.</param>
/// <param name="KaggleScore">On Kaggle's test digits.</param>
internal sealed record ReportedTraining(
    bool LowersRate, bool Augmented, double TrainingAccuracy, double ValidationAccuracy, double KaggleScore);

/// <summary>A network: an immutable list of layers, with every shape inferred once, and how it is trained by default.</summary>
internal sealed class NetworkSpec
{
    /// <summary>Infers all shapes.</summary>
    /// <param name="name">Name, as on the command line.</param>
    /// <param name="input">Shape of one input sample.</param>
    /// <param name="layers">First to last.</param>
    /// <exception cref="ArgumentException">A layer cannot take what the one before it gives.</exception>
    public NetworkSpec(string name, Shape input, IReadOnlyList<Layer> layers)
    {
        Name = name;
        Input = input;
        Layers = [.. layers];

        List<Shape> shapes = [];
        foreach (Layer layer in layers)
        {
            shapes.Add(layer.Infer(shapes.Count == 0 ? input : shapes[^1]));
        }

        Outputs = shapes;
        Parameters = new ParameterLayout(this);
    }

    /// <summary>Name, as on the command line.</summary>
    public string Name { get; }

    /// <summary>Shape of one input sample.</summary>
    public Shape Input { get; }

    /// <summary>The layers, first to last.</summary>
    public IReadOnlyList<Layer> Layers { get; }

    /// <summary>Output shape of each layer.</summary>
    public IReadOnlyList<Shape> Outputs { get; }

    /// <summary>Where each weight lies in the flat buffers.</summary>
    public ParameterLayout Parameters { get; }

    /// <summary>How it is trained by default.</summary>
    public TrainingDefaults Training { get; init; } = new(Epochs: 5, BatchSize: 64, AugmentationSpec.None);

    /// <summary>What the university report says of it, or null.</summary>
    public ReportedTraining? Report { get; init; }

    /// <summary>The same network with every dropout rate set to one value.</summary>
    /// <param name="rate">0 ≤ rate &lt; 1; 0 turns dropout off.</param>
    public NetworkSpec WithDropout(double rate) =>
        new(Name, Input, [.. Layers.Select(layer => layer is DropoutLayer dropout ? dropout with { Rate = rate } : layer)])
        {
            Training = Training,
            Report = Report,
        };
}
