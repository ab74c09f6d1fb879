using CudnnDigits.Data;
using CudnnDigits.Model;
using CudnnDigits.Tests.Reference;
using CudnnDigits.Training;

namespace CudnnDigits.Cuda.Tests;

/// <summary>Both networks against PyTorch in float64: five Adam steps on one batch of 64. docs/numerics.md says why each tolerance is what it is.</summary>
public class GoldenTests
{
    public static TheoryData<string, Precision, bool> Cases
    {
        get
        {
            TheoryData<string, Precision, bool> data = [];
            foreach (string model in new[] { "simple", "improved" })
            {
                data.Add(model, Precision.Fp32, true);
                data.Add(model, Precision.Fp32, false);
                data.Add(model, Precision.Tf32, true);
                data.Add(model, Precision.Bf16, true);
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Five_steps_follow_PyTorch(string model, Precision precision, bool graph)
    {
        Gpu.Require();
        (double logitsTolerance, double gradientTolerance, double lossTolerance, double weightTolerance) = precision switch
        {
            Precision.Fp32 => (1e-5, 1e-5, 1e-4, 1e-3),
            Precision.Tf32 => (2e-3, 0.1, 2e-2, 0.6),
            _ => (2e-2, 0.3, 4e-2, 0.6),
        };
        Golden golden = Golden.Load(model);
        NetworkSpec network = golden.Start.Network;
        AdamState optimizer = new(network);
        using ITrainingBackend backend = Gpu.Create(network, new BackendOptions(64, 0, AugmentationSpec.None) { Precision = precision, Deterministic = true, CudaGraph = graph });
        backend.Load(golden.Start, optimizer);
        int[] order = [.. Enumerable.Range(0, 64)];
        float[] logits = new float[640];
        NetworkWeights gradients = new(network);
        for (int step = 0; step < 5; step++)
        {
            backend.BeginEpoch(golden.Data, step, order, default);
            backend.RunSteps(0, [1e-3f]);
            double loss = backend.ReadSums().Loss / 64;
            Within(Math.Abs(loss / golden.Losses[step] - 1), lossTolerance, $"loss of step {step}");
            if (step == 0)
            {
                ((IStepInspector)backend).SaveLogits(logits);
                Within(Compare.RelativeL2(logits, golden.File.Doubles("step0.logits")), logitsTolerance, "logits");
                ((IStepInspector)backend).SaveGradients(gradients.Trained);
                foreach (ParameterSlice slice in network.Parameters.Trained)
                {
                    Within(Compare.RelativeL2(gradients.Slice(slice), golden.File.Doubles($"step0.grad.{slice.Name}")), gradientTolerance, $"gradient of {slice.Name}");
                }
            }
        }

        NetworkWeights final = new(network);
        backend.Save(final, optimizer);
        Assert.Equal(5, optimizer.Step);
        foreach (ParameterSlice slice in network.Parameters.Trained.Concat(network.Parameters.Statistics))
        {
            Within(Compare.RelativeL2(final.Slice(slice), golden.File.Doubles($"final.{slice.Name}")), weightTolerance, slice.Name);
        }

        backend.Predict(golden.Data, order, logits);
        Within(Compare.RelativeL2(logits, golden.File.Doubles("final.logits_eval")), weightTolerance, "logits in evaluation mode");
    }

    private static void Within(double distance, double tolerance, string what) =>
        Assert.True(distance <= tolerance, $"{what}: distance {distance:E2}, tolerated {tolerance:E1}");
}
