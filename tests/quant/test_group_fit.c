/* Groups of integers times a scale: what is one comes back as it was, what is none gets little error; and the blocks
 * that hold such integers. */
#include "check.h"
#include "core/half.h"
#include "quant/int_block.h"
#include "quant/path_table.h"
#include "quant/registry.h"
#include "quant/rows.h"

#include <math.h>
#include <string.h>

enum { N = 96 };

static float half(float v)
{
    return pare_f16_to_f32(pare_f32_to_f16(v));
}

static float bf16(float v)
{
    return pare_bf16_to_f32(pare_f32_to_bf16(v));
}

/* d (code - zero), with code 0 and the largest one among them, so that there is no other scale and zero point. */
static void make_group(int bits, int zero, float d, uint32_t seed, float *x, uint8_t *codes)
{
    int top = (1 << bits) - 1;
    for (int i = 0; i < N; i++) {
        int code = (int)(unit_random(&seed) * (float)(top + 1));
        codes[i] = (uint8_t)(i == 3 ? 0 : i == 40 ? top : i == 41 ? zero + 1 : code);
        x[i] = d * (float)(codes[i] - zero);
    }
}

static double error_of_group(const float *x, const pare_group *g, const uint8_t *codes, int n)
{
    double error = 0, d = (double)pare_f16_to_f32(g->d);
    for (int i = 0; i < n; i++)
        error += ((double)x[i] - d * (codes[i] - g->zero)) * ((double)x[i] - d * (codes[i] - g->zero));
    return error;
}

/* Exactly with any number of bits; up to 4 also when the products were rounded to 16 bits, under a scale that rounds to
 * the same. */
static void groups_come_back(void **state)
{
    (void)state;
    uint8_t want[N], codes[N];
    float x[N];
    for (int bits = 2; bits <= 8; bits++)
        for (int t = 0; t < 24; t++) {
            int middle = 1 << (bits - 1), top = 2 * middle - 1, zero = t % 2 ? middle : 1 + t / 2 % (top - 1);
            const pare_group_shape shape = {bits, t % 2 ? middle : 0, t % 2 ? middle : top};
            float d = half(ldexpf(1 + (float)t / 25, -t % 12));
            pare_group g;
            make_group(bits, zero, d, (uint32_t)(100 * bits + t), x, want);
            for (int rounded = 0; rounded < (bits <= 4 ? 3 : 1); rounded++) {
                float y[N];
                for (int i = 0; i < N; i++)
                    y[i] = rounded == 1 ? bf16(x[i]) : rounded == 2 ? half(x[i]) : x[i];
                CHECK(pare_path_now()->group_fit(&shape, y, NULL, N, &g, codes));
                bool same = g.zero == zero && memcmp(codes, want, N) == 0;
                for (int i = 0; i < N; i++) {
                    float v = pare_f16_to_f32(g.d) * (float)(codes[i] - zero);
                    same = same && (rounded == 1 ? bf16(v) : rounded == 2 ? half(v) : v) == y[i];
                }
                if (!same)
                    fail_msg("%d bits, case %d, rounded %d: d %g, was %g; zero %d, was %d", bits, t, rounded,
                             (double)pare_f16_to_f32(g.d), (double)d, g.zero, zero);
            }
        }
}

/* Close to what is found by trying every scale of a dense grid with every zero point. */
static void other_groups_get_little_error(void **state)
{
    (void)state;
    uint8_t codes[N];
    float x[N];
    for (int bits = 2; bits <= 4; bits++)
        for (int t = 0; t < 12; t++) {
            int middle = 1 << (bits - 1), top = 2 * middle - 1;
            const pare_group_shape shape = {bits, t % 2 ? middle : 0, t % 2 ? middle : top};
            uint32_t seed = (uint32_t)(7 * t + bits);
            double least = INFINITY;
            pare_group g;
            for (int i = 0; i < N; i++)
                x[i] = unit_random(&seed) + unit_random(&seed) + unit_random(&seed) - (t % 3 == 0 ? 1.5f : 0.9f);
            for (int zero = shape.zero_low; zero <= shape.zero_high; zero++)
                for (int k = 1; k < 400; k++) {
                    double d = 0.004 * k, error = 0;
                    for (int i = 0; i < N; i++) {
                        double q = fmin(fmax(nearbyint((double)x[i] / d), -zero), top - zero);
                        error += ((double)x[i] - d * q) * ((double)x[i] - d * q);
                    }
                    least = fmin(least, error);
                }
            CHECK(pare_path_now()->group_fit(&shape, x, NULL, N, &g, codes));
            if (!(error_of_group(x, &g, codes, N) < 1.06 * least))
                fail_msg("%d bits, case %d: %g, %g is possible", bits, t, error_of_group(x, &g, codes, N), least);
        }
}

