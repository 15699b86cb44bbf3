#include "check.h"

#include "core/half.h"
#include "core/hash.h"
#include "quant/iq1_m.h"
#include "quant/iq1_s.h"
#include "quant/registry.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Reference data: 64 rows of 1024 weights, importances of the 1024 columns. */
enum { N_ROWS = 64, ROW_LEN = 1024, N_BLOCK_MAX = 256 };

/* digest: the bytes of our fixed rows, without and with importances; a change moves pins: say so in the change log.
 * ratio: the error, relative to stock's, that the type must not exceed: mse without, wmse with importances. */
static const struct {
    pare_type type;
    double ratio[2];
    const char *digest[2];
} kinds[] = {
    {PARE_TYPE_IQ4_NL,
     {0.945, 0.925},
     {"e9790c47a7c5773993e486dfb3af954e92022089eaecceea40eb6f5bf7eeceb8",
      "646900fce4c35769b700639a8bcbaa3c3bb66b88a0a82447a515cca875545209"}},
    {PARE_TYPE_IQ4_XS,
     {0.94, 0.90},
     {"b58482b96ba9156b5283d66b6a54f25437b95be66dab3380cbf8ed036c3d713a",
      "d9cde220b30dbf961d86c501f8834deed13d1bb3260527896223b85c83d68061"}},
    {PARE_TYPE_MXFP4,
     {0.96, 0.905},
     {"77456ab19387473c71c5d13ecdd57c4483297edc49de3f7e60549f5bb7f5e9c2",
      "98402fb9fdbe4f31d21758457e3b2e4d3c2efea15cbf57576247a1dda0c36c19"}},
    {PARE_TYPE_NVFP4,
     {0.70, 0.505},
     {"1d2dd272e70aa07d14ec5df468fb4ed670c0ca07f5fc392ebe52edc5a20b011e",
      "5ab67793d28f9310a4545d788b7c394790ed5dff6bedde110dc72814f68dcbc4"}},
    {PARE_TYPE_TQ2_0,
     {0.395, 0.36},
     {"e1df66e8ab213b33cc05fcf150541a32748d00cca0d4d28b4fc3289bf06a06d5",
      "b8e1bf9ff1480fd14db1bc52516afcb9518c0d6bf12b98e489730acc902cd6bf"}},
    {PARE_TYPE_TQ1_0,
     {0.395, 0.36},
     {"f942c9aa8db6849c936e217f4b982b7fda5ec27a3b6cba11396d157469e58168",
      "d63dd58d8acc29a1acb4162704ead6bf80793b4dede3238e0bc2d27a0b10eb53"}},
    {PARE_TYPE_Q2_0,
     {0.286, 0.22},
     {"33ae8410ab4cb20e2f7d27e9581b73e5989d98013d9fdd270cceccdd50ce168d",
      "3d550023b4db358c1e5846be5c1b07dfdfd82a370ab7ed9ae062f123267f8125"}},
    {PARE_TYPE_Q1_0,
     {1, 0.975},
     {"2fb0810323d8c3ee5e1a49a6cd7d986a00c224b0a699ae1ff5b2994a4d5b8256",
      "8908cb942f7f718900dd780e6f4b05547d51db4cdf63afe5af410f4b502eb137"}},
    {PARE_TYPE_IQ1_M,
     {0.52, 0.65},
     {"75e539f3abbfa87329f65c8855e03e895806b52cbe06736e4e569b140828b5d5",
      "9e6907d50352b1097cb6e4024d4a2f50d04f003e9e5618863a78bf76949dfdc2"}},
    {PARE_TYPE_IQ1_S,
     {HUGE_VAL, 0.70},
     {"a38a1cee9dafdd67e5f1648aee629e9c19044d4badf9793da42b48ea0cbd362c",
      "8a42628ffe41333b455c32a7a3023e587bbf641b3a58d114b923ac1d674cdf5d"}},
};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

