using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Net.Sockets;
using System.Text.Json.Nodes;
using CudnnDigits.Cli.Serve;
using CudnnDigits.Cpu;

namespace CudnnDigits.Tests.Cli;

/// <summary>The server, over HTTP.</summary>
public sealed class ServeTests(RunningServer server) : IClassFixture<RunningServer>
{
    private static readonly DigitDataset Digits = GeneratedDigits.Create(64, seed: 9);

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Predictions_are_those_of_the_library_in_every_form()
    {
        float[] expected = Expected();
        int[][] images = [.. Enumerable.Range(0, Digits.Count).Select(Pixels)];
        AssertPredictions(expected, await Post(JsonContent.Create(new { images })));
        for (int row = 0; row < 10; row++)
        {
            float[] own = expected[(10 * row)..(10 * row + 10)];
            AssertPredictions(own, await Post(JsonContent.Create(new { pixels = images[row] })));
            AssertPredictions(own, await Post(Png(PngFiles.Write(Digits.Image(row), 28))));
        }

        using MultipartFormDataContent form = [];
        for (int row = 0; row < 20; row++)
        {
            form.Add(Png(PngFiles.Write(Digits.Image(row), 28, PngFiles.Rgba)), "digit", $"{row}.png");
        }

        AssertPredictions(expected[..200], await Post(form));
    }

    [Fact]
    public async Task Large_pictures_and_strokes_come_back_as_the_network_saw_them()
    {
        byte[] large = new byte[300 * 300], seen = new byte[784];
        for (int i = 0; i < large.Length; i++)
        {
            large[i] = (byte)(255 - Digits.Image(7)[Math.Min(27, i / 300 / 10) * 28 + Math.Min(27, i % 300 / 10)]);
        }

        JsonNode answer = await Post(Png(PngFiles.Write(large, 300)));
        PictureFile.Read(PngFiles.Write(large, 300), seen);
        Assert.Equal(seen.Select(pixel => (int)pixel),
            answer["predictions"]![0]!["image"]!.AsArray().Select(pixel => pixel!.GetValue<int>()));
        Assert.Equal(7, answer["predictions"]![0]!["digit"]!.GetValue<int>());
        Assert.Null((await Post(Png(PngFiles.Write(Digits.Image(7), 28))))["predictions"]![0]!["image"]);
    }

