using CudnnDigits.Model;

namespace CudnnDigits.Training;

/// <summary>Shows what the last step computed, to those who compare numerics.</summary>
internal interface IStepInspector
{
    /// <param name="gradients">Flat, in the layout of <see cref="ParameterLayout"/>.</param>
    void SaveGradients(float[] gradients);

    /// <param name="logits">(batch, classes) f32.</param>
    void SaveLogits(Span<float> logits);
}
