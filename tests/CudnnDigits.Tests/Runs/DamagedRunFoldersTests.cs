using System.Security.Cryptography;
using System.Text.Json.Nodes;
using CudnnDigits.Cli;
using CudnnDigits.Cli.Studies;
using CudnnDigits.Tests.Data;

namespace CudnnDigits.Tests.Runs;

/// <summary>Run folders that a disk, a kill or a person has damaged: refused, or read as they were written.</summary>
public sealed class DamagedRunFoldersTests : TestsWithFolder
{
    private static readonly NetworkSpec Network = DigitNetworks.Simple;

    [Fact]
    public void Counters_that_do_not_fit_the_run_are_refused()
    {
        DigitDataset data = GeneratedDigits.Create(200); // 200 digits, 160 of them trained on: 3 steps an epoch
        TrainingOptions options = TrainingOptions.For("simple") with { Epochs = 2 };
        RunRecord record = Record(options, data);
        using RunFolder run = RunFolder.Create(_folder["run"], record);
        Assert.Null(run.ReadState(Network, record, data)); // killed before anything was saved

        TrainingState state = new(Initializer.Create(Network, 0)) { Epoch = 1 };
        state.Optimizer.Step = 3;
        state.History.Add(Epoch(1));
        Save(state);
        Assert.Equal(1, run.ReadState(Network, record, data)!.Epoch);
        (state.StepInEpoch, state.Sums, state.Optimizer.Step) = (2, new EpochSums(1, 100, 128), 5);
        Save(state);
        Assert.Equal(2, run.ReadState(Network, record, data)!.StepInEpoch);

        Refused(() => state.StepInEpoch = 1_000_000);
        Refused(() => state.Optimizer.Step = 6);
        Refused(() => state.Sums = new EpochSums(1, 100, 127));
        Refused(() => state.Sums = new EpochSums(-100, 100, 128));
        Refused(() => state.History[0] = Epoch(1) with { ValidationLoss = null, ValidationAccuracy = null });
        Refused(() => state.History[0] = Epoch(1) with { LearningRate = 0.5 });
        Refused(() => state.History[0] = Epoch(1) with { TrainLoss = -0.5 });
        Refused(() => state.History[0] = Epoch(1) with { Seconds = 1e300 });
        Refused(() =>
        {
            state.History.AddRange([Epoch(2), Epoch(3)]);
            (state.Epoch, state.Optimizer.Step, state.StepInEpoch, state.Sums) = (3, 9, 0, default);
        });

        File.Delete(run.StateFile);
        run.WriteRecord(record);
        File.WriteAllText(run.ModelFile, "");
        DataSourceTests.AssertRefused("is missing, though the run has trained", () => run.ReadState(Network, record, data));
        Directory.CreateDirectory(run.StateFile);
        DataSourceTests.AssertRefused("is a folder", () => run.ReadState(Network, record, data));

        void Save(TrainingState saved) => Checkpoint.SaveState(run.StateFile, saved);

        void Refused(Action edit)
        {
            (int epoch, int step, EpochSums sums, long steps, EpochRecord[] history) =
                (state.Epoch, state.StepInEpoch, state.Sums, state.Optimizer.Step, [.. state.History]);
            edit();
            Save(state);
            DataSourceTests.AssertRefused("", () => run.ReadState(Network, record, data));
            (state.Epoch, state.StepInEpoch, state.Sums, state.Optimizer.Step) = (epoch, step, sums, steps);
            state.History.Clear();
            state.History.AddRange(history);
        }
    }

