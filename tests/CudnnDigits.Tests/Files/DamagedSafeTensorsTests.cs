using CudnnDigits.Tests.Data;

namespace CudnnDigits.Tests.Files;

/// <summary>Weights and states that a disk, a network or a person has damaged: refused, or read as they were written.</summary>
public sealed class DamagedSafeTensorsTests : TestsWithFolder
{
    private static readonly NetworkSpec Network = DigitNetworks.Simple;

    [LongFact]
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
                Assert.True(DataSourceTests.Refused(() => LoadState(bytes)) || PlainSafeTensors.Read(bytes) is not null,
                    $"bit {bit} of byte {at}");
            }
        }
    }

    [Fact]
    public void What_is_lost_added_or_exchanged_in_a_state_is_found()
    {
        byte[] good = State(new TrainingState(Initializer.Create(Network, 0)));
        DataSourceTests.AssertRefused("is damaged",
            () => LoadState([.. good[..(good.Length / 2)], .. new byte[good.Length - good.Length / 2]]));
        DataSourceTests.AssertRefused("bytes follow", () => LoadState([.. good, 0]));
        DataSourceTests.AssertRefused("does not fit the file", () => LoadState(good[..^1]));
        DataSourceTests.AssertRefused("", () => LoadState([]));
        DataSourceTests.AssertRefused("network is 'simple', expected 'improved'",
            () => Checkpoint.LoadState(_folder["good"], DigitNetworks.Improved));
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

    [Theory]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 8,
        "overlaps another")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}""", 12,
        "overlaps another")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[12,16]}}""", 16,
        "leaves bytes unused")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}""", 12, "leaves bytes unused")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 9, "bytes follow")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}""", 16,
        "Duplicate")]
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
        const string json = """{"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8],"more":[]},"""
            + """ "empty":{"dtype":"F32","shape":[0],"data_offsets":[4,4]}"""
            + ""","a":{"data_offsets":[0,4],"dtype":"F32","shape":[]}}  """;
        byte[] header = Encoding.UTF8.GetBytes(json);
        byte[] bytes = [.. BitConverter.GetBytes((long)header.Length), .. header, .. BitConverter.GetBytes(1f),
            .. BitConverter.GetBytes(2f)];
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
        SafeTensors.Write(_folder["good"], [new("format", "pt"), new("text", "ä \"1\"\n")],
            [new("a.weight", [2, 3], new float[] { 1, 2, 3, 4, 5, 6 }), new("a.count", [], new[] { 7L }), new("b", [1], new[] { 8f })]);
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

    private byte[] State(TrainingState state)
    {
        Checkpoint.SaveState(_folder["good"], state);
        return File.ReadAllBytes(_folder["good"]);
    }

    private void LoadState(byte[] bytes) => Checkpoint.LoadState(_folder.Write("file", bytes), Network);

    private KeyValuePair<string, string>[] Metadata(string key, string? value)
    {
        State(new TrainingState(Initializer.Create(Network, 0)));
        return
        [
            .. SafeTensors.Read(_folder["good"]).Metadata.Where(entry => entry.Key != key && entry.Key != "cudnn_digits.sha256"),
            .. value is null ? [] : new KeyValuePair<string, string>[] { new(key, value) },
        ];
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
        byte[] header = Encoding.UTF8.GetBytes(
            Regex.Replace(Encoding.UTF8.GetString(file, 8, length), ",\"cudnn_digits.sha256\":\"[0-9a-f]*\"", ""));
        return [.. BitConverter.GetBytes((long)header.Length), .. header, .. file[(8 + length)..]];
    }
}
