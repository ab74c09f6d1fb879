using System.Reflection;
using System.Runtime.CompilerServices;
using Xunit.Sdk;
using Xunit.v3;

namespace CudnnDigits.Tests.Reference;

/// <summary>A test that takes long. It runs in CI, and where <c>--explicit on</c> asks for it; its trait is Category=Long.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class LongFactAttribute : FactAttribute, ITraitAttribute
{
    internal static readonly KeyValuePair<string, string> Trait = new("Category", "Long");

    public LongFactAttribute([CallerFilePath] string? file = null, [CallerLineNumber] int line = -1)
        : base(file, line) => Explicit = true;

    public IReadOnlyCollection<KeyValuePair<string, string>> GetTraits() => [Trait];
}

/// <summary>A theory whose rows all take long.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class LongTheoryAttribute : TheoryAttribute, ITraitAttribute
{
    public LongTheoryAttribute([CallerFilePath] string? file = null, [CallerLineNumber] int line = -1)
        : base(file, line) => Explicit = true;

    public IReadOnlyCollection<KeyValuePair<string, string>> GetTraits() => [LongFactAttribute.Trait];
}

/// <summary>A row of a theory that takes long, beside others that do not.</summary>
[AttributeUsage(AttributeTargets.Method, AllowMultiple = true)]
public sealed class LongDataAttribute(params object?[] data) : DataAttribute
{
    public override ValueTask<IReadOnlyCollection<ITheoryDataRow>> GetData(MethodInfo testMethod, DisposalTracker disposalTracker) =>
        new([new TheoryDataRow(data) { Explicit = true, Traits = { [LongFactAttribute.Trait.Key] = [LongFactAttribute.Trait.Value] } }]);

    public override bool SupportsDiscoveryEnumeration() => true;
}
