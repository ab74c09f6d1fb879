namespace CudnnDigits.Cli.Exchange;

/// <summary>Constants of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto. A field's name begins with that of its message.</summary>
internal static class Onnx
{
    public const int IrVersion = 8, Opset = 17;

    // Types of elements
    public const int Float = 1, Half = 10, Double = 11, BFloat16 = 16;

    // Types of attributes, and of a tensor's location
    public const int AttributeTypeFloat = 1, AttributeTypeInt = 2, AttributeTypeInts = 7, External = 1;

    public const int ModelIrVersion = 1, ModelProducerName = 2, ModelProducerVersion = 3;

    public const int ModelGraph = 7, ModelOpset = 8, ModelMetadata = 14;

    public const int OpsetVersion = 2;

    public const int EntryKey = 1, EntryValue = 2;

    public const int GraphNode = 1, GraphName = 2, GraphInitializer = 5, GraphInput = 11, GraphOutput = 12;

    public const int NodeInput = 1, NodeOutput = 2, NodeName = 3, NodeOpType = 4, NodeAttribute = 5;

    public const int AttributeName = 1, AttributeFloat = 2, AttributeInt = 3, AttributeTensor = 5, AttributeInts = 8, AttributeType = 20;

    public const int TensorDims = 1, TensorDataType = 2, TensorFloats = 4, TensorIntegers = 5, TensorName = 8, TensorRawData = 9;

    public const int TensorLocation = 14;

    // ValueInfoProto, TypeProto, TypeProto.Tensor, TensorShapeProto and its Dimension
    public const int ValueName = 1, ValueType = 2, TypeTensor = 1, TypeElement = 1, TypeShape = 2, ShapeDim = 1, DimValue = 1, DimParam = 2;
}
