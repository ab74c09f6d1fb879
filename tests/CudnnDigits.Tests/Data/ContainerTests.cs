namespace CudnnDigits.Tests.Data;

/// <summary>
/// The containers that the library reads: IDX by folder and by file, packed or not, NumPy's arrays, Kaggle's files in a folder.
/// </summary>
public sealed class ContainerTests : TestsWithFolder
{
    private static readonly DigitDataset Digits = GeneratedDigits.Create(20, seed: 4), Others = GeneratedDigits.Create(10, seed: 5);

    private static IEnumerable<double> Pixels => Digits.Pixels.ToArray().Select(pixel => (double)pixel);

    private static IEnumerable<double> Labels => Digits.Labels.ToArray().Select(label => (double)label);

    [Theory]
    [InlineData("|u1", 1.0, false, 1)]
    [InlineData("<i8", 1.0, false, 2)]
    [InlineData(">i4", 1.0, true, 3)]
    [InlineData("<f4", 1.0, false, 1)]
    [InlineData("<f8", 255.0, true, 1)]
    [InlineData(">f4", 255.0, false, 2)]
    [InlineData("<f2", 1.0, true, 1)]
    public void Keras_npz_is_read_in_every_type_scale_and_order_stored_and_deflated(string type, double scale, bool fortran, int version)
    {
        byte[] images = NumpyFiles.Array(type, [20, 28, 28], Pixels.Select(pixel => pixel / scale), fortran, version),
        labels = NumpyFiles.Array(type, [20], Labels, fortran, version);
        DigitFiles.AssertSame(Digits, Open("a.npz", DigitFiles.Zip(("x_train.npy", images), ("y_train.npy", labels))));
        DigitFiles.AssertSame(Digits,
            Open("b.npz", ZipFiles.Write(("x_train.npy", images, ZipKind.Stored), ("y_train.npy", labels, ZipKind.Stored))));
        DigitFiles.AssertSame(Digits, Open("c", DigitFiles.Zip(("x_train.npy", images), ("y_train.npy", labels)))); // whatever its name
    }

    [Theory]
    [InlineData("x_train", "y_train")]
    [InlineData("X_train", "Y_train")]
    [InlineData("train_images", "train_labels")]
    [InlineData("images", "labels")]
    [InlineData("x", "y")]
    [InlineData("X", "y")]
    [InlineData("data", "target")]
    [InlineData("train_data", "train_labels")]
    [InlineData("arr_0", "arr_1")]
    public void Arrays_are_known_by_the_names_that_people_give_them(string images, string labels) => DigitFiles.AssertSame(Digits, Open(
        "names.npz", DigitFiles.Zip((images + ".npy", NumpyFiles.Array("|u1", [20, 784], Pixels)),
            (labels + ".npy", NumpyFiles.Array("<i8", [20, 1], Labels)))));

    [Fact]
    public void Of_a_npz_the_part_that_is_wanted_is_read()
    {
        byte[] both = DigitFiles.Zip(
            ("x_train.npy", NumpyFiles.Array("|u1", [20, 28, 28, 1], Pixels)),
            ("y_train.npy", NumpyFiles.Array("<f8", [20, 10],
            Labels.SelectMany(label => Enumerable.Range(0, 10).Select(i => i == label ? 1.0 : 0)))),
            ("x_test.npy", NumpyFiles.Array("|u1", [10, 1, 28, 28], Others.Pixels.ToArray().Select(pixel => (double)pixel))),
            ("y_test.npy", NumpyFiles.Array("|u1", [10], Others.Labels.ToArray().Select(label => (double)label))));
        DigitFiles.AssertSame(Digits, Open("both.npz", both));
        DigitFiles.AssertSame(Others, Open("both.npz", both, DataPart.Evaluation));
        DigitFiles.AssertSame(Others, Open("both.npz", both, DataPart.Prediction));
        DigitFiles.AssertSame(DigitFiles.WithoutLabels(Digits),
            Open("one.npy", NumpyFiles.Array("|u1", [20, 28, 28], Pixels), DataPart.Prediction));
    }

