namespace CudnnDigits.Tests.Data;

/// <summary>Tables of digits as people have them; Kaggle's own layout is in <see cref="DataSourceTests"/>.</summary>
public sealed class CsvDialectTests : TestsWithFolder
{
    /// <summary>Labels as real ones come, neither counting nor sorted.</summary>
    private static readonly DigitDataset Digits = Shuffled(GeneratedDigits.Create(40, seed: 2));

    /// <summary>
    /// A header (null for none), a row (l: the label, p: the pixels, i: the row from 0), a separator, and what is said of it.
    /// </summary>
    public static TheoryData<string?, string, string, string> Dialects => new()
    {
        { null, "l,p", ",", "no header, label in column 1, pixels in columns 2 to 785" },
        { null, "p,l", ",", "no header, label in column 785, pixels in columns 1 to 784" },
        { null, "i,l,p", ",", "no header, label in column 2, pixels in columns 3 to 786, column 1 passed over" },
        { null, "i,p,l", ",", "no header, label in column 786, pixels in columns 2 to 785, column 1 passed over" },
        { null, "p", ",", "no header, no labels, pixels in columns 1 to 784" },
        { null, "i,p", ",", "no header, no labels, pixels in columns 2 to 785, column 1 passed over" },
        { null, "l,p,", ",", "no header, label in column 1, pixels in columns 2 to 785, column 786 passed over" },
        // a separator at each end
        { null, "l,p", " ", "separated by spaces, no header, label in column 1, pixels in columns 2 to 785" },
        { null, "l,p", "\t", "separated by tabs, no header, label in column 1, pixels in columns 2 to 785" },
        { null, "l,p", "|", "separated by '|', no header, label in column 1, pixels in columns 2 to 785" },
        { "label,pixel#", "l,p", ";",
            "separated by semicolons, label in column 1 ('label'), pixels in columns 2 to 785 ('pixel0' to 'pixel783')" },
        { "Label,pixel#", "l,p", ",", "label in column 1 ('Label'), pixels in columns 2 to 785 ('pixel0' to 'pixel783')" },
        { "target,x#+1", "l,p", ",", "label in column 1 ('target'), pixels in columns 2 to 785 ('x1' to 'x784')" },
        { "y,px_###", "l,p", ",", "label in column 1 ('y'), pixels in columns 2 to 785 ('px_000' to 'px_783')" },
        { "DIGIT,28x28", "l,p", ",", "label in column 1 ('DIGIT'), pixels in columns 2 to 785 ('1x1' to '28x28')" },
        { "pixel#,label", "p,l", ",", "label in column 785 ('label'), pixels in columns 1 to 784 ('pixel0' to 'pixel783')" },
        { "pixel#+1,class", "p,l", ",", "label in column 785 ('class'), pixels in columns 1 to 784 ('pixel1' to 'pixel784')" },
        { "Unnamed: 0,label,pixel#", "i,l,p", ",", "column 1 ('Unnamed: 0') passed over" },
        { "Unnamed: 0.1,Unnamed: 0,label,pixel#", "i,i,l,p", ",", "column 1 ('Unnamed: 0.1') and column 2 ('Unnamed: 0') passed over" },
        { ",label,pixel#", "i,l,p", ",",
            "label in column 2 ('label'), pixels in columns 3 to 786 ('pixel0' to 'pixel783'), column 1 passed over" },
        { "ImageId,pixel#", "i,p", ",",
            "no labels, pixels in columns 2 to 785 ('pixel0' to 'pixel783'), column 1 ('ImageId') passed over" },
        { ",pixel#", "i,p", ",", "no labels, pixels in columns 2 to 785 ('pixel0' to 'pixel783'), column 1 passed over" },
        { "id,pixel#,digit", "i,p,l", ",", "label in column 786 ('digit')" },
        { "label,#", "l,p", ",", "label in column 1 ('label'), pixels in columns 2 to 785 ('0' to '783')" },
        { "#", "p", ",", "no labels, pixels in columns 1 to 784 ('0' to '783')" },
        { "0,#+1", "l,p", ",", "label in column 1 ('0'), pixels in columns 2 to 785 ('1' to '784')" }, // pandas numbers all columns
        { "#,784", "p,l", ",", "label in column 785 ('784'), pixels in columns 1 to 784 ('0' to '783')" },
        { ",0,#+1", "i,l,p", ",", "label in column 2 ('0')" },
        { "V1,V#+2", "l,p", ",", "label in column 1 ('V1'), pixels in columns 2 to 785 ('V2' to 'V785')" }, // and R
        { "label,pixel#", "i,l,p", ",",
            "label in column 2 ('label'), pixels in columns 3 to 786 ('pixel0' to 'pixel783'), column 1 passed over" }, // R's names of rows
        { "label,pixel#", "l,p,", ",",
            "label in column 1 ('label'), pixels in columns 2 to 785 ('pixel0' to 'pixel783'), column 786 passed over" },
            // a separator at each row's end
        { "label,pixel#,", "l,p,", ",",
            "label in column 1 ('label'), pixels in columns 2 to 785 ('pixel0' to 'pixel783'), column 786 passed over" },
        { "label,!", "l,p", ",", "label in column 1 ('label'), pixels in columns 2 to 785" }, // no names
        { "number,pixel#", "i,p", ",", "no labels, pixels in columns 2 to 785 ('pixel0' to 'pixel783'), column 1 ('number') passed over" },
        { "number,label,pixel#", "i,l,p", ",",
            "label in column 2 ('label'), pixels in columns 3 to 786 ('pixel0' to 'pixel783'), column 1 ('number') passed over" },
        { "number,pixel#", "l,p", ",", "label in column 1 ('number')" },
    };

