using OpenQA.Selenium;
using OpenQA.Selenium.Chrome;
using OpenQA.Selenium.Interactions;
using OpenQA.Selenium.Support.UI;

namespace CudnnDigits.Tests.Cli;

/// <summary>The drawing page in Chromium, by mouse, by finger and by keyboard.</summary>
public sealed class BrowserTests(RunningServer server) : IClassFixture<RunningServer>
{
    [Fact]
    public void A_seven_drawn_with_the_mouse_is_read_as_7()
    {
        using ChromeDriver browser = Open();
        Assert.Equal("Nothing drawn yet.", browser.FindElement(By.Id("said")).Text);
        Draw(browser, PointerKind.Mouse, (-0.25, -0.3), (0.25, -0.3), (0, 0), (-0.1, 0.38));
        WaitFor(browser, "digit", "7");
        Assert.StartsWith("A 7: ", browser.FindElement(By.Id("said")).Text, StringComparison.Ordinal);
        string[] rows = [.. browser.FindElements(By.CssSelector("#bars li")).Select(row => row.Text.ReplaceLineEndings(" "))];
        Assert.Equal(10, rows.Length);
        Assert.All(rows, row => Assert.EndsWith(" %", row, StringComparison.Ordinal));
        Assert.StartsWith("7 ", browser.FindElement(By.CssSelector("#bars .best")).Text.ReplaceLineEndings(" "), StringComparison.Ordinal);
        WaitFor(browser, "live", browser.FindElement(By.Id("said")).Text); // told to a screen reader once the pen rests
        Assert.Equal("Drawing pad: one stroke", Pad(browser).GetAttribute("aria-label"));

        browser.FindElement(By.Id("clear")).Click();
        WaitFor(browser, "said", "Nothing drawn yet.");
        Assert.False(browser.FindElement(By.Id("undo")).Enabled);
        Assert.Equal("pad", browser.SwitchTo().ActiveElement().GetAttribute("id")); // not lost with the button that is disabled now
        Assert.DoesNotContain(browser.Manage().Logs.GetLog(LogType.Browser), entry => entry.Level == LogLevel.Severe);
    }

    [LongFact]
    public void A_one_drawn_with_a_finger_and_a_seven_by_undoing_are_read()
    {
        using ChromeDriver browser = Open();
        Draw(browser, PointerKind.Touch, (0.02, -0.38), (0, 0.38));
        WaitFor(browser, "digit", "1");
        Draw(browser, PointerKind.Touch, (0, 0), (0.3, 0.3));
        browser.FindElement(By.Id("undo")).Click();
        WaitFor(browser, "digit", "1");
        Assert.Equal("Drawing pad: one stroke", Pad(browser).GetAttribute("aria-label"));
    }

    [LongFact]
    public void The_keyboard_alone_draws_a_seven()
    {
        using ChromeDriver browser = Open();
        Actions keys = new Actions(browser).SendKeys(Keys.Tab);
        for (int i = 0; i < 9; i++)
        {
            keys.SendKeys(Keys.ArrowLeft).SendKeys(Keys.ArrowUp);
        }

        keys.SendKeys(" ");
        Repeat(18, Keys.ArrowRight);
        Repeat(9, Keys.ArrowDown + Keys.ArrowLeft);
        Repeat(9, Keys.ArrowDown);
        keys.SendKeys(" ").Perform();
        WaitFor(browser, "digit", "7");
        Assert.Equal("Drawing pad: one stroke, pen up", Pad(browser).GetAttribute("aria-label"));
        Assert.Equal("pad", browser.SwitchTo().ActiveElement().GetAttribute("id"));
        new Actions(browser).SendKeys("c").Perform();
        WaitFor(browser, "said", "Nothing drawn yet.");

        void Repeat(int times, string what)
        {
            for (int i = 0; i < times; i++)
            {
                keys.SendKeys(what);
            }
        }
    }

    [LongFact]
    public void On_a_phone_nothing_is_wider_than_the_screen()
    {
        using ChromeDriver browser = Open();
        browser.Resize(360, 740);
        Assert.Equal(360L, browser.ExecuteScript("return document.documentElement.scrollWidth"));
        Draw(browser, PointerKind.Touch, (-0.25, -0.3), (0.25, -0.3), (0, 0), (-0.1, 0.38));
        WaitFor(browser, "digit", "7");
        Assert.True((bool)browser.ExecuteScript("return document.querySelector('#bars li:last-child').getBoundingClientRect().bottom <= "
            + "innerHeight")!); // pad and probabilities at once
    }

    [LongFact]
    public void The_pad_says_where_to_draw_and_fills_a_phone()
    {
        using ChromeDriver browser = Open();
        browser.Resize(390, 844);
        IWebElement hint = browser.FindElement(By.Id("hint"));
        Assert.Equal("Draw here", hint.Text);
        Assert.InRange(Pad(browser).Size.Width, 350, 390);
        Draw(browser, PointerKind.Touch, (0.02, -0.38), (0, 0.38)); // through the words
        WaitFor(browser, "digit", "1");
        Assert.False(hint.Displayed);
        browser.ExecuteScript("strokes = Array.from({ length: 257 }, (_, i) => [[i, 140]]); changed()");
        WaitFor(browser, "said", "That is too much for one digit. Undo, or clear the pad.");
        browser.FindElement(By.Id("clear")).Click();
        Assert.True(hint.Displayed);
        browser.Resize(195, 422); // the same phone where everything is shown twice as large
        Assert.Equal(195L, browser.ExecuteScript("return document.documentElement.scrollWidth"));
    }