/* Equal importances reach the encoder as NULL, also in the types that the command refuses to encode without. */
static uint8_t *encode(pare_type type, const float *src, size_t n_rows, size_t row_len, const float *weight,
                       size_t *n_bytes)
{
    const pare_type_info *info = pare_type_get(type);
    uint64_t row_bytes = 0;
    CHECK(pare_row_bytes(type, row_len, &row_bytes));
    uint8_t *bytes = check_malloc((size_t)row_bytes * n_rows);
    memset(bytes, 0xa5, (size_t)row_bytes * n_rows);
    for (size_t r = 0; r < n_rows; r++)
        info->encode(src + r * row_len, row_len, weight, bytes + r * (size_t)row_bytes);
    *n_bytes = (size_t)row_bytes * n_rows;
    CHECK(pare_find_nonfinite_block(type, bytes, n_rows * row_len / info->block_len) == SIZE_MAX);
    return bytes;
}

static void round_trip(pare_type type, const float *src, size_t n_rows, size_t row_len, const float *weight, float *out)
{
    size_t n_bytes = 0;
    uint8_t *bytes = encode(type, src, n_rows, row_len, weight, &n_bytes);
    pare_type_get(type)->decode(bytes, out, n_rows * row_len / pare_type_get(type)->block_len);
    free(bytes);
}

static double error_of_row(const float *x, const float *y, const float *weight, size_t n)
{
    double e = 0, sum = 0;
    for (size_t i = 0; i < n; i++) {
        double w = weight != NULL ? weight[i] : 1, diff = (double)x[i] - y[i];
        e += w * diff * diff;
        sum += w;
    }
    return e / sum;
}

/* ---- against stock ---- */

static float *load_floats(const char *path, size_t count)
{
    size_t n = 0;
    float *data = (float *)check_read_file(shared_path(path), &n);
    CHECK(n == count * sizeof(float));
    return data;
}

static char *load_text(const char *path)
{
    size_t n = 0;
    char *text = (char *)check_read_file(shared_path(path), &n);
    text = realloc(text, n + 1);
    CHECK(text != NULL);
    text[n] = '\0';
    return text;
}

/* Stock's mean error for the type: mse without importances, wmse with; infinite where there is none. */
static double bar_of(const char *text, const char *type, bool weighted)
{
    char name[32], yes[8];
    unsigned bytes;
    double mse, wmse;
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (sscanf(line, "%31s %u %7s %lf %lf", name, &bytes, yes, &mse, &wmse) == 5 && strcasecmp(name, type) == 0 &&
            (strcmp(yes, "yes") == 0) == weighted)
            return weighted ? wmse : mse;
    }
    return HUGE_VAL;
}

static void errors_are_below_stock(void **state)
{
    (void)state;
    float *input = load_floats("oracle/blocks/encode/input.f32", N_ROWS * ROW_LEN);
    float *weight = load_floats("oracle/blocks/encode/importance.f32", ROW_LEN);
    char *bars = load_text("oracle/blocks/encode/ggml.tsv"), *rows = load_text("oracle/blocks/encode/rows.tsv");
    float *out = check_malloc(N_ROWS * ROW_LEN * sizeof *out);
    for (size_t k = 0; k < 2 * N_KINDS; k++) {
        pare_type type = kinds[k / 2].type;
        bool weighted = k % 2 == 1;
        double sum = 0, limit = kinds[k / 2].ratio[weighted] * bar_of(bars, pare_type_get(type)->name, weighted);
        size_t n = 0;
        round_trip(type, input, N_ROWS, ROW_LEN, weighted ? weight : NULL, out);
        for (const char *line = strchr(rows, '\n'); line != NULL; line = strchr(line + 1, '\n')) {
            unsigned row, counts;
            if (sscanf(line, "%u %*s %u", &row, &counts) != 2 || !counts)
                continue;
            CHECK(row < N_ROWS);
            sum += error_of_row(input + row * ROW_LEN, out + row * ROW_LEN, weighted ? weight : NULL, ROW_LEN);
            n++;
        }
        CHECK(n == 57);
        if (!(sum / (double)n <= limit * (1 + 1e-8))) /* the published figures have 9 digits */
            fail_msg("%s %s importances: %.9g above %.9g", pare_type_get(type)->name, weighted ? "with" : "without",
                     sum / (double)n, limit);
    }
    free(out);
    free(rows);
    free(bars);
    free(weight);
    free(input);
}