    [Theory]
    [MemberData(nameof(Dialects))]
    public void Tables_as_people_have_them_are_read_as_the_digits_they_hold(string? header, string row, string separator, string says)
    {
        ArgumentNullException.ThrowIfNull(row);
        ArgumentNullException.ThrowIfNull(says);
        ArgumentNullException.ThrowIfNull(separator);
        string table = Table(Digits, header, row).Replace(",", separator, StringComparison.Ordinal);
        foreach (byte[] file in new[] { Encoding.UTF8.GetBytes(table),
            [0xEF, 0xBB, 0xBF, .. Encoding.UTF8.GetBytes(table.Replace("\n", "\r\n", StringComparison.Ordinal))],
            [.. Encoding.Unicode.Preamble, .. Encoding.Unicode.GetBytes(table)] })
        {
            DigitDataset data = Open(file);
            Assert.Equal(Digits.Pixels.ToArray(), data.Pixels.ToArray());
            Assert.Equal(row.Contains('l', StringComparison.Ordinal) ? Digits.Labels.ToArray() : [], data.Labels.ToArray());
            Assert.Contains(says, data.Found, StringComparison.Ordinal);
        }
    }

    /// <summary>How a pixel may be written.</summary>
    [Theory]
    [InlineData("whole", null)]
    [InlineData("0.0", null)]
    [InlineData("scientific", null)]
    [InlineData("quoted", null)]
    [InlineData("padded", null)]
    [InlineData("in quotes of WEKA", null)]
    [InlineData("as bytes of Python", null)]
    [InlineData("scaled", "pixels are 0 to 1, taken times 255")]
    [InlineData("scaled float", "pixels are 0 to 1, taken times 255")]
    [InlineData("decimal comma", "separated by semicolons")]
    public void Numbers_are_read_however_they_are_written(string kind, string? says)
    {
        CultureInfo culture = CultureInfo.InvariantCulture;
        string separator = kind == "decimal comma" ? ";" : ",";
        string text = string.Join(separator, ["label", .. Enumerable.Range(0, 784).Select(i => $"pixel{i}")]) + "\n"
            + string.Concat(Enumerable.Range(0, Digits.Count).Select(row =>
            string.Join(separator, Digits.Image(row).ToArray().Prepend(Digits.Labels[row]).Select((value, i) => kind switch
            {
                "0.0" => value.ToString("F1", culture),
                "scientific" => value.ToString("e18", culture), // numpy.savetxt
                "quoted" => $"\"{value}\"",
                "padded" => $" {value,3}",
                "in quotes of WEKA" when i == 0 => $"'{value}'",
                "as bytes of Python" when i == 0 => $"b'{value}'",
                "scaled" when i > 0 => (value / 255.0).ToString(culture),
                "scaled float" when i > 0 => (value / 255f).ToString(culture),
                "decimal comma" => value.ToString("F1", culture).Replace('.', ','),
                _ => value.ToString(culture),
            })) + "\n"));
        DigitDataset data = Open(Encoding.UTF8.GetBytes(text));
        DigitFiles.AssertSame(Digits, data);
        if (says is null)
        {
            Assert.Null(data.Found);
        }
        else
        {
            Assert.Contains(says, data.Found, StringComparison.Ordinal);
        }
    }