    /// <summary>numpy.save of each array.</summary>
    [Theory]
    [InlineData("x_{0}.npy", "y_{0}.npy")]
    [InlineData("X_{0}.npy", "y_{0}.npy")]
    [InlineData("{0}_images.npy.gz", "{0}_labels.npy")]
    public void Arrays_side_by_side_are_read_as_those_of_an_archive(string images, string labels)
    {
        string x = Write(images, "train", NumpyFiles.Array("|u1", [20, 28, 28], Pixels)),
        y = Write(labels, "train", NumpyFiles.Array("<i8", [20], Labels));
        _folder.Write("folder/history.npy", NumpyFiles.Array("<f8", [3], [1, 2, 3])); // neither to train on nor to test with
        DigitFiles.AssertSame(Digits, DataSource.Open(_folder["folder"], DataPart.Training));
        DigitFiles.AssertSame(Digits, DataSource.Open(x, DataPart.Training));
        Assert.Equal([x, y], DataSource.FilesOf(x));
        AssertRefused("give the images, and the labels beside them are found", () => DataSource.Open(y, DataPart.Training));

        Write(images, "test", NumpyFiles.Array("|u1", [10, 784], Others.Pixels.ToArray().Select(pixel => (double)pixel)));
        DigitFiles.AssertSame(Digits, DataSource.Open(_folder["folder"], DataPart.Evaluation)); // the others have no labels
        Write(labels, "test", NumpyFiles.Array("|u1", [10], Others.Labels.ToArray().Select(label => (double)label)));
        DigitFiles.AssertSame(Digits, DataSource.Open(_folder["folder"], DataPart.Training));
        DigitFiles.AssertSame(Others, DataSource.Open(_folder["folder"], DataPart.Evaluation));
        DigitFiles.AssertSame(Others, DataSource.Open(_folder["folder"], DataPart.Prediction));

        string Write(string name, string set, byte[] array) => _folder.Write(
            $"folder/{string.Format(CultureInfo.InvariantCulture, name, set)}", name.EndsWith(".gz") ? DigitFiles.Gzip(array) : array);
    }

    /// <summary>A folder, or a zip file, with what a participant of a competition has beside the digits.</summary>
    [Theory]
    [InlineData("digits.csv")]
    [InlineData("digits.csv.gz")]
    [InlineData("mnist_784.arff")]
    public void Tables_of_other_things_beside_digits_are_passed_over(string name)
    {
        string header = name.EndsWith(".arff", StringComparison.Ordinal) ? "@relation mnist\n@attribute class {0}\n"
            + string.Concat(Enumerable.Range(0, 784).Select(i => $"@attribute pixel{i} real\n")) + "@data\n" : "";
        byte[] csv = DigitFiles.Csv(Digits), table = [.. Encoding.UTF8.GetBytes(header), .. csv[(header.Length == 0 ? 0 : 1 + Array
            .IndexOf(csv, (byte)'\n'))..]], packed = name.EndsWith(".gz", StringComparison.Ordinal) ? DigitFiles.Gzip(table) : table;
        byte[] few = "ImageId,Label\n1,0\n"u8.ToArray(), many = [.. Enumerable.Repeat(few, 100).SelectMany(row => row)];
        _folder.Write($"folder/{name}", packed);
        _folder.Write("folder/submission.csv", few);
        _folder.Write("folder/sample_submission.csv", many);
        DigitFiles.AssertSame(Digits, DataSource.Open(_folder["folder"], DataPart.Training));
        DigitFiles.AssertSame(Digits, Open("a.zip", DigitFiles.Zip(("submission.csv", many), (name, packed), ("sample.csv", few))));
    }

    /// <summary>Floats that rounding or resizing has left a hair outside 0 … 1 are 0 … 1 still.</summary>
    [Theory]
    [InlineData(1.0000002, 0)]
    [InlineData(1.009, 0)]
    [InlineData(1, -1e-9)]
    public void Pixels_a_hair_outside_0_to_1_are_0_to_1(double times, double plus)
    {
        double most = Digits.Image(0).ToArray().Max(); // stands for 255, so that the first image runs over
        byte[] images = NumpyFiles.Array("<f8", [20, 784], Pixels.Select(pixel => (Math.Min(pixel / most, 1) * times) + plus));
        DigitDataset data = Open("a.npz", DigitFiles.Zip(("x.npy", images), ("y.npy", NumpyFiles.Array("|u1", [20], Labels))));
        Assert.All(Enumerable.Range(0, data.Pixels.Length),
            i => Assert.InRange(data.Pixels[i] - Math.Min(Digits.Pixels[i] / most, 1) * 255, -0.5, 3));
    }

