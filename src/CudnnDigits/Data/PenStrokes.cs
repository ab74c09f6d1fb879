using System.Numerics;

namespace CudnnDigits.Data;

/// <summary>A movement of the pen: points in a unit box, y down, joined by a spline (smooth) or by straight lines.</summary>
internal sealed record PenStroke(bool Smooth, Vector2[] Points);

/// <summary>One way of writing a digit: how common it is, and the movements of the pen in order.</summary>
internal sealed record PenStyle(float Weight, params PenStroke[] Strokes);

/// <summary>The ways to write the ten digits, as pen strokes.</summary>
internal static class PenStrokes
{
    /// <summary>The styles of each digit; points in hundredths.</summary>
    public static IReadOnlyList<IReadOnlyList<PenStyle>> Digits { get; } =
    [
        [
            new(3, Curve(55, 2, 20, 16, 4, 52, 20, 88, 50, 98, 82, 84, 96, 48, 80, 12, 50, 2)),
            new(2, Curve(70, 8, 38, 4, 10, 30, 6, 70, 30, 97, 64, 90, 90, 60, 90, 25, 66, 2, 42, 6)),
            new(1, Curve(50, 0, 28, 20, 22, 55, 32, 88, 52, 100, 70, 85, 78, 50, 70, 18, 50, 0)),
            new(1, Curve(30, 10, 8, 40, 12, 78, 45, 98, 80, 82, 95, 50, 82, 16, 52, 3, 36, 12, 44, 24)),
        ],
        [
            new(7, Line(50, 0, 50, 100)),
            new(2, Curve(52, 0, 48, 35, 50, 70, 50, 100)),
            new(1.5f, Line(30, 20, 52, 0, 50, 100)),
            new(0.7f, Line(28, 22, 52, 0, 50, 100), Line(22, 100, 80, 100)),
        ],
        [
            new(3, Curve(8, 24, 26, 4, 62, 2, 82, 20, 74, 46, 42, 76, 6, 98), Line(6, 98, 94, 96)),
            new(3, Curve(10, 20, 36, 2, 70, 8, 78, 34, 58, 64, 28, 90, 10, 92, 12, 76, 34, 74, 60, 90, 94, 94)),
            new(2, Curve(5, 30, 20, 6, 56, 0, 78, 18, 66, 50, 30, 86, 10, 98, 34, 92, 66, 98, 95, 88)),
            new(1, Curve(12, 12, 50, 2, 84, 14, 80, 40, 50, 66, 16, 94), Curve(16, 94, 50, 88, 98, 98)),
        ],
        [
            new(3, Curve(10, 14, 40, 0, 78, 10, 78, 34, 36, 48), Curve(36, 48, 80, 54, 88, 78, 60, 97, 6, 92)),
            new(2, Curve(8, 10, 45, 1, 78, 14, 66, 38, 42, 47, 72, 54, 88, 74, 66, 96, 30, 98, 5, 84)),
            new(1, Line(10, 3, 80, 3, 40, 42), Curve(40, 42, 78, 50, 86, 78, 56, 98, 8, 88)),
            new(1, Curve(14, 20, 30, 2, 72, 4, 76, 30, 50, 46, 32, 52, 40, 44, 70, 52, 86, 74, 62, 98, 20, 94)),
        ],
        [
            new(4, Curve(16, 4, 10, 30, 12, 50), Line(12, 50, 86, 46), Line(80, 0, 72, 100)),
            new(2, Line(20, 2, 6, 56, 92, 54), Line(72, 10, 66, 100)),
            new(2, Curve(14, 6, 8, 34, 22, 50, 54, 48, 78, 30), Line(84, 0, 74, 50, 70, 100)),
            new(1.5f, Line(66, 0, 4, 62, 96, 60), Line(66, 0, 64, 100)),
            new(1, Curve(70, 2, 40, 30, 8, 56, 30, 56, 70, 50, 86, 48), Line(72, 4, 62, 100)),
        ],
        [
            new(3, Line(88, 2, 32, 4, 24, 44), Curve(24, 44, 56, 36, 84, 54, 80, 84, 46, 99, 6, 90)),
            new(2, Line(34, 6, 24, 46), Curve(24, 46, 50, 38, 80, 52, 78, 82, 44, 98, 6, 88), Line(34, 6, 96, 0)),
            new(2, Curve(90, 4, 58, 4, 30, 12, 24, 34, 52, 48, 74, 66, 66, 90, 36, 99, 6, 90)),
            new(1, Line(92, 4, 40, 0, 30, 36), Curve(30, 36, 62, 46, 72, 72, 50, 96, 20, 96, 6, 84)),
        ],
        [
            new(3, Curve(66, 0, 34, 26, 12, 60, 18, 90, 48, 100, 80, 86, 80, 64, 52, 56, 18, 76)),
            new(2, Curve(44, 0, 20, 34, 12, 68, 26, 96, 60, 97, 80, 76, 66, 56, 38, 60, 22, 82)),
            new(2, Curve(86, 4, 50, 12, 18, 46, 10, 78, 34, 98, 66, 90, 74, 68, 50, 58, 22, 72)),
            new(1, Curve(30, 0, 20, 40, 16, 74, 32, 98, 60, 94, 70, 76, 54, 62, 24, 76)),
        ],
        [
            new(3, Line(6, 6, 88, 4, 42, 100)),
            new(3, Curve(6, 12, 40, 6, 70, 6, 88, 6), Curve(88, 6, 66, 40, 50, 70, 42, 100)),
            new(1.5f, Line(8, 6, 86, 6, 40, 100), Line(34, 52, 84, 48)),
            new(1.5f, Line(8, 22, 14, 4, 88, 6), Curve(88, 6, 72, 40, 64, 70, 62, 100)),
            new(1, Curve(6, 16, 20, 4, 50, 10, 84, 6, 76, 30, 60, 62, 52, 100)),
        ],
        [
            new(3, Curve(76, 16, 50, 0, 22, 12, 26, 34, 54, 50, 76, 72, 64, 95, 36, 98, 18, 80, 34, 56, 66, 36, 80, 14)),
            new(2, Curve(84, 10, 46, 2, 16, 20, 34, 42, 66, 58, 74, 84, 42, 99, 20, 82, 40, 56, 74, 34, 86, 8)),
            new(1.5f, Curve(50, 46, 24, 34, 24, 12, 50, 2, 76, 12, 76, 34, 50, 46),
                Curve(50, 46, 20, 60, 18, 86, 50, 99, 82, 86, 80, 60, 50, 46)),
            new(1, Curve(50, 48, 30, 30, 40, 6, 64, 6, 72, 28, 50, 50, 26, 74, 34, 96, 58, 96, 66, 72, 46, 46)),
        ],
        [
            new(3, Curve(80, 20, 52, 2, 20, 16, 20, 40, 50, 48, 80, 24), Curve(80, 20, 76, 50, 70, 78, 66, 100)),
            new(2, Curve(80, 12, 46, 0, 16, 20, 24, 46, 58, 42, 82, 14), Line(84, 10, 60, 100)),
            new(2, Curve(74, 10, 44, 2, 20, 24, 34, 46, 62, 38, 78, 12, 82, 40, 76, 72, 60, 96, 30, 96)),
            new(1, Curve(72, 24, 50, 4, 24, 16, 30, 40, 60, 36, 74, 16, 74, 50, 72, 100)),
        ],
    ];

    private static PenStroke Curve(params int[] hundredths) => new(true, Points(hundredths));

    private static PenStroke Line(params int[] hundredths) => new(false, Points(hundredths));

    private static Vector2[] Points(int[] hundredths) =>
        [.. hundredths.Chunk(2).Select(pair => new Vector2(pair[0] / 100f, pair[1] / 100f))];
}
