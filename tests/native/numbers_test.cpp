// The kernels' own functions, compiled for the host, against libm in double over the ranges that the kernels use them
// on.
#include "numbers.cuh"

#include <cmath>
#include <cstdio>

namespace {

int failures = 0;

void expect_below(const char *what, double error, double tolerance) {
    std::printf("%-28s largest error %.2e, tolerated %.0e\n", what, error, tolerance);
    failures += !(error <= tolerance);
}

double relative(double got, double expected) { return std::fabs(got - expected) / std::fabs(expected); }

} // namespace

int main() {
    double exponential = 0, logarithm = 0, sine = 0, cosine = 0;
    for (int i = 0; i <= 1000000; ++i) {
        const float x = -86.0f * (float)i / 1e6f, y = 1.0f + 63.0f * (float)i / 1e6f,
                    angle = 8.0f * (float)i / 1e6f - 4;
        exponential = std::fmax(exponential, relative(exp_nonpositive(x), std::exp((double)x)));
        logarithm = std::fmax(logarithm,
                              std::fabs(log_positive(y) - std::log((double)y)) / std::fmax(std::log((double)y), 0.1));
        float s, c;
        sin_cos(angle, &s, &c);
        sine = std::fmax(sine, std::fabs(s - std::sin((double)angle)));
        cosine = std::fmax(cosine, std::fabs(c - std::cos((double)angle)));
    }
    expect_below("exp, relative", exponential, 2e-7);
    expect_below("log, relative above 1.1", logarithm, 3e-7);
    expect_below("sin, absolute", sine, 2e-7);
    expect_below("cos, absolute", cosine, 2e-7);
    failures += exp_nonpositive(0.0f) != 1.0f || exp_nonpositive(-1e30f) != 0.0f || log_positive(1.0f) != 0.0f;
    failures +=
        !std::isnan(exp_nonpositive(std::nanf(""))) || !std::isnan(to_float(from_float<bfloat16>(std::nanf(""))));

    // Every bfloat16 survives the way through float; halfway cases go to the even neighbour.
    for (unsigned bits = 0; bits < 0x10000u; ++bits) {
        const bfloat16 x = {(unsigned short)bits};
        failures += !std::isnan(to_float(x)) && from_float<bfloat16>(to_float(x)).bits != bits;
    }
    failures += from_float<bfloat16>(bits_float(0x3F808000u)).bits != 0x3F80u;
    failures += from_float<bfloat16>(bits_float(0x3F818000u)).bits != 0x3F82u;
    failures += from_float<bfloat16>(bits_float(0x3F808001u)).bits != 0x3F81u;
    if (failures) {
        std::printf("%d failures\n", failures);
    }
    return failures != 0;
}
