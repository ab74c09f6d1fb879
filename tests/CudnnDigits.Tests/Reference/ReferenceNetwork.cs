using CudnnDigits.Cpu;
using CudnnDigits.Numerics;

namespace CudnnDigits.Tests.Reference;

/// <summary>
/// The networks once more, in double, with plain loops over N, C, H, W as PyTorch defines the layers: what the fast code is
/// compared with. Sample n of a batch is row n of the dataset. Its own backward passes are checked by finite differences.
/// </summary>
internal sealed class ReferenceNetwork
{
    private readonly NetworkSpec _network;
    private readonly Dictionary<string, double[]> _parameters = [];
    private readonly Dictionary<string, double[]> _m = [];
    private readonly Dictionary<string, double[]> _v = [];
    private readonly Philox _random;
    private int _step;

    /// <param name="weights">The start.</param>
    /// <param name="seed">Keys dropout, whose epoch is the number of steps taken.</param>
    public ReferenceNetwork(NetworkWeights weights, ulong seed = 0)
    {
        _network = weights.Network;
        _random = new Philox(seed);
        foreach (ParameterSlice slice in _network.Parameters.Trained.Concat(_network.Parameters.Statistics))
        {
            _parameters[slice.Name] = Array.ConvertAll(weights.Slice(slice).ToArray(), value => (double)value);
        }
    }

    /// <summary>Values by state_dict name.</summary>
    public IReadOnlyDictionary<string, double[]> Parameters => _parameters;

    /// <summary>Gradients of the last step by state_dict name.</summary>
    public Dictionary<string, double[]> Gradients { get; } = [];

    /// <summary>Gradient with respect to the input of the last step, (N, C, H, W).</summary>
    public double[] InputGradient { get; private set; } = [];

    /// <summary>Logits of the last forward pass, (N, classes).</summary>
    public double[] Logits { get; private set; } = [];

    /// <summary>Mean cross-entropy of a batch; fills <see cref="Gradients"/>.</summary>
    public double ForwardBackward(double[] images, byte[] labels)
    {
        int batch = labels.Length;
        List<double[]> inputs = [images];
        for (int i = 0; i < _network.Layers.Count; i++)
        {
            inputs.Add(Forward(_network.Layers[i], InputShape(i), _network.Outputs[i], batch, inputs[^1], training: true));
        }

        Logits = inputs[^1];
        (double loss, double[] gradient) = CrossEntropy(Logits, labels);
        Gradients.Clear();
        for (int i = _network.Layers.Count - 1; i >= 0; i--)
        {
            gradient = Backward(_network.Layers[i], InputShape(i), _network.Outputs[i], batch, inputs[i], gradient);
        }

        InputGradient = gradient;
        return loss;
    }

    /// <summary>Mean cross-entropy of a batch, nothing kept: for finite differences.</summary>
    public double Loss(double[] images, byte[] labels)
    {
        double[] x = images;
        for (int i = 0; i < _network.Layers.Count; i++)
        {
            x = Forward(_network.Layers[i], InputShape(i), _network.Outputs[i], labels.Length, x, training: true, updateStatistics: false);
        }

        return CrossEntropy(x, labels).Loss;
    }

    /// <summary>Logits with running statistics.</summary>
    public double[] Predict(double[] images)
    {
        double[] x = images;
        int batch = images.Length / _network.Input.Size;
        for (int i = 0; i < _network.Layers.Count; i++)
        {
            x = Forward(_network.Layers[i], InputShape(i), _network.Outputs[i], batch, x, training: false);
        }

        return x;
    }