    [Theory]
    [InlineData("<U1")]
    [InlineData(">U1")]
    [InlineData("|S1")]
    public void Labels_may_be_characters(string type)
    {
        byte[] labels = NumpyFiles.Array(type[1] == 'S' ? "|u1" : type[0] + "u4", [20], Labels.Select(label => label + '0'));
        byte[] text = Encoding.Latin1.GetBytes(Encoding.Latin1.GetString(labels)
            .Replace(type[1] == 'S' ? "|u1" : type[0] + "u4", type, StringComparison.Ordinal));
        DigitFiles.AssertSame(Digits,
            Open("a.npz", DigitFiles.Zip(("x.npy", NumpyFiles.Array("|u1", [20, 784], Pixels)), ("y.npy", text))));
    }

    [Fact]
    public void Of_arrays_without_a_test_part_those_for_validation_are_evaluated_on_and_hidden_labels_are_passed_over()
    {
        byte[] x = NumpyFiles.Array("|u1", [20, 784], Pixels), y = NumpyFiles.Array("|u1", [20], Labels),
        hidden = NumpyFiles.Array("<i8", [10], Enumerable.Repeat(-1.0, 10));
        byte[] otherX = NumpyFiles.Array("|u1", [10, 784], Others.Pixels.ToArray().Select(pixel => (double)pixel)),
        otherY = NumpyFiles.Array("|u1", [10], Others.Labels.ToArray().Select(label => (double)label));
        DigitFiles.AssertSame(Others,
            Open("val.npz", DigitFiles.Zip(("x_train.npy", x), ("y_train.npy", y), ("x_val.npy", otherX), ("y_val.npy", otherY)),
            DataPart.Evaluation));
        DigitFiles.AssertSame(Digits,
            Open("unlabelled.npz", DigitFiles.Zip(("x_train.npy", x), ("y_train.npy", y), ("x_test.npy", otherX)), DataPart.Evaluation));
        byte[] secret = DigitFiles.Zip(("x_train.npy", x), ("y_train.npy", y), ("x_test.npy", otherX), ("y_test.npy", hidden));
        DigitFiles.AssertSame(DigitFiles.WithoutLabels(Others), Open("hidden.npz", secret, DataPart.Prediction));
        AssertRefused("is -1, expected a digit 0 to 9", () => Open("hidden.npz", secret, DataPart.Evaluation));
    }

    private static readonly byte[] AllImages = NumpyFiles.Array("|u1", [20, 28, 28], Pixels),
    AllLabels = NumpyFiles.Array("|u1", [20], Labels);

    private static readonly (string, byte[]) One = ("x_train.npy", AllImages), Other = ("y_train.npy", AllLabels);

