using CudnnDigits.Model;

namespace CudnnDigits.Training;

/// <summary>Shows what the last step computed, to those who compare numerics.</summary>
internal interface IStepInspector
{
    /// <summary>The gradients, flat, in the layout of <see cref="ParameterLayout"/>.</summary>
    void SaveGradients(float[] gradients);

    /// <summary>The logits, (batch, classes) f32.</summary>
    void SaveLogits(Span<float> logits);
}
