#include "quant/rows.h"

#include "quant/half_scale.h"
#include "quant/iq1_m.h"
#include "quant/iq1_s.h"
#include "quant/registry.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { N_BLOCK_MAX = 256 };

static const struct {
    pare_type type;
} kinds[] = {
    {PARE_TYPE_IQ4_NL}, {PARE_TYPE_IQ4_XS}, {PARE_TYPE_MXFP4}, {PARE_TYPE_NVFP4}, {PARE_TYPE_TQ2_0},
    {PARE_TYPE_TQ1_0},  {PARE_TYPE_Q2_0},   {PARE_TYPE_Q1_0},  {PARE_TYPE_IQ1_M}, {PARE_TYPE_IQ1_S},
};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

/* Rows whose blocks lie on the grid of a type: they come back bit for bit, whatever the importances. */
static const struct {
    pare_type type;
    int n_levels;
    float levels[15];
} lattices[] = {
    {PARE_TYPE_TQ2_0, 3, {-1, 0, 1}},
    {PARE_TYPE_TQ1_0, 3, {-1, 0, 1}},
    {PARE_TYPE_Q2_0, 4, {-1, 0, 1, 2}},
    {PARE_TYPE_Q2_0, 3, {-1, 0, 1}},
    {PARE_TYPE_Q1_0, 2, {-1, 1}},
    {PARE_TYPE_MXFP4, 15, {-6, -4, -3, -2, -1.5f, -1, -0.5f, 0, 0.5f, 1, 1.5f, 2, 3, 4, 6}},
    {PARE_TYPE_NVFP4, 15, {-6, -4, -3, -2, -1.5f, -1, -0.5f, 0, 0.5f, 1, 1.5f, 2, 3, 4, 6}},
    {PARE_TYPE_IQ4_NL, 15, {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 89, 113}},
    {PARE_TYPE_IQ4_NL, 9, {-49, -35, -22, -10, 1, 13, 25, 38, 53}},
    {PARE_TYPE_IQ4_NL, 1, {25}},
    {PARE_TYPE_IQ4_NL, 2, {-22, 1}},
};

/* Scale of block b that the type stores exactly. */
static float lattice_scale(pare_type type, size_t b, uint32_t *seed)
{
    float u = unit_random(seed);
    if (type == PARE_TYPE_MXFP4)
        return ldexpf(1, (int)(b % 40) - 20);
    if (type == PARE_TYPE_NVFP4)
        return ldexpf((float)(8 + (int)(8 * u)), (int)(b % 14) - 9);
    return pare_f16_to_f32(pare_f32_to_f16(ldexpf(0.5f + u, -(int)(b % 12))));
}

static void check_lattice(size_t which, const float *weight, bool negative)
{
    enum { LEN = 1024 };
    float x[LEN], back[LEN];
    uint32_t seed = 4 + (uint32_t)which;
    pare_type type = lattices[which].type;
    size_t scale_len = type == PARE_TYPE_NVFP4 ? 16 : pare_type_get(type)->block_len;
    float scale = 0;
    for (size_t i = 0; i < LEN; i++) {
        if (i % scale_len == 0)
            scale = lattice_scale(type, i / scale_len, &seed);
        int level = (int)(unit_random(&seed) * (float)lattices[which].n_levels);
        if (i % scale_len == 7)
            level = 0; /* the outermost one is in every block */
        x[i] = scale * lattices[which].levels[level];
        x[i] = negative ? -x[i] : x[i];
    }
    round_trip(type, x, 1, LEN, weight, back);
    for (size_t i = 0; i < LEN; i++)
        if (x[i] != back[i])
            fail_msg("%s%s: weight %zu, %.9g, came back as %.9g", pare_type_get(type)->name,
                     weight != NULL ? " with importances" : "", i, (double)x[i], (double)back[i]);
}

static void lattices_come_back_exactly(void **state)
{
    (void)state;
    float weight[1024];
    fill_importances(weight, 1024);
    for (size_t k = 0; k < sizeof lattices / sizeof *lattices; k++)
        for (int negative = 0; negative < 2; negative++) {
            check_lattice(k, NULL, negative);
            check_lattice(k, weight, negative);
        }
}