    /// <summary>One step of Adam on <see cref="Gradients"/>.</summary>
    public void Adam(double learningRate)
    {
        _step++;
        foreach ((string name, double[] gradient) in Gradients)
        {
            double[] w = _parameters[name], m = _m.TryGetValue(name, out double[]? a) ? a : _m[name] = new double[w.Length];
            double[] v = _v.TryGetValue(name, out double[]? b) ? b : _v[name] = new double[w.Length];
            for (int i = 0; i < w.Length; i++)
            {
                m[i] = 0.9 * m[i] + 0.1 * gradient[i];
                v[i] = 0.999 * v[i] + 0.001 * gradient[i] * gradient[i];
                w[i] -= learningRate * (m[i] / (1 - Math.Pow(0.9, _step))) / (Math.Sqrt(v[i] / (1 - Math.Pow(0.999, _step))) + 1e-8);
            }
        }
    }

    private static (double Loss, double[] Gradient) CrossEntropy(double[] logits, byte[] labels)
    {
        int classes = logits.Length / labels.Length;
        double loss = 0;
        double[] gradient = new double[logits.Length];
        for (int n = 0; n < labels.Length; n++)
        {
            double[] row = logits[(n * classes)..((n + 1) * classes)];
            double max = row.Max(), sum = row.Sum(z => Math.Exp(z - max));
            loss += Math.Log(sum) + max - row[labels[n]];
            for (int k = 0; k < classes; k++)
            {
                gradient[n * classes + k] = (Math.Exp(row[k] - max) / sum - (k == labels[n] ? 1 : 0)) / labels.Length;
            }
        }

        return (loss / labels.Length, gradient);
    }

    private Shape InputShape(int layer) => layer == 0 ? _network.Input : _network.Outputs[layer - 1];

    private double[] Forward(Layer layer, Shape input, Shape output, int batch, double[] x, bool training, bool updateStatistics = true)
    {
        switch (layer)
        {
            case Conv2dLayer conv:
                return Conv(conv, input, output, batch, x);
            case BatchNorm2dLayer norm:
                return Norm(norm, input, batch, x, training, updateStatistics);
            case ReLULayer:
                return Array.ConvertAll(x, value => Math.Max(value, 0));
            case MaxPool2dLayer pool:
                return Array.ConvertAll(Maxima(pool, input, output, batch, x), i => x[i]);
            case LinearLayer linear:
                {
                    double[] w = _parameters[$"{linear.Name}.weight"], b = _parameters[$"{linear.Name}.bias"],
                    y = new double[batch * linear.OutFeatures];
                    for (int i = 0; i < y.Length; i++)
                    {
                        int n = i / linear.OutFeatures, o = i % linear.OutFeatures;
                        y[i] = b[o];
                        for (int j = 0; j < linear.InFeatures; j++)
                        {
                            y[i] += w[o * linear.InFeatures + j] * x[n * linear.InFeatures + j];
                        }
                    }

                    return y;
                }

            case DropoutLayer dropout when training:
                return [.. x.Zip(DropoutFactors(dropout, input, batch), (value, factor) => value * factor)];
            default:
                return x;
        }
    }

    private double[] Backward(Layer layer, Shape input, Shape output, int batch, double[] x, double[] dy)
    {
        switch (layer)
        {
            case Conv2dLayer conv:
                return ConvBackward(conv, input, output, batch, x, dy);
            case BatchNorm2dLayer norm:
                return NormBackward(norm, input, batch, x, dy);
            case ReLULayer:
                return [.. x.Zip(dy, (value, gradient) => value > 0 ? gradient : 0)];
            case MaxPool2dLayer pool:
                {
                    double[] dx = new double[x.Length];
                    int[] maxima = Maxima(pool, input, output, batch, x);
                    for (int i = 0; i < maxima.Length; i++)
                    {
                        dx[maxima[i]] += dy[i];
                    }

                    return dx;
                }

            case LinearLayer linear:
                {
                    double[] w = _parameters[$"{linear.Name}.weight"], dw = Gradients[$"{linear.Name}.weight"] = new double[w.Length];
                    double[] db = Gradients[$"{linear.Name}.bias"] = new double[linear.OutFeatures], dx = new double[x.Length];
                    for (int i = 0; i < dy.Length; i++)
                    {
                        int n = i / linear.OutFeatures, o = i % linear.OutFeatures;
                        db[o] += dy[i];
                        for (int j = 0; j < linear.InFeatures; j++)
                        {
                            dw[o * linear.InFeatures + j] += dy[i] * x[n * linear.InFeatures + j];
                            dx[n * linear.InFeatures + j] += dy[i] * w[o * linear.InFeatures + j];
                        }
                    }

                    return dx;
                }

            case DropoutLayer dropout:
                return [.. dy.Zip(DropoutFactors(dropout, input, batch), (value, factor) => value * factor)];
            default:
                return dy;
        }
    }