    [Theory]
    [InlineData("\"epochs\": 5", "\"epochs\": 0", "Epochs is 0")]
    [InlineData("\"epochs\": 5", "\"epochs\": 1e400", "damaged")]
    [InlineData("\"epochs\": 5,", "", "damaged")]
    [InlineData("\"epochs\": 5", "\"epochs\": null", "damaged")]
    [InlineData("\"batch_size\": 64", "\"batch_size\": -64", "BatchSize is -64")]
    [InlineData("\"model\": \"simple\"", "\"model\": \"other\"", "no network is called 'other'")]
    [InlineData("\"schedule\": \"OneCycle\"", "\"schedule\": 9", "Schedule is 9")]
    [InlineData("\"precision\": \"fp32\"", "\"precision\": 77", "precision is 77")]
    [InlineData("\"folds\": 0", "\"folds\": 1", "Folds is 1")]
    [InlineData("\"fold\": 0", "\"fold\": 3", "Fold is 3")]
    [InlineData("\"early_stop\": 0", "\"early_stop\": -1", "EarlyStop is -1")]
    [InlineData("\"device_option\": \"cpu\"", "\"device_option\": \"tpu\"", "tpu")]
    [InlineData("\"zoom\": 0", "\"zoom\": 1e39", "Zoom is")]
    [InlineData("{", "[", "damaged")]
    public void A_damaged_run_json_is_refused(string from, string to, string says)
    {
        using (RunFolder run = RunFolder.Create(_folder["run"], Record(TrainingOptions.For("simple"), GeneratedDigits.Create(2))))
        {
            run.ReadRecord();
        }

        string file = _folder["run/run.json"], text = RunFiles.WithoutSum(File.ReadAllText(file));
        Assert.Contains(from, text, StringComparison.Ordinal);
        File.WriteAllText(file, new Regex(Regex.Escape(from)).Replace(text, to, 1));
        DataSourceTests.AssertRefused("run.json: is damaged", () => new RunFolder(_folder["run"]).ReadRecord());
        DataSourceTests.AssertRefused(says, () => RunFolder.Open(_folder["run"], out _));
    }

    [Theory]
    [InlineData("kernels", "Others")]
    [InlineData("another", "1")]
    public void A_sound_run_json_of_another_version_is_not_called_damaged(string member, string value)
    {
        using RunFolder run = RunFolder.Create(_folder["run"], Record(TrainingOptions.For("simple"), GeneratedDigits.Create(2)));
        Change("run/run.json", content => content[member] = value);
        DataSourceTests.AssertRefused(
            $"run.json: was written by another version, and this one does not know {member}; go on with that version, or begin anew",
            () => run.ReadRecord());
    }

    [Theory]
    [InlineData("Hybrid")]
    [InlineData("warpgroups")]
    public void In_place_of_kernels_that_are_gone_auto_chooses(string gone)
    {
        RunRecord record = Record(TrainingOptions.For("simple"), GeneratedDigits.Create(2)) with { Kernels = CudaKernels.Layered };
        using RunFolder run = RunFolder.Create(_folder["run"], record);
        Machine machine = new("auto", null, Deterministic: true, CudaGraph: true, Threads: 0, CudaKernels.Layered);
        StudyRecord study = new("repeat", Checkpoint.Version, record.Started, record.Data, machine, record.Options, Size: 2);
        RecordFile.Write(_folder["run/study.json"], study, StudyJson.Default.StudyRecord);
        Change("run/run.json", content => content["kernels"] = gone);
        Change("run/study.json", content => content["machine"]!["kernels"] = gone);
        string called = gone.ToLowerInvariant();
        Assert.Equal(record with { Kernels = CudaKernels.Auto, GoneKernels = called }, run.ReadRecord());
        using Study read = Study.Read(_folder["run"]);
        Assert.Equal(machine with { Kernels = CudaKernels.Auto }, read.Record.Machine);
        Assert.Equal(called, read.Record.GoneKernels);
    }

    [Fact]
    public void A_record_of_a_GPU_that_does_not_say_which_kernels_ran_is_read()
    {
        CudaDetails cuda = new("13.0", null, null, new Dictionary<string, string> { ["conv1"] = "fused" }, 1, "fused");
        RunRecord record = Record(TrainingOptions.For("simple"), GeneratedDigits.Create(2)) with { Cuda = cuda };
        using RunFolder run = RunFolder.Create(_folder["run"], record);
        Assert.Equal("fused", run.ReadRecord().Cuda!.Kernels);
        Change("run/run.json", content => content["cuda"]!.AsObject().Remove("kernels"));
        Assert.Null(run.ReadRecord().Cuda!.Kernels);
    }

