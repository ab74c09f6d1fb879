namespace CudnnDigits.Cli.Exchange;

/// <summary>Constants of the ONNX file format, a protocol buffer: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.</summary>
internal static class Onnx
{
    public const int IrVersion = 8, Opset = 17;

    // TensorProto.DataType
    public const int Float = 1;

    // TensorProto.DataLocation
    public const int External = 1;

    // AttributeProto.AttributeType
    public const int AttributeFloat = 1, AttributeInt = 2, AttributeInts = 7;

    /// <summary>Fields of ModelProto.</summary>
    public static class Model
    {
        public const int IrVersion = 1, ProducerName = 2, ProducerVersion = 3, Graph = 7, OpsetImport = 8, MetadataProps = 14;
    }

    /// <summary>Fields of OperatorSetIdProto.</summary>
    public static class OperatorSet
    {
        public const int Version = 2;
    }

    /// <summary>Fields of StringStringEntryProto.</summary>
    public static class Entry
    {
        public const int Key = 1, Value = 2;
    }

    /// <summary>Fields of GraphProto.</summary>
    public static class Graph
    {
        public const int Node = 1, Name = 2, Initializer = 5, Input = 11, Output = 12;
    }

    /// <summary>Fields of NodeProto.</summary>
    public static class Node
    {
        public const int Input = 1, Output = 2, Name = 3, OpType = 4, Attribute = 5;
    }

    /// <summary>Fields of AttributeProto.</summary>
    public static class Attribute
    {
        public const int Name = 1, Float = 2, Int = 3, Ints = 8, Type = 20;
    }

    /// <summary>Fields of TensorProto.</summary>
    public static class Tensor
    {
        public const int Dims = 1, DataType = 2, FloatData = 4, Name = 8, RawData = 9, DataLocation = 14;
    }

    /// <summary>Fields of ValueInfoProto, TypeProto, TypeProto.Tensor, TensorShapeProto and its Dimension.</summary>
    public static class Value
    {
        public const int Name = 1, Type = 2, TensorType = 1, ElementType = 1, Shape = 2, Dim = 1, DimValue = 1, DimParam = 2;
    }
}
