using CudnnDigits.Data;

namespace CudnnDigits.Model;

/// <summary>Shape of one sample's activation: channels, height, width. After <see cref="FlattenLayer"/>: features, 1, 1.</summary>
internal readonly record struct Shape(int C, int H, int W)
{
    /// <summary>Values in one sample, C·H·W.</summary>
    public int Size => C * H * W;
}

/// <summary>One layer; its name is the prefix of its parameters in a PyTorch state_dict.</summary>
internal abstract record Layer(string Name)
{
    internal string WeightName => $"{Name}.weight";

    internal string BiasName => $"{Name}.bias";

    /// <summary>Names and shapes of the parameters that are trained, in PyTorch's order.</summary>
    internal virtual (string Name, int[] Shape)[] Trained => [];

    /// <summary>Names and shapes of the running statistics.</summary>
    internal virtual (string Name, int[] Shape)[] Statistics => [];

    /// <summary>The output shape for an input shape. Throws ArgumentException if the layer cannot take it.</summary>
    public virtual Shape Infer(Shape input) => input;

    private protected ArgumentException Refusal(Shape input) => new($"{Name} cannot take an input of {input}");
}

/// <summary>2-D convolution (cross-correlation), square kernel, stride 1, zeros around; the weight is (out, in, row, column).</summary>
internal sealed record Conv2dLayer(string Name, int InChannels, int OutChannels, int Kernel, int Padding, bool Bias) : Layer(Name)
{
    internal override (string Name, int[] Shape)[] Trained => Bias ? [Weight, (BiasName, [OutChannels])] : [Weight];

    private (string Name, int[] Shape) Weight => (WeightName, [OutChannels, InChannels, Kernel, Kernel]);

    public override Shape Infer(Shape input)
    {
        Shape output = new(OutChannels, input.H + 2 * Padding - Kernel + 1, input.W + 2 * Padding - Kernel + 1);
        return input.C == InChannels && Padding >= 0 && Padding < Kernel && output.H > 0 && output.W > 0 ? output : throw Refusal(input);
    }
}

/// <summary>Batch normalization over N, H, W: eps 1e-5, momentum 0.1, unbiased running variance, as PyTorch's.</summary>
internal sealed record BatchNorm2dLayer(string Name, int Channels) : Layer(Name)
{
    /// <summary>Added to the variance before the root.</summary>
    public const double Epsilon = 1e-5;

    /// <summary>Share of the batch in the new running statistics: new = 0.9 · old + 0.1 · batch.</summary>
    public const double Momentum = 0.1;

    internal string VarianceName => $"{Name}.running_var";

    internal override (string Name, int[] Shape)[] Trained => [(WeightName, [Channels]), (BiasName, [Channels])];

    internal override (string Name, int[] Shape)[] Statistics => [($"{Name}.running_mean", [Channels]), (VarianceName, [Channels])];

    public override Shape Infer(Shape input) => input.C == Channels ? input : throw Refusal(input);
}

/// <summary>max(x, 0).</summary>
internal sealed record ReLULayer(string Name) : Layer(Name);

/// <summary>Max-pooling, window = stride, odd rows and columns dropped; the first maximum in row-major order takes the gradient.</summary>
internal sealed record MaxPool2dLayer(string Name, int Window) : Layer(Name)
{
    public override Shape Infer(Shape input) => input.H >= Window && input.W >= Window
        ? input with { H = input.H / Window, W = input.W / Window }
        : throw Refusal(input);
}

/// <summary>Inverted dropout: in training, zero with probability Rate, else scaled by 1/(1 − Rate); 0 ≤ Rate &lt; 1.</summary>
internal sealed record DropoutLayer(string Name, double Rate) : Layer(Name)
{
    /// <summary>An element is dropped where its random word is below this: Rate · 2³².</summary>
    internal uint Threshold => (uint)Math.Min(Rate * 4294967296.0, uint.MaxValue);
}

/// <summary>(C, H, W) to one vector, in that order.</summary>
internal sealed record FlattenLayer(string Name) : Layer(Name)
{
    public override Shape Infer(Shape input) => new(input.Size, 1, 1);
}

/// <summary>y = W x + b; the weight is (out, in).</summary>
internal sealed record LinearLayer(string Name, int InFeatures, int OutFeatures) : Layer(Name)
{
    internal override (string Name, int[] Shape)[] Trained => [(WeightName, [OutFeatures, InFeatures]), (BiasName, [OutFeatures])];

    public override Shape Infer(Shape input) =>
        input == new Shape(InFeatures, 1, 1) ? new Shape(OutFeatures, 1, 1) : throw Refusal(input);
}

/// <summary>How a network is trained where the user does not say otherwise.</summary>
internal sealed record TrainingDefaults(int Epochs, int BatchSize, AugmentationSpec Augmentation);

/// <summary>How the university report trained a network, and its accuracies, 0 … 1; 20 % of the digits were held out.</summary>
internal sealed record ReportedTraining(
    bool LowersRate, bool Augmented, double TrainingAccuracy, double ValidationAccuracy, double KaggleScore);

/// <summary>A network: its name, as on the command line, the shape of one sample, its layers, and how it is trained by default.</summary>
internal sealed record NetworkSpec(string Name, Shape Input, IReadOnlyList<Layer> Layers)
{
    /// <summary>Output shape of each layer.</summary>
    public IReadOnlyList<Shape> Outputs { get; } = InferAll(Input, Layers);

    public ParameterLayout Parameters { get; } = new(Layers);

    public TrainingDefaults Training { get; init; } = new(Epochs: 5, BatchSize: 64, AugmentationSpec.None);

    /// <summary>What the university report says of it, or null.</summary>
    public ReportedTraining? Report { get; init; }

    /// <summary>The same network with every dropout rate set to one value, 0 ≤ rate &lt; 1.</summary>
    public NetworkSpec WithDropout(double rate) =>
        this with { Layers = [.. Layers.Select(layer => layer is DropoutLayer dropout ? dropout with { Rate = rate } : layer)] };

    /// <summary>Throws ArgumentException if a layer cannot take what the one before it gives.</summary>
    private static List<Shape> InferAll(Shape input, IReadOnlyList<Layer> layers)
    {
        List<Shape> shapes = [];
        foreach (Layer layer in layers)
        {
            shapes.Add(layer.Infer(shapes.Count == 0 ? input : shapes[^1]));
        }

        return shapes;
    }
}