static double weighted(const float *x, const float *w, const pare_group *g, const uint8_t *codes)
{
    double error = 0, d = (double)pare_f16_to_f32(g->d);
    for (int i = 0; i < N; i++)
        error += (double)w[i] * ((double)x[i] - d * (codes[i] - g->zero)) * ((double)x[i] - d * (codes[i] - g->zero));
    return error;
}

/* Weights draw the scale to the columns that count; equal ones change nothing. */
static void weights_count(void **state)
{
    (void)state;
    uint8_t codes[N], plain[N];
    float x[N], w[N], equal[N];
    double left = 0;
    for (int t = 0; t < 8; t++) {
        const pare_group_shape shape = {4, t % 2 ? 8 : 0, t % 2 ? 8 : 15};
        uint32_t seed = (uint32_t)(90 + t);
        pare_group g, p;
        for (int i = 0; i < N; i++) {
            x[i] = unit_random(&seed) + unit_random(&seed) - 0.8f;
            w[i] = i % 9 == 0 ? 50 * unit_random(&seed) : 0.01f;
            equal[i] = 1;
        }
        CHECK(pare_path_now()->group_fit(&shape, x, NULL, N, &p, plain));
        CHECK(pare_path_now()->group_fit(&shape, x, equal, N, &g, codes));
        CHECK(g.d == p.d && g.zero == p.zero && memcmp(codes, plain, N) == 0);
        CHECK(pare_path_now()->group_fit(&shape, x, w, N, &g, codes));
        CHECK(weighted(x, w, &g, codes) < weighted(x, w, &p, plain));
        left += weighted(x, w, &g, codes) / weighted(x, w, &p, plain) / 8;
    }
    CHECK(left < 0.85);
}

/* By hand: d = (0.75 + 2.25) / 15 = 0.2 as a binary16, zero 2.25 / 0.2 = 11; and of a symmetric shape 2.25 / 7. */
static void plain_rounding_covers_the_extremes(void **state)
{
    (void)state;
    const pare_group_shape shape = {4, 0, 15}, middle = {4, 8, 8};
    const float x[4] = {-2.25f, 0.75f, 0.31f, -0.09f};
    uint8_t codes[4];
    pare_group g;
    CHECK(pare_path_now()->group_round(&shape, x, 4, &g, codes));
    CHECK(g.d == pare_f32_to_f16(0.2f) && g.zero == 11 && codes[0] == 0 && codes[1] == 15 && codes[2] == 13 &&
          codes[3] == 11);
    CHECK(pare_path_now()->group_round(&middle, x, 4, &g, codes));
    CHECK(g.d == pare_f32_to_f16(2.25f / 7) && g.zero == 8 && codes[0] == 1 && codes[1] == 10 && codes[2] == 9 &&
          codes[3] == 8);
    const float zeros[4] = {0}, huge[4] = {3e38f, -3e38f};
    CHECK(pare_path_now()->group_round(&shape, zeros, 4, &g, codes) && codes[2] == g.zero);
    CHECK(!pare_path_now()->group_round(&shape, huge, 4, &g, codes));
}

/* Zeros have a zero point, too; the smallest and the largest scale; a tail that fills no lanes. */
static void extremes(void **state)
{
    (void)state;
    const pare_group_shape shape = {4, 1, 15}, middle = {4, 8, 8};
    float x[17] = {0};
    uint8_t codes[17];
    pare_group g;
    CHECK(pare_path_now()->group_fit(&shape, x, NULL, 17, &g, codes));
    CHECK(g.zero == 1 && codes[16] == 1 && g.d == 0x0400);
    x[16] = -7.0f; /* in the tail only */
    CHECK(pare_path_now()->group_fit(&middle, x, NULL, 17, &g, codes));
    CHECK(pare_f16_to_f32(g.d) == 7 && codes[16] == 7 && codes[0] == 8);
    x[16] = 65504.0f * 7;
    CHECK(pare_path_now()->group_fit(&middle, x, NULL, 17, &g, codes));
    CHECK(pare_f16_to_f32(g.d) * (float)(codes[16] - 8) == x[16]);
    x[16] = 65504.0f * 16;
    CHECK(!pare_path_now()->group_fit(&middle, x, NULL, 17, &g, codes));
    x[16] = 0x1p-26f; /* nearest to 0 under the smallest binary16, which it gets */
    CHECK(pare_path_now()->group_fit(&middle, x, NULL, 17, &g, codes));
    CHECK(g.d == 1 && codes[16] == 8);
}

/* ---- blocks ---- */