    /// <summary>A mark at the line's end alone, as old Macs write it; the text is longer than what is looked at first.</summary>
    [Theory]
    [InlineData(null)]
    [InlineData("label,pixel#")]
    public void Lines_may_end_in_a_carriage_return_alone(string? header)
    {
        DigitDataset digits = Take(Digits, [.. Enumerable.Range(0, 400).Select(i => i * 7 % Digits.Count)]);
        string table = Table(digits, header, "l,p").Replace('\n', '\r');
        Assert.True(table.Length > 512 << 10);
        DigitFiles.AssertSame(digits, Open(Encoding.UTF8.GetBytes(table)));
    }

    [Theory]
    [InlineData("word", "label,pixel#", "l,p")]
    [InlineData("word", null, "l,p")]
    [InlineData("Class word", null, "p,l")]
    [InlineData("class_#", "pixel#,class", "p,l")]
    public void Labels_may_be_said_in_words(string label, string? header, string row)
    {
        ArgumentNullException.ThrowIfNull(label);
        string[] words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
        string[] lines = Table(Digits, header, row).Split('\n');
        for (int i = 0; i < Digits.Count; i++)
        {
            int line = header is null ? i : i + 1, digit = Digits.Labels[i];
            string said = label.Replace("word", words[digit], StringComparison.Ordinal).Replace("#", $"{digit}", StringComparison.Ordinal);
            lines[line] = row[0] == 'l' ? said + lines[line][1..] : lines[line][..^1] + said;
        }

        DigitFiles.AssertSame(Digits, Open(Encoding.UTF8.GetBytes(string.Join('\n', lines))));
    }

    /// <summary>numpy.savetxt(fmt="%3d") and its kind.</summary>
    [Theory]
    [InlineData("{0,3} ", null)]
    [InlineData("  {0,-6:F1}", null)]
    [InlineData("{0,5:D3}", "label pixel#")]
    public void Columns_may_be_aligned_by_spaces(string format, string? header)
    {
        string[] rows = [.. Enumerable.Range(0, Digits.Count)
            .Select(row => string.Concat(Digits.Image(row).ToArray().Prepend(Digits.Labels[row])
            .Select(value => string.Format(CultureInfo.InvariantCulture, format, value))))];
        DigitFiles.AssertSame(Digits,
            Open(Encoding.UTF8.GetBytes((header is null ? "" : $"{string.Join("   ", CsvLayout.KaggleNames(labelled: true))}\n")
            + string.Join("\r\n", rows) + "\n")));
    }

    [Fact]
    public void One_row_of_zeros_and_ones_is_black_and_white_with_and_without_a_header()
    {
        DigitDataset one = Take(Digits, [2]);
        byte[] expected = [.. one.Pixels.ToArray().Select(value => value > 127 ? (byte)255 : (byte)0)];
        foreach (string? header in new[] { null, "label,pixel#" })
        {
            Assert.Equal(expected, Open(Encoding.UTF8.GetBytes(Table(one, header, "l,01"))).Pixels.ToArray());
        }
    }

    /// <summary>Test sets of competitions hide their labels.</summary>
    [Theory]
    [InlineData("")]
    [InlineData("?")]
    [InlineData("-1")]
    [InlineData("NaN")]
    public void Hidden_labels_are_passed_over_for_prediction_and_refused_else(string label)
    {
        string path = _folder.Write("hidden.csv", Encoding.UTF8.GetBytes(Table(Digits, "label,pixel#", $"{label},p")));
        DigitDataset data = DataSource.Open(path, DataPart.Prediction);
        DigitFiles.AssertSame(DigitFiles.WithoutLabels(Digits), data);
        Assert.False(data.HasLabels);
        Assert.Contains($"labels passed over, since that of row 2 is {(label.Length == 0 ? "empty" : $"'{label}'")}", data.Found,
            StringComparison.Ordinal);
        foreach (DataPart part in new[] { DataPart.Training, DataPart.Evaluation })
        {
            DataSourceTests.AssertRefused("expected a digit 0 to 9", () => DataSource.Open(path, part));
        }
    }

