#include "check.h"

#include "core/half.h"

#include <fenv.h>
#include <math.h>

/* What the bits of a small float mean, by the definition in IEEE 754, in double and with libm. */
static double meaning(unsigned bits, int exponent_bits, int fraction_bits)
{
    int bias = (1 << (exponent_bits - 1)) - 1;
    int exponent = (int)(bits >> fraction_bits) & ((1 << exponent_bits) - 1);
    double fraction = ldexp((double)(bits & ((1u << fraction_bits) - 1)), -fraction_bits);
    double sign = bits >> (exponent_bits + fraction_bits) & 1 ? -1.0 : 1.0;
    if (exponent == (1 << exponent_bits) - 1)
        return fraction == 0 ? sign * HUGE_VAL : (double)NAN;
    return exponent == 0 ? sign * ldexp(fraction, 1 - bias) : sign * ldexp(1.0 + fraction, exponent - bias);
}

static void widens_every_pattern(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 65536; h++) {
        float f16 = pare_f16_to_f32((uint16_t)h), bf16 = pare_bf16_to_f32((uint16_t)h);
        double want16 = meaning(h, 5, 10), want_bf = meaning(h, 8, 7);
        CHECK(isnan(want16) ? isnan(f16) : (double)f16 == want16 && !signbit(f16) == !signbit(want16));
        CHECK(isnan(want_bf) ? isnan(bf16) : (double)bf16 == want_bf && !signbit(bf16) == !signbit(want_bf));
    }
}

static void narrowing_undoes_widening(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 65536; h++) {
        unsigned f16 = pare_f32_to_f16(pare_f16_to_f32((uint16_t)h));
        unsigned bf16 = pare_f32_to_bf16(pare_bf16_to_f32((uint16_t)h));
        CHECK(f16 == h || (isnan(meaning(h, 5, 10)) && f16 == (h | 0x200)));
        CHECK(bf16 == h || (isnan(meaning(h, 8, 7)) && bf16 == (h | 0x40)));
    }
}

/* Between two neighbours h and h + 1 of one sign: just below the middle, the middle and just above it. */
static void check_ties(uint16_t h, float low, float high, uint16_t (*narrow)(float))
{
    float middle = (float)(((double)low + (double)high) / 2);
    uint16_t even = (uint16_t)(h % 2 == 0 ? h : h + 1);
    CHECK(narrow(middle) == even);
    CHECK(narrow(nextafterf(middle, low)) == h);
    CHECK(narrow(nextafterf(middle, high)) == h + 1);
    CHECK(narrow(-middle) == (even | 0x8000));
}

static uint16_t narrow_f16(float f)
{
    return pare_f32_to_f16(f);
}

static uint16_t narrow_bf16(float f)
{
    return pare_f32_to_bf16(f);
}

static void rounds_ties_to_even(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 0x7bff; h++)
        check_ties((uint16_t)h, pare_f16_to_f32((uint16_t)h), pare_f16_to_f32((uint16_t)(h + 1)), narrow_f16);
    for (unsigned h = 0; h < 0x7f7f; h++)
        check_ties((uint16_t)h, pare_bf16_to_f32((uint16_t)h), pare_bf16_to_f32((uint16_t)(h + 1)), narrow_bf16);
}

static void overflows_to_infinity(void **state)
{
    (void)state;
    CHECK(pare_f32_to_f16(65504.0f) == 0x7bff);
    CHECK(pare_f32_to_f16(nextafterf(65520.0f, 0)) == 0x7bff);
    CHECK(pare_f32_to_f16(65520.0f) == 0x7c00); /* the tie rounds to the even side, which is infinity */
    CHECK(pare_f32_to_f16(3e38f) == 0x7c00);
    CHECK(pare_f32_to_f16(-HUGE_VALF) == 0xfc00);
    CHECK(pare_f32_to_bf16(pare_bits_to_f32(0x7f7f7fff)) == 0x7f7f);
    CHECK(pare_f32_to_bf16(pare_bits_to_f32(0x7f7f8000)) == 0x7f80);
    CHECK(pare_f32_to_bf16(-HUGE_VALF) == 0xff80);
    CHECK(pare_f32_to_f16(pare_bits_to_f32(0x00000001)) == 0);
    CHECK(pare_f32_to_f16(pare_bits_to_f32(0x80000001)) == 0x8000);
}

/* A NaN whose payload sits only in the bits that are cut off must not become infinity. */
static void keeps_nan(void **state)
{
    (void)state;
    static const uint32_t patterns[] = {0x7f800001, 0x7f801fff, 0x7fc00000, 0x7fffffff, 0xff800001, 0xffffffff};
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        uint16_t f16 = pare_f32_to_f16(pare_bits_to_f32(patterns[i]));
        uint16_t bf16 = pare_f32_to_bf16(pare_bits_to_f32(patterns[i]));
        CHECK((f16 & 0x7c00) == 0x7c00 && (f16 & 0x3ff) != 0 && f16 >> 15 == patterns[i] >> 31);
        CHECK((bf16 & 0x7f80) == 0x7f80 && (bf16 & 0x7f) != 0 && bf16 >> 15 == patterns[i] >> 31);
    }
}

static void ignores_the_rounding_mode(void **state)
{
    (void)state;
    static const int modes[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
    for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
        fesetround(modes[m]);
        bool same = true;
        for (unsigned h = 0; h < 0x7c00; h++)
            same = same && pare_f32_to_f16(pare_f16_to_f32((uint16_t)h)) == h;
        same = same && pare_f32_to_f16(2049.0f) == 0x6800 && pare_f32_to_f16(2051.0f) == 0x6802;
        fesetround(FE_TONEAREST);
        CHECK(same);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(widens_every_pattern),
        cmocka_unit_test(narrowing_undoes_widening),
        cmocka_unit_test(rounds_ties_to_even),
        cmocka_unit_test(overflows_to_infinity),
        cmocka_unit_test(keeps_nan),
        cmocka_unit_test(ignores_the_rounding_mode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
