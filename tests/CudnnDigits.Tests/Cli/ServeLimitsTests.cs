using CudnnDigits.Cli.Serve;

namespace CudnnDigits.Tests.Cli;

/// <summary>What silent, slow and many peers can do to the server: nothing to the others.</summary>
public sealed class ServeLimitsTests(RunningServer server) : IClassFixture<RunningServer>
{
    private const string One = "{\"strokes\":[[[140,30],[138,250]]]}";

    /// <summary>The server takes 10 s to end a silent request: who waits for less has not waited for one.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(9);

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [LongFact]
    public async Task Two_hundred_bodies_without_their_last_byte_hold_little_memory_and_keep_nobody_waiting()
    {
        using Process process = CliProgram.Start("serve", "--weights", server.WeightsFile, "--device", "cpu", "--port", "0", "--json");
        try
        {
            Uri address = new(CliProgram.ReadAddress(process));
            byte[] almost = RawClient.Post("image/png", new byte[DigitServer.MostBodyBytes])[..^1];
            RawClient[] silent = [.. Enumerable.Range(0, 200).Select(_ => new RawClient(address))];
            Task sending = Parallel.ForEachAsync(silent,
                new ParallelOptions { MaxDegreeOfParallelism = 200, CancellationToken = Cancellation },
                async (client, _) => await client.Send(almost, Cancellation));
            for (int i = 0; i < 20; i++)
            {
                await AssertAnswered(address);
            }

            await sending;
            await AssertAnswered(address);
            process.Refresh();
            Assert.InRange(process.PeakWorkingSet64 >> 20, 0, 400); // 200 such bodies are 800 MiB
            Assert.All(silent, client => client.Dispose());
        }
        finally
        {
            process.Kill();
        }
    }

    [Fact]
    public async Task Eleven_hundred_silent_connections_keep_nobody_waiting()
    {
        RawClient[] silent = [.. Enumerable.Range(0, 1100).Select(_ => new RawClient(server.Address))];
        await AssertAnswered(server.Address);
        await Parallel.ForEachAsync(silent, Cancellation, async (client, _) => await client.Send("GET / HTTP/1.1\r\nHo", Cancellation));
        await AssertAnswered(server.Address);
        Array.ForEach(silent, client => client.Dispose());
    }

    [Fact]
    public async Task Who_asks_much_and_leaves_keeps_nobody_waiting()
    {
        byte[] hundred = [.. Enumerable.Repeat("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"u8.ToArray(), 100).SelectMany(bytes => bytes)];
        for (int round = 0; round < 2; round++)
        {
            RawClient[] clients = [.. Enumerable.Range(0, 500).Select(_ => new RawClient(server.Address))];
            await Parallel.ForEachAsync(clients, Cancellation, async (client, _) => await client.Send(hundred, Cancellation));
            Array.ForEach(clients, client => client.Dispose()); // the answers are not taken
        }

        Stopwatch watch = Stopwatch.StartNew();
        while (Assert.Single(await RawClient.Ask(server.Address, RawClient.Post(One), Cancellation)).Status != 200)
        {
            Assert.InRange(watch.Elapsed, TimeSpan.Zero, Patience); // was half a minute when each answer failed by itself
        }
    }

    [Fact]
    public async Task Who_has_sent_a_request_does_not_give_way_to_the_silent()
    {
        await using LimitedServer limited = new(server.Weights, new Limits { Connections = 8, ConnectionsOfAnAddress = 8 });
        List<Task<List<RawClient.Answer>>> asked = [];
        List<RawClient> all = [];
        for (int i = 0; i < 200; i++) // in one burst: no connection has been read when the next ones come
        {
            all.Add(new RawClient(limited.Address));
            if (i % 40 == 0)
            {
                await all[^1].Send(RawClient.Post(One), Cancellation);
                all[^1].EndSending();
                asked.Add(all[^1].Answers(Cancellation));
            }
        }

        foreach (Task<List<RawClient.Answer>> answers in asked)
        {
            Assert.Equal(200, Assert.Single(await answers).Status);
        }

        all.ForEach(client => client.Dispose());
    }