    /// <summary>OpenML's mnist_784.arff, and its kind.</summary>
    [Theory]
    [InlineData("@RELATION mnist_784\n\n", "@ATTRIBUTE pixel{0} real\n", "@ATTRIBUTE class {0,1,2,3,4,5,6,7,8,9}\n\n@DATA\n", "")]
    [InlineData("% source: NIST\r\n%\r\n@relation 'mnist, all'\r\n", "@attribute 'pixel {0}' NUMERIC\r\n",
        "@attribute \"class\" {'0', '1'}\r\n@data\r\n", "'")]
    public void An_arff_file_is_a_table_that_names_its_columns(string start, string pixel, string end, string quote)
    {
        ArgumentNullException.ThrowIfNull(pixel);
        string head = start + string.Concat(Enumerable.Range(1, 784).Select(i => pixel.Replace("{0}", $"{i}", StringComparison.Ordinal)))
            + end;
        string[] rows = [.. Enumerable.Range(0, Digits.Count)
            .Select(row => $"{string.Join(',', Digits.Image(row).ToArray())},{quote}{Digits.Labels[row]}{quote}")];
        DigitFiles.AssertSame(Digits, Open(Encoding.UTF8.GetBytes(head + string.Join('\n', rows))));
        rows[7] = "256" + rows[7][1..];
        DataSourceTests.AssertRefused($"row {head.Count(c => c == '\n') + 8}, column pixel",
            () => Open(Encoding.UTF8.GetBytes(head + string.Join('\n', rows))));
        DataSourceTests.AssertRefused("a sparse ARFF file, which leaves out zeros; save it as CSV",
            () => Open(Encoding.UTF8.GetBytes(head + "{152 3, 784 5}\n")));
        DataSourceTests.AssertRefused("an ARFF file without a line @data", () => Open(Encoding.UTF8.GetBytes(head[..^9])));
    }

    /// <summary>The first rows say nothing: all are zeros, with a label of 0.</summary>
    [Theory]
    [InlineData("l,p")]
    [InlineData("p,l")]
    public void A_sorted_table_without_header_is_looked_into_as_far_as_it_takes(string row)
    {
        int[] sorted = [.. Enumerable.Repeat(Enumerable.Range(0, Digits.Count).First(i => Digits.Labels[i] == 0), 300),
            .. Enumerable.Range(0, Digits.Count).Where(i => Digits.Labels[i] != 0)];
        DigitDataset digits = Take(Digits, sorted);
        DigitFiles.AssertSame(digits, Open(Encoding.UTF8.GetBytes(Table(digits, null, row))));
    }

    /// <summary>A table, and what the one line must say.</summary>
    public static TheoryData<string?, string, int, string> Refused => new()
    {
        { null, "0,p", 40, "which of the 785 columns is the label cannot be told (column 1 is always 0; column 785 is always 0); put a "
            + "header above the rows" },
        { null, "i,p", 5, "column 1 counts 0, 1 …" }, // labels or an index
        { null, "l,l,p", 40, "column 1 holds 0 to 9" },
        { "label,pixel#", "l,p,l", 40, "row 1 has 785 columns, expected 786, as the rows below it have" },
        { "label,class,pixel#", "l,l,p", 40, "row 1, columns 1 and 2 are both headed as labels ('label' and 'class'); take one away" },
        { "split,label,pixel#", "i,l,p", 40,
            "row 1, column 1 is headed 'split', which is neither a label, an index nor a pixel; head it label, or take it away" },
        { "lable,pixel#", "l,p", 40, "row 1, column 1 is headed 'lable'" },
        { "label,sorted", "l,p", 40,
            "row 1, column 4 is headed 'pixel10', expected 'pixel2'; the pixels must stand in the picture's order" },
        { "label,by column", "l,p", 40, "row 1, column 3 is headed '2x1', expected '1x2'" },
        { ",pixel#", "l,p", 40,
            "row 1, column 1 has no name, and may be labels or not (holds 0 to 9); head it label, if it is that, else id" }, // a fold, say
        { "标签,pixel#", "l,p", 40, "row 1, column 1 is headed '标签', which is neither a label, an index nor a pixel; head it label" },
        { "id,метка,pixel#", "i,l,p", 40, "row 1, column 2 is headed 'метка'" },
        { null, "p,hot", 40, "row 1 has 794 columns, expected 784 for the pixels of 28×28 and one for the label, as in "
            + "label,pixel0,…,pixel783; is the label in ten columns" },
        { null, "l,short", 40, "row 1 has 65 columns, expected 784 for the pixels of 28×28 and one for the label, as in "
            + "label,pixel0,…,pixel783; 8×8 pixels? Resize the pictures to 28×28" },
    };