    [Fact]
    public void Members_that_are_lost_added_or_called_otherwise_are_found()
    {
        using RunFolder run = RunFolder.Create(_folder["run"], Record(TrainingOptions.For("simple"), GeneratedDigits.Create(2)));
        run.WriteMetrics(Metrics.FromConfusion(
            [.. Enumerable.Range(0, 10)
                .Select(label => (IReadOnlyList<int>)[.. Enumerable.Range(0, 10).Select(read => label == read ? 9 : 0)])], 12.5));
        Check("run.json", () => run.ReadRecord(), mayBeLost: nameof(RunRecord.Options));
        Check("metrics.json", () => run.ReadMetrics(), mayBeLost: "");

        void Check(string name, Action read, string mayBeLost)
        {
            string file = _folder[$"run/{name}"], good = RunFiles.WithoutSum(File.ReadAllText(file));
            File.WriteAllText(file, good);
            read();
            File.WriteAllText(file, "{}");
            DataSourceTests.AssertRefused($"{name}: is damaged", read);
            foreach (Match member in Regex.Matches(good, """(?<=[{,]\s*)"(\w+)": (?:"[^"]*"|[^{}\[\],\s]+)(,?)"""))
            {
                Refuse(good.Insert(member.Groups[1].Index, "x"), member.Value);
                Refuse(good.Insert(member.Index, "\"another\": 1, "), member.Value);
                if (mayBeLost.Length == 0 && member.Groups[2].Length > 0)
                {
                    Refuse(good.Remove(member.Index, member.Length), member.Value);
                }
            }

            File.WriteAllText(file, good);

            void Refuse(string text, string member)
            {
                File.WriteAllText(file, text);
                Assert.True(DataSourceTests.Refused(read), $"{name}: {member}");
            }
        }
    }

    [Fact]
    public void A_flipped_bit_anywhere_in_run_json_is_found()
    {
        using RunFolder run = RunFolder.Create(_folder["run"], Record(TrainingOptions.For("simple"), GeneratedDigits.Create(2)));
        RunRecord good = run.ReadRecord();
        string file = _folder["run/run.json"];
        byte[] bytes = File.ReadAllBytes(file);
        for (int bit = 0; bit < 8 * bytes.Length; bit++)
        {
            byte[] flipped = [.. bytes];
            flipped[bit / 8] ^= (byte)(1 << (bit % 8));
            File.WriteAllBytes(file, flipped);
            Assert.True(DataSourceTests.Refused(() => Assert.Equal(good, run.ReadRecord())),
                $"bit {bit}"); // or it is the space between members
        }

        File.WriteAllText(file,
            RunFiles.WithoutSum(Encoding.UTF8.GetString(bytes)).Replace("\"epochs\": 5", "\"epochs\": 12", StringComparison.Ordinal));
        Assert.Equal(12, run.ReadRecord().Options.Epochs); // changed on purpose, or written by an older version
    }

