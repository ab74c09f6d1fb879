using static CudnnDigits.Cuda.Interop.NativeLibraries;

namespace CudnnDigits.Cuda.Interop;

/// <summary>Status of cuDNN.</summary>
internal enum CudnnStatus
{
    Success = 0,
    SublibraryVersionMismatch = 1002,
    NotSupported = 3000, // those up to 3999 say why
    InternalError = 4000,
}

/// <summary>cudnnConvolution…AlgoPerf_t: one proposal of a convolution algorithm, 48 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct CudnnAlgorithm
{
    public int Algorithm;
    public CudnnStatus Status;
    public float Time;
    public nuint Memory;
    public int Determinism, MathType;
    public fixed int Reserved[3];
}

/// <summary>cuDNN 9's descriptor API under its own names, without the prefix's repetition in constants.</summary>
internal static unsafe partial class Cudnn
{
    public const int TypeFloat = 0, TypeBFloat16 = 9;
    public const int FormatNhwc = 1, CrossCorrelation = 1, PropagateNaN = 1;
    public const int MathDefault = 0, MathTensorOp = 1, MathFma = 3;
    public const int PoolingMax = 0, PoolingMaxDeterministic = 3, BatchNormSpatial = 1, BatchNormSpatialPersistent = 2, BatchNormAlone = 0;

    [LibraryImport(Dnn)] public static partial nuint cudnnGetVersion();

    [LibraryImport(Dnn)] public static partial nuint cudnnGetCudartVersion();

    [LibraryImport(Dnn)] public static partial byte* cudnnGetErrorString(CudnnStatus status);

    [LibraryImport(Dnn)] public static partial void cudnnGetLastErrorString(byte* text, nuint length);

    [LibraryImport(Dnn)] public static partial CudnnStatus cudnnCreate(out nint handle);

    [LibraryImport(Dnn)] public static partial CudnnStatus cudnnDestroy(nint handle);

    [LibraryImport(Dnn)] public static partial CudnnStatus cudnnSetStream(nint handle, nint stream);

    [LibraryImport(Dnn)] public static partial CudnnStatus cudnnCreateTensorDescriptor(out nint descriptor);

    [LibraryImport(Dnn)] public static partial CudnnStatus cudnnDestroyTensorDescriptor(nint descriptor);

    [LibraryImport(Dnn)]
    public static partial CudnnStatus cudnnSetTensor4dDescriptor(nint descriptor, int format, int type, int n, int c, int h, int w);

    [LibraryImport(Dnn)] public static partial CudnnStatus cudnnCreateFilterDescriptor(out nint descriptor);

    [LibraryImport(Dnn)] public static partial CudnnStatus cudnnDestroyFilterDescriptor(nint descriptor);

    [LibraryImport(Dnn)]
    public static partial CudnnStatus cudnnSetFilter4dDescriptor(nint descriptor, int type, int format, int k, int c, int h, int w);

    [LibraryImport(Dnn)] public static partial CudnnStatus cudnnCreateConvolutionDescriptor(out nint descriptor);

    [LibraryImport(Dnn)] public static partial CudnnStatus cudnnDestroyConvolutionDescriptor(nint descriptor);

    [LibraryImport(Dnn)]
    public static partial CudnnStatus cudnnSetConvolution2dDescriptor(
        nint descriptor, int padH, int padW, int strideH, int strideW, int dilationH, int dilationW, int mode, int computeType);

    [LibraryImport(Dnn)] public static partial CudnnStatus cudnnSetConvolutionMathType(nint descriptor, int mathType);

    [LibraryImport(Dnn)] public static partial CudnnStatus cudnnCreatePoolingDescriptor(out nint descriptor);

    [LibraryImport(Dnn)] public static partial CudnnStatus cudnnDestroyPoolingDescriptor(nint descriptor);

    [LibraryImport(Dnn)]
    public static partial CudnnStatus cudnnSetPooling2dDescriptor(
        nint descriptor, int mode, int nanPropagation, int windowH, int windowW, int padV, int padH, int strideV, int strideH);

    [LibraryImport(Dnn)]
    public static partial CudnnStatus cudnnGetConvolutionForwardAlgorithm_v7(
        nint handle, nint x, nint w, nint convolution, nint y, int requested, int* returned, CudnnAlgorithm* results);

    [LibraryImport(Dnn)]
    public static partial CudnnStatus cudnnGetConvolutionBackwardDataAlgorithm_v7(
        nint handle, nint w, nint dy, nint convolution, nint dx, int requested, int* returned, CudnnAlgorithm* results);

    [LibraryImport(Dnn)]
    public static partial CudnnStatus cudnnGetConvolutionBackwardFilterAlgorithm_v7(
        nint handle, nint x, nint dy, nint convolution, nint dw, int requested, int* returned, CudnnAlgorithm* results);

