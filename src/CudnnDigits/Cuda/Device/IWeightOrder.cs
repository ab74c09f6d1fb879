namespace CudnnDigits.Cuda.Device;

/// <summary>In which order the weights of a convolution lie for the kernels that read them.</summary>
internal interface IWeightOrder
{
    /// <summary>Elements in all; those that no weight has are zero.</summary>
    int Size { get; }

    /// <summary>Place of a weight.</summary>
    /// <param name="row">Channel that the convolution gives.</param>
    /// <param name="tap">Of its window, row by row.</param>
    /// <param name="column">Channel that it reads.</param>
    int Place(int row, int tap, int column);
}
