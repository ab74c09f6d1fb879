using OpenQA.Selenium;
using OpenQA.Selenium.Chrome;

namespace CudnnDigits.Tests.Cli;

/// <summary>Chromium without a window; tests that need it skip, with a reason, where there is none.</summary>
internal static class Browser
{
    private const string Chromium = "/usr/bin/chromium", Driver = "/usr/bin/chromedriver";

    /// <summary>Every text of the page whose contrast with what lies behind it is below 4.5:1, by WCAG 2's formula.</summary>
    private const string PoorContrast = """
        const channels = color => {
          const n = color.match(/-?[\d.]+(e-?\d+)?/g).map(Number), scale = color.startsWith("color(") ? 255 : 1;
          return n.slice(0, 3).map(v => scale * v).concat(n[3] ?? 1);
        };
        const light = rgb => rgb.slice(0, 3).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
          .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
        const behind = element => {
          for (let e = element; e; e = e.parentElement) {
            const c = channels(getComputedStyle(e).backgroundColor);
            if (c[3] === 1) return c;
          }
          return [255, 255, 255, 1];
        };
        const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        let seen = 0;
        while (walker.nextNode()) {
          const element = walker.currentNode.parentElement, text = walker.currentNode.data.trim(), style = getComputedStyle(element);
          if (!text || ["SCRIPT", "STYLE"].includes(element.tagName)) continue;
          if (!element.getClientRects().length || style.clipPath !== "none") continue;
          seen++;
          const ink = channels(element instanceof SVGElement ? style.fill : style.color), ground = behind(element);
          const [a, b] = [light(ink), light(ground)].sort((p, q) => q - p), ratio = (a + 0.05) / (b + 0.05);
          const name = `${element.tagName}.${element.className.baseVal ?? element.className}`;
          if (ratio < 4.5) found.push(`${ratio.toFixed(1)}: ${text.slice(0, 30)} (${name}, ${ink} on ${ground})`);
        }
        return seen === 0 ? ["no text at all"] : [...new Set(found)];
        """;

    /// <summary>The inner width will not do: a phone's browser widens it until it holds what is too wide.</summary>
    private const string FitsTheWindow = "const root = document.documentElement; return root.scrollWidth <= root.clientWidth";

    public static ChromeDriver Open(Uri page)
    {
        if (!File.Exists(Chromium) || !File.Exists(Driver))
        {
            Assert.True(Environment.GetEnvironmentVariable("CUDNN_DIGITS_REQUIRE_BROWSER") is null or "",
                $"{Chromium} and {Driver} are required here");
            Assert.Skip($"needs {Chromium} and {Driver}");
        }

        ChromeOptions options = new() { BinaryLocation = Chromium };
        options.AddArguments("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1280,900");
        options.SetLoggingPreference(LogType.Browser, LogLevel.All);
        ChromeDriver browser = new(ChromeDriverService.CreateDefaultService(Driver), options, TimeSpan.FromMinutes(1));
        browser.Navigate().GoToUrl(page);
        return browser;
    }

    /// <summary>Makes the window a phone's, or a desktop's again.</summary>
    public static void Resize(this ChromeDriver browser, int width, int height) =>
        browser.ExecuteCdpCommand("Emulation.setDeviceMetricsOverride",
            new() { ["width"] = width, ["height"] = height, ["deviceScaleFactor"] = 2, ["mobile"] = width < 500 });

    /// <summary>Checks that every text can be read, in light, in dark and on paper, and that nothing is wider than the window.</summary>
    public static void AssertReadable(this ChromeDriver browser)
    {
        foreach ((string media, string scheme) in new[] { ("", "light"), ("", "dark"), ("print", "light"), ("", "light") })
        {
            browser.ExecuteCdpCommand("Emulation.setEmulatedMedia",
                new()
                {
                    ["media"] = media,
                    ["features"] = new object[] { new Dictionary<string, object> { ["name"] = "prefers-color-scheme", ["value"] = scheme } }
                });
            IEnumerable<object> poor = (IEnumerable<object>)browser.ExecuteScript(PoorContrast)!;
            Assert.True(!poor.Any(), $"{media} {scheme}: {string.Join('\n', poor)}");
            Assert.True(media == "print" || (bool)browser.ExecuteScript(FitsTheWindow)!, $"{media} {scheme}: wider than the window");
        }
    }
}
