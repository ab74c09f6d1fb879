using CudnnDigits.Tests.Cli;

namespace CudnnDigits.Tests;

/// <summary>The script that makes THIRD-PARTY-NOTICES.txt, on a project with one package.</summary>
public sealed class NoticesTests : TestsWithFolder
{
    private static readonly string Script = Path.Combine(SharedFiles.RepositoryRoot, "scripts/third-party-notices");

    public NoticesTests() => Assert.SkipUnless(
        Environment.GetEnvironmentVariable("PATH")!.Split(Path.PathSeparator).Any(folder => File.Exists(Path.Combine(folder, "python3"))),
        "there is no python3");

    [Theory]
    [InlineData("<license type=\"expression\">GPL-3.0-only</license>", "GPL-3.0-only")]
    [InlineData("<license type=\"expression\">MIT AND GPL-2.0-only</license>", "MIT AND GPL-2.0-only")]
    [InlineData("<license type=\"expression\">Apache-2.0 WITH LLVM-exception</license>", "Apache-2.0 WITH LLVM-exception")]
    [InlineData("<license type=\"file\">LICENSE</license>", "of its file LICENSE")]
    [InlineData("<licenseUrl>https://example.org/eula</licenseUrl>", "at https://example.org/eula")]
    [InlineData("", "not stated")]
    public void A_licence_that_is_not_allowed_is_refused_with_the_packages_name(string licence, string words)
    {
        CliProgram.Result result = Make(licence, "All rights reserved. You may look at it.");
        Assert.Equal(1, result.ExitCode);
        Assert.StartsWith($"Some.Package 1.2.3: licence {words} is not allowed (allowed: ", result.Error, StringComparison.Ordinal);
        Assert.Single(result.Error.Trim().Split('\n'));
        Assert.False(File.Exists(_folder["notices.txt"]));
    }

    [Fact]
    public void Of_several_licences_the_one_that_asks_least_is_taken_with_its_text()
    {
        Assert.Equal(0, Make("<license type=\"expression\">GPL-3.0-only OR Apache-2.0 OR MIT</license>").ExitCode);
        string notices = File.ReadAllText(_folder["notices.txt"]);
        Assert.Contains("Some.Package 1.2.3\nIn: project\nCopyright: Copyright (c) 2026 Somebody\nLicence: GPL-3.0-only OR Apache-2.0 OR "
            + "MIT, taken under MIT\n\nPermission is hereby granted", notices, StringComparison.Ordinal);
        Assert.DoesNotContain("Apache License", notices, StringComparison.Ordinal);
        Assert.DoesNotContain(_folder["."], notices, StringComparison.Ordinal);
    }

    [Fact]
    public void The_packages_own_licence_file_and_notice_are_what_is_printed()
    {
        string mit = File.ReadAllText(Path.Combine(SharedFiles.RepositoryRoot, "LICENSE"))
            .Replace("2026 The CudnnDigits authors", "1999 Somebody Else", StringComparison.Ordinal);
        Assert.Equal(0, Make("<license type=\"file\">LICENSE</license>", mit, "This product includes a thing.").ExitCode);
        string notices = File.ReadAllText(_folder["notices.txt"]);
        Assert.Contains("Licence: MIT\n\nMIT License\n\nCopyright (c) 1999 Somebody Else\n", notices, StringComparison.Ordinal);
        Assert.Contains("\n\nThis product includes a thing.\n", notices, StringComparison.Ordinal);
    }

    [Fact]
    public void A_build_tool_without_code_in_the_result_is_checked_but_not_listed()
    {
        Assert.Equal(0, Make("<license type=\"expression\">MIT</license>", ships: false).ExitCode);
        Assert.DoesNotContain("Some.Package", File.ReadAllText(_folder["notices.txt"]), StringComparison.Ordinal);
        Assert.Equal(1, Make("<license type=\"expression\">GPL-3.0-only</license>", ships: false).ExitCode);
    }

    private CliProgram.Result Make(string licence, string licenceFile = "", string notice = "", bool ships = true)
    {
        string packages = Path.Combine(_folder["packages"], "some.package", "1.2.3");
        Directory.CreateDirectory(packages);
        _folder.Make("project/obj");
        File.WriteAllText(Path.Combine(packages, "some.package.nuspec"), $"""
            <package xmlns="http://schemas.microsoft.com/packaging/2012/06/nuspec.xsd"><metadata>
            <id>Some.Package</id><version>1.2.3</version><authors>Somebody</authors>{licence}
            <copyright>Copyright (c) 2026 Somebody</copyright>
            </metadata></package>
            """);
        foreach ((string name, string text) in new[] { ("LICENSE", licenceFile), ("NOTICE.txt", notice) })
        {
            if (text.Length > 0)
            {
                File.WriteAllText(Path.Combine(packages, name), text);
            }
        }

        string code = ships ? "\"lib/net10.0/Some.Package.dll\"" : "\"lib/net10.0/_._\"";
        _folder.Write("project/obj/project.assets.json", $$"""
            {
              "packageFolders": { "{{_folder["packages"].Replace('\\', '/')}}": {} },
              "project": { "frameworks": { "net10.0": {} } },
              "libraries": { "Some.Package/1.2.3": { "path": "some.package/1.2.3" } },
              "targets": { "net10.0": { "Some.Package/1.2.3": { "type": "package", "runtime": { {{code}}: {} } } } }
            }
            """);
        ProcessStartInfo info =
            new("python3", [Script, "--out", _folder["notices.txt"], _folder["project"]])
            {
                RedirectStandardOutput = true,
                RedirectStandardError = true
            };
        return CliProgram.Finish(Process.Start(info)!);
    }
}