    [Fact]
    public void Options_and_digits_that_a_state_was_not_trained_with_are_refused()
    {
        DigitDataset data = GeneratedDigits.Create(200);
        TrainingOptions options = TrainingOptions.For("simple") with { Epochs = 2 };
        RunRecord record = Record(options, data);
        using RunFolder run = RunFolder.Create(_folder["run"], record);
        TrainingState state = new(Initializer.Create(Network, 0)) { Epoch = 1 };
        state.Optimizer.Step = 3;
        state.History.Add(Epoch(1));
        run.Save(state, record);
        Assert.NotNull(run.ReadState(Network, record, data));
        Assert.NotNull(run.ReadState(Network, record with { Options = options with { Epochs = 9 } }, data)); // --resume may extend
        foreach (TrainingOptions other in new[]
        {
            options with { Seed = 1 }, options with { Optimizer = new() { WeightDecay = 0.1 } },
            options with { Optimizer = options.Optimizer with { LearningRate = 0.1 } }, options with { BatchSize = 65 },
            options with { Augmentation = new() { Zoom = 0.1 } }, options with { Shuffle = false }, options with { KeepLast = true },
            options with { Dropout = 0.1 },
            options with { Schedule = LearningRateSchedule.Constant }, options with { Ema = 0.9 },
        })
        {
            DataSourceTests.AssertRefused("run.json: is damaged: its options are not those that",
                () => run.ReadState(Network, record with { Options = other }, data));
        }

        RunData others = record.Data with { Fingerprint = new('0', 64) };
        DataSourceTests.AssertRefused("last.safetensors: was trained on other digits than those of",
            () => run.ReadState(Network, record with { Data = others }, data));

        RunRecord another = record with { Started = record.Started.AddTicks(1) };
        DataSourceTests.AssertRefused("last.safetensors: is of another run than", () => run.ReadState(Network, another, data));
        Assert.NotNull(run.ReadState(Network, record, data: null));

        Checkpoint.SaveState(run.StateFile, state); // by an older version, which kept nothing of this
        Assert.NotNull(run.ReadState(Network, another, data));
        Assert.NotNull(run.ReadState(Network, record with { Data = others }, data));
        Assert.NotNull(run.ReadState(Network, record with { Options = options with { Seed = 1 } }, data));
        RunRecord averaging = record with { Options = options with { Ema = 0.9 } };
        DataSourceTests.AssertRefused(
            "last.safetensors: holds no average of the weights, and the run trains with ema 0.9; restore the right one",
            () => run.ReadState(Network, averaging, data));
        TrainingState averaged = new(state.Weights, new OptimizerSpec().Kept(0.9));
        averaged.CopyFrom(state);
        Checkpoint.SaveState(run.StateFile, averaged);
        Assert.NotNull(run.ReadState(Network, averaging, data)!.Optimizer.Average);
        DataSourceTests.AssertRefused(
            "last.safetensors: holds an average of the weights, and the run trains with ema 0; restore the right one",
            () => run.ReadState(Network, record, data));
    }

    [Theory]
    [InlineData(0, "epoch,", "epochs,")]
    [InlineData(1, "0.5,", "nan,")]
    [InlineData(1, "1,", "2,")]
    [InlineData(1, "1,", "1.5,")]
    [InlineData(1, ",0.9,", ",1.9,")]
    [InlineData(1, ",100.0", ",-100.0")]
    [InlineData(1, ",100.0", "")]
    [InlineData(1, ",100.0", ",100.0,1")]
    [InlineData(2, ",0.25,0.95,", ",,0.95,")]
    [InlineData(2, ",0.25,0.95,", ",,,")]
    [InlineData(1, "0.5,", "0.1,")]
    [InlineData(1, ",0.25,", ",0.24,")]
    [InlineData(2, "0.95,", "0.91,")]
    [InlineData(2, "0.001,", "0.003,")]
    [InlineData(2, ",100.0", ",900.0")]
    public void A_damaged_history_is_refused(int row, string from, string to)
    {
        using RunFolder run = RunFolder.Create(_folder["run"], Record(TrainingOptions.For("simple"), GeneratedDigits.Create(2)));
        TrainingState state = new(Initializer.Create(Network, 0)) { Epoch = 2 };
        state.History.AddRange([Epoch(1), Epoch(2)]);
        run.Save(state, run.ReadRecord());
        Assert.Equal(2, run.ReadHistory().Count);
        string file = _folder["run/history.csv"];
        string[] lines = File.ReadAllLines(file);
        Assert.Contains(from, lines[row], StringComparison.Ordinal);
        lines[row] = new Regex(Regex.Escape(from)).Replace(lines[row], to, 1);
        File.WriteAllText(file, string.Join("\r\n", lines) + "\r\n");
        DataSourceTests.AssertRefused($"history.csv: row {row + 1} is damaged; train --resume", () => run.ReadHistory());
        File.WriteAllText(file, string.Join('\n', File.ReadAllLines(file)[..1])); // a kill, between one file and the next, leaves fewer
        Assert.True(row == 0 || run.ReadHistory().Count == 0);
        _folder.Write("run/metrics.json", ""); // where the run has ended
        DataSourceTests.AssertRefused(row == 0 ? "row 1 is damaged" : "row 2 is missing", () => run.ReadHistory());
    }

