using OpenQA.Selenium;
using OpenQA.Selenium.Chrome;
using OpenQA.Selenium.Interactions;
using OpenQA.Selenium.Support.UI;

namespace CudnnDigits.Tests.Cli;

/// <summary>The drawing page in Chromium, by mouse, by finger and by keyboard.</summary>
public sealed class BrowserTests(RunningServer server) : IClassFixture<RunningServer>
{
    private const string Chromium = "/usr/bin/chromium", Driver = "/usr/bin/chromedriver";

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
        Assert.DoesNotContain(browser.Manage().Logs.GetLog(LogType.Browser), entry => entry.Level == LogLevel.Severe && !entry.Message.Contains("favicon", StringComparison.Ordinal));
    }

    [Fact]
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

    [Fact]
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

    [Fact]
    public void On_a_phone_nothing_is_wider_than_the_screen()
    {
        using ChromeDriver browser = Open();
        browser.ExecuteCdpCommand("Emulation.setDeviceMetricsOverride", new() { ["width"] = 360, ["height"] = 740, ["deviceScaleFactor"] = 2, ["mobile"] = true });
        Assert.Equal(360L, browser.ExecuteScript("return document.documentElement.scrollWidth"));
        Draw(browser, PointerKind.Touch, (-0.25, -0.3), (0.25, -0.3), (0, 0), (-0.1, 0.38));
        WaitFor(browser, "digit", "7");
        Assert.True((bool)browser.ExecuteScript("return document.querySelector('#bars li:last-child').getBoundingClientRect().bottom <= innerHeight")!); // pad and probabilities at once
    }

    private ChromeDriver Open()
    {
        if (!File.Exists(Chromium) || !File.Exists(Driver))
        {
            Assert.True(Environment.GetEnvironmentVariable("CUDNN_DIGITS_REQUIRE_BROWSER") is null or "", $"{Chromium} and {Driver} are required here");
            Assert.Skip($"needs {Chromium} and {Driver}");
        }

        ChromeOptions options = new() { BinaryLocation = Chromium };
        options.AddArguments("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1280,900");
        options.SetLoggingPreference(LogType.Browser, LogLevel.All);
        ChromeDriver browser = new(ChromeDriverService.CreateDefaultService(Driver), options, TimeSpan.FromMinutes(1));
        browser.Navigate().GoToUrl(server.Address);
        return browser;
    }

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
            sequence.AddAction(pointer.CreatePointerMove(pad, (int)(points[i].X * side), (int)(points[i].Y * side), TimeSpan.FromMilliseconds(60)));
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