    /// <summary>Bad archives, and what the one line must say.</summary>
    private static readonly Dictionary<string, (string Says, byte[] File)> BadArrays = new()
    {
        ["percent"] = ("; expected 0 to 255, or 0 to 1: multiply them so",
            DigitFiles.Zip(("x_train.npy", NumpyFiles.Array("<f8", [20, 28, 28], Pixels.Select(pixel => pixel / 2.55))), Other)),
        ["thrice"] = ("the values are no whole numbers and go up to ",
            DigitFiles.Zip(("x_train.npy", NumpyFiles.Array("<f8", [20, 28, 28], Pixels.Select(pixel => pixel / 255 * 3))), Other)),
        ["shape"] = ("an array of (10, 56, 28); expected images of 28×28",
            DigitFiles.Zip(("x_train.npy", NumpyFiles.Array("|u1", [10, 56, 28], Pixels)), Other)),
        ["objects"] = ("objects of Python, which could run code); expected numbers, such as uint8 or float32",
            DigitFiles.Zip(One, ("y_train.npy", Replace(AllLabels, "|u1", "|O "[..2] + "'")))),
        ["standardised"] = ("image 0 (from 0) has the value -0.5",
            DigitFiles.Zip(("x_train.npy", NumpyFiles.Array("<f4", [20, 28, 28], Pixels.Select(pixel => (pixel / 255) - 0.5))), Other)),
        ["scales"] = ("image 1 (from 0) has the value 255; expected 0 to 1, as in the images before it",
            DigitFiles.Zip(("x_train.npy", NumpyFiles.Array("<f4", [20, 28, 28], Pixels.Select((pixel, i) => i < 784 ? pixel / 255 : 255))),
            Other)),
        ["nan"] = ("has the value NaN",
            DigitFiles.Zip(("x_train.npy",
            NumpyFiles.Array("<f4", [20, 28, 28], Pixels.Select((pixel, i) => i == 900 ? double.NaN : pixel))), Other)),
        ["labels"] = ("19 labels for 20 images", DigitFiles.Zip(One, ("y_train.npy", NumpyFiles.Array("|u1", [19], Labels.Take(19))))),
        ["label 10"] = ("label 3 (from 0) is 10, expected a digit 0 to 9",
            DigitFiles.Zip(One, ("y_train.npy", NumpyFiles.Array("|u1", [20], Labels.Select((label, i) => i == 3 ? 10 : label))))),
        ["cut"] = ("promises 20 values", DigitFiles.Zip(One, ("y_train.npy", AllLabels[..^1]))),
        ["more"] = ("goes on after its (20,) values", DigitFiles.Zip(One, ("y_train.npy", [.. AllLabels, 0]))),
        ["names"] = ("holds foo, bar, but no x_train and y_train", DigitFiles.Zip(("foo.npy", AllImages), ("bar.npy", AllLabels))),
        ["columns"] = ("a table of several columns", DigitFiles.Zip(One, ("y_train.npy", Replace(AllLabels, "'|u1'", "[('a')]"[..5])))),
        ["huge"] = ("expected version 1 to 3",
            DigitFiles.Zip(One, ("y_train.npy", [.. AllLabels[..6], 2, 0, 255, 255, 255, 127, .. AllLabels[10..]]))),
    };

    public static TheoryData<string> BadArrayNames => [.. BadArrays.Keys];

    [Theory]
    [MemberData(nameof(BadArrayNames))]
    public void A_bad_npz_is_refused_in_one_line_that_names_the_array(string kind)
    {
        string message = Assert.Throws<InputException>(() => Open("bad.npz", BadArrays[kind].File)).Message;
        Assert.Contains(BadArrays[kind].Says, message, StringComparison.Ordinal);
        Assert.Contains("bad.npz", message, StringComparison.Ordinal);
    }