    /// <summary>0 or 1/(1 − rate) for each value of a batch, (N, C, H, W); the words count channels last.</summary>
    private double[] DropoutFactors(DropoutLayer dropout, Shape shape, int batch)
    {
        uint layer = (uint)_network.Layers.OfType<DropoutLayer>().TakeWhile(other => other != dropout).Count();
        double[] factors = new double[batch * shape.Size];
        uint[] words = new uint[shape.Size];
        for (int n = 0; n < batch; n++)
        {
            _random.Fill(words, (uint)n, (uint)_step, RandomPurpose.Dropout + layer);
            for (int i = 0; i < shape.Size; i++)
            {
                int c = i / (shape.H * shape.W), pixel = i % (shape.H * shape.W);
                factors[n * shape.Size + i] = words[pixel * shape.C + c] < dropout.Rate * 4294967296.0 ? 0 : 1 / (1 - dropout.Rate);
            }
        }

        return factors;
    }

    private double[] Conv(Conv2dLayer conv, Shape input, Shape output, int batch, double[] x)
    {
        double[] w = ChannelsLast(_parameters[$"{conv.Name}.weight"], input.C, conv.OutChannels);
        double[] y = ChannelsFirst(PlainConvolution.Forward(Of(conv, input), batch, ChannelsLast(x, input.C, batch), w), output.C, batch);
        double[]? bias = conv.Bias ? _parameters[$"{conv.Name}.bias"] : null;
        return bias is null ? y : [.. y.Select((value, i) => value + bias[i / (output.H * output.W) % output.C])];
    }

    private double[] ConvBackward(Conv2dLayer conv, Shape input, Shape output, int batch, double[] x, double[] dy)
    {
        ConvShape shape = Of(conv, input);
        double[] w = ChannelsLast(_parameters[$"{conv.Name}.weight"], input.C, conv.OutChannels),
        dyLast = ChannelsLast(dy, output.C, batch);
        Gradients[$"{conv.Name}.weight"] = ChannelsFirst(
            PlainConvolution.BackwardWeights(shape, batch, ChannelsLast(x, input.C, batch), dyLast), input.C, conv.OutChannels);
        if (conv.Bias)
        {
            double[] db = Gradients[$"{conv.Name}.bias"] = new double[conv.OutChannels];
            for (int i = 0; i < dyLast.Length; i++)
            {
                db[i % output.C] += dyLast[i];
            }
        }

        return ChannelsFirst(PlainConvolution.BackwardData(shape, batch, w, dyLast), input.C, batch);
    }

    private static ConvShape Of(Conv2dLayer conv, Shape input) =>
        new(input.C, input.H, input.W, conv.OutChannels, conv.Kernel, conv.Padding);

    /// <summary>(n, channels, …) to (n, …, channels).</summary>
    private static double[] ChannelsLast(double[] x, int channels, int n) => Exchange(x, n, channels, x.Length / n / channels);

    private static double[] ChannelsFirst(double[] x, int channels, int n) => Exchange(x, n, x.Length / n / channels, channels);

