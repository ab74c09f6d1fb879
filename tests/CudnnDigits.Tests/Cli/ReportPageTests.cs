using OpenQA.Selenium.Chrome;

namespace CudnnDigits.Tests.Cli;

/// <summary>The pages of runs and studies in Chromium: on a phone, on a desktop and on paper, in light and dark.</summary>
public sealed class ReportPageTests : TestsWithFolder
{
    private readonly string[] _data;

    public ReportPageTests() =>
        _data = ["--data", _folder.Write("train.csv", DigitFiles.Csv(GeneratedDigits.Create(300, seed: 2))), "--quiet"];

    [Theory]
    [InlineData("train", "--model", "simple", "--augment", "standard", "--epochs", "2")]
    [LongData("crossval", "--model", "simple", "--folds", "3", "--epochs", "1")]
    [LongData("compare", "--seeds", "1", "--epochs", "1")]
    [LongData("tune", "--model", "simple", "--epochs", "3", "--budget", "30")]
    public void Every_text_can_be_read_and_tables_of_figures_fit_a_phone(string command, params string[] options)
    {
        using ChromeDriver browser = Browser.Open(new Uri("about:blank"));
        Run([command, .. _data, .. options, "--out", _folder["out"]]);
        Check(browser, "out/report.html");
    }

    [LongFact]
    public void Runs_side_by_side_can_be_read_too()
    {
        using ChromeDriver browser = Browser.Open(new Uri("about:blank"));
        string[] names = ["first", "a_name_without_a_space_or_a_hyphen_in_which_a_line_could_end"];
        foreach ((int i, string name) in names.Index())
        {
            Run(["train", .. _data, "--model", "simple", "--epochs", "1", "--epsilon", i == 0 ? "1e-8" : "1e-10", "--out", _folder[name]]);
        }

        Run("report", _folder[names[0]], _folder[names[1]], "--out", _folder["both.html"]);
        Check(browser, "both.html");
        Assert.Equal(["fits"], (IEnumerable<object>)browser.ExecuteScript("""
            const table = document.querySelector(".sides"), found = [];
            const lines = range => new Set([...range.getClientRects()].map(rect => Math.round(rect.top))).size;
            const walker = document.createTreeWalker(table.tBodies[0], NodeFilter.SHOW_TEXT);
            while (walker.nextNode()) {
              for (const match of walker.currentNode.data.matchAll(/\S+( 0\.\d+)?/g)) { // a word, or an option with its number
                const range = new Range();
                range.setStart(walker.currentNode, match.index);
                range.setEnd(walker.currentNode, match.index + match[0].length);
                if (lines(range) > 1) found.push(match[0]);
              }
            }
            return [...found, table.textContent.includes("0.0000000001") && table.scrollWidth <= table.parentElement.clientWidth
              ? "fits" : "is cut"];
            """)!);
    }

    private void Check(ChromeDriver browser, string page)
    {
        browser.Navigate().GoToUrl(new Uri(_folder[page]));
        foreach ((int width, int height) in new[] { (390, 844), (1280, 900) })
        {
            browser.Resize(width, height);
            browser.AssertReadable();
        }

        AssertTablesFit(browser, 320, 700);
        browser.ExecuteScript("""
            for (const table of document.querySelectorAll(".confusion")) {
              table.style.setProperty("--longest", 4);
              table.querySelectorAll(".right").forEach(cell => cell.textContent = 4684); // of all of Kaggle's digits
            }
            for (const cell of document.querySelectorAll(".figures td")) {
              cell.textContent = cell.textContent.replace(/^\d+ of \d+$/, "1,234 of 8,400");
            }
            """);
        AssertTablesFit(browser, 390, 844);
    }

    private static void AssertTablesFit(ChromeDriver browser, int width, int height)
    {
        browser.Resize(width, height);
        object pushed = browser.ExecuteScript("""
            const heads = ["recall", "right", "report: Kaggle", "wrong", "trial"];
            const tables = [...document.querySelectorAll("table")].filter(table => table.className === "confusion"
              || [...table.querySelectorAll("th")].some(th => heads.includes(th.textContent)));
            return tables.length === 0 ? ["there is none"] : tables
              .filter(table => table.parentElement.scrollWidth > table.parentElement.clientWidth
                || parseFloat(getComputedStyle(table).fontSize) < 10.5)
              .map(table => table.textContent.slice(0, 60));
            """)!;
        Assert.Empty((IEnumerable<object>)pushed);
    }

    private static void Run(params string[] arguments) => CliProgram.Run(arguments).Succeeded();
}