    [Fact]
    public void Whatever_is_changed_lost_or_exchanged_beside_metrics_is_found()
    {
        RunRecord record = Record(TrainingOptions.For("simple"), GeneratedDigits.Create(2));
        using RunFolder run = RunFolder.Create(_folder["run"], record),
        other = RunFolder.Create(_folder["other"], record with { Started = record.Started.AddTicks(1) });
        TrainingState state = new(Initializer.Create(Network, 0)) { Epoch = 2 };
        state.History.AddRange([Epoch(1), Epoch(2)]);
        run.Save(state, record);
        other.Save(state, record);
        run.WriteMetrics(Nines(0));
        other.WriteMetrics(Nines(0));
        File.Delete(run.StateFile); // as tune does: its history stands alone
        string metrics = File.ReadAllText(_folder["run/metrics.json"]), history = File.ReadAllText(_folder["run/history.csv"]);
        Assert.Equal(RunFiles.WithoutSum(metrics), RunFiles.WithoutSum(File.ReadAllText(_folder["other/metrics.json"])));
        Assert.Equal(90, run.ReadMetrics()!.Samples);
        Refuse("metrics.json", File.ReadAllText(_folder["other/metrics.json"]));
        Refuse("metrics.json", Regex.Replace(metrics, "(?<=\"loss\": )[0-9.]+", "9.5"));
        Refuse("history.csv", history[..(history.TrimEnd().LastIndexOf('\n') + 1)]);
        Refuse("history.csv", history.Replace("0.95,", "0.96,", StringComparison.Ordinal));
        Refuse("history.csv", "");
        File.Delete(_folder["run/history.csv"]);
        DataSourceTests.AssertRefused(
            "metrics.json: is damaged: its content and that of history.csv do not match its sha256; restore a copy",
            () => run.ReadMetrics());

        void Refuse(string file, string text)
        {
            _folder.Write($"run/{file}", text);
            DataSourceTests.AssertRefused(
                "metrics.json: is damaged: its content and that of history.csv do not match its sha256; restore a copy",
                () => run.ReadMetrics());
            _folder.Write("run/metrics.json", metrics);
            _folder.Write("run/history.csv", history.ReplaceLineEndings("\r\n")); // as some tools write them back
            Assert.NotNull(run.ReadMetrics());
        }
    }

    [Fact]
    public void Metrics_whose_numbers_do_not_fit_each_other_are_refused()
    {
        using RunFolder run = RunFolder.Create(_folder["run"], Record(TrainingOptions.For("simple"), GeneratedDigits.Create(2)));
        run.WriteMetrics(Metrics.FromConfusion(
        [
            .. Enumerable.Range(0, 10)
                .Select(label => (IReadOnlyList<int>)[.. Enumerable.Range(0, 10).Select(read => label == read ? 9 : read == 0 ? 1 : 0)]),
        ], 12.5));
        string file = _folder["run/metrics.json"], good = RunFiles.WithoutSum(File.ReadAllText(file));
        File.WriteAllText(file, good);
        Assert.Equal(99, run.ReadMetrics()!.Samples);
        MatchCollection numbers = Regex.Matches(good, @"-?[0-9][0-9.eE+-]*");
        Assert.InRange(numbers.Count, 100, 200);
        int accepted = 0;
        foreach (Match number in numbers)
        {
            File.WriteAllText(file, good[..number.Index] + "3" + good[(number.Index + number.Length)..]);
            accepted += DataSourceTests.Refused(() => run.ReadMetrics()) || number.Value == "3" ? 0 : 1;
        }

        Assert.Equal(1, accepted); // the loss may be 3
    }

    [Fact]
    public void Other_weights_than_a_run_has_kept_are_found()
    {
        RunRecord record = Record(TrainingOptions.For("simple"), GeneratedDigits.Create(2));
        using RunFolder run = RunFolder.Create(_folder["run"], record);
        TrainingState state = new(Initializer.Create(Network, 0)) { Epoch = 1 };
        state.History.Add(Epoch(1));
        state.Optimizer.Step = 1;
        run.Save(state, record);
        run.WriteMetrics(Nines(0));
        Assert.NotNull(run.ReadMetrics());
        byte[] kept = File.ReadAllBytes(run.ModelFile);
        Checkpoint.SaveWeights(run.ModelFile, Initializer.Create(Network, 1), 1);
        Refused();
        File.Delete(run.ModelFile);
        Refused();
        File.Delete(run.StateFile); // as tune does, with both
        Assert.NotNull(run.ReadMetrics());
        File.WriteAllBytes(run.ModelFile, kept);
        Assert.NotNull(run.ReadMetrics());

        void Refused() => DataSourceTests.AssertRefused($"{run.ModelFile}: is not what the run has kept; train --resume",
            () => run.ReadMetrics());
    }

