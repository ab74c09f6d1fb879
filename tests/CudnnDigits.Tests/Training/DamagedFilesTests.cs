using System.Text;
using System.Text.RegularExpressions;
using CudnnDigits.Data;
using CudnnDigits.Model;
using CudnnDigits.Numerics;
using CudnnDigits.Tests.Data;
using CudnnDigits.Tests.Reference;
using CudnnDigits.Training;

namespace CudnnDigits.Tests.Training;

/// <summary>
/// Weights, states and run folders that a disk, a network or a person has damaged: refused, or read as they were written.
/// </summary>
public sealed class DamagedFilesTests : IDisposable
{
    private static readonly NetworkSpec Network = DigitNetworks.Simple;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void A_flipped_bit_anywhere_in_a_state_is_found()
    {
        byte[] good = State(new TrainingState(Initializer.Create(Network, 0)));
        int header = 8 + (int)BitConverter.ToInt64(good);
        Random random = new(1);
        for (int i = 0; i < 120; i++)
        {
            int at = i % 2 == 0 ? random.Next(header, good.Length) : random.Next(header), bit = random.Next(8);
            byte[] bytes = [.. good];
            bytes[at] ^= (byte)(1 << bit);
            if (i % 2 == 0)
            {
                DataSourceTests.AssertRefused("is damaged", () => LoadState(bytes));
            }
            else
            {
                Assert.True(Refused(() => LoadState(bytes)) || PlainSafeTensors.Read(bytes) is not null, $"bit {bit} of byte {at}");
            }
        }
    }

    [Fact]
    public void What_is_lost_added_or_exchanged_in_a_state_is_found()
    {
        byte[] good = State(new TrainingState(Initializer.Create(Network, 0)));
        DataSourceTests.AssertRefused("is damaged", () => LoadState([.. good[..(good.Length / 2)], .. new byte[good.Length - good.Length / 2]]));
        DataSourceTests.AssertRefused("bytes follow", () => LoadState([.. good, 0]));
        DataSourceTests.AssertRefused("does not fit the file", () => LoadState(good[..^1]));
        DataSourceTests.AssertRefused("", () => LoadState([]));
        DataSourceTests.AssertRefused("network is 'simple', expected 'improved'", () => Checkpoint.LoadState(_folder["good"], DigitNetworks.Improved));
    }

    [Theory]
    [InlineData("network", "improved", "its network is 'improved', expected 'simple'")]
    [InlineData("input_scaling", "pixel", "its input_scaling is 'pixel'")]
    [InlineData("version", "CudnnDigits 999.0.0", "newer than this")]
    [InlineData("version", "OtherProgram 1.0", "its version is 'OtherProgram 1.0'")]
    [InlineData("version", null, "its version is ''")]
    [InlineData("network", null, "its network is ''")]
    [InlineData("input_scaling", null, "its input_scaling is ''")]
    [InlineData("options", "{}", "training state is damaged")]
    [InlineData("state", "{}", "training state is damaged")]
    [InlineData("state", "null", "training state is damaged")]
    [InlineData("state", null, "no training state")]
    public void A_state_that_says_something_else_of_itself_is_refused(string key, string? value, string says)
    {
        SafeTensors.Write(_folder["state"], Metadata(key, value), StateTensors());
        DataSourceTests.AssertRefused(says, () => Checkpoint.LoadState(_folder["state"], Network));
    }