    [LibraryImport(Dnn)]
    public static partial CudnnStatus cudnnGetConvolutionForwardWorkspaceSize(
        nint handle, nint x, nint w, nint convolution, nint y, int algorithm, nuint* bytes);

    [LibraryImport(Dnn)]
    public static partial CudnnStatus cudnnGetConvolutionBackwardDataWorkspaceSize(
        nint handle, nint w, nint dy, nint convolution, nint dx, int algorithm, nuint* bytes);

    [LibraryImport(Dnn)]
    public static partial CudnnStatus cudnnGetConvolutionBackwardFilterWorkspaceSize(
        nint handle, nint x, nint dy, nint convolution, nint dw, int algorithm, nuint* bytes);

    [LibraryImport(Dnn)]
    public static partial CudnnStatus cudnnConvolutionForward(
        nint handle, void* alpha, nint xDescriptor, nint x, nint wDescriptor, nint w, nint convolution, int algorithm, nint workspace,
        nuint workspaceBytes, void* beta, nint yDescriptor, nint y);

    [LibraryImport(Dnn)]
    public static partial CudnnStatus cudnnConvolutionBackwardData(
        nint handle, void* alpha, nint wDescriptor, nint w, nint dyDescriptor, nint dy, nint convolution, int algorithm, nint workspace,
        nuint workspaceBytes, void* beta, nint dxDescriptor, nint dx);

    [LibraryImport(Dnn)]
    public static partial CudnnStatus cudnnConvolutionBackwardFilter(
        nint handle, void* alpha, nint xDescriptor, nint x, nint dyDescriptor, nint dy, nint convolution, int algorithm, nint workspace,
        nuint workspaceBytes, void* beta, nint dwDescriptor, nint dw);

    [LibraryImport(Dnn)] public static partial CudnnStatus cudnnDeriveBNTensorDescriptor(nint derived, nint x, int mode);

    [LibraryImport(Dnn)]
    public static partial CudnnStatus cudnnGetBatchNormalizationForwardTrainingExWorkspaceSize(
        nint handle, int mode, int operations, nint xDescriptor, nint zDescriptor, nint yDescriptor, nint bnDescriptor, nint activation,
        nuint* bytes);

    [LibraryImport(Dnn)]
    public static partial CudnnStatus cudnnGetBatchNormalizationBackwardExWorkspaceSize(
        nint handle, int mode, int operations, nint xDescriptor, nint yDescriptor, nint dyDescriptor, nint dzDescriptor, nint dxDescriptor,
        nint bnDescriptor, nint activation, nuint* bytes);

    [LibraryImport(Dnn)]
    public static partial CudnnStatus cudnnGetBatchNormalizationTrainingExReserveSpaceSize(
        nint handle, int mode, int operations, nint activation, nint xDescriptor, nuint* bytes);

    [LibraryImport(Dnn)]
    public static partial CudnnStatus cudnnBatchNormalizationForwardTrainingEx(
        nint handle, int mode, int operations, void* alpha, void* beta, nint xDescriptor, nint x, nint zDescriptor, nint z,
        nint yDescriptor, nint y, nint bnDescriptor, nint scale, nint bias, double averageFactor, nint runningMean, nint runningVariance,
        double epsilon, nint savedMean, nint savedInverseDeviation, nint activation, nint workspace, nuint workspaceBytes, nint reserve,
        nuint reserveBytes);

    [LibraryImport(Dnn)]
    public static partial CudnnStatus cudnnBatchNormalizationForwardInference(
        nint handle, int mode, void* alpha, void* beta, nint xDescriptor, nint x, nint yDescriptor, nint y, nint bnDescriptor, nint scale,
        nint bias, nint mean, nint variance, double epsilon);

    [LibraryImport(Dnn)]
    public static partial CudnnStatus cudnnBatchNormalizationBackwardEx(
        nint handle, int mode, int operations, void* alphaData, void* betaData, void* alphaParameters, void* betaParameters,
        nint xDescriptor, nint x, nint yDescriptor, nint y, nint dyDescriptor, nint dy, nint dzDescriptor, nint dz, nint dxDescriptor,
        nint dx, nint bnDescriptor, nint scale, nint bias, nint dScale, nint dBias, double epsilon, nint savedMean,
        nint savedInverseDeviation, nint activation, nint workspace, nuint workspaceBytes, nint reserve, nuint reserveBytes);

    [LibraryImport(Dnn)]
    public static partial CudnnStatus cudnnPoolingForward(
        nint handle, nint pooling, void* alpha, nint xDescriptor, nint x, void* beta, nint yDescriptor, nint y);

    [LibraryImport(Dnn)]
    public static partial CudnnStatus cudnnPoolingBackward(
        nint handle, nint pooling, void* alpha, nint yDescriptor, nint y, nint dyDescriptor, nint dy, nint xDescriptor, nint x, void* beta,
        nint dxDescriptor, nint dx);
}