    [Theory]
    [MemberData(nameof(Refused))]
    public void What_could_be_read_in_two_ways_is_refused_with_the_column_at_fault(string? header, string row, int count, string says) =>
        DataSourceTests.AssertRefused(says,
            () => Open(Encoding.UTF8.GetBytes(Table(Take(Digits, [.. Enumerable.Range(0, count)]), header, row))));

    [Theory]
    [InlineData("l,p", 30, 5, "300", "row 31, column 5 is '300', expected a whole number 0 to 255")]
    [InlineData("l,p", 39, 1, "10", "row 40, column 1 is '10', expected a digit 0 to 9")]
    [InlineData("p,l", 20, 785, "x", "row 21, column 785 is 'x', expected a digit 0 to 9")]
    [InlineData("p,l", 20, 3, "1.5", "row 21, column 3 is '1.5', expected a whole number 0 to 255")]
    [InlineData("p,l", 20, 3, "0,0", "row 21 has 786 columns, expected 785")]
    [InlineData("p,l", 20, 3, "0\"0", "row 21: a quotation mark is out of place")]
    public void A_table_that_breaks_its_layout_is_refused_with_row_and_column(string row, int line, int column, string value, string says)
    {
        string[] lines = Table(Digits, null, row).Split('\n');
        string[] fields = lines[line].Split(',');
        fields[column - 1] = value;
        lines[line] = string.Join(',', fields);

        // Nothing that the first look sees: that may say which column is the label.
        string many = string.Concat(Enumerable.Repeat(string.Join('\n', lines[..20]) + "\n", 3));
        DataSourceTests.AssertRefused(says.Replace($"row {line + 1}", $"row {line + 61}", StringComparison.Ordinal),
            () => Open(Encoding.UTF8.GetBytes(many + string.Join('\n', lines))));
    }

    /// <summary>Float32 and resizing leave 1.0000001.</summary>
    [Fact]
    public void Scaled_pixels_a_hair_over_one_are_one()
    {
        byte[] pixels = Digits.Pixels.ToArray();
        pixels[400] = 255;
        string[] scaled = Array.ConvertAll(pixels, value => (value / 255.0 * 1.0000001).ToString(CultureInfo.InvariantCulture));
        string rows = string.Concat(Enumerable.Range(0, Digits.Count).Select(row =>
            $"{Digits.Labels[row]},{string.Join(',', scaled[(784 * row)..(784 * (row + 1))])}\n"));
        DigitFiles.AssertSame(new DigitDataset("", pixels, Digits.Labels.ToArray()), Open(Encoding.UTF8.GetBytes(rows)));
    }

    [Fact]
    public void Scaled_pixels_over_one_are_refused()
    {
        string text = Table(Digits, "label,pixel#", "l,01").TrimEnd('\n');
        DataSourceTests.AssertRefused("row 41, column pixel783 is '2', expected a number 0 to 1, as in the first rows",
            () => Open(Encoding.UTF8.GetBytes(text[..^1] + "2")));
    }

    /// <summary>Lines that no digit needs, in our words.</summary>
    [Fact]
    public void A_line_of_more_than_64_KiB_is_refused_in_plain_words()
    {
        byte[] csv = DigitFiles.Csv(Digits), line = [.. Enumerable.Repeat((byte)'1', 70_000), (byte)'\n'];
        int header = Array.IndexOf(csv, (byte)'\n') + 1;
        foreach ((byte[] file, string says) in new[]
        {
            (line, "row 1 has 1 column, expected 784"), ([.. Enumerable.Repeat((byte)'a', 300_000)], "row 1 is longer than 64 KiB"),
            ([.. csv[..header], .. new byte[300_000]], "row 2 is longer than 64 KiB"),
            ([.. csv, .. csv[header..], .. csv[header..], .. new byte[700_000]], "or the line is longer than 64 KiB"),
        })
        {
            InputException e = Assert.Throws<InputException>(() => Open(file));
            Assert.Contains(says, e.Message, StringComparison.Ordinal);
            Assert.DoesNotContain("MaxRecordSize", e.Message, StringComparison.Ordinal);
        }
    }