    [Theory]
    [InlineData("\"step\":0", "\"step\":-1")]
    [InlineData("\"epoch\":0", "\"epoch\":1")]
    [InlineData("\"step_in_epoch\":0", "\"step_in_epoch\":1000000")]
    [InlineData("\"step_in_epoch\":0", "\"step_in_epoch\":-1")]
    [InlineData("\"step_in_epoch\":0", "\"step_in_epoch\":99999999999")]
    [InlineData("\"samples\":0", "\"samples\":64")]
    [InlineData("\"correct\":0", "\"correct\":1")]
    [InlineData("\"correct\":0", "\"correct\":-1")]
    [InlineData("\"loss_sum\":0", "\"loss_sum\":1e999")]
    [InlineData("\"seconds_in_epoch\":0", "\"seconds_in_epoch\":-1")]
    [InlineData("\"history\":[]", "\"history\":[null]")]
    [InlineData("\"loss_sum\":0", "\"loss_sum\":1")]
    [InlineData("\"seconds_in_epoch\":0", "\"seconds_in_epoch\":1e9")]
    [InlineData("\"history\":[]", "\"history\":null")]
    [InlineData("\"correct\":0", "\"corrects\":0")]
    [InlineData("\"correct\":0,", "")]
    [InlineData("\"step\":0", "\"another\":1,\"step\":0")]
    public void Counters_that_cannot_be_are_refused(string from, string to)
    {
        string state = Regex.Replace(Metadata("", null).First(entry => entry.Key == "state").Value, @"\s", "");
        Assert.Contains(from, state, StringComparison.Ordinal);
        SafeTensors.Write(_folder["state"], Metadata("state", state.Replace(from, to, StringComparison.Ordinal)), StateTensors());
        DataSourceTests.AssertRefused("training state is damaged", () => Checkpoint.LoadState(_folder["state"], Network));
    }

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
            (int epoch, int step, EpochSums sums, long steps, EpochRecord[] history) = (state.Epoch, state.StepInEpoch, state.Sums, state.Optimizer.Step, [.. state.History]);
            edit();
            Save(state);
            DataSourceTests.AssertRefused("", () => run.ReadState(Network, record, data));
            (state.Epoch, state.StepInEpoch, state.Sums, state.Optimizer.Step) = (epoch, step, sums, steps);
            state.History.Clear();
            state.History.AddRange(history);
        }
    }

    [Theory]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 8, "overlaps another")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}""", 12, "overlaps another")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[12,16]}}""", 16, "leaves bytes unused")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}""", 12, "leaves bytes unused")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 9, "bytes follow")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}""", 16, "Duplicate")]
    [InlineData("""{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 8, "Duplicate")]
    [InlineData("""{"__metadata__":{"k":"1","k":"2"}}""", 0, "Duplicate")]
    [InlineData("""{"__metadata__":{"k":1}}""", 0, "header is not what")]
    [InlineData("""{"__metadata__":{"k":null}}""", 0, "header is not what")]
    [InlineData("""{"__metadata__":[]}""", 0, "header is not what")]
    [InlineData(""" {"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 8, "header is not what")]
    [InlineData("""{"a":{"dtype":"F31","shape":[2],"data_offsets":[0,8]}}""", 8, "of an unknown type, 'F31'")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}}""", 8, "header is not what")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}}""", 8, "does not fit")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}""", 8, "does not fit")]
    [InlineData("""{"a":{"dtype":"F32","shape":[68719476736],"data_offsets":[0,274877906944]}}""", 8, "does not fit")]
    [InlineData("", 0, "header is not what")]
    public void Files_that_break_a_rule_of_the_format_are_refused(string json, int data, string says)
    {
        byte[] bytes = [.. BitConverter.GetBytes((long)json.Length), .. Encoding.UTF8.GetBytes(json), .. new byte[data]];
        Assert.Null(PlainSafeTensors.Read(bytes));
        DataSourceTests.AssertRefused(says, () => SafeTensors.Read(_folder.Write("file", bytes)));
    }

    [Fact]
    public void Files_from_elsewhere_are_read_whatever_their_order()
    {
        const string json = """{"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8],"more":[]},"empty":{"dtype":"F32","shape":[0],"data_offsets":[4,4]},"a":{"data_offsets":[0,4],"dtype":"F32","shape":[]}}  """;
        byte[] bytes = [.. BitConverter.GetBytes((long)json.Length), .. Encoding.UTF8.GetBytes(json), .. BitConverter.GetBytes(1f), .. BitConverter.GetBytes(2f)];
        SafeTensors file = SafeTensors.Read(_folder.Write("file", bytes));
        Assert.Equal([1f], file.Floats("a"));
        Assert.Equal([2f], file.Floats("b"));
        Assert.Empty(file.Floats("empty"));
    }

    [Fact]
    public void Endless_files_are_refused_at_once()
    {
        Assert.SkipUnless(File.Exists("/dev/zero"), "needs /dev/zero");
        long before = GC.GetAllocatedBytesForCurrentThread();
        DataSourceTests.AssertRefused("header is not what", () => SafeTensors.Read("/dev/zero"));
        DataSourceTests.AssertRefused("claims a header", () => SafeTensors.Read("/dev/urandom"));
        DataSourceTests.AssertRefused("is a folder", () => SafeTensors.Read(_folder.Path));
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 4 << 20);
    }

    [Theory]
    [InlineData("{\"a\":{\"dtype\":\"F32\",\"shape\":[", "1,")]
    [InlineData("{\"__metadata__\":{", "\"k\":\"v\",")]
    [InlineData("{", "\"a\":{},")]
    public void A_header_takes_memory_in_proportion_to_itself(string first, string again)
    {
        byte[] header = Encoding.UTF8.GetBytes(first + string.Concat(Enumerable.Repeat(again, (16 << 20) / again.Length)));
        string file = _folder.Write("file", [.. BitConverter.GetBytes((long)header.Length), .. header]);
        long before = GC.GetAllocatedBytesForCurrentThread();
        DataSourceTests.AssertRefused("far more entries", () => SafeTensors.Read(file));
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 4 * header.Length);
    }

    [Fact]
    public void Mutated_files_read_as_a_plain_reader_reads_them()
    {
        SafeTensors.Write(_folder["good"], [new("format", "pt"), new("text", "ä \"1\"\n")], [new("a.weight", [2, 3], new float[] { 1, 2, 3, 4, 5, 6 }), new("a.count", [], new[] { 7L }), new("b", [1], new[] { 8f })]);
        byte[] good = File.ReadAllBytes(_folder["good"]);
        int accepted = 0;
        foreach (byte[] start in new[] { good, WithoutChecksum(good) })
        {
            Assert.NotNull(PlainSafeTensors.Read(start));
            foreach (Mutation mutation in Mutations.Of(start, usually: 1000))
            {
                PlainSafeTensors? expected = PlainSafeTensors.Read(mutation.Bytes);
                SafeTensors? read = null;
                try
                {
                    read = SafeTensors.Read(_folder.Write("file", mutation.Bytes));
                }
                catch (InputException e)
                {
                    Assert.DoesNotContain('\n', e.Message);
                }

                Assert.True(expected is null == read is null, $"{mutation}: {(read is null ? "refused" : "accepted")}");
                if (read is not null && expected is not null)
                {
                    accepted++;
                    Assert.Equal(expected.Metadata, read.Metadata.ToDictionary());
                    Assert.Equal(expected.Tensors.Keys, read.Names.Order(StringComparer.Ordinal));
                    Assert.All(expected.Tensors, tensor => Assert.Equal(tensor.Value.Shape, read.Shape(tensor.Key)!));
                    Assert.All(expected.Tensors.Where(tensor => tensor.Value.Type == "F32"), tensor => Assert.Equal(
                        tensor.Value.Bytes.Chunk(4).Select(value => BitConverter.ToSingle(value)), read.Floats(tensor.Key)));
                }
            }
        }

        Assert.InRange(accepted, 1, int.MaxValue);
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

    [Fact]
    public void Members_that_are_lost_added_or_called_otherwise_are_found()
    {
        using RunFolder run = RunFolder.Create(_folder["run"], Record(TrainingOptions.For("simple"), GeneratedDigits.Create(2)));
        run.WriteMetrics(Nines(0));
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
                Assert.True(Refused(read), $"{name}: {member}");
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
            Assert.True(Refused(() => Assert.Equal(good, run.ReadRecord())), $"bit {bit}"); // or it is the space between members
        }

        File.WriteAllText(file, RunFiles.WithoutSum(Encoding.UTF8.GetString(bytes)).Replace("\"epochs\": 5", "\"epochs\": 12", StringComparison.Ordinal));
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
            options with { Seed = 1 }, options with { WeightDecay = 0.1 }, options with { LearningRate = 0.1 }, options with { BatchSize = 65 }, options with { Zoom = 0.1f },
            options with { Shuffle = false }, options with { KeepLast = true }, options with { Dropout = 0.1 }, options with { Schedule = LearningRateSchedule.Constant },
        })
        {
            DataSourceTests.AssertRefused("run.json: is damaged: its options are not those that", () => run.ReadState(Network, record with { Options = other }, data));
        }

        RunData others = record.Data with { Fingerprint = new('0', 64) };
        DataSourceTests.AssertRefused("last.safetensors: was trained on other digits than those of", () => run.ReadState(Network, record with { Data = others }, data));

        Checkpoint.SaveState(run.StateFile, state); // by an older version, which kept neither
        Assert.NotNull(run.ReadState(Network, record with { Data = others }, data));
        Assert.NotNull(run.ReadState(Network, record with { Options = options with { Seed = 1 } }, data));
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
        DataSourceTests.AssertRefused($"history.csv: row {row + 1} is damaged; cudnn-digits train --resume", () => run.ReadHistory());
        File.WriteAllText(file, string.Join('\n', File.ReadAllLines(file)[..1])); // a kill, between one file and the next, leaves fewer
        Assert.True(row == 0 || run.ReadHistory().Count == 0);
        File.WriteAllText(_folder["run/metrics.json"], ""); // where the run has ended
        DataSourceTests.AssertRefused(row == 0 ? "row 1 is damaged" : "row 2 is missing", () => run.ReadHistory());
    }

    [Fact]
    public void Whatever_is_changed_lost_or_exchanged_beside_metrics_is_found()
    {
        RunRecord record = Record(TrainingOptions.For("simple"), GeneratedDigits.Create(2));
        using RunFolder run = RunFolder.Create(_folder["run"], record), other = RunFolder.Create(_folder["other"], record with { Started = record.Started.AddTicks(1) });
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
        DataSourceTests.AssertRefused("metrics.json: is damaged, its content and that of history.csv are not that of its sha256; bring back a copy", () => run.ReadMetrics());

        void Refuse(string file, string text)
        {
            File.WriteAllText(_folder[$"run/{file}"], text);
            DataSourceTests.AssertRefused("metrics.json: is damaged, its content and that of history.csv are not that of its sha256; bring back a copy", () => run.ReadMetrics());
            File.WriteAllText(_folder["run/metrics.json"], metrics);
            File.WriteAllText(_folder["run/history.csv"], history.ReplaceLineEndings("\r\n")); // as some tools write them back
            Assert.NotNull(run.ReadMetrics());
        }
    }

    [Fact]
    public void Metrics_whose_numbers_do_not_fit_each_other_are_refused()
    {
        using RunFolder run = RunFolder.Create(_folder["run"], Record(TrainingOptions.For("simple"), GeneratedDigits.Create(2)));
        run.WriteMetrics(Nines(1));
        string file = _folder["run/metrics.json"], good = RunFiles.WithoutSum(File.ReadAllText(file));
        File.WriteAllText(file, good);
        Assert.Equal(99, run.ReadMetrics()!.Samples);
        MatchCollection numbers = Regex.Matches(good, @"-?[0-9][0-9.eE+-]*");
        Assert.InRange(numbers.Count, 100, 200);
        int accepted = 0;
        foreach (Match number in numbers)
        {
            File.WriteAllText(file, good[..number.Index] + "3" + good[(number.Index + number.Length)..]);
            accepted += Refused(() => run.ReadMetrics()) || number.Value == "3" ? 0 : 1;
        }

        Assert.Equal(1, accepted); // the loss may be 3
    }

    [Fact]
    public void A_folder_has_one_writer_whoever_that_is()
    {
        RunRecord record = Record(TrainingOptions.For("simple"), GeneratedDigits.Create(2));
        using (RunFolder.Create(_folder["run"], record))
        {
            DataSourceTests.AssertRefused($"is being written by process {Environment.ProcessId} on {Environment.MachineName}, since ", () => RunFolder.Open(_folder["run"], out _));
            DataSourceTests.AssertRefused("holds a run already", () => RunFolder.Create(_folder["run"], record));
            Assert.Equal("simple", new RunFolder(_folder["run"]).ReadRecord().Options.Model); // whoever only reads may come at any time
        }

        using (RunFolder.Open(_folder["run"], out _))
        {
            using (FileStream text = new(_folder["run/.lock"], FileMode.Open, FileAccess.Write, FileShare.ReadWrite))
            {
                text.SetLength(0);
            }

            DataSourceTests.AssertRefused("is being written by another process", () => RunFolder.Open(_folder["run"], out _));
        }

        RunFolder.Open(_folder["run"], out _).Dispose();
        Assert.Equal(["run.json"], Directory.GetFiles(_folder["run"]).Select(Path.GetFileName)); // the lock is gone
        File.WriteAllText(_folder["run/.lock"], "process 1 on elsewhere"); // as a kill leaves it
        RunFolder.Open(_folder["run"], out _).Dispose();
        DataSourceTests.AssertRefused("holds no run", () => RunFolder.Open(_folder.Path, out _));
        Assert.False(File.Exists(_folder[".lock"]));
    }

    [Fact]
    public void What_is_no_lock_of_this_program_is_left_as_it_is()
    {
        RunFolder.Create(_folder["run"], Record(TrainingOptions.For("simple"), GeneratedDigits.Create(2))).Dispose();
        Directory.CreateDirectory(_folder["new"]);
        string path = _folder["run/.lock"], other = _folder.Write("other", "mine"u8.ToArray());
        File.CreateSymbolicLink(path, other);
        Refuse();
        Assert.Equal(other, new FileInfo(path).LinkTarget);
        File.Delete(path);
        File.WriteAllText(path, "mine");
        Refuse();
        Assert.Equal("mine", File.ReadAllText(path));
        DataSourceTests.AssertRefused("is not empty", () => RunFolder.Create(Path.GetDirectoryName(_folder.Write("new/.lock", "mine"u8.ToArray()))!, new RunFolder(_folder["run"]).ReadRecord()));
        File.Delete(path);
        Directory.CreateDirectory(path);
        Refuse();
        Directory.Delete(path);
        if (!OperatingSystem.IsWindows())
        {
            FileNodes.Fifo(path);
            Refuse();
            File.Delete(path);
        }

        RunFolder.Open(_folder["run"], out _).Dispose();
        Assert.Equal("mine", File.ReadAllText(other));

        void Refuse() => DataSourceTests.AssertRefused($"{path}: is not this program's lock; move it away", () => RunFolder.Open(_folder["run"], out _));
    }

    [Fact]
    public async Task A_lock_whose_holder_does_not_say_its_name_yet_is_asked_again()
    {
        RunFolder.Create(_folder["run"], Record(TrainingOptions.For("simple"), GeneratedDigits.Create(2))).Dispose();
        FileStream held = new(_folder["run/.lock"], FileMode.Create, FileAccess.ReadWrite, OperatingSystem.IsWindows() ? FileShare.ReadWrite : FileShare.None);
        Task<bool> opened = Task.Run(() => Refused(() => RunFolder.Open(_folder["run"], out _).Dispose()));
        await Task.Delay(10, TestContext.Current.CancellationToken);
        held.Dispose();
        Assert.False(await opened);
    }

    [Fact]
    public void A_folder_in_place_of_metrics_is_said()
    {
        using RunFolder run = RunFolder.Create(_folder["run"], Record(TrainingOptions.For("simple"), GeneratedDigits.Create(2)));
        Directory.CreateDirectory(_folder["run/metrics.json"]);
        DataSourceTests.AssertRefused("metrics.json: is a folder; move it away", run.DiscardMetrics);
    }

    /// <summary>Nine of each digit read as they are, and so many as 0.</summary>
    private static Metrics Nines(int zeros) => Metrics.FromConfusion(
        [.. Enumerable.Range(0, 10).Select(label => (IReadOnlyList<int>)[.. Enumerable.Range(0, 10).Select(read => label == read ? 9 : read == 0 ? zeros : 0)])], 12.5);

    private static EpochRecord Epoch(int number) => new(number, 0.5, 0.9, 0.25, 0.95, 1e-3, 1, 100);

    /// <summary>A run.json of an older version, or one that was changed on purpose.</summary>
    private static RunRecord Record(TrainingOptions options, DigitDataset data) =>
        new(Checkpoint.Version, DateTime.UnixEpoch, options, null, RunData.Of(null, data), "cpu", "CPU", Precision.Fp32, false, "", null);

    private static bool Refused(Action action)
    {
        try
        {
            action();
            return false;
        }
        catch (InputException)
        {
            return true;
        }
    }

    private byte[] State(TrainingState state)
    {
        Checkpoint.SaveState(_folder["good"], state);
        return File.ReadAllBytes(_folder["good"]);
    }

    private void LoadState(byte[] bytes) => Checkpoint.LoadState(_folder.Write("file", bytes), Network);

    private KeyValuePair<string, string>[] Metadata(string key, string? value)
    {
        State(new TrainingState(Initializer.Create(Network, 0)));
        return [.. SafeTensors.Read(_folder["good"]).Metadata.Where(entry => entry.Key != key && entry.Key != "cudnn_digits.sha256"), .. value is null ? [] : new KeyValuePair<string, string>[] { new(key, value) }];
    }

    private NamedTensor[] StateTensors()
    {
        SafeTensors file = SafeTensors.Read(_folder["good"]);
        return [.. file.Names.Select(name => new NamedTensor(name, [.. file.Shape(name)!.Select(size => (int)size)], file.Floats(name)))];
    }

    /// <summary>As a file from elsewhere: the same tensors, and a header without the checksum.</summary>
    private static byte[] WithoutChecksum(byte[] file)
    {
        int length = (int)BitConverter.ToInt64(file);
        byte[] header = Encoding.UTF8.GetBytes(Regex.Replace(Encoding.UTF8.GetString(file, 8, length), ",\"cudnn_digits.sha256\":\"[0-9a-f]*\"", ""));
        return [.. BitConverter.GetBytes((long)header.Length), .. header, .. file[(8 + length)..]];
    }
}
