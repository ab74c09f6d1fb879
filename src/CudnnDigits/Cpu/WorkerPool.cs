using System.Runtime.ExceptionServices;

namespace CudnnDigits.Cpu;

/// <summary>
/// Fork and join over a fixed set of threads, without allocation. Items are handed out one by one as workers become free,
/// so which worker takes an item is a matter of chance: an item must not depend on it.
/// </summary>
internal sealed class WorkerPool : IDisposable
{
    /// <summary>Turns of waiting before a thread sleeps: the passes of a step follow one another within microseconds.</summary>
    private const int SpinsBeforeSleep = 2000, SpinsBetweenYields = 8;

    private readonly Thread[] _threads;
    private readonly int _spins;
    private readonly Func<bool> _othersRun;
    private readonly object _gate = new(); // pulsed when a run begins and when it ends
    private readonly Worker[] _workers;
    private Action<int, Worker> _body = static (_, _) => { };
    private int _items, _next;
    private volatile int _generation, _running;
    private volatile bool _stopping;
    private ExceptionDispatchInfo? _failure;

    /// <summary>Starts the threads; the caller of <see cref="Run"/> is one of the workers.</summary>
    public WorkerPool(Worker[] workers)
    {
        _workers = workers;
        _othersRun = () => _running > 0;
        _threads = new Thread[workers.Length - 1];
        _spins = workers.Length <= Environment.ProcessorCount ? SpinsBeforeSleep : 0; // a spinning thread would hold up another worker
        for (int i = 0; i < _threads.Length; i++)
        {
            int worker = i + 1;
            _threads[i] = new Thread(() => Work(workers[worker])) { IsBackground = true, Name = $"cudnn-digits worker {worker}" };
            try
            {
                _threads[i].Start();
            }
            catch (OutOfMemoryException e)
            {
                _threads = _threads[..i];
                Dispose();
                throw new InputException($"--threads {workers.Length}: the system starts {worker} and no more; choose fewer", e);
            }
        }
    }

    /// <summary>All workers; the first is the calling thread.</summary>
    public IReadOnlyList<Worker> Workers => _workers;

    /// <summary>The calling thread's worker between two runs, its clock started anew.</summary>
    public Worker StartCaller() => _workers[0].Start();

    /// <summary>Has all clocks run from now on.</summary>
    public void Measure(int operations) => Array.ForEach(_workers, worker => worker.Measure(operations));

    /// <summary>Calls body(item, worker) for every item 0 … items − 1 and returns when all are done.</summary>
    public void Run(int items, Action<int, Worker> body)
    {
        if (items > 1 && _threads.Length > 0)
        {
            Share(items, body);
            return;
        }

        for (int item = 0; item < items; item++)
        {
            body(item, StartCaller()); // waking others would cost more than it saves
        }
    }

    private void Share(int items, Action<int, Worker> body)
    {
        _body = body;
        _items = items;
        _next = -1;
        _running = _threads.Length;
        lock (_gate)
        {
            _generation++;
            Monitor.PulseAll(_gate);
        }

        Drain(_workers[0]);
        WaitWhile(_othersRun);
        if (_failure is { } failure)
        {
            _failure = null;
            failure.Throw();
        }
    }

    public void Dispose()
    {
        if (_stopping)
        {
            return; // the threads have ended, and would be waited for without end
        }

        _stopping = true;
        Share(0, static (_, _) => { });
        foreach (Thread thread in _threads)
        {
            thread.Join();
        }
    }

    private void Work(Worker worker)
    {
        bool last = false;
        int seen = 0;
        Func<bool> nothingNew = () => _generation == seen;
        for (; !last; seen++)
        {
            WaitWhile(nothingNew);
            last = _stopping; // read before this run is reported done: set later, it belongs to the next
            Drain(worker);
            if (Interlocked.Decrement(ref _running) == 0)
            {
                lock (_gate)
                {
                    Monitor.PulseAll(_gate);
                }
            }
        }
    }

    private void Drain(Worker worker)
    {
        try
        {
            for (int item = Interlocked.Increment(ref _next); item < _items; item = Interlocked.Increment(ref _next))
            {
                _body(item, worker.Start());
            }
        }
        catch (Exception e)
        {
            _failure = ExceptionDispatchInfo.Capture(e);
        }
    }

    /// <summary>Spins for a while, then sleeps until the gate is pulsed. Some turns yield to a thread on the same processor.</summary>
    private void WaitWhile(Func<bool> waiting)
    {
        for (int turn = 0; turn < _spins; turn++)
        {
            if (!waiting())
            {
                return;
            }

            if (turn % SpinsBetweenYields == SpinsBetweenYields - 1)
            {
                Thread.Yield();
            }
            else
            {
                Thread.SpinWait(20);
            }
        }

        lock (_gate)
        {
            while (waiting())
            {
                Monitor.Wait(_gate);
            }
        }
    }
}