    /// <summary>(n, a, b) to (n, b, a).</summary>
    private static double[] Exchange(double[] x, int n, int a, int b)
    {
        double[] y = new double[x.Length];
        for (int i = 0; i < n * a * b; i++)
        {
            y[(i / (a * b) * b + i % b) * a + i / b % a] = x[i];
        }

        return y;
    }

    private static (double Mean, double Variance) Moments(Shape input, int batch, double[] x, int c)
    {
        double[] values = [.. Enumerable.Range(0, batch)
            .SelectMany(n => x.Skip((n * input.C + c) * input.H * input.W).Take(input.H * input.W))];
        double mean = values.Average();
        return (mean, values.Average(value => (value - mean) * (value - mean)));
    }

    private double[] Norm(BatchNorm2dLayer norm, Shape input, int batch, double[] x, bool training, bool updateStatistics)
    {
        double[] gamma = _parameters[$"{norm.Name}.weight"], beta = _parameters[$"{norm.Name}.bias"];
        double[] runningMean = _parameters[$"{norm.Name}.running_mean"], runningVariance = _parameters[$"{norm.Name}.running_var"],
        y = new double[x.Length];
        int pixels = input.H * input.W;
        for (int c = 0; c < input.C; c++)
        {
            (double mean, double variance) = training ? Moments(input, batch, x, c) : (runningMean[c], runningVariance[c]);
            if (training && updateStatistics)
            {
                double count = batch * pixels;
                runningMean[c] = 0.9 * runningMean[c] + 0.1 * mean;
                runningVariance[c] = 0.9 * runningVariance[c] + 0.1 * variance * count / (count - 1);
            }

            double factor = gamma[c] / Math.Sqrt(variance + 1e-5);
            for (int n = 0; n < batch; n++)
            {
                for (int i = (n * input.C + c) * pixels; i < (n * input.C + c + 1) * pixels; i++)
                {
                    y[i] = (x[i] - mean) * factor + beta[c];
                }
            }
        }

        return y;
    }

    private double[] NormBackward(BatchNorm2dLayer norm, Shape input, int batch, double[] x, double[] dy)
    {
        double[] gamma = _parameters[$"{norm.Name}.weight"], dx = new double[x.Length];
        double[] dGamma = Gradients[$"{norm.Name}.weight"] = new double[input.C],
        dBeta = Gradients[$"{norm.Name}.bias"] = new double[input.C];
        int pixels = input.H * input.W;
        for (int c = 0; c < input.C; c++)
        {
            (double mean, double variance) = Moments(input, batch, x, c);
            double inverse = 1 / Math.Sqrt(variance + 1e-5), count = batch * pixels;
            int[] places = [.. Enumerable.Range(0, batch).SelectMany(n => Enumerable.Range((n * input.C + c) * pixels, pixels))];
            dBeta[c] = places.Sum(i => dy[i]);
            dGamma[c] = places.Sum(i => dy[i] * (x[i] - mean) * inverse);
            foreach (int i in places)
            {
                dx[i] = gamma[c] * inverse * (dy[i] - dBeta[c] / count - (x[i] - mean) * inverse * dGamma[c] / count);
            }
        }

        return dx;
    }

    /// <summary>For each pooled value, where in x its maximum is; the first of equals in row-major order.</summary>
    private static int[] Maxima(MaxPool2dLayer pool, Shape input, Shape output, int batch, double[] x)
    {
        int[] maxima = new int[batch * output.Size];
        for (int i = 0; i < maxima.Length; i++)
        {
            int plane = i / (output.H * output.W), h = i / output.W % output.H, w = i % output.W;
            int best = (plane * input.H + h * pool.Window) * input.W + w * pool.Window;
            for (int r = 0; r < pool.Window; r++)
            {
                for (int s = 0; s < pool.Window; s++)
                {
                    int at = (plane * input.H + h * pool.Window + r) * input.W + w * pool.Window + s;
                    best = x[at] > x[best] ? at : best;
                }
            }

            maxima[i] = best;
        }

        return maxima;
    }
}
