using System.Reflection;
using System.Reflection.Emit;
using CudnnDigits.Cuda;

namespace CudnnDigits.Tests;

/// <summary>The folders of the library have an order. A folder uses only those before it, so that there are no circles.</summary>
public class RoomTests
{
    private static readonly string[] Rooms =
    [
        "Numerics", "Files", "Data", "Model", "Training", "Runs", "Inference", "Cpu",
        "Cuda.Interop", "Cuda.Device", "Cuda.Common", "Cuda.Layered", "Cuda.Fused", "Cuda", "",
    ];

    /// <summary>Public types that all rooms use; they have the namespaces in which people look for them.</summary>
    private static readonly Type[] Anywhere =
        [typeof(Precision), typeof(InputException), typeof(CudaException), typeof(CudaUnavailableException)];

    private static readonly Dictionary<short, OpCode> OpCodesByValue =
        typeof(OpCodes).GetFields().Select(field => (OpCode)field.GetValue(null)!).ToDictionary(code => code.Value);

    [Fact]
    public void A_room_uses_only_rooms_before_it()
    {
        Type[] types = [.. typeof(DigitClassifier).Assembly.GetTypes().Where(type => Room(type) is not null)];
        Assert.Equal(Rooms.Order(), types.Select(type => Room(type)!).Distinct().Order());
        AssertNone(
            from type in types
            from used in Uses(type).Distinct()
            where Room(used) is { } room && !Anywhere.Contains(used) && Array.IndexOf(Rooms, room) > Array.IndexOf(Rooms, Room(type))
            select $"{type} uses {used}");
    }

    [Fact]
    public void Sources_name_only_rooms_before_theirs()
    {
        string root = Path.Combine(SharedFiles.RepositoryRoot, "src", "CudnnDigits");
        AssertNone(
            from room in Rooms
            from file in Directory.EnumerateFiles(Path.Combine(root, room.Replace('.', '/')), "*.cs")
            from used in Regex.Matches(File.ReadAllText(file), @"^using (?:static )?CudnnDigits\.([\w.]+);", RegexOptions.Multiline)
            let name = used.Groups[1].Value
            where Array.IndexOf(Rooms, name) > Array.IndexOf(Rooms, room)
            select $"{file} has 'using CudnnDigits.{name}'");
    }

    private static void AssertNone(IEnumerable<string> offences) => Assert.Equal("", string.Join('\n', offences));

    private static string? Room(Type type) =>
        type.Namespace is { } name && (name + ".").StartsWith("CudnnDigits.", StringComparison.Ordinal)
            ? name["CudnnDigits".Length..].TrimStart('.') : null;

    private static IEnumerable<Type> Uses(Type type)
    {
        const BindingFlags Own =
            BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly;
        IEnumerable<MethodBase> methods = [.. type.GetMethods(Own), .. type.GetConstructors(Own)];
        return new[] { type.BaseType }
            .Concat(type.GetInterfaces())
            .Concat(type.GetFields(Own).Select(field => field.FieldType))
            .Concat(methods.SelectMany(method => method.GetParameters()).Select(parameter => parameter.ParameterType))
            .Concat(methods.OfType<MethodInfo>().Select(method => method.ReturnType))
            .Concat(methods.SelectMany(InBody))
            .SelectMany(Parts);
    }

    private static IEnumerable<Type?> InBody(MethodBase method)
    {
        if (method.GetMethodBody() is not { } body)
        {
            yield break;
        }

        foreach (Type? type in body.LocalVariables.Select(local => local.LocalType)
            .Concat(body.ExceptionHandlingClauses.Where(clause => clause.Flags == ExceptionHandlingClauseOptions.Clause)
                .Select(clause => clause.CatchType)))
        {
            yield return type;
        }

        byte[] il = body.GetILAsByteArray()!;
        for (int at = 0; at < il.Length;)
        {
            OpCode code = OpCodesByValue[il[at] == 0xFE ? (short)(il[at] << 8 | il[at + 1]) : il[at]];
            at += code.Size;
            if (code.OperandType is OperandType.InlineMethod or OperandType.InlineField or OperandType.InlineType or OperandType.InlineTok)
            {
                MemberInfo member = method.Module.ResolveMember(
                    BitConverter.ToInt32(il, at), method.DeclaringType!.GetGenericArguments(), method.IsGenericMethod
                        ? method.GetGenericArguments() : null)!;
                yield return member as Type ?? member.DeclaringType;
                foreach (Type argument in member is MethodInfo { IsGenericMethod: true } generic ? generic.GetGenericArguments() : [])
                {
                    yield return argument;
                }
            }

            at += code.OperandType switch
            {
                OperandType.InlineNone => 0,
                OperandType.ShortInlineBrTarget or OperandType.ShortInlineI or OperandType.ShortInlineVar => 1,
                OperandType.InlineVar => 2,
                OperandType.InlineI8 or OperandType.InlineR => 8,
                OperandType.InlineSwitch => 4 + 4 * BitConverter.ToInt32(il, at),
                _ => 4,
            };
        }
    }

    private static IEnumerable<Type> Parts(Type? type) =>
        type is null ? []
        : type.HasElementType ? Parts(type.GetElementType())
        : type.GetGenericArguments().SelectMany(Parts).Prepend(type.IsGenericType ? type.GetGenericTypeDefinition() : type);
}
