using System.Net.Sockets;

namespace CudnnDigits.Tests.Files;

/// <summary>What becomes of whatever stands where a file is to be written.</summary>
public sealed class AtomicFileTests : TestsWithFolder
{
    private const string LeftOver = ".0123456789abcdef.tmp";

    [Fact]
    public void A_link_stays_and_what_it_leads_to_gets_the_content()
    {
        _folder.Make("real/deep");
        _folder.Write("real/target", "old");
        File.CreateSymbolicLink(_folder["one"], "real/target");
        File.CreateSymbolicLink(_folder["two"], _folder["one"]);
        Directory.CreateSymbolicLink(_folder["folder"], "real/deep"); // "../target" is real/target from there, not the target beside it
        File.CreateSymbolicLink(_folder["real/deep/three"], "../target");
        File.CreateSymbolicLink(_folder["dangling"], "real/new");
        foreach ((string link, string target) in new[] { ("one", "real/target"), ("two", "real/target"), ("folder/three", "real/target"),
            ("dangling", "real/new") })
        {
            Write(_folder[link], link);
            Assert.NotNull(new FileInfo(_folder[link]).LinkTarget);
            Assert.Equal(link, File.ReadAllText(_folder[target]));
        }

        Assert.Equal(["dangling", "folder", "one", "real", "real/deep", "real/deep/three", "real/new", "real/target", "two"],
            Directory.EnumerateFileSystemEntries(_folder.Path, "*", new EnumerationOptions { RecurseSubdirectories = true })
                .Select(path => Path.GetRelativePath(_folder.Path, path).Replace('\\', '/'))
                    .Where(path => !path.StartsWith("folder/", StringComparison.Ordinal)).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void What_can_be_no_file_is_refused()
    {
        File.CreateSymbolicLink(_folder["a"], "b");
        File.CreateSymbolicLink(_folder["b"], "a");
        if (!OperatingSystem.IsWindows())
        {
            Assert.Contains("form a circle", Assert.Throws<InputException>(() => Write(_folder["a"], "x")).Message,
                StringComparison.Ordinal);
        }

        Directory.CreateSymbolicLink(_folder["link"], ".");
        foreach (string folder in new[] { _folder.Path, _folder["link"], _folder["new/"] })
        {
            Assert.Contains("is a folder", Assert.Throws<InputException>(() => Write(folder, "x")).Message, StringComparison.Ordinal);
        }

        Assert.Contains("there is no folder", Assert.Throws<DirectoryNotFoundException>(() => Write(_folder["absent/x"], "x")).Message,
            StringComparison.Ordinal);
        Assert.Equal(["a", "b", "link"], Names());
    }

    [Fact]
    public async Task A_fifo_gets_the_content_and_stays_a_fifo()
    {
        string fifo = FileNodes.Fifo(_folder["fifo"]), content = new('x', 200_000);
        File.CreateSymbolicLink(_folder["link"], "fifo");
        Task<string> reader = Task.Run(() => File.ReadAllText(fifo), TestContext.Current.CancellationToken);
        Write(_folder["link"], content);
        Assert.Equal(content, await reader);
        Assert.Equal(FileKind.Special, FileNodes.Kind(fifo));
        Assert.Equal(["fifo", "link"], Names());
    }

    [Fact]
    public void A_device_gets_the_content_and_stays_a_device()
    {
        string nowhere = FileNodes.Memory(_folder["null"], 3), full = FileNodes.Memory(_folder["full"], 7);
        Write(nowhere, new string('x', 200_000));
        Assert.Contains("No space left", Assert.ThrowsAny<IOException>(() => Write(full, "x")).Message, StringComparison.Ordinal);
        Assert.Equal([FileKind.Special, FileKind.Special], new[] { nowhere, full }.Select(FileNodes.Kind));
        Assert.Equal(["full", "null"], Names());
    }

    [Fact]
    public void A_socket_is_left_alone()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "Windows has them elsewhere");
        using Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Bind(new UnixDomainSocketEndPoint(_folder["socket"]));
        Assert.Throws<InputException>(() => Write(_folder["socket"], "x"));
        Assert.Equal(FileKind.Socket, FileNodes.Kind(_folder["socket"]));
    }