    [Fact]
    public async Task An_answer_says_whether_the_picture_was_fitted_and_nothing_is_read_on_a_blank_one()
    {
        byte[] white = [.. Digits.Image(7).ToArray().Select(ink => (byte)(255 - ink))],
        gray = [.. white.Select(level => (byte)(150 + level / 4))];
        JsonNode response = (await Get("openapi.json"))["components"]!["schemas"]!["PredictResponse"]!;
        string[] described = [.. response["properties"]!["predictions"]!["items"]!["properties"]!.AsObject().Select(pair => pair.Key)];
        foreach ((byte[] picture, bool isFitted) in new[] { (white, false), (gray, true) })
        {
            JsonNode answer = (await Post(Png(PngFiles.Write(picture, 28))))["predictions"]![0]!;
            Assert.Equal((7, isFitted), (answer["digit"]!.GetValue<int>(), answer["normalized"]!.GetValue<bool>()));
            Assert.Equal(described.Where(key => isFitted || key != "image"), answer.AsObject().Select(pair => pair.Key));
        }

        foreach (byte level in new byte[] { 0, 0x80, 0xf0, 255 })
        {
            using HttpResponseMessage blank =
                await server.Client.PostAsync("predict", Png(PngFiles.Write([.. Enumerable.Repeat(level, 784)], 28)), Cancellation);
            Assert.Equal(HttpStatusCode.BadRequest, blank.StatusCode);
            Assert.Contains("the picture is blank", await blank.Content.ReadAsStringAsync(Cancellation), StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Photographs_are_read_whatever_they_are_called_and_however_the_camera_was_held()
    {
        byte[] ink = new byte[784];
        byte[] scene = [.. Enumerable.Range(0, 280 * 420)
            .Select(i => i / 280 is >= 70 and < 350 ? (byte)(255 - Digits.Image(7)[(i / 280 - 70) / 10 * 28 + i % 280 / 10]) : (byte)255)];
        byte[] upright = JpegFiles.Write(scene, 280, 420), onItsSide = JpegFiles.WithOrientation(
            JpegFiles.Write([.. Enumerable.Range(0, 280 * 420).Select(i => scene[(i % 420) * 280 + 279 - i / 420])], 420, 280), 6,
            littleEndian: false);
        Assert.True(PictureFile.Read(upright, ink));
        foreach ((byte[] file, string type) in new[] { (upright, "image/jpeg"), (upright, "image/jpg"), (upright, "image/png"),
            (onItsSide, "image/jpeg"), (PngFiles.Write(scene, 280), "image/jpeg") })
        {
            JsonNode answer = (await Post(new ByteArrayContent(file) { Headers = { ContentType = new MediaTypeHeaderValue(type) } }))[
                "predictions"]![0]!;
            Assert.Equal(7, answer["digit"]!.GetValue<int>());
            Assert.InRange(answer["image"]!.AsArray().Zip(ink, (seen, own) => Math.Abs(seen!.GetValue<int>() - own)).Average(), 0, 4);
        }

        using MultipartFormDataContent form = [];
        form.Add(new ByteArrayContent(upright), "a", "a.jpg");
        form.Add(Png(PngFiles.Write(Digits.Image(1), 28)), "b", "b.png");
        Assert.Equal([7, 1], (await Post(form))["predictions"]!.AsArray().Select(prediction => prediction!["digit"]!.GetValue<int>()));
    }

    [Fact]
    public async Task A_photograph_takes_its_share_of_the_memory_while_it_is_decoded_and_gives_it_back()
    {
        byte[] scene = [.. Enumerable.Range(0, 1200 * 1600)
            .Select(i => i / 1200 is >= 200 and < 1400 && i % 1200 is >= 560 and < 640 ? (byte)20 : (byte)240)];
        byte[] photograph = JpegFiles.Write(scene, 1200, 1600, quality: 50);
        using MultipartFormDataContent form = [];
        for (int i = 0; i < 4; i++)
        {
            form.Add(new ByteArrayContent(photograph), "a", "a.jpg");
        }

        byte[] four = RawClient.Post(form.Headers.ContentType!.ToString(), await form.ReadAsByteArrayAsync(Cancellation));
        long memory = PictureFile.Claim(photograph).Memory;
        await using LimitedServer enough = new(server.Weights, new Limits { SharedBytes = memory + four.Length });
        Assert.Equal(200, Assert.Single(await RawClient.Ask(enough.Address, four, Cancellation)).Status);
        Assert.Equal(200, Assert.Single(await RawClient.Ask(enough.Address, four, Cancellation)).Status);
        await using LimitedServer tooLittle =
            new(server.Weights, new Limits { SharedBytes = memory / 2, Memory = TimeSpan.FromMilliseconds(100) });
        Assert.Equal(503, Assert.Single(await RawClient.Ask(tooLittle.Address, RawClient.Post("image/jpeg", photograph), Cancellation))
            .Status);
        Assert.Equal(200, Assert.Single(
            await RawClient.Ask(tooLittle.Address, RawClient.Post("image/png", PngFiles.Write(Digits.Image(1), 28)), Cancellation)).Status);
    }

    [Fact]
    public async Task Requests_that_come_together_get_each_its_own_answer()
    {
        float[] expected = Expected();
        JsonNode before = await Get("health");
        await Parallel.ForEachAsync(Enumerable.Range(0, 640),
            new ParallelOptions { MaxDegreeOfParallelism = 32, CancellationToken = Cancellation }, async (i, _) =>
        {
            int row = i % Digits.Count;
            AssertPredictions(expected[(10 * row)..(10 * row + 10)], await Post(JsonContent.Create(new { pixels = Pixels(row) })));
        });
        JsonNode after = await Get("health");
        Assert.Equal(640, after["digits"]!.GetValue<long>() - before["digits"]!.GetValue<long>());
        Assert.InRange(after["passes"]!.GetValue<long>() - before["passes"]!.GetValue<long>(), 1, 640);
    }

    [Fact]
    public async Task Requests_that_wait_share_a_forward_pass()
    {
        SlowDevice device = new(server.Weights);
        using DigitClassifier classifier = new(server.Weights.Network, 256, device);
        using Batcher batcher = new(classifier);
        float[] expected = Expected();
        Task<float[]>[] tasks = [.. Enumerable.Range(0, 200).Select(i => batcher.Predict(Digits.Image(i % 64).ToArray())!)];
        device.Gate.Set();
        float[][] answers = await Task.WhenAll(tasks);
        for (int i = 0; i < answers.Length; i++)
        {
            Assert.All(answers[i].Zip(expected.AsSpan(10 * (i % 64), 10).ToArray()), pair => Assert.Equal(pair.Second, pair.First));
        }

        Assert.InRange(batcher.Passes, 1, 2); // the first within its millisecond, the others behind the gate
        Assert.Equal(200, batcher.Digits);
    }

    [Fact]
    public async Task What_openapi_describes_is_what_there_is()
    {
        JsonNode description = await Get("openapi.json");
        JsonObject paths = description["paths"]!.AsObject();
        Assert.Equal(["/predict", "/health"], paths.Select(path => path.Key));
        JsonNode request = paths["/predict"]!["post"]!["requestBody"]!["content"]!["application/json"]!;
        foreach ((string name, JsonNode? example) in request["examples"]!.AsObject())
        {
            JsonNode answer = await Post(new StringContent(example!["value"]!.ToJsonString(), Encoding.UTF8, "application/json"));
            Assert.True(answer["predictions"]![0]!["digit"]!.GetValue<int>() == (name == "strokes" ? 7 : 1), name);
        }

        AssertDescribed(description, "PredictResponse", await Post(JsonContent.Create(new { pixels = Pixels(0) })));
        AssertDescribed(description, "Health", await Get("health"));
        Assert.Equal(PredictBody.MostDigits,
            description["components"]!["schemas"]!["PredictRequest"]!["properties"]!["images"]!["maxItems"]!.GetValue<int>());
        Assert.Equal(
            DigitNetworks.Names, description["components"]!["schemas"]!["Health"]!["properties"]!["model"]!["enum"]!.AsArray()
                .Select(name => name!.GetValue<string>()));
    }

    [Fact]
    public void It_listens_on_127_0_0_1_and_nowhere_else()
    {
        using TcpClient elsewhere = new();
        Assert.Throws<SocketException>(() => elsewhere.Connect(IPAddress.Parse("127.0.0.2"), server.Address.Port));
    }

    [Fact]
    public async Task A_stopping_server_answers_what_it_has_begun_and_exits_with_0()
    {
        Signals.Require("TERM");
        Process process = CliProgram.Start("serve", "--weights", server.WeightsFile, "--device", "cpu", "--port", "0", "--json");
        Uri address = new(CliProgram.ReadAddress(process));
        byte[] body = Encoding.UTF8.GetBytes("{\"strokes\":[[[140,30],[138,250]]]}");
        using TcpClient client = new(address.Host, address.Port);
        NetworkStream stream = client.GetStream();
        await stream.WriteAsync(Encoding.ASCII.GetBytes($"POST /predict HTTP/1.1\r\nHost: {address.Authority}\r\nContent-Type: "
            + $"application/json\r\nContent-Length: {body.Length}\r\nExpect: 100-continue\r\n\r\n"), Cancellation);
        byte[] goOn = new byte["HTTP/1.1 100 Continue\r\n\r\n".Length];
        await stream.ReadExactlyAsync(goOn, Cancellation); // the request has begun: the server asks for its body
        Assert.StartsWith("HTTP/1.1 100", Encoding.ASCII.GetString(goOn), StringComparison.Ordinal);
        Signals.Send(process, "TERM");
        Signals.WaitUntil(() => !Connects(address), process); // the stop has begun
        await stream.WriteAsync(body, Cancellation);
        using StreamReader reader = new(stream);
        string answer = await reader.ReadToEndAsync(Cancellation);
        Assert.StartsWith("HTTP/1.1 200 OK", answer, StringComparison.Ordinal);
        Assert.Contains("\"digit\":1", answer, StringComparison.Ordinal);
        CliProgram.Finish(process).Succeeded();
    }

    [Fact]
    public void A_port_that_is_taken_and_weights_that_are_none_are_refused()
    {
        CliProgram.AssertRefused($"--port {server.Address.Port}: cannot be used", "serve", "--weights", server.WeightsFile, "--device",
            "cpu", "--port", $"{server.Address.Port}");
        CliProgram.AssertRefused("no such file", "serve", "--weights", server.WeightsFile + ".absent", "--port",
            "0"); // whatever this machine has on 8080
        CliProgram.AssertRefused("--port is 70000", "serve", "--port", "70000");
    }

    [LongFact]
    public async Task Without_weights_a_quick_model_is_trained_first()
    {
        using TemporaryFolder cache = new();
        ProcessStartInfo info = CliProgram.Info("serve", "--model", "simple", "--device", "cpu", "--port", "0", "--json");
        info.Environment["XDG_CACHE_HOME"] = cache.Path;
        Process process = Process.Start(info)!;
        using HttpClient client = new() { BaseAddress = new Uri(CliProgram.ReadAddress(process)) };
        JsonNode health = (await client.GetFromJsonAsync<JsonNode>("health", Cancellation))!;
        Assert.Equal("quick model, trained on built-in digits", health["weights"]!.GetValue<string>());
        JsonNode answer = await Answer(
            await client.PostAsync("predict", JsonContent.Create(new { images = Enumerable.Range(0, Digits.Count).Select(Pixels) }),
            Cancellation));
        Assert.InRange(answer["predictions"]!.AsArray().Select((one, row) => one!["digit"]!.GetValue<int>() == Digits.Labels[row] ? 1 : 0)
            .Sum(), 60, 64);
        process.Kill();
        string error = CliProgram.Finish(process).Error, kept = Assert.Single(Directory.GetFiles(cache["cudnn-digits/serve"]));
        Assert.Contains("epoch 3/3", error, StringComparison.Ordinal);
        Assert.Contains($"kept for the next start: {kept}", error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task When_too_many_digits_wait_the_next_is_turned_away_and_nothing_is_lost()
    {
        SlowDevice device = new(server.Weights);
        using DigitClassifier classifier = new(server.Weights.Network, 256, device);
        using Batcher batcher = new(classifier);
        byte[] many = [.. Enumerable.Range(0, 1024).SelectMany(i => Digits.Image(i % 64).ToArray())];
        List<Task<float[]>> waiting = [];
        for (Task<float[]>? task; (task = batcher.Predict(many)) is not null;)
        {
            waiting.Add(task);
            Assert.True(waiting.Count <= 10); // eight wait, and one or two are being read
        }

        Assert.InRange(waiting.Count, 8, 10);
        Task<float[]>[] few = [.. Enumerable.Range(0, 20).Select(i => batcher.Predict(Digits.Image(i).ToArray())!)];
        device.Gate.Set();
        float[] expected = Expected();
        Assert.All((await Task.WhenAll(few)).Index(),
            answer => Assert.Equal(expected[(10 * answer.Index)..(10 * answer.Index + 10)], answer.Item));
        foreach (float[] probabilities in await Task.WhenAll(waiting))
        {
            Assert.Equal(expected.Length * 16, probabilities.Length);
            Assert.All(Enumerable.Range(0, probabilities.Length), i => Assert.Equal(expected[i % expected.Length], probabilities[i]));
        }

        Assert.InRange(device.Sizes.IndexOf(20), 1, 3); // after one or two of the large ones
    }

    private static bool Connects(Uri address)
    {
        try
        {
            using TcpClient client = new(address.Host, address.Port);
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    private float[] Expected()
    {
        using ITrainingBackend backend =
            BackendFactory.Create("cpu", server.Weights.Network, new BackendOptions(16, 0, AugmentationSpec.None));
        backend.Load(server.Weights, new OptimizerState(server.Weights.Network));
        float[] values = new float[10 * Digits.Count];
        backend.Predict(Digits, [.. Enumerable.Range(0, Digits.Count)], values);
        for (int row = 0; row < Digits.Count; row++)
        {
            Prediction.Softmax(values.AsSpan(10 * row, 10).ToArray(), values.AsSpan(10 * row, 10));
        }

        return values;
    }

    private static int[] Pixels(int row) => [.. Digits.Image(row).ToArray().Select(pixel => (int)pixel)];

    private static ByteArrayContent Png(byte[] bytes) => new(bytes) { Headers = { ContentType = new MediaTypeHeaderValue("image/png") } };

    private async Task<JsonNode> Post(HttpContent content) => await Answer(await server.Client.PostAsync("predict", content, Cancellation));

    private async Task<JsonNode> Get(string path) => await Answer(await server.Client.GetAsync(path, Cancellation));

    private static async Task<JsonNode> Answer(HttpResponseMessage response)
    {
        string text = await response.Content.ReadAsStringAsync(Cancellation);
        Assert.True(response.StatusCode == HttpStatusCode.OK, text);
        return JsonNode.Parse(text)!;
    }

    private static void AssertPredictions(float[] expected, JsonNode answer)
    {
        JsonArray predictions = answer["predictions"]!.AsArray();
        Assert.Equal(expected.Length / 10, predictions.Count);
        for (int i = 0; i < predictions.Count; i++)
        {
            float[] probabilities = [.. predictions[i]!["probabilities"]!.AsArray().Select(value => value!.GetValue<float>())];
            Assert.All(probabilities.Zip(expected.AsSpan(10 * i, 10).ToArray()), pair => Assert.Equal(pair.Second, pair.First));
            int digit = predictions[i]!["digit"]!.GetValue<int>();
            Assert.Equal(Prediction.Best(expected.AsSpan(10 * i, 10)), digit);
            Assert.Equal(probabilities[digit], predictions[i]!["probability"]!.GetValue<float>());
        }
    }

    private static void AssertDescribed(JsonNode description, string schema, JsonNode value)
    {
        JsonObject properties = description["components"]!["schemas"]![schema]!["properties"]!.AsObject();
        Assert.Equal(properties.Select(property => property.Key).Order(StringComparer.Ordinal),
            value.AsObject().Select(property => property.Key).Order(StringComparer.Ordinal));
    }

    /// <summary>The CPU behind a gate.</summary>
    private sealed class SlowDevice(Model.NetworkWeights weights) : IClassifierDevice
    {
        private readonly IClassifierDevice _inner = CpuDevice.CreateClassifier(weights, new ClassifierOptions(), CpuDevice.VectorBits);

        public ManualResetEventSlim Gate { get; } = new();

        /// <summary>Digits in each pass.</summary>
        public List<int> Sizes { get; } = [];

        public string Name => _inner.Name;

        public Precision Precision => _inner.Precision;

        public void Predict(in ImageBatch images, ReadOnlySpan<int> rows, Span<float> logits)
        {
            Gate.Wait();
            Sizes.Add(images.Count);
            _inner.Predict(images, rows, logits);
        }

        public void Enqueue(in ImageBatch images, nint logits, nint stream) => _inner.Enqueue(images, logits, stream);

        public void Dispose()
        {
            _inner.Dispose();
            Gate.Dispose();
        }
    }
}