/* Integers times a scale for each `group` weights, as checkpoints of trained or packed 4, 5 and 8 bit models hold. */
static const struct {
    pare_type type;
    int low, high; /* of the integers */
    size_t group;  /* of one scale */
} integers[] = {
    {PARE_TYPE_Q8_0, -7, 7, 32},   {PARE_TYPE_Q8_0, -8, 7, 64},       {PARE_TYPE_Q8_0, -15, 15, 128},
    {PARE_TYPE_Q8_0, -31, 31, 32}, {PARE_TYPE_Q8_0, -127, 127, 1024}, {PARE_TYPE_Q4_0, -8, 7, 32},
    {PARE_TYPE_Q4_0, -7, 7, 128},  {PARE_TYPE_Q4_0, -3, 3, 64},       {PARE_TYPE_Q5_0, -16, 15, 32},
    {PARE_TYPE_Q5_0, -8, 7, 1024}, {PARE_TYPE_Q4_1, -8, 7, 32},       {PARE_TYPE_Q4_1, 0, 15, 64},
    {PARE_TYPE_Q4_1, -4, 11, 32},  {PARE_TYPE_Q5_1, -16, 15, 32},     {PARE_TYPE_Q5_1, 0, 31, 128},
};

static float round_to(float v, bool bf16)
{
    return bf16 ? pare_bf16_to_f32(pare_f32_to_bf16(v)) : v;
}

/* One row of the case: scales of about 2^-power; fill: how often a weight is not zero; one_block: all equal in it. */
static void make_integers(size_t which, int power, float fill, bool bf16, uint32_t seed, float *x, size_t n)
{
    float scale = 0;
    int span = integers[which].high - integers[which].low + 1;
    for (size_t i = 0; i < n; i++) {
        if (i % integers[which].group == 0)
            scale = pare_f16_to_f32(pare_f32_to_f16(ldexpf(1 + unit_random(&seed), -power)));
        int q = integers[which].low + (int)(unit_random(&seed) * (float)span);
        if (i / 32 == 3)
            q = integers[which].high / 2; /* all alike */
        else if (!(unit_random(&seed) < fill))
            q = 0;
        x[i] = round_to(scale * (float)q, bf16);
    }
    if (integers[which].group == n)
        x[5] = round_to(scale * (float)integers[which].high, bf16);
}

/* From exact products the weights come back bit for bit; from products that were rounded to bfloat16 they come back
 * with the same integers, hence no farther off than 2^-9 for the source's rounding and as much for the scale's. */
static void integers_come_back(void **state)
{
    (void)state;
    enum { LEN = 1024 };
    static const float fills[] = {1, 0.3f, 0.04f};
    float x[LEN], back[LEN], weight[LEN];
    fill_importances(weight, LEN);
    for (size_t i = 0; i < LEN; i++)
        weight[i] += 1.0f / 64;
    for (size_t k = 0; k < sizeof integers / sizeof *integers; k++)
        for (int t = 0; t < 36; t++) {
            bool bf16 = t % 2 == 1, weighted = t / 2 % 2 == 1;
            make_integers(k, 2 + t / 12 * 3, fills[t / 4 % 3], bf16, (uint32_t)(40 + t), x, LEN);
            round_trip(integers[k].type, x, 1, LEN, weighted ? weight : NULL, back);
            for (size_t i = 0; i < LEN; i++)
                if (round_to(back[i], bf16) != x[i])
                    fail_msg("%s, integers %d..%d, case %d: weight %zu, %.9g, came back as %.9g",
                             pare_type_get(integers[k].type)->name, integers[k].low, integers[k].high, t, i,
                             (double)x[i], (double)back[i]);
        }
}

/* A sparse ternary row, as BitNet has: a single weight that is not zero is enough. */
static void sparse_rows_come_back_exactly(void **state)
{
    (void)state;
    static const pare_type types[] = {PARE_TYPE_TQ1_0, PARE_TYPE_TQ2_0, PARE_TYPE_Q2_0, PARE_TYPE_MXFP4,
                                      PARE_TYPE_NVFP4};
    float x[256] = {0}, back[256];
    x[200] = -0.75f;
    for (size_t k = 0; k < sizeof types / sizeof *types; k++) {
        round_trip(types[k], x, 1, 256, NULL, back);
        CHECK(memcmp(x, back, sizeof x) == 0);
    }
}