    /// <summary>The same 30 digits in nine dialects; without a header's line there is room for one digit more.</summary>
    [Theory]
    [InlineData("digit1x1")]
    [InlineData("floats")]
    [InlineData("labellast")]
    [InlineData("noheader")]
    [InlineData("openml")]
    [InlineData("pixel1")]
    [InlineData("semicolon")]
    [InlineData("unnamed0")]
    public void The_shared_dialects_hold_the_same_digits(string name)
    {
        DigitDataset expected = DataSource.Open(SharedFiles.Path("cases/csv-dialects/Label.csv"), DataPart.Training);
        DigitDataset data = DataSource.Open(SharedFiles.Path($"cases/csv-dialects/{name}.csv"), DataPart.Training);
        Assert.Equal(name == "noheader" ? 31 : 30, data.Count);
        DigitFiles.AssertSame(expected, Take(data, [.. Enumerable.Range(0, 30)]));
    }

    private DigitDataset Open(byte[] bytes) => DataSource.Open(_folder.Write("digits.csv", bytes), DataPart.Prediction);

    private static string Table(DigitDataset digits, string? header, string row)
    {
        StringBuilder text = new();
        if (header is not null)
        {
            text.Append(header.Split(',').Aggregate("", (line, part) => $"{line},{Names(part)}")[1..]).Append('\n');
        }

        for (int i = 0; i < digits.Count; i++)
        {
            int number = i;
            text.AppendJoin(',', row.Split(',').Select(part => part switch
            {
                "l" => digits.Labels[number].ToString(CultureInfo.InvariantCulture),
                "i" => number.ToString(CultureInfo.InvariantCulture),
                "p" => string.Join(',', digits.Image(number).ToArray()),
                "01" => string.Join(',', digits.Image(number).ToArray().Select(value => value > 127 ? 1 : 0)),
                "hot" => string.Join(',', Enumerable.Range(0, 10).Select(digit => digit == digits.Labels[number] ? 1 : 0)),
                "short" => string.Join(',', digits.Image(number)[..64].ToArray()),
                _ => part,
            })).Append('\n');
        }

        return text.ToString();
    }

    /// <summary>Names of 784 pixels: "x#+1" is x1 … x784, "px_###" px_000 … px_783.</summary>
    private static string Names(string part) => part switch
    {
        "28x28" => string.Join(',', Enumerable.Range(0, 784).Select(i => $"{i / 28 + 1}x{i % 28 + 1}")),
        "by column" => string.Join(',', Enumerable.Range(0, 784).Select(i => $"{i % 28 + 1}x{i / 28 + 1}")),
        "sorted" => string.Join(',', Enumerable.Range(0, 784).Select(i => $"pixel{i}").Order(StringComparer.Ordinal)),
        "!" => new string(',', 783),
        _ when part.Contains("###", StringComparison.Ordinal) =>
            string.Join(',', Enumerable.Range(0, 784).Select(i => part.Replace("###", $"{i:D3}", StringComparison.Ordinal))),
        _ when part.Split("#+") is [var stem, var first] =>
            string.Join(',', Enumerable.Range(int.Parse(first, CultureInfo.InvariantCulture), 784).Select(i => stem + i)),
        _ when part.Contains('#', StringComparison.Ordinal) =>
            string.Join(',', Enumerable.Range(0, 784).Select(i => part.Replace("#", $"{i}", StringComparison.Ordinal))),
        _ => part,
    };

    private static DigitDataset Shuffled(DigitDataset digits)
    {
        int[] rows = [.. Enumerable.Range(0, digits.Count)];
        new Random(7).Shuffle(rows);
        return Take(digits, rows);
    }

    private static DigitDataset Take(DigitDataset digits, int[] rows) =>
        new(digits.Name, [.. rows.SelectMany(row => digits.Image(row).ToArray())], [.. rows.Select(row => digits.Labels[row])]);
}
