namespace CudnnDigits.Cuda.Interop;

/// <summary>
/// Native objects that are released together, the last one first, once the work that uses them is done: those of a context, or of a part
/// of what is made in it. An object belongs here from the moment it is made. So a constructor that fails half-way need not know what it has
/// made by then: whoever called it disposes of this.
/// </summary>
internal sealed class CudaHandles : IDisposable
{
    private readonly CudaHandles? _whole;
    private readonly List<IDisposable> _members = []; // locked, as finalizers remove theirs

    /// <summary>Those of a context.</summary>
    public CudaHandles(CudaContext context) => Context = context;

    private CudaHandles(CudaHandles whole)
    {
        (Context, _whole) = (whole.Context, whole);
        whole.Add(this);
    }

    public CudaContext Context { get; }

    /// <summary>Makes something that owns its handles and disposes of them; where it cannot be made, they are released.</summary>
    public T Make<T>(Func<CudaHandles, T> make)
    {
        CudaHandles part = new(this);
        try
        {
            return make(part);
        }
        catch
        {
            part.Dispose();
            throw;
        }
    }

    /// <summary>Takes in a handle, or a part.</summary>
    public void Add(IDisposable member)
    {
        lock (_members)
        {
            _members.Add(member);
        }
    }

    /// <summary>Lets go of what was released, if need be by a finalizer.</summary>
    public void Remove(IDisposable member)
    {
        lock (_members)
        {
            _members.Remove(member);
        }
    }

    public void Dispose()
    {
        IDisposable[] members;
        lock (_members)
        {
            members = [.. _members];
        }

        if (members.Length > 0)
        {
            using CudaContext.Scope scope = Context.EnterToRelease();
            Array.ForEach(members, member => (member as CudaHandle)?.Finish());
            Array.Reverse(members);
            Array.ForEach(members, member => member.Dispose());
        }

        _whole?.Remove(this);
    }
}