static void smallest_block_is_chosen(void **state)
{
    (void)state;
    static const struct {
        int low, high;
        uint64_t row_len, run;
        pare_type type;
    } rows[] = {
        {-1, 1, 512, 256, PARE_TYPE_TQ2_0}, {-1, 1, 512, 128, PARE_TYPE_Q4_0},  {-1, 1, 288, 288, PARE_TYPE_Q4_0},
        {-2, 1, 512, 256, PARE_TYPE_Q4_0},  {-1, 2, 512, 256, PARE_TYPE_Q4_0},  {-8, 7, 64, 32, PARE_TYPE_Q4_0},
        {-9, 7, 64, 32, PARE_TYPE_Q5_0},    {-8, 8, 64, 32, PARE_TYPE_Q5_0},    {-16, 15, 64, 64, PARE_TYPE_Q5_0},
        {-17, 15, 64, 64, PARE_TYPE_Q8_0},  {-16, 16, 64, 64, PARE_TYPE_Q8_0},  {-128, 127, 64, 64, PARE_TYPE_Q8_0},
        {-129, 0, 64, 64, PARE_TYPE_NONE},  {0, 128, 64, 64, PARE_TYPE_NONE},   {-8, 7, 64, 16, PARE_TYPE_NONE},
        {-8, 7, 48, 48, PARE_TYPE_NONE},    {-1, 1, 256, 256, PARE_TYPE_TQ2_0}, {-8, 7, 96, 48, PARE_TYPE_NONE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (pare_int_block_type(rows[i].low, rows[i].high, rows[i].row_len, rows[i].run) != rows[i].type)
            fail_msg("row %zu", i);
}

/* Every code at every place of a block. */
static void blocks_hold_the_codes(void **state)
{
    (void)state;
    static const struct {
        pare_type type;
        int low, high;
    } rows[] = {
        {PARE_TYPE_TQ2_0, -1, 1}, {PARE_TYPE_Q4_0, -8, 7}, {PARE_TYPE_Q5_0, -16, 15}, {PARE_TYPE_Q8_0, -128, 127}};
    for (size_t k = 0; k < 4; k++) {
        const pare_type_info *info = pare_type_get(rows[k].type);
        int span = rows[k].high - rows[k].low + 1, n = (int)info->block_len;
        for (int shift = 0; shift < span; shift++) {
            int16_t codes[PARE_INT_BLOCK_MAX];
            uint8_t block[128];
            float x[PARE_INT_BLOCK_MAX];
            for (int i = 0; i < n; i++)
                codes[i] = (int16_t)(rows[k].low + (shift + 5 * i + i / 32) % span);
            memset(block, 0xa5, sizeof block);
            pare_int_block_put(rows[k].type, codes, pare_f32_to_f16(0.375f), block);
            CHECK_OK(pare_decode_rows(rows[k].type, block, 1, (size_t)n, x, NULL), &(pare_error){0});
            for (int i = 0; i < n; i++)
                CHECK(x[i] == 0.375f * (float)codes[i]);
        }
    }
}

/* Which blocks are held by which others, without a word too many: `quantize` asks for none of them. */
static void what_holds_what(void **state)
{
    (void)state;
    static const pare_type from[] = {PARE_TYPE_TQ2_0, PARE_TYPE_Q4_0, PARE_TYPE_Q5_0, PARE_TYPE_Q8_0};
    static const struct {
        pare_type from, to;
    } yes[] = {{PARE_TYPE_Q4_0, PARE_TYPE_Q4_1}, {PARE_TYPE_Q4_0, PARE_TYPE_Q5_0}, {PARE_TYPE_Q4_0, PARE_TYPE_Q5_1},
               {PARE_TYPE_Q4_0, PARE_TYPE_Q8_0}, {PARE_TYPE_Q5_0, PARE_TYPE_Q5_1}, {PARE_TYPE_Q5_0, PARE_TYPE_Q8_0},
               {PARE_TYPE_Q5_0, PARE_TYPE_Q4_1}};
    for (size_t i = 0; i < 4; i++)
        for (int to = 0; to < PARE_TYPE_COUNT; to++) {
            bool want = from[i] == (pare_type)to;
            for (size_t k = 0; k < sizeof yes / sizeof *yes; k++)
                want = want || (yes[k].from == from[i] && yes[k].to == (pare_type)to);
            CHECK(pare_int_block_holds(from[i], (pare_type)to) == want);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_come_back),
        cmocka_unit_test(other_groups_get_little_error),
        cmocka_unit_test(weights_count),
        cmocka_unit_test(plain_rounding_covers_the_extremes),
        cmocka_unit_test(extremes),
        cmocka_unit_test(smallest_block_is_chosen),
        cmocka_unit_test(blocks_hold_the_codes),
        cmocka_unit_test(what_holds_what),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