/* Q2_0: a row with a long positive tail is much better with the level 2, of either sign, than with three levels. */
static void q2_0_uses_its_fourth_level(void **state)
{
    (void)state;
    float x[64], three[256], four[64], row[256];
    uint32_t seed = 3;
    for (int negative = 0; negative < 2; negative++) {
        for (size_t i = 0; i < 64; i++) {
            float u = unit_random(&seed);
            x[i] = (u < 0.25f ? -1.0f : u < 0.5f ? 0.0f : u < 0.75f ? 1.0f : 2.0f) + 0.1f * unit_random(&seed);
            x[i] = negative ? -x[i] : x[i];
        }
        for (size_t i = 0; i < 256; i++)
            row[i] = x[i % 64];
        round_trip(PARE_TYPE_Q2_0, x, 1, 64, NULL, four);
        round_trip(PARE_TYPE_TQ2_0, row, 1, 256, NULL, three);
        CHECK(error_of_row(x, four, NULL, 64) < 0.1 * error_of_row(row, three, NULL, 256));
    }
}

/* The sweep finds the best ternary scale: none of a dense grid of scales is better. */
static void no_other_ternary_scale_is_better(void **state)
{
    (void)state;
    float x[256], weight[256], back[256];
    fill_importances(weight, 256);
    for (uint32_t seed = 0; seed < 20; seed++) {
        fill_row(x, 256, seed);
        x[seed * 7] *= (float)seed;
        round_trip(PARE_TYPE_TQ2_0, x, 1, 256, NULL, back);
        double error = error_of_row(x, back, NULL, 256);
        for (int k = 1; k < 2000; k++) {
            float d = 0.005f * (float)k;
            for (size_t i = 0; i < 256; i++)
                back[i] = x[i] > d / 2 ? d : x[i] < -d / 2 ? -d : 0;
            CHECK(error <= error_of_row(x, back, NULL, 256) * 1.00001);
        }
    }
}

static double group_error(const float *x, float scale, unsigned index, float shift)
{
    double e = 0;
    unsigned entry = pare_iq1_grid(index);
    for (int j = 0; j < 8; j++) {
        double miss = (double)x[j] - (double)(scale * ((float)pare_iq1_level(entry, j) + shift));
        e += miss * miss;
    }
    return e;
}

/* Under the scales that the encoder chose, no entry of the codebook (in IQ1_M with either shift) fits a group better.
 */
static void no_other_iq1_entry_is_better(void **state)
{
    (void)state;
    enum { LEN = 256 };
    float x[LEN], back[LEN], shifts[] = {0.125f, -0.125f};
    for (uint32_t seed = 0; seed < 6; seed++)
        for (int is_m = 0; is_m < 2; is_m++) {
            pare_iq1_m m;
            pare_iq1_s s;
            fill_row(x, LEN, 50 + seed);
            pare_encoder(is_m ? PARE_TYPE_IQ1_M : PARE_TYPE_IQ1_S)(x, LEN, NULL, PARE_EFFORT_DEFAULT,
                                                                   is_m ? (void *)&m : (void *)&s);
            pare_type_get(is_m ? PARE_TYPE_IQ1_M : PARE_TYPE_IQ1_S)->decode(is_m ? (void *)&m : (void *)&s, back, 1);
            for (int g = 0; g < LEN / 8; g++) {
                unsigned qh = pare_load_u16le(s.qh[g / 4]);
                unsigned code = is_m ? pare_load_u16le(m.scales[g / 8]) >> g / 2 % 4 * 3 & 7 : qh >> 12 & 7;
                float d = pare_f16_to_f32(is_m ? pare_iq1_m_d(&m) : pare_load_u16le(s.d));
                float scale = d * (float)(2 * code + 1);
                double chosen = error_of_row(x + 8 * g, back + 8 * g, NULL, 8) * 8;
                for (int k = 0; k < 2; k++)
                    for (unsigned e = 0; (is_m || k == (int)(qh >> 15)) && e < 2048; e++)
                        CHECK(chosen <= group_error(x + 8 * g, scale, e, shifts[k]) * 1.0001 + 1e-9);
            }
        }
}

