using System.Reflection;
using Xunit.Sdk;
using Xunit.v3;

[assembly: TestFramework(typeof(GroupedSkips))]

namespace CudnnDigits.Tests.Reference;

/// <summary>
/// Tests that are skipped for the same reason are reported as one, at the end, which says how many they are and how to run them. One by one
/// they would hide everything else: without a GPU they are more than two hundred.
/// </summary>
public sealed class GroupedSkips : XunitTestFramework
{
    public GroupedSkips()
    {
    }

    public GroupedSkips(string? configFile)
        : base(configFile)
    {
    }

    protected override ITestFrameworkExecutor CreateExecutor(Assembly assembly) => new Executor(base.CreateExecutor(assembly));

    private sealed class Executor(ITestFrameworkExecutor inner) : ITestFrameworkExecutor
    {
        public ValueTask RunTestCases(
            IReadOnlyCollection<ITestCase> testCases, IMessageSink executionMessageSink, ITestFrameworkExecutionOptions executionOptions,
            CancellationToken? cancellationToken) =>
            inner.RunTestCases(testCases, new Sink(executionMessageSink), executionOptions, cancellationToken);
    }

    /// <summary>
    /// Holds what there is to say of a test back until it is known whether it is skipped; of each reason, one test's until all have run.
    /// So that the runner still knows that test then, the ends of its case, method, class and collection are held back too.
    /// </summary>
    private sealed class Sink(IMessageSink inner) : IMessageSink
    {
        private const string Long = " of the trait Category=Long";

        private readonly Lock _gate = new();
        private readonly Dictionary<string, List<IMessageSinkMessage>> _running = []; // by test
        private readonly Dictionary<string, (int Count, List<IMessageSinkMessage> First)> _groups = []; // by reason
        private readonly HashSet<string> _open = []; // what must not end before the groups are reported
        private readonly List<IMessageSinkMessage> _ends = [];

        public bool OnMessage(IMessageSinkMessage message)
        {
            lock (_gate)
            {
                switch (message)
                {
                    case ITestStarting starting:
                        _running[starting.TestUniqueID] = [starting];
                        return true;
                    case ITestFinished finished when _running.Remove(finished.TestUniqueID, out List<IMessageSinkMessage>? all):
                        string reason = all.OfType<ITestSkipped>().SingleOrDefault()?.Reason ?? Long;
                        (int count, List<IMessageSinkMessage>? first) = _groups.GetValueOrDefault(reason);
                        _groups[reason] = (count + 1, first ?? [.. all, finished]);
                        if (first is null)
                        {
                            _open.UnionWith([finished.TestCaseUniqueID, finished.TestMethodUniqueID ?? "", finished.TestClassUniqueID ?? "",
                                finished.TestCollectionUniqueID]);
                        }
                        return true;
                    case ITestResultMessage result and not (ITestSkipped or ITestNotRun) when _running.Remove(result.TestUniqueID,
                        out List<IMessageSinkMessage>? held):
                        return held.TrueForAll(inner.OnMessage) & inner.OnMessage(result);
                    case ITestMessage other when _running.TryGetValue(other.TestUniqueID, out List<IMessageSinkMessage>? soFar):
                        soFar.Add(other);
                        return true;
                    case ITestCaseFinished end when _open.Contains(end.TestCaseUniqueID):
                    case ITestMethodFinished method when _open.Contains(method.TestMethodUniqueID ?? ""):
                    case ITestClassFinished type when _open.Contains(type.TestClassUniqueID ?? ""):
                    case ITestCollectionFinished collection when _open.Contains(collection.TestCollectionUniqueID):
                        _ends.Add(message);
                        return true;
                    case ITestAssemblyFinished:
                        return _groups.All(Report) & _ends.TrueForAll(inner.OnMessage) & inner.OnMessage(message);
                    default:
                        return inner.OnMessage(message);
                }
            }
        }

        private bool Report(KeyValuePair<string, (int Count, List<IMessageSinkMessage> First)> group)
        {
            string name = string.Create(CultureInfo.InvariantCulture, $"{group.Value.Count} tests{(group.Key == Long ? Long : "")}");
            return group.Value.First.TrueForAll(message =>
                inner.OnMessage(message is ITestStarting starting && group.Value.Count > 1 ? Named(starting, name) : message));
        }

        private static TestStarting Named(ITestStarting starting, string name) => new()
        {
            AssemblyUniqueID = starting.AssemblyUniqueID,
            Explicit = starting.Explicit,
            StartTime = starting.StartTime,
            TestCaseUniqueID = starting.TestCaseUniqueID,
            TestClassUniqueID = starting.TestClassUniqueID,
            TestCollectionUniqueID = starting.TestCollectionUniqueID,
            TestDisplayName = name,
            TestLabel = starting.TestLabel,
            TestMethodUniqueID = starting.TestMethodUniqueID,
            TestUniqueID = starting.TestUniqueID,
            Timeout = starting.Timeout,
            Traits = starting.Traits,
        };
    }
}