    [LongFact]
    public void It_is_never_sure_of_all_of_it()
    {
        using ChromeDriver browser = Open();
        string Said(double probability, int digit = 7) => (string)browser.ExecuteScript(
            "const [probability, digit] = arguments, p = Array(10).fill(0); p[digit] = probability; show({ digit, probability, "
                + "probabilities: p, image: Array(784).fill(0) }); return document.querySelector('#bars .best .share').textContent + '|' + "
                + "document.getElementById('said').textContent;", probability, digit)!;
        foreach (double sure in new[] { 1, 0.99999, 0.9996, 0.999 })
        {
            Assert.Equal("over 99.9 %|A 7: over 99.9 % sure.", Said(sure));
        }

        Assert.Equal("99.8 %|A 7: 99.8 % sure.", Said(0.9984));
        Assert.Equal("45.0 %|Perhaps a 7: 45.0 % sure.", Said(0.45));
        Assert.Equal("90.5 %|An 8: 90.5 % sure.", Said(0.905, digit: 8));
        foreach ((int width, int height) in new[] { (360, 740), (1280, 900) })
        {
            browser.Resize(width, height);
            Assert.Equal("over 99.9 %|A 7: over 99.9 % sure.", Said(1));
            Assert.True((bool)browser.ExecuteScript("const share = document.querySelector('#bars .best .share'); return share.scrollWidth "
                + "<= share.clientWidth && share.getClientRects().length == 1 && share.offsetHeight < 30")!); // in its column, in one line
        }
    }

    /// <summary>As Chromium tells it to a screen reader.</summary>
    [Fact]
    public void Assistive_technology_is_told_what_the_pad_is_and_how_it_is_used()
    {
        using ChromeDriver browser = Open();
        Dictionary<string, object> tree = (Dictionary<string, object>)browser.ExecuteCdpCommand("Accessibility.getFullAXTree", [])!;
        Dictionary<string, object>[] nodes = [.. ((IEnumerable<object>)tree["nodes"]).Cast<Dictionary<string, object>>()];
        Dictionary<string, object> pad = Assert.Single(nodes, node => Of(node, "name") == "Drawing pad: empty");
        Assert.Equal("application", Of(pad, "role"));
        Assert.Contains("arrow keys move the pen", Of(pad, "description"), StringComparison.Ordinal);
        Assert.Contains(nodes, node => Of(node, "role") == "status");
        Assert.Contains(nodes, node => Of(node, "role") == "StaticText"
            && Of(node, "name").StartsWith("With the keyboard", StringComparison.Ordinal)); // read on its own too
        Assert.DoesNotContain(nodes, node => Of(node, "name") == "Draw here"
            && !(bool)node["ignored"]); // the pad's name says that it is empty

        static string Of(Dictionary<string, object> node, string what) => node.TryGetValue(what, out object? value)
            && ((Dictionary<string, object>)value).TryGetValue("value", out object? text) ? $"{text}" : "";
    }

    [Theory]
    [InlineData(390, 844)]
    [LongData(1280, 900)]
    public void Every_text_of_the_page_can_be_read_in_light_and_dark(int width, int height)
    {
        using ChromeDriver browser = Open();
        browser.Resize(width, height);
        browser.AssertReadable();
        Draw(browser, PointerKind.Mouse, (-0.25, -0.3), (0.25, -0.3), (0, 0), (-0.1, 0.38));
        WaitFor(browser, "digit", "7");
        browser.AssertReadable();
    }

    private ChromeDriver Open() => Browser.Open(server.Address);

    private static IWebElement Pad(ChromeDriver browser) => browser.FindElement(By.Id("pad"));

    /// <summary>One stroke through points given as shares of the pad's side, from its middle.</summary>
    private static void Draw(ChromeDriver browser, PointerKind kind, params (double X, double Y)[] points)
    {
        IWebElement pad = Pad(browser);
        int side = pad.Size.Width;
        PointerInputDevice pointer = new(kind);
        ActionSequence sequence = new(pointer);
        for (int i = 0; i < points.Length; i++)
        {
            sequence.AddAction(pointer.CreatePointerMove(pad, (int)(points[i].X * side), (int)(points[i].Y * side),
                TimeSpan.FromMilliseconds(60)));
            if (i == 0)
            {
                sequence.AddAction(pointer.CreatePointerDown(kind == PointerKind.Touch ? MouseButton.Touch : MouseButton.Left));
            }
        }

        sequence.AddAction(pointer.CreatePointerUp(kind == PointerKind.Touch ? MouseButton.Touch : MouseButton.Left));
        browser.PerformActions([sequence]);
    }

    private static void WaitFor(ChromeDriver browser, string id, string text)
    {
        WebDriverWait wait = new(browser, TimeSpan.FromSeconds(20));
        wait.Until(_ => (string?)browser.FindElement(By.Id(id)).GetDomProperty("textContent") == text);
    }
}