    [Fact]
    public async Task Where_the_system_allows_few_open_files_silent_connections_still_give_way()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "needs a shell, and all of 127.0.0.0/8");
        using Process process =
            CliProgram.Shell("ulimit -n 480; exec \"$@\"", "serve", "--weights", server.WeightsFile, "--device", "cpu", "--port", "0",
            "--json");
        Uri address = new(CliProgram.ReadAddress(process));
        RawClient[] silent = [.. Enumerable.Range(0, 900).Select(i => new RawClient(address, $"127.0.0.{2 + i % 5}"))];
        await AssertAnswered(address);
        await Parallel.ForEachAsync(silent, Cancellation, async (client, _) => await client.Send("GET / HTTP/1.1\r\nHo", Cancellation));
        await AssertAnswered(address);
        Array.ForEach(silent, client => client.Dispose());
        await AssertAnswered(address);
        Signals.Send(process, "TERM");
        Assert.Equal(0, CliProgram.Finish(process).ExitCode);

        CliProgram.Result refused =
            CliProgram.Finish(CliProgram.Shell("ulimit -n 300; exec \"$@\"", "serve", "--weights", server.WeightsFile, "--port", "0"));
        Assert.Equal(2, refused.ExitCode);
        Assert.Contains("300 open files; serve needs 448: raise the limit (ulimit -n 448)", refused.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_body_that_drips_is_ended_when_its_time_is_over()
    {
        await using LimitedServer limited = new(server.Weights, new Limits { Body = TimeSpan.FromSeconds(1) });
        using RawClient client = new(limited.Address);
        await client.Send("POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\n",
            Cancellation);
        Task<List<RawClient.Answer>> answers = client.Answers(Cancellation);
        Stopwatch watch = Stopwatch.StartNew();
        for (; !answers.IsCompleted; await Task.Delay(50, Cancellation))
        {
            Assert.True(watch.Elapsed < TimeSpan.FromSeconds(10), "a drip each 50 ms keeps a request alive");
            await client.Send("x", Cancellation);
        }

        RawClient.Answer answer = Assert.Single(await answers);
        Assert.Equal((408, "the body did not arrive completely within 1 s"), (answer.Status, answer.Detail));
    }

    [LongFact]
    public async Task Headers_that_do_not_end_are_answered_when_their_time_is_over()
    {
        await using LimitedServer limited = new(server.Weights, new Limits { Headers = TimeSpan.FromSeconds(1) });
        using RawClient client = new(limited.Address);
        await client.Send("GET / HTTP/1.1\r\nHost: local", Cancellation);
        Assert.Equal(408, Assert.Single(await client.Answers(Cancellation)).Status);
    }

    [LongFact]
    public async Task An_answer_that_nobody_takes_is_cut_off_when_its_time_is_over()
    {
        await using LimitedServer limited = new(server.Weights, new Limits { Body = TimeSpan.FromSeconds(1) });
        byte[] picture = new byte[29 * 29];
        picture.AsSpan(300, 60).Fill(255);
        byte[] part = [.. "--x\r\nContent-Disposition: form-data; name=a; filename=b\r\n\r\n"u8, .. PngFiles.Write(picture, 29),
            .. "\r\n"u8];
        byte[] request = RawClient.Post("multipart/form-data; boundary=x",
            [.. Enumerable.Repeat(part, 512).SelectMany(bytes => bytes), .. "--x--"u8]);
        int whole = (await RawClient.Ask(server.Address, request, Cancellation)).Single()
            .Body.Length; // of a server that waits longer for a body
        const int Requests = 16;
        using RawClient client = new(limited.Address, receiveBuffer: 4096);
        await client.Send([.. Enumerable.Repeat(request, Requests).SelectMany(bytes => bytes)], Cancellation);
        await client.WaitUntilBrokenOff(Cancellation);
        Assert.InRange((await client.ReadToEnd(Cancellation)).Length, 0,
            (Requests - 1) * whole); // what the system had taken; the rest is gone
        await AssertAnswered(limited.Address);
    }

    [Fact]
    public async Task Where_places_are_short_who_has_been_silent_longest_gives_way_and_is_told()
    {
        await using LimitedServer limited = new(server.Weights, new Limits { Connections = 6, ConnectionsOfAnAddress = 4 });
        List<RawClient> clients = [];
        for (int i = 0; i < 4; i++)
        {
            clients.Add(new RawClient(limited.Address));
            await clients[i].Send("HEAD /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\nHo", Cancellation);
            await clients[i].ReadOnce(Cancellation); // so the server has read all of it, and waits since then
            await Task.Delay(30, Cancellation);
        }

        await AssertAnswered(limited.Address); // the fifth of one address
        RawClient.Answer told = Assert.Single(await clients[0].Answers(Cancellation));
        Assert.Equal(503, told.Status);
        Assert.Contains("needed the place", told.Detail, StringComparison.Ordinal);
        await clients[1].Send("st: localhost\r\nConnection: close\r\n\r\n", Cancellation); // the others are still there
        Assert.Equal(200, Assert.Single(await clients[1].Answers(Cancellation)).Status);
        if (OperatingSystem.IsLinux()) // which has all of 127.0.0.0/8
        {
            using RawClient one = new(limited.Address, "127.0.0.3"), two = new(limited.Address, "127.0.0.3"),
            three = new(limited.Address, "127.0.0.3"), four = new(limited.Address, "127.0.0.3");
            await AssertAnswered(limited.Address); // five of two addresses, and a sixth
            using RawClient five = new(limited.Address, "127.0.0.4");
            await five.Send("GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", Cancellation);
            Assert.Equal(200, Assert.Single(await five.Answers(Cancellation)).Status);
        }

        clients.ForEach(client => client.Dispose());
    }

    [Fact]
    public async Task Where_memory_is_short_a_silent_body_gives_way_and_a_lively_one_does_not()
    {
        await using LimitedServer limited =
            new(server.Weights, new Limits { SharedBytes = 1 << 20, Silence = TimeSpan.FromSeconds(3), Memory = TimeSpan.FromSeconds(1) });
        byte[] large = RawClient.Post("application/json", Encoding.ASCII.GetBytes(new string(' ', 900_000)));
        using RawClient lively = new(limited.Address);
        await lively.Send(large[..1000], Cancellation);
        Task<RawClient.Answer> refused = AskUntil(503); // not at once, where the lively one has not taken its memory yet
        for (int at = 1000; !refused.IsCompleted; await Task.Delay(50, Cancellation))
        {
            await lively.Send(large[at..++at], Cancellation);
            await AssertAnswered(limited.Address); // one digit always finds room
        }

        RawClient.Answer told = await refused;
        Assert.Equal(503, told.Status);
        Assert.Contains("hold all of the 1 MiB", told.Detail, StringComparison.Ordinal);
        await AskUntil(400); // which is read whole: the other has been silent for long enough
        told = Assert.Single(await lively.Answers(Cancellation));
        Assert.Equal(503, told.Status);
        Assert.Contains("needed the memory", told.Detail, StringComparison.Ordinal);

        async Task<RawClient.Answer> AskUntil(int status)
        {
            RawClient.Answer answer;
            do
            {
                answer = Assert.Single(await RawClient.Ask(limited.Address, large, Cancellation));
            }
            while (answer.Status != status);

            return answer;
        }
    }

    [LongFact]
    public async Task What_was_sent_just_before_a_stop_is_answered()
    {
        Signals.Require("TERM");
        Process process = CliProgram.Start("serve", "--weights", server.WeightsFile, "--device", "cpu", "--port", "0", "--json");
        Uri address = new(CliProgram.ReadAddress(process));
        RawClient[] clients = [.. Enumerable.Range(0, 300).Select(i => i < 100 ? new RawClient(address) : null!)];
        await Parallel.ForEachAsync(Enumerable.Range(0, 100), Cancellation,
            async (i, _) => await clients[i].Send(RawClient.Post(One), Cancellation)); // used already
        for (int i = 0; i < clients.Length; i++)
        {
            clients[i] ??= new RawClient(address);
            await clients[i].Send(RawClient.Post(One), Cancellation);
        }

        using RawClient half = new(address);
        await half.Send(RawClient.Post(One)[..^1], Cancellation);
        Signals.Send(process, "TERM");
        for (int i = 0; i < clients.Length; i++)
        {
            List<RawClient.Answer> answers = await clients[i].Answers(Cancellation);
            Assert.Equal(i < 100 ? [200, 200] : [200], answers.Select(answer => answer.Status));
            clients[i].Dispose();
        }

        Assert.Equal(503, Assert.Single(await half.Answers(Cancellation)).Status); // told when its time is over
        CliProgram.Result result = CliProgram.Finish(process);
        Assert.True(result is { ExitCode: 0, Error: "" }, result.Error);
    }

    private static async Task AssertAnswered(Uri address)
    {
        Stopwatch watch = Stopwatch.StartNew();
        RawClient.Answer answer = Assert.Single(await RawClient.Ask(address, RawClient.Post(One), Cancellation));
        Assert.Contains("\"digit\":1", answer.Body, StringComparison.Ordinal);
        Assert.InRange(watch.Elapsed, TimeSpan.Zero, Patience); // a few ms, on a machine that does nothing else
    }
}