/* ---- without reference data ---- */

static float unit_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (float)(*seed >> 8) * 0x1p-24f;
}

/* About n(0, 1), made with sums that are exact. */
static void fill_row(float *x, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++) {
        float sum = 0;
        for (int k = 0; k < 12; k++)
            sum += unit_random(&seed);
        x[i] = sum - 6;
    }
}

/* Importances over four decades, some zero. */
static void fill_importances(float *w, size_t n)
{
    uint32_t seed = 99;
    for (size_t i = 0; i < n; i++) {
        float u = unit_random(&seed);
        w[i] = i % 37 == 5 ? 0 : u * u * u * u * (i % 11 == 3 ? 50.0f : 1.0f) + 1e-3f;
    }
}

/* Normal rows of many sizes, with outliers in some, an offset in others. */
static void fixed_rows(float *x, size_t n_rows, size_t n)
{
    for (size_t r = 0; r < n_rows; r++) {
        fill_row(x + r * n, n, 7 + (uint32_t)r);
        for (size_t i = 0; i < n; i++) {
            float *v = &x[r * n + i];
            *v = (*v + (r % 4 == 3 ? 2.0f : 0.0f)) * (r % 2 == 0 ? 0.02f : 0.7f);
            if (r % 3 == 1 && i % 100 == 50)
                *v *= 10;
            if (r % 5 == 2)
                *v *= 1.0f / (float)(1u << i / 32 % 8);
        }
    }
}

static void bytes_do_not_change(void **state)
{
    (void)state;
    enum { ROWS = 12, LEN = 512 };
    static float rows[ROWS * LEN], weight[LEN];
    bool changed = false;
    fixed_rows(rows, ROWS, LEN);
    fill_importances(weight, LEN);
    for (size_t k = 0; k < 2 * N_KINDS; k++) {
        size_t n_bytes = 0;
        char hex[PARE_SHA256_HEX];
        pare_digest digest = {0};
        pare_error err = {0};
        uint8_t *bytes = encode(kinds[k / 2].type, rows, ROWS, LEN, k % 2 == 1 ? weight : NULL, &n_bytes);
        CHECK_OK(pare_hash_bytes(bytes, n_bytes, PARE_HASH_SHA256, &digest, &err), &err);
        pare_hex(hex, digest.sha256, sizeof digest.sha256);
        if (strcmp(hex, kinds[k / 2].digest[k % 2]) != 0) {
            print_error("%s %s importances: %s\n", pare_type_get(kinds[k / 2].type)->name,
                        k % 2 == 1 ? "with" : "without", hex);
            changed = true;
        }
        free(bytes);
    }
    CHECK(!changed);
}

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
            pare_type_get(is_m ? PARE_TYPE_IQ1_M : PARE_TYPE_IQ1_S)
                ->encode(x, LEN, NULL, is_m ? (void *)&m : (void *)&s);
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
        pare_type_get(PARE_TYPE_MXFP4)->encode(x, 32, NULL, again);
        pare_type_get(PARE_TYPE_MXFP4)->decode(again, back, 1);
        CHECK(memcmp(x, back, sizeof x) == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_are_below_stock),       cmocka_unit_test(bytes_do_not_change),
        cmocka_unit_test(lattices_come_back_exactly),   cmocka_unit_test(sparse_rows_come_back_exactly),
        cmocka_unit_test(q2_0_uses_its_fourth_level),   cmocka_unit_test(no_other_ternary_scale_is_better),
        cmocka_unit_test(no_other_iq1_entry_is_better), cmocka_unit_test(unseen_columns_survive),
        cmocka_unit_test(extreme_importances_are_safe), cmocka_unit_test(edge_rows_survive),
        cmocka_unit_test(mxfp4_keeps_its_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