/* Columns that calibration never saw keep their weights. */
static void unseen_columns_survive(void **state)
{
    (void)state;
    float x[512], weight[512] = {0}, back[512];
    fill_row(x, 512, 21);
    for (size_t i = 256; i < 512; i++)
        weight[i] = 1;
    for (size_t i = 0; i < 512; i += 3)
        weight[i] = 0;
    for (size_t k = 0; k < N_KINDS; k++) {
        round_trip(kinds[k].type, x, 1, 512, NULL, back);
        double equal = error_of_row(x, back, NULL, 256);
        round_trip(kinds[k].type, x, 1, 512, weight, back);
        CHECK(error_of_row(x, back, NULL, 256) < 1.1 * equal);
    }
}

/* Importances that differ by 30 decades: no sum overflows, no weight becomes NaN. */
static void extreme_importances_are_safe(void **state)
{
    (void)state;
    float x[256], weight[256], back[256];
    fill_row(x, 256, 5);
    for (size_t k = 0; k < N_KINDS; k++)
        for (int large = 0; large < 2; large++) {
            for (size_t i = 0; i < 256; i++)
                weight[i] = i % 50 == 3 ? 3e38f : large ? 1e38f : 1e-38f;
            round_trip(kinds[k].type, x, 1, 256, weight, back);
            for (size_t i = 0; i < 256; i++)
                CHECK(fabsf(back[i] - x[i]) < 10);
        }
}

static double relative_error(pare_type type, const float *x, size_t n)
{
    float zeros[512] = {0}, back[512];
    round_trip(type, x, 1, n, NULL, back);
    double energy = error_of_row(x, zeros, NULL, n);
    return energy > 0 ? error_of_row(x, back, NULL, n) / energy : error_of_row(x, back, NULL, n);
}

static void edge_rows_survive(void **state)
{
    (void)state;
    /* relative error of a normal row, with room */
    static const double ordinary[] = {0.006, 0.006, 0.015, 0.01, 0.2, 0.2, 0.13, 0.4, 0.2, 0.25};
    float x[512];
    for (size_t k = 0; k < N_KINDS; k++) {
        pare_type type = kinds[k].type;
        memset(x, 0, sizeof x);
        CHECK(relative_error(type, x, 512) == 0);
        static const float constants[] = {0.37f, -0.37f, 0.0173f, 1000};
        for (size_t c = 0; c < 4; c++) {
            for (size_t i = 0; i < 512; i++)
                x[i] = constants[c];
            /* FP4 has scales of few bits */
            double limit = type == PARE_TYPE_MXFP4 || type == PARE_TYPE_NVFP4 ? 0.03 : 1e-5,
                   e = relative_error(type, x, 512);
            if (!(e < limit))
                fail_msg("%s: relative error %g in a row of %g", pare_type_get(type)->name, e, (double)constants[c]);
        }
        static const float sizes[] = {1, 700, 0.02f, 3e-5f};
        for (size_t c = 0; c < 4; c++) {
            fill_row(x, 512, 31);
            for (size_t i = 0; i < 512; i++)
                x[i] *= sizes[c];
            bool too_small = type == PARE_TYPE_NVFP4 && sizes[c] < 0.1f; /* without a tensor's scale */
            double e = relative_error(type, x, 512);
            if (!(e < (too_small ? 1.01 : sizes[c] < 1e-3f ? 1.2 : 1) * (too_small ? 1 : ordinary[k])))
                fail_msg("%s: relative error %g at size %g", pare_type_get(type)->name, e, (double)sizes[c]);
        }
        for (size_t i = 0; i < 512; i++)
            x[i] *= 1e-33f; /* below what any scale can hold */
        CHECK(relative_error(type, x, 512) <= 1);
    }
}

/* MXFP4 has its scale's range: rows of 2^-120 and of 2^120 have the error of ordinary ones, and what another MXFP4
 * encoder wrote comes back at every exponent. */