    /// <summary>
    /// Damage inside the arrays, whose checksums are right: nothing but a refusal, or digits, and no memory beyond the file's.
    /// </summary>
    [Fact]
    public void Damaged_arrays_of_numpy_are_refused_or_read_within_the_bounds_of_the_file()
    {
        byte[] images = NumpyFiles.Array("<f4", [3, 28, 28], Pixels.Take(3 * 784), fortran: true),
        labels = NumpyFiles.Array("<i8", [3], Labels.Take(3));
        foreach (Mutation mutation in Mutations.Of(images, usually: 100).Concat(Mutations.Of(labels, usually: 100, seed: 2)))
        {
            bool isImages = mutation.Bytes.Length > 1000;
            string path = _folder.Write("damaged.npz",
                DigitFiles.Zip(("x_train.npy", isImages ? mutation.Bytes : images), ("y_train.npy", isImages ? labels : mutation.Bytes)));
            long before = GC.GetAllocatedBytesForCurrentThread();
            Exception? wrong = Record.Exception(() => DataSource.Open(path, DataPart.Training));
            Assert.True(wrong is null or InputException && wrong?.Message.Contains('\n', StringComparison.Ordinal) != true,
                $"{mutation}: {wrong}");
            Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < 8 << 20, $"{mutation}: much memory");
        }
    }

    [Theory]
    [InlineData("train-images-idx3-ubyte", "train-labels-idx1-ubyte", false, false)]
    [InlineData("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", false, false)] // unpacked by a browser
    [InlineData("train-images.idx3-ubyte", "train-labels.idx1-ubyte", true, false)]
    [InlineData("train-images-idx3-ubyte", "train-labels-idx1-ubyte.gz", false, true)]
    [InlineData("emnist-digits-train-images-idx3-ubyte", "emnist-digits-train-labels-idx1-ubyte", true, true)]
    [InlineData("mine-images.idx3", "mine-labels.idx1", false, true)]
    [InlineData("Mine-Images-idx3-ubyte", "Mine-Labels-idx1-ubyte", false, false)]
    [InlineData("images", "labels.gz", false, true)]
    public void A_file_of_images_is_read_by_its_name_with_the_labels_beside_it(string images, string labels, bool packedImages,
        bool packedLabels)
    {
        byte[] imageBytes = DigitFiles.IdxImages(Digits), labelBytes = DigitFiles.IdxLabels(Digits);
        string path = _folder.Write(images, packedImages ? DigitFiles.Gzip(imageBytes) : imageBytes);
        string beside = _folder.Write(labels, packedLabels ? DigitFiles.Gzip(labelBytes) : labelBytes);
        DigitFiles.AssertSame(Digits, DataSource.Open(path, DataPart.Training));
        Assert.Equal([path, beside], DataSource.FilesOf(path));
        if (images.Contains("train", StringComparison.Ordinal))
        {
            DigitFiles.AssertSame(Digits, DataSource.Open(_folder.Path, DataPart.Training));
        }

        AssertRefused("holds labels; give the file of the images", () => DataSource.Open(beside, DataPart.Training));
        File.Delete(beside);
        AssertRefused("the digits have no labels", () => DataSource.Open(path, DataPart.Training));
    }

    [Fact]
    public void Digits_are_found_in_the_folders_in_which_torchvision_keeps_them()
    {
        _folder.Make("MNIST/processed");
        _folder.Write("MNIST/raw/train-images-idx3-ubyte", DigitFiles.IdxImages(Digits));
        _folder.Write("MNIST/raw/train-labels-idx1-ubyte.gz", DigitFiles.Gzip(DigitFiles.IdxLabels(Digits)));
        DigitFiles.AssertSame(Digits, DataSource.Open(_folder.Path, DataPart.Training));
        _folder.Write("other/train.csv", DigitFiles.Csv(Digits));
        AssertRefused("holds several folders of digits", () => DataSource.Open(_folder.Path, DataPart.Training));
    }

    [Fact]
    public void Two_sets_of_one_folder_are_not_guessed_between()
    {
        foreach (string set in new[] { "emnist-digits", "emnist-mnist" })
        {
            _folder.Write($"{set}-train-images-idx3-ubyte", DigitFiles.IdxImages(Digits));
        }

        AssertRefused("give the file that you mean by its name", () => DataSource.Open(_folder.Path, DataPart.Training));
    }

    [Fact]
    public void A_folder_with_kaggles_files_is_taken_as_its_zip_is()
    {
        _folder.Write("train.csv", DigitFiles.Csv(Digits));
        DigitFiles.AssertSame(Digits, DataSource.Open(_folder.Path, DataPart.Training));
        AssertRefused("holds no test.csv", () => DataSource.Open(_folder.Path, DataPart.Prediction));
        _folder.Write("test.csv.gz", DigitFiles.Gzip(DigitFiles.Csv(DigitFiles.WithoutLabels(Others))));
        DigitFiles.AssertSame(DigitFiles.WithoutLabels(Others), DataSource.Open(_folder.Path, DataPart.Prediction));
        DigitFiles.AssertSame(Digits,
            Open("mnist.zip", DigitFiles.Zip(("mnist_train.csv", DigitFiles.Csv(Digits)), ("mnist_test.csv", DigitFiles.Csv(Others)))));
        AssertRefused("(but other.txt)", () => Open("other.zip", DigitFiles.Zip(("other.txt", [1]))));
    }

    /// <summary>Training data that are scored tell nothing; Kaggle's own test.csv has no labels.</summary>
    [Theory]
    [InlineData("train.csv", "test.csv")]
    [InlineData("mnist_train.csv", "mnist_test.csv")]
    [InlineData("Train.csv", "Test.csv")]
    [InlineData("train.csv.gz", "test.csv.gz")]
    [InlineData("train.csv", "valid.csv")]
    public void Of_tables_in_a_folder_or_zip_file_those_with_labels_that_are_not_for_training_are_evaluated_on(string train, string test)
    {
        byte[] trainCsv = DigitFiles.Csv(Digits), testCsv = DigitFiles.Csv(Others),
        unlabelled = DigitFiles.Csv(DigitFiles.WithoutLabels(Others));
        Check(testCsv, Others, Others, $"in {test}; {train} beside it is there to train on");
        Check(unlabelled, Digits, DigitFiles.WithoutLabels(Others), null);

        void Check(byte[] second, DigitDataset evaluated, DigitDataset predicted, string? says)
        {
            string zip = _folder.Write("set.zip", DigitFiles.Zip((train, Packed(train, trainCsv)), (test, Packed(test, second))));
            _folder.Write($"set/{train}", Packed(train, trainCsv));
            _folder.Write($"set/{test}", Packed(test, second));
            foreach (string path in new[] { zip, _folder["set"] })
            {
                DigitFiles.AssertSame(Digits, DataSource.Open(path, DataPart.Training));
                DigitFiles.AssertSame(predicted, DataSource.Open(path, DataPart.Prediction));
                DigitDataset data = DataSource.Open(path, DataPart.Evaluation);
                DigitFiles.AssertSame(evaluated, data);
                Assert.Equal(says is null, data.Found is null);
                Assert.Contains(says ?? "", data.Found ?? "", StringComparison.Ordinal);
            }
        }

        static byte[] Packed(string name, byte[] csv) => name.EndsWith(".gz", StringComparison.Ordinal) ? DigitFiles.Gzip(csv) : csv;
    }

    [Fact]
    public void Digits_for_validation_are_predicted_where_there_is_no_test_part_and_that_is_said() => Assert.Equal(
        "a table, in valid.csv",
        Open("a.zip", DigitFiles.Zip(("train.csv", DigitFiles.Csv(Digits)), ("valid.csv", DigitFiles.Csv(Others))), DataPart.Prediction)
        .Found);

    [Fact]
    public void What_macOS_adds_to_a_zip_file_does_not_count_and_a_table_alone_is_taken_by_any_name()
    {
        byte[] csv = DigitFiles.Csv(Digits), mac = [0, 5, 0x16, 7, .. new byte[50]];
        DigitFiles.AssertSame(Digits,
            Open("mac.zip", DigitFiles.Zip(("mnist_train.csv", csv), ("__MACOSX/._mnist_train.csv", mac), ("._mnist_train.csv", mac))));
        DigitFiles.AssertSame(Digits,
            Open("one.zip", DigitFiles.Zip(("digits.csv", csv), ("__MACOSX/._digits.csv", mac), ("README.txt", mac)), DataPart.Evaluation));
        DigitFiles.AssertSame(Digits, Open("packed.zip", DigitFiles.Zip(("a/digits.csv.gz", DigitFiles.Gzip(csv)))));
        AssertRefused("holds no train.csv (but a.csv, b.csv)", () => Open("two.zip", DigitFiles.Zip(("a.csv", csv), ("b.csv", csv))));
        AssertRefused("holds no train.csv (but test.csv)", () => Open("test.zip", DigitFiles.Zip(("test.csv", csv))));
        AssertRefused("holds 2 files train.csv (a_train.csv, b_train.csv); give the one that you mean",
            () => Open("both.zip", DigitFiles.Zip(("a_train.csv", csv), ("b_train.csv", csv))));
        AssertRefused("is a workbook of Excel; save it as CSV",
            () => Open("digits.xlsx", DigitFiles.Zip(("[Content_Types].xml", [1]), ("xl/workbook.xml", [1]))));
        AssertRefused("is a file of PyTorch (.pt)",
            () => Open("training.pt", DigitFiles.Zip(("training/data.pkl", [1]), ("training/data/0", [1]))));
    }

    [Theory]
    [InlineData("digits.csv")]
    [InlineData("Train.csv")]
    [InlineData("mnist_train.csv.gz")]
    [InlineData("mnist.npz")]
    [InlineData("digit-recognizer.zip")]
    [InlineData("TRAIN-IMAGES-IDX3-UBYTE")]
    [InlineData("train-images-idx3-ubyte (1).gz")]
    [InlineData("train-images-idx3-ubyte.bin")]
    public void The_only_file_of_a_folder_that_can_be_read_is_taken_whatever_its_name(string name)
    {
        _folder.Write("folder/readme.txt", "0,1,2\n");
        _folder.Write("folder/junk.bin", [0, 1, 2]);
        byte[] csv = DigitFiles.Csv(Digits);
        bool idx = name.Contains("idx3", StringComparison.OrdinalIgnoreCase);
        string path = _folder.Write($"folder/{name}", idx ? Packed(DigitFiles.IdxImages(Digits)) : Path.GetExtension(name) switch
        {
            ".npz" => DigitFiles.Zip(("x_train.npy", NumpyFiles.Array("|u1", [20, 28, 28], Pixels)),
                ("y_train.npy", NumpyFiles.Array("|u1", [20], Labels))),
            ".zip" => DigitFiles.Zip(("train.csv", csv)),
            _ => Packed(csv),
        });
        string[] read = [path];
        if (idx)
        {
            string labels = name.Replace("images", "labels", StringComparison.Ordinal).Replace("idx3", "idx1", StringComparison.Ordinal)
                .Replace("IMAGES-IDX3", "LABELS-IDX1", StringComparison.Ordinal);
            read = [path, _folder.Write($"folder/{labels}", Packed(DigitFiles.IdxLabels(Digits)))];
        }

        DigitFiles.AssertSame(Digits, DataSource.Open(_folder["folder"], DataPart.Training));
        DigitFiles.AssertSame(Digits, DataSource.Open(_folder.Path, DataPart.Evaluation)); // and from above
        Assert.Equal(read, DataSource.FilesOf(_folder["folder"]));

        byte[] Packed(byte[] bytes) => name.EndsWith(".gz", StringComparison.Ordinal) ? DigitFiles.Gzip(bytes) : bytes;
    }

    [Fact]
    public void Of_two_files_of_a_folder_one_is_to_train_on_and_one_to_test_with_or_neither_is_chosen()
    {
        _folder.Write("Train.csv", DigitFiles.Csv(Digits));
        _folder.Write("Test.csv", DigitFiles.Csv(DigitFiles.WithoutLabels(Others)));
        DigitFiles.AssertSame(Digits, DataSource.Open(_folder.Path, DataPart.Training));
        DigitFiles.AssertSame(Digits, DataSource.Open(_folder.Path, DataPart.Evaluation));
        DigitFiles.AssertSame(DigitFiles.WithoutLabels(Others), DataSource.Open(_folder.Path, DataPart.Prediction));
        _folder.Write("Test.csv", DigitFiles.Csv(Others));
        DigitFiles.AssertSame(Others, DataSource.Open(_folder.Path, DataPart.Evaluation));

        foreach (string file in Directory.GetFiles(_folder.Path))
        {
            File.Move(file, file.Replace(".csv", " of 2.csv", StringComparison.Ordinal));
        }

        DigitDataset training = DataSource.Open(_folder.Path, DataPart.Training);
        DigitFiles.AssertSame(Digits, training);
        Assert.Equal("Train of 2.csv", training.Found);
        _folder.Write("train 3 of 3.csv", DigitFiles.Csv(Others));
        AssertRefused("holds several files of digits (Test of 2.csv, Train of 2.csv …); give the one that you mean by its name",
            () => DataSource.Open(_folder.Path, DataPart.Training));
    }

    [Fact]
    public void A_file_in_a_folder_below_comes_before_tables_beside_it()
    {
        _folder.Write("results.csv", "epoch,loss\n");
        _folder.Write("data/train.csv", DigitFiles.Csv(Digits));
        DigitFiles.AssertSame(Digits, DataSource.Open(_folder.Path, DataPart.Training));
    }

    [Fact]
    public void A_pipe_among_the_files_of_a_folder_is_left_alone()
    {
        FileNodes.Fifo(_folder["pipe.csv"]);
        _folder.Write("digits.csv", DigitFiles.Csv(Digits));
        DigitFiles.AssertSame(Digits, DataSource.Open(_folder.Path, DataPart.Training));
    }

    [Fact]
    public void Links_that_lead_back_are_not_other_folders_of_digits()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "Windows lets only administrators make links");
        _folder.Make("raw");
        Directory.CreateSymbolicLink(_folder["again"], ".");
        Directory.CreateSymbolicLink(_folder["raw/up"], "..");
        _folder.Write("raw/train.csv", DigitFiles.Csv(Digits));
        DigitFiles.AssertSame(Digits, DataSource.Open(_folder.Path, DataPart.Training));
    }

    [Fact]
    public void A_file_is_gzip_data_by_its_first_bytes_and_not_by_its_name()
    {
        DigitFiles.AssertSame(Digits, Open("packed.csv", DigitFiles.Gzip(DigitFiles.Csv(Digits))));
        DigitFiles.AssertSame(Digits, Open("plain.csv.gz", DigitFiles.Csv(Digits)));
        DigitFiles.AssertSame(Digits, Open("a.zip.gz", DigitFiles.Gzip(DigitFiles.Zip(("train.csv", DigitFiles.Csv(Digits))))));
    }

    [Fact]
    public void The_gzipped_files_without_their_suffix_are_read()
    {
        string images = SharedFiles.Path("cases/idx-still-gzipped/t10k-images-idx3-ubyte");
        DigitDataset data = DataSource.Open(images, DataPart.Evaluation);
        Assert.Equal((20, true), (data.Count, data.HasLabels));
        DigitFiles.AssertSame(data, DataSource.Open(Path.GetDirectoryName(images)!, DataPart.Evaluation));
    }

    [Theory]
    [InlineData("\u0089PNG\r\n\u001a\n", "is a PNG picture")]
    [InlineData("\0\0\0\u0018ftypheic\0\0\0\0", "is a HEIC picture")]
    [InlineData("\0\0\0\u001cftypmif1\0\0\0\0avif", "is an AVIF picture")]
    [InlineData("RIFF\u0010\0\0\0WEBPVP8 ", "is a WebP picture")]
    [InlineData("\u0089HDF\r\n\u001a\n", "is an HDF5 file")]
    [InlineData("\u0080\u0004\u0095", "is a pickle of Python")]
    [InlineData("%PDF-1.7", "is a PDF document")]
    [InlineData("PAR1", "is a Parquet file")]
    [InlineData("<!DOCTYPE html><html>", "is a page of HTML")]
    [InlineData("5 153:3 154:18\n", "is a LIBSVM (SVMlight) file")]
    [InlineData("[{\"label\": 5, \"image\": [0, 0", "is JSON")]
    [InlineData("\u00FD7zXZ\0\0", "is an xz file: unpack it first")]
    [InlineData("]\0\0\u0080\0", "is an lzma file: unpack it first")]
    [InlineData("version https://git-lfs.github.com/spec/v1", "is a pointer of Git LFS")]
    [InlineData("\0\0\u000D\u0003", "is an IDX file of real numbers")]
    [InlineData("\u0008\u0007\u0012\u0007pytorch", "is a network, not digits")] // ONNX
    [InlineData("h\0\0\0\0\0\0\0{\"conv1.weight\"", "is a network, not digits")] // safetensors
    [InlineData("a\0b", "is none of the files that are known")]
    public void What_is_none_of_these_is_named_beside_all_that_is_taken(string head, string says)
    {
        string message = Assert.Throws<InputException>(() => Open("what", Encoding.Latin1.GetBytes(head))).Message;
        Assert.Contains(says, message, StringComparison.Ordinal);
        Assert.EndsWith($"; give {DataSource.Expected}", message, StringComparison.Ordinal);
        Assert.All(new[] { "CSV", "IDX", "npz" }, word => Assert.Contains(word, message, StringComparison.Ordinal));
    }

    private DigitDataset Open(string name, byte[] bytes, DataPart part = DataPart.Training) =>
        DataSource.Open(_folder.Write(name, bytes), part);

    [Fact]
    public void What_is_packed_into_what_is_packed_is_named()
    {
        byte[] tar = [.. "train.csv"u8, .. new byte[248], .. "ustar"u8, .. new byte[762]];
        AssertRefused("is a tar archive: unpack it first", () => Open("a.tar", tar));
        AssertRefused("is a tar archive: unpack it first", () => Open("a.tar.gz", DigitFiles.Gzip(tar)));
        AssertRefused("is a gzip file, packed twice: unpack it first",
            () => Open("a.csv.gz", DigitFiles.Gzip(DigitFiles.Gzip(DigitFiles.Csv(Digits)))));
    }

    private static void AssertRefused(string says, Action action) =>
        Assert.Contains(says, Assert.Throws<InputException>(action).Message, StringComparison.Ordinal);

    private static byte[] Replace(byte[] file, string text, string by) =>
        Encoding.Latin1.GetBytes(Encoding.Latin1.GetString(file).Replace(text, by.PadRight(text.Length), StringComparison.Ordinal));
}
