namespace CudnnDigits.Data;

/// <summary>One movement of the pen: points in a unit box, x to the right and y down, joined smoothly or by straight lines.</summary>
/// <param name="Smooth">True joins the points by a spline, false by straight lines.</param>
/// <param name="Points">x0, y0, x1, y1, …</param>
internal sealed record PenStroke(bool Smooth, params float[] Points);

/// <summary>One way of writing a digit.</summary>
/// <param name="Weight">How common it is among the ways of writing that digit.</param>
/// <param name="Strokes">The movements of the pen, in order.</param>
internal sealed record PenStyle(float Weight, params PenStroke[] Strokes);

/// <summary>The ways in which people write the ten digits, as pen strokes.</summary>
internal static class PenStrokes
{
    /// <summary>Styles by digit.</summary>
    public static IReadOnlyList<IReadOnlyList<PenStyle>> Digits { get; } =
    [
        [
            new(3, Curve(0.55f, 0.02f, 0.2f, 0.16f, 0.04f, 0.52f, 0.2f, 0.88f, 0.5f, 0.98f, 0.82f, 0.84f, 0.96f, 0.48f, 0.8f, 0.12f, 0.5f, 0.02f)),
            new(2, Curve(0.7f, 0.08f, 0.38f, 0.04f, 0.1f, 0.3f, 0.06f, 0.7f, 0.3f, 0.97f, 0.64f, 0.9f, 0.9f, 0.6f, 0.9f, 0.25f, 0.66f, 0.02f, 0.42f, 0.06f)),
            new(1, Curve(0.5f, 0.0f, 0.28f, 0.2f, 0.22f, 0.55f, 0.32f, 0.88f, 0.52f, 1.0f, 0.7f, 0.85f, 0.78f, 0.5f, 0.7f, 0.18f, 0.5f, 0.0f)),
            new(1, Curve(0.3f, 0.1f, 0.08f, 0.4f, 0.12f, 0.78f, 0.45f, 0.98f, 0.8f, 0.82f, 0.95f, 0.5f, 0.82f, 0.16f, 0.52f, 0.03f, 0.36f, 0.12f, 0.44f, 0.24f)),
        ],
        [
            new(7, Line(0.5f, 0.0f, 0.5f, 1.0f)),
            new(2, Curve(0.52f, 0.0f, 0.48f, 0.35f, 0.5f, 0.7f, 0.5f, 1.0f)),
            new(1.5f, Line(0.3f, 0.2f, 0.52f, 0.0f, 0.5f, 1.0f)),
            new(0.7f, Line(0.28f, 0.22f, 0.52f, 0.0f, 0.5f, 1.0f), Line(0.22f, 1.0f, 0.8f, 1.0f)),
        ],
        [
            new(3, Curve(0.08f, 0.24f, 0.26f, 0.04f, 0.62f, 0.02f, 0.82f, 0.2f, 0.74f, 0.46f, 0.42f, 0.76f, 0.06f, 0.98f), Line(0.06f, 0.98f, 0.94f, 0.96f)),
            new(3, Curve(0.1f, 0.2f, 0.36f, 0.02f, 0.7f, 0.08f, 0.78f, 0.34f, 0.58f, 0.64f, 0.28f, 0.9f, 0.1f, 0.92f, 0.12f, 0.76f, 0.34f, 0.74f, 0.6f, 0.9f, 0.94f, 0.94f)),
            new(2, Curve(0.05f, 0.3f, 0.2f, 0.06f, 0.56f, 0.0f, 0.78f, 0.18f, 0.66f, 0.5f, 0.3f, 0.86f, 0.1f, 0.98f, 0.34f, 0.92f, 0.66f, 0.98f, 0.95f, 0.88f)),
            new(1, Curve(0.12f, 0.12f, 0.5f, 0.02f, 0.84f, 0.14f, 0.8f, 0.4f, 0.5f, 0.66f, 0.16f, 0.94f), Curve(0.16f, 0.94f, 0.5f, 0.88f, 0.98f, 0.98f)),
        ],
        [
            new(3, Curve(0.1f, 0.14f, 0.4f, 0.0f, 0.78f, 0.1f, 0.78f, 0.34f, 0.36f, 0.48f), Curve(0.36f, 0.48f, 0.8f, 0.54f, 0.88f, 0.78f, 0.6f, 0.97f, 0.06f, 0.92f)),
            new(2, Curve(0.08f, 0.1f, 0.45f, 0.01f, 0.78f, 0.14f, 0.66f, 0.38f, 0.42f, 0.47f, 0.72f, 0.54f, 0.88f, 0.74f, 0.66f, 0.96f, 0.3f, 0.98f, 0.05f, 0.84f)),
            new(1, Line(0.1f, 0.03f, 0.8f, 0.03f, 0.4f, 0.42f), Curve(0.4f, 0.42f, 0.78f, 0.5f, 0.86f, 0.78f, 0.56f, 0.98f, 0.08f, 0.88f)),
            new(1, Curve(0.14f, 0.2f, 0.3f, 0.02f, 0.72f, 0.04f, 0.76f, 0.3f, 0.5f, 0.46f, 0.32f, 0.52f, 0.4f, 0.44f, 0.7f, 0.52f, 0.86f, 0.74f, 0.62f, 0.98f, 0.2f, 0.94f)),
        ],
        [
            new(4, Curve(0.16f, 0.04f, 0.1f, 0.3f, 0.12f, 0.5f), Line(0.12f, 0.5f, 0.86f, 0.46f), Line(0.8f, 0.0f, 0.72f, 1.0f)),
            new(2, Line(0.2f, 0.02f, 0.06f, 0.56f, 0.92f, 0.54f), Line(0.72f, 0.1f, 0.66f, 1.0f)),
            new(2, Curve(0.14f, 0.06f, 0.08f, 0.34f, 0.22f, 0.5f, 0.54f, 0.48f, 0.78f, 0.3f), Line(0.84f, 0.0f, 0.74f, 0.5f, 0.7f, 1.0f)),
            new(1.5f, Line(0.66f, 0.0f, 0.04f, 0.62f, 0.96f, 0.6f), Line(0.66f, 0.0f, 0.64f, 1.0f)),
            new(1, Curve(0.7f, 0.02f, 0.4f, 0.3f, 0.08f, 0.56f, 0.3f, 0.56f, 0.7f, 0.5f, 0.86f, 0.48f), Line(0.72f, 0.04f, 0.62f, 1.0f)),
        ],
        [
            new(3, Line(0.88f, 0.02f, 0.32f, 0.04f, 0.24f, 0.44f), Curve(0.24f, 0.44f, 0.56f, 0.36f, 0.84f, 0.54f, 0.8f, 0.84f, 0.46f, 0.99f, 0.06f, 0.9f)),
            new(2, Line(0.34f, 0.06f, 0.24f, 0.46f), Curve(0.24f, 0.46f, 0.5f, 0.38f, 0.8f, 0.52f, 0.78f, 0.82f, 0.44f, 0.98f, 0.06f, 0.88f), Line(0.34f, 0.06f, 0.96f, 0.0f)),
            new(2, Curve(0.9f, 0.04f, 0.58f, 0.04f, 0.3f, 0.12f, 0.24f, 0.34f, 0.52f, 0.48f, 0.74f, 0.66f, 0.66f, 0.9f, 0.36f, 0.99f, 0.06f, 0.9f)),
            new(1, Line(0.92f, 0.04f, 0.4f, 0.0f, 0.3f, 0.36f), Curve(0.3f, 0.36f, 0.62f, 0.46f, 0.72f, 0.72f, 0.5f, 0.96f, 0.2f, 0.96f, 0.06f, 0.84f)),
        ],
        [
            new(3, Curve(0.66f, 0.0f, 0.34f, 0.26f, 0.12f, 0.6f, 0.18f, 0.9f, 0.48f, 1.0f, 0.8f, 0.86f, 0.8f, 0.64f, 0.52f, 0.56f, 0.18f, 0.76f)),
            new(2, Curve(0.44f, 0.0f, 0.2f, 0.34f, 0.12f, 0.68f, 0.26f, 0.96f, 0.6f, 0.97f, 0.8f, 0.76f, 0.66f, 0.56f, 0.38f, 0.6f, 0.22f, 0.82f)),
            new(2, Curve(0.86f, 0.04f, 0.5f, 0.12f, 0.18f, 0.46f, 0.1f, 0.78f, 0.34f, 0.98f, 0.66f, 0.9f, 0.74f, 0.68f, 0.5f, 0.58f, 0.22f, 0.72f)),
            new(1, Curve(0.3f, 0.0f, 0.2f, 0.4f, 0.16f, 0.74f, 0.32f, 0.98f, 0.6f, 0.94f, 0.7f, 0.76f, 0.54f, 0.62f, 0.24f, 0.76f)),
        ],
        [
            new(3, Line(0.06f, 0.06f, 0.88f, 0.04f, 0.42f, 1.0f)),
            new(3, Curve(0.06f, 0.12f, 0.4f, 0.06f, 0.7f, 0.06f, 0.88f, 0.06f), Curve(0.88f, 0.06f, 0.66f, 0.4f, 0.5f, 0.7f, 0.42f, 1.0f)),
            new(1.5f, Line(0.08f, 0.06f, 0.86f, 0.06f, 0.4f, 1.0f), Line(0.34f, 0.52f, 0.84f, 0.48f)),
            new(1.5f, Line(0.08f, 0.22f, 0.14f, 0.04f, 0.88f, 0.06f), Curve(0.88f, 0.06f, 0.72f, 0.4f, 0.64f, 0.7f, 0.62f, 1.0f)),
            new(1, Curve(0.06f, 0.16f, 0.2f, 0.04f, 0.5f, 0.1f, 0.84f, 0.06f, 0.76f, 0.3f, 0.6f, 0.62f, 0.52f, 1.0f)),
        ],
        [
            new(3, Curve(0.76f, 0.16f, 0.5f, 0.0f, 0.22f, 0.12f, 0.26f, 0.34f, 0.54f, 0.5f, 0.76f, 0.72f, 0.64f, 0.95f, 0.36f, 0.98f, 0.18f, 0.8f, 0.34f, 0.56f, 0.66f, 0.36f, 0.8f, 0.14f)),
            new(2, Curve(0.84f, 0.1f, 0.46f, 0.02f, 0.16f, 0.2f, 0.34f, 0.42f, 0.66f, 0.58f, 0.74f, 0.84f, 0.42f, 0.99f, 0.2f, 0.82f, 0.4f, 0.56f, 0.74f, 0.34f, 0.86f, 0.08f)),
            new(1.5f, Curve(0.5f, 0.46f, 0.24f, 0.34f, 0.24f, 0.12f, 0.5f, 0.02f, 0.76f, 0.12f, 0.76f, 0.34f, 0.5f, 0.46f),
                Curve(0.5f, 0.46f, 0.2f, 0.6f, 0.18f, 0.86f, 0.5f, 0.99f, 0.82f, 0.86f, 0.8f, 0.6f, 0.5f, 0.46f)),
            new(1, Curve(0.5f, 0.48f, 0.3f, 0.3f, 0.4f, 0.06f, 0.64f, 0.06f, 0.72f, 0.28f, 0.5f, 0.5f, 0.26f, 0.74f, 0.34f, 0.96f, 0.58f, 0.96f, 0.66f, 0.72f, 0.46f, 0.46f)),
        ],
        [
            new(3, Curve(0.8f, 0.2f, 0.52f, 0.02f, 0.2f, 0.16f, 0.2f, 0.4f, 0.5f, 0.48f, 0.8f, 0.24f), Curve(0.8f, 0.2f, 0.76f, 0.5f, 0.7f, 0.78f, 0.66f, 1.0f)),
            new(2, Curve(0.8f, 0.12f, 0.46f, 0.0f, 0.16f, 0.2f, 0.24f, 0.46f, 0.58f, 0.42f, 0.82f, 0.14f), Line(0.84f, 0.1f, 0.6f, 1.0f)),
            new(2, Curve(0.74f, 0.1f, 0.44f, 0.02f, 0.2f, 0.24f, 0.34f, 0.46f, 0.62f, 0.38f, 0.78f, 0.12f, 0.82f, 0.4f, 0.76f, 0.72f, 0.6f, 0.96f, 0.3f, 0.96f)),
            new(1, Curve(0.72f, 0.24f, 0.5f, 0.04f, 0.24f, 0.16f, 0.3f, 0.4f, 0.6f, 0.36f, 0.74f, 0.16f, 0.74f, 0.5f, 0.72f, 1.0f)),
        ],
    ];

    private static PenStroke Curve(params float[] points) => new(true, points);

    private static PenStroke Line(params float[] points) => new(false, points);
}