    [Fact]
    public void A_FIFO_in_place_of_a_file_is_not_waited_for()
    {
        RunRecord record = Record(TrainingOptions.For("simple"), GeneratedDigits.Create(200));
        using RunFolder run = RunFolder.Create(_folder["run"], record);
        Refuse(run.StateFile, () => run.ReadState(Network, record, GeneratedDigits.Create(200)));
        Refuse(_folder["run/history.csv"], () => run.ReadHistory());
        Refuse(_folder["run/metrics.json"], () => run.ReadMetrics());
        File.Delete(_folder["run/run.json"]);
        Refuse(_folder["run/run.json"], () => run.ReadRecord());

        static void Refuse(string file, Action read)
        {
            FileNodes.Fifo(file);
            DataSourceTests.AssertRefused($"{file}: is not a regular file", read);
            File.Delete(file);
        }
    }

    [Fact]
    public void A_folder_in_place_of_metrics_is_said()
    {
        using RunFolder run = RunFolder.Create(_folder["run"], Record(TrainingOptions.For("simple"), GeneratedDigits.Create(2)));
        _folder.Make("run/metrics.json");
        DataSourceTests.AssertRefused("metrics.json: is a folder; move it away", run.DiscardMetrics);
    }

    [Fact]
    public void Behind_weights_are_the_splits_of_all_runs_that_led_to_them()
    {
        RunRecord record = Record(TrainingOptions.For("simple"), GeneratedDigits.Create(2));
        string? weights = null;
        foreach (ulong seed in new ulong[] { 0, 1, 2 })
        {
            TrainingOptions options = record.Options with { Seed = seed };
            record = record with { Options = options, InitFrom = weights, Started = record.Started.AddHours(1) };
            using RunFolder run = RunFolder.Create(_folder[$"{seed}"], record);
            File.WriteAllText(weights = run.ModelFile, "");
        }

        Assert.Equal<ulong>([2, 1, 0], Seeds());
        RunFolder second = new(_folder["1"]);
        RunRecord former = second.ReadRecord();
        second.WriteRecord(former with { Started = record.Started.AddHours(1) }); // another run, made there since
        Assert.Equal<ulong>([2], Seeds());
        second.WriteRecord(former with { InitFrom = weights }); // a circle
        Assert.Equal<ulong>([2, 1], Seeds());
        File.WriteAllText(_folder["1/run.json"], "{}");
        Assert.Equal<ulong>([2], Seeds());

        IEnumerable<ulong> Seeds() => RunFolder.SplitsBehind(weights).Select(split => split.Split.Seed);
    }

    /// <summary>Changes a record as another version would have written it: its checksum holds.</summary>
    private void Change(string file, Action<JsonObject> change)
    {
        JsonObject content = JsonNode.Parse(RunFiles.WithoutSum(File.ReadAllText(_folder[file])))!.AsObject();
        change(content);
        content["sha256"] = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(content.ToJsonString())));
        _folder.Write(file, content.ToJsonString());
    }

    /// <summary>Nine of each digit read as they are, and so many as 0.</summary>
    private static Metrics Nines(int zeros) => Metrics.FromConfusion(
        [.. Enumerable.Range(0, 10)
            .Select(label => (IReadOnlyList<int>)[.. Enumerable.Range(0, 10).Select(read => label == read ? 9 : read == 0 ? zeros : 0)])],
            12.5);

    private static EpochRecord Epoch(int number) => new(number, 0.5, 0.9, 0.25, 0.95, 1e-3, 1, 100);

    /// <summary>A run.json of an older version, or one that was changed on purpose.</summary>
    internal static RunRecord Record(TrainingOptions options, DigitDataset data) =>
        new(Checkpoint.Version, DateTime.UnixEpoch, options, null, RunData.Of(null, data), "cpu", "CPU", Precision.Fp32, false, "", null);
}
