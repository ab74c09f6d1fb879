namespace CudnnDigits.Tests.Reference;

/// <summary>How far a backend may be from PyTorch, relative (L2 for tensors); docs/numerics.md says why.</summary>
internal sealed record GoldenTolerance(double Logits, double Gradient, double Loss, double Weights)
{
    /// <summary>What float32 reaches.</summary>
    public static GoldenTolerance Fp32 { get; } = new(1e-5, 1e-5, 1e-4, 1e-3);
}

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

    /// <summary>
    /// Takes five steps with a backend of batch size 64, dropout and augmentation off, and fails unless they are PyTorch's.
    /// </summary>
    public void AssertFollowedBy(ITrainingBackend backend, GoldenTolerance tolerance)
    {
        NetworkSpec network = backend.Network;
        OptimizerState optimizer = new(network);
        backend.Load(Start, optimizer);
        int[] order = [.. Enumerable.Range(0, 64)];
        float[] logits = new float[640];
        NetworkWeights gradients = new(network), final = new(network);
        for (int step = 0; step < 5; step++)
        {
            backend.BeginEpoch(Data, step, order, default);
            backend.RunSteps(0, [1e-3f]);
            double loss = backend.ReadSums().Loss / 64;
            Assert.InRange(loss, Losses[step] * (1 - tolerance.Loss), Losses[step] * (1 + tolerance.Loss));
            if (step == 0)
            {
                ((IStepInspector)backend).SaveLogits(logits);
                Compare.Close(logits, File.Doubles("step0.logits"), tolerance.Logits, "logits");
                ((IStepInspector)backend).SaveGradients(gradients.Trained);
                foreach (ParameterSlice slice in network.Parameters.Trained)
                {
                    Compare.Close(gradients.Slice(slice), File.Doubles($"step0.grad.{slice.Name}"), tolerance.Gradient,
                        $"gradient of {slice.Name}");
                }
            }
        }

        backend.Save(final, optimizer);
        Assert.Equal(5, optimizer.Step);
        foreach (ParameterSlice slice in network.Parameters.Trained.Concat(network.Parameters.Statistics))
        {
            Compare.Close(final.Slice(slice), File.Doubles($"final.{slice.Name}"), tolerance.Weights, slice.Name);
        }

        backend.Predict(Data, order, logits);
        Compare.Close(logits, File.Doubles("final.logits_eval"), tolerance.Weights, "logits in evaluation mode");
    }

    /// <summary>Arguments that make <c>cudnn-digits train</c> take the same five steps; their files are written into the folder.</summary>
    public string[] TrainArguments(TemporaryFolder folder, string run)
    {
        string csv = folder.Write("batch.csv", DigitFiles.Csv(Data)), start = folder["start.safetensors"];
        SafeTensors.Write(start, [], [.. Start.Network.Parameters.Trained.Concat(Start.Network.Parameters.Statistics)
            .Select(slice => new NamedTensor(slice.Name, slice.Shape, Start.Slice(slice).ToArray()))]);
        return
        [
            "train", "--data", csv, "--init-from", start, "--no-shuffle", "--augment", "none", "--dropout", "0", "--validation", "0",
            "--schedule", "constant", "--precision", "fp32", "--epochs", "5", "--out", folder[run],
        ];
    }

    /// <summary>Fails unless a run folder holds PyTorch's losses and final weights.</summary>
    public void AssertFollowedBy(string run)
    {
        double[] losses = [.. System.IO.File.ReadLines(Path.Combine(run, "history.csv")).Skip(1)
            .Select(row => double.Parse(row.Split(',')[1], CultureInfo.InvariantCulture))];
        Assert.Equal(5, losses.Length);
        Assert.All(losses.Zip(Losses), pair => Assert.InRange(pair.First, pair.Second * (1 - 1e-4), pair.Second * (1 + 1e-4)));
        NetworkWeights final = Checkpoint.LoadWeights(Path.Combine(run, "model.safetensors")).Weights;
        foreach (ParameterSlice slice in final.Network.Parameters.Trained.Concat(final.Network.Parameters.Statistics))
        {
            Compare.Close(final.Slice(slice), File.Doubles($"final.{slice.Name}"), 1e-3, slice.Name);
        }
    }
}