static void mxfp4_keeps_its_range(void **state)
{
    (void)state;
    float x[32], y[32], back[32];
    fill_row(x, 32, 77);
    round_trip(PARE_TYPE_MXFP4, x, 1, 32, NULL, back);
    double error = error_of_row(x, back, NULL, 32);
    for (int power = -120; power <= 120; power += 40) {
        for (size_t i = 0; i < 32; i++)
            y[i] = ldexpf(x[i], power);
        round_trip(PARE_TYPE_MXFP4, y, 1, 32, NULL, back);
        for (size_t i = 0; i < 32; i++)
            back[i] = ldexpf(back[i], -power);
        CHECK(error_of_row(x, back, NULL, 32) == error);
    }
    for (int e = 0; e < 253; e++) {
        uint8_t block[17] = {(uint8_t)e}, again[17];
        for (int j = 1; j < 17; j++)
            block[j] = (uint8_t)(17 * j + e);
        pare_type_get(PARE_TYPE_MXFP4)->decode(block, x, 1);
        pare_encoder(PARE_TYPE_MXFP4)(x, 32, NULL, PARE_EFFORT_DEFAULT, again);
        pare_type_get(PARE_TYPE_MXFP4)->decode(again, back, 1);
        CHECK(memcmp(x, back, sizeof x) == 0);
    }
}

static void tiny_scales_keep_their_sign(void **state)
{
    (void)state;
    CHECK(pare_f32_to_f16_nonzero(1e-12f) == 0x0001 && pare_f32_to_f16_nonzero(-1e-12f) == 0x8001);
    CHECK(pare_f32_to_f16_nonzero(0) == 0 && pare_f32_to_f16_nonzero(-1) == 0xbc00);
}

/* Q8_0: what a block becomes does not depend on the blocks around it, nor on how many there are. */
static void q8_0_blocks_are_alone(void **state)
{
    (void)state;
    enum { N = 45, LEN = 32 };
    float x[N * LEN], weight[N * LEN];
    uint8_t row[N * 34], block[34];
    fill_row(x, N * LEN, 61);
    fill_importances(weight, N * LEN);
    for (size_t i = 0; i < N * LEN; i++)
        weight[i] += 1.0f / 64;
    for (size_t i = 0; i < N * LEN; i++)
        x[i] *= ldexpf(1, 8 - (int)(i / LEN));
    memset(x + 7 * LEN, 0, LEN * sizeof *x);
    for (int weighted = 0; weighted < 2; weighted++)
        for (size_t n = 1; n <= N; n++) {
            pare_encoder(PARE_TYPE_Q8_0)(x, n * LEN, weighted ? weight : NULL, PARE_EFFORT_DEFAULT, row);
            pare_encoder(PARE_TYPE_Q8_0)(x + (n - 1) * LEN, LEN, weighted ? weight + (n - 1) * LEN : NULL,
                                         PARE_EFFORT_DEFAULT, block);
            CHECK(memcmp(row + (n - 1) * 34, block, 34) == 0);
        }
}

/* Q8_0 at any size of weights, from the largest that a scale can hold to what only its last bits can, is no farther
 * off than plain rounding; below that, weights are lost and nothing else. */
static void q8_0_keeps_its_range(void **state)
{
    (void)state;
    enum { N = 512 };
    float x[N], plain[N], back[N];
    uint8_t bytes[N / 32 * 34];
    for (int power = -149; power <= 20; power++) {
        fill_row(x, N, 71);
        for (size_t i = 0; i < N; i++)
            x[i] = ldexpf(x[i], power);
        pare_encoder(PARE_TYPE_Q8_0)(x, N, NULL, PARE_EFFORT_RTN, bytes);
        pare_type_get(PARE_TYPE_Q8_0)->decode(bytes, plain, N / 32);
        round_trip(PARE_TYPE_Q8_0, x, 1, N, NULL, back);
        double error = error_of_row(x, back, NULL, N), room = power < -24 ? 1 : 0.9;
        if (!(error <= room * error_of_row(x, plain, NULL, N)))
            fail_msg("2^%d: error %g, rounded %g", power, error, error_of_row(x, plain, NULL, N));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lattices_come_back_exactly),
        cmocka_unit_test(integers_come_back),
        cmocka_unit_test(q8_0_blocks_are_alone),
        cmocka_unit_test(q8_0_keeps_its_range),
        cmocka_unit_test(sparse_rows_come_back_exactly),
        cmocka_unit_test(q2_0_uses_its_fourth_level),
        cmocka_unit_test(no_other_ternary_scale_is_better),
        cmocka_unit_test(no_other_iq1_entry_is_better),
        cmocka_unit_test(unseen_columns_survive),
        cmocka_unit_test(extreme_importances_are_safe),
        cmocka_unit_test(edge_rows_survive),
        cmocka_unit_test(mxfp4_keeps_its_range),
        cmocka_unit_test(tiny_scales_keep_their_sign),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