    [Fact]
    public void Whether_a_file_can_be_written_is_found_out_without_touching_it()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "needs nodes");
        string good = _folder.Write("good", "kept");
        AtomicFile.CheckWritable(good);
        AtomicFile.CheckWritable(_folder["new"]);
        AtomicFile.CheckWritable(FileNodes.Fifo(_folder["fifo"])); // and is not waited for
        Assert.Equal("kept", File.ReadAllText(good));
        Assert.Equal(["fifo", "good"], Names());
        foreach (string bad in new[] { _folder.Path, _folder["absent/new"], _folder["good/new"], _folder[new string('n', 300)],
            "/proc/absent", "/dev/fd/999" })
        {
            Assert.Throws<InputException>(() => AtomicFile.CheckWritable(bad));
        }
    }

    /// <summary>In a sticky folder, as /tmp is, who may make files may not replace those of others.</summary>
    [Theory]
    [InlineData(true, 7u, 7u, false)]
    [InlineData(false, 7u, 7u, true)]
    [InlineData(true, uint.MaxValue, 7u, true)] // the folder's owner
    [InlineData(true, 7u, uint.MaxValue, true)] // the file's
    public void In_a_sticky_folder_only_owners_may_replace_a_file(bool sticky, uint folderOwner, uint fileOwner, bool may)
    {
        FileStatus folder = new(FileKind.Folder, 0, 0, folderOwner, 0, sticky ? UnixFileMode.StickyBit : 0),
        file = new(FileKind.Regular, 0, 0, fileOwner, 0, 0);
        Assert.Equal(may, Posix.MayReplace(folder, file, user: uint.MaxValue));
        Assert.True(Posix.MayReplace(folder, file, user: 0)); // root
    }

    /// <summary>
    /// A path of its own would open the file anew, at its beginning, and whoever shares the descriptor would write over it.
    /// </summary>
    [Theory]
    [InlineData("/dev/fd")]
    [InlineData("/proc/self/fd")]
    public void A_descriptor_is_written_where_it_stands(string descriptors)
    {
        Assert.SkipUnless(Directory.Exists(descriptors), $"there is no {descriptors}");
        using FileStream shared = new(_folder["shared"], FileMode.CreateNew, FileAccess.Write, FileShare.ReadWrite, bufferSize: 0);
        string path = $"{descriptors}/{shared.SafeFileHandle.DangerousGetHandle()}";
        Write(path, "head ");
        Write(path, "tail");
        Assert.Equal("head tail", File.ReadAllText(_folder["shared"]));
        Assert.Equal(["shared"], Names());
    }

    [Fact]
    public void Nothing_of_the_users_is_taken_for_a_temporary_file()
    {
        foreach (string name in new[] { "x.csv.tmp", "x.csv.0123456789ABCDEF.tmp", "x.csv.0123456789abcde.tmp", "y.csv" + LeftOver,
            "x.csv.old" + LeftOver })
        {
            _folder.Write(name, name);
        }

        Write(_folder["x.csv"], "new");
        Assert.Equal("new", File.ReadAllText(_folder["x.csv"]));
        Assert.Equal(6, Names().Length);
        Assert.All(Names().Where(name => name != "x.csv"), name => Assert.Equal(name, File.ReadAllText(_folder[name])));
        Assert.True(AtomicFile.IsLeftOver("run.json" + LeftOver));
        Assert.False(AtomicFile.IsLeftOver("run.json.tmp"));
    }

    [Fact]
    public void What_a_kill_has_left_is_removed_but_not_what_is_being_written()
    {
        string dead = _folder["x.csv" + LeftOver], alive = _folder["x.csv.00000000000000ff.tmp"];
        File.WriteAllText(dead, "half");
        _folder.Write("x.csv.aaaaaaaaaaaaaaaa.tmp", "");
        using (FileStream writing =
            new(alive, FileMode.CreateNew, FileAccess.ReadWrite, OperatingSystem.IsWindows() ? FileShare.Delete : FileShare.None))
        {
            writing.Write([1]);
            writing.Flush();
            Write(_folder["x.csv"], "new");
            Assert.Equal(["x.csv", Path.GetFileName(alive)], Names());
        }

        Write(_folder["x.csv"], "newer");
        Assert.Equal(["x.csv"], Names());
    }

    /// <summary>.NET locks what it reads; a report of a run that goes on must not find its files in use.</summary>
    [Fact]
    public async Task Whoever_reads_while_a_file_is_replaced_reads_one_or_the_other()
    {
        string path = _folder["x"];
        Write(path, "old");
        using CancellationTokenSource done = new();
        Task writer = Task.Run(
            () =>
            {
                while (!done.IsCancellationRequested)
                {
                    Write(path, "new");
                }
            },
            TestContext.Current.CancellationToken);
        for (int i = 0; i < 2000; i++)
        {
            Assert.Equal(3, File.ReadAllText(path).Length);
        }

        await done.CancelAsync();
        await writer;
    }

    [Fact]
    public void Two_that_write_the_same_file_do_not_disturb_each_other()
    {
        string path = _folder["x"];
        Parallel.For(0, 200, new ParallelOptions { MaxDegreeOfParallelism = 8 },
            i => Write(path, new string((char)('a' + i % 26), 10_000)));
        string content = File.ReadAllText(path);
        Assert.Equal(10_000, content.Length);
        Assert.Single(content.Distinct());
        Assert.Equal(["x"], Names());
    }

    [Theory]
    [InlineData(0x180)] // 0600
    [InlineData(0x1a0)] // 0640
    [InlineData(0x1b6)] // 0666, which the usual umask would not give
    public void Permissions_stay_as_they_are(int mode)
    {
        if (OperatingSystem.IsWindows())
        {
            Assert.Skip("Windows has none of these");
            return;
        }

        _folder.Write("x", "old");
        File.SetUnixFileMode(_folder["x"], (UnixFileMode)mode);
        Write(_folder["x"], "new");
        Assert.Equal("new", File.ReadAllText(_folder["x"]));
        Assert.Equal((UnixFileMode)mode, File.GetUnixFileMode(_folder["x"]));
    }

    [Fact]
    public void The_owner_stays_as_far_as_one_may()
    {
        Assert.SkipUnless(!OperatingSystem.IsWindows() && Environment.UserName == "root", "only root may give files away");
        _folder.Write("x", "old");
        Assert.True(FileNodes.Run("chown", "12345:23456", _folder["x"]));
        Write(_folder["x"], "new");
        FileStatus status = Posix.Status(_folder["x"], follow: false);
        Assert.Equal((12345u, 23456u), (status.Owner, status.Group));
    }

    [Fact]
    public void A_failure_leaves_the_old_content_and_nothing_else()
    {
        _folder.Write("x", "old");
        Assert.Throws<IOException>(() => AtomicFile.Write(_folder["x"], stream =>
        {
            stream.Write(new byte[100_000]);
            throw new IOException("the disk is full");
        }));
        Assert.Equal("old", File.ReadAllText(_folder["x"]));
        Assert.Equal(["x"], Names());
    }

    [Theory]
    [InlineData("x", 255)]
    [InlineData("ü", 127)]
    public void A_name_may_be_as_long_as_the_file_system_has_them(string letter, int count)
    {
        string path = _folder[string.Concat(Enumerable.Repeat(letter, count))];
        Write(path, "old");
        Write(path, "new");
        Assert.Equal("new", File.ReadAllText(path));
        Assert.Single(Names());
    }

    /// <summary>Hard links part: the file is a new one, and its other names keep what they had. docs/decisions/0019 says why.</summary>
    [Fact]
    public void Another_name_of_the_same_file_keeps_the_old_content()
    {
        _folder.Write("x", "old");
        Assert.SkipUnless(FileNodes.Run("ln", _folder["x"], _folder["y"]), "needs hard links");
        Assert.True(OutputPlace.IsSame(_folder["x"], _folder["y"]));
        Write(_folder["x"], "new");
        Assert.Equal(("new", "old"), (File.ReadAllText(_folder["x"]), File.ReadAllText(_folder["y"])));
        Assert.False(OutputPlace.IsSame(_folder["x"], _folder["y"]));
    }

    private static void Write(string path, string content) => AtomicFile.WriteText(path, content);

    private string[] Names() =>
        [.. Directory.GetFileSystemEntries(_folder.Path).Select(path => Path.GetFileName(path)!).Order(StringComparer.Ordinal)];
}
