/* Codecs of keys and values: layouts, bytes that neither path nor runtime may change, errors against what is published.
 *
 *     test_kv_codec digests        prints kv_digests.tsv
 *     test_kv_codec input          the floats behind it, for scripts/kv_stock.c */
#include "check.h"
#include "core/hash.h"
#include "quant/hadamard.h"
#include "quant/kv_unit.h"
#include "quant/path.h"
#include "quant/registry.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pare_error err;

static double uniform(uint64_t seed, uint64_t i)
{
    return ((double)(pare_random_bits(seed, i) >> 11) + 0.5) * 0x1p-53;
}

/* Normal numbers (Box and Muller): for figures, where the last bit does not matter. */
static void fill_normal(float *x, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i += 2) {
        double size = sqrt(-2 * log(uniform(seed, i))), angle = 2 * acos(-1.0) * uniform(seed, i + 1);
        x[i] = (float)(size * cos(angle));
        if (i + 1 < n)
            x[i + 1] = (float)(size * sin(angle));
    }
}

static const pare_kv_codec *find(const char *name, pare_kv_side side)
{
    const pare_kv_codec *c = pare_kv_codec_find(name, side);
    if (c == NULL)
        fail_msg("no codec %s", name);
    return c;
}

enum { MOST_HEADS = 3, MOST_DIM = 1024 };

/* Codec i of the table, one that needs bases with fixed ones for heads of dim elements: rows of Hadamard matrices, so
 * that nothing is lost but by rounding, other signs in each head, and bits that fall. NULL: there is no such i. Good
 * until the next call. */
static const pare_kv_codec *ready(size_t i, uint32_t dim)
{
    static pare_kv_codec c;
    static float *basis;
    if (pare_kv_codec_at(i) == NULL)
        return NULL;
    c = *pare_kv_codec_at(i);
    if (c.family != PARE_KV_TRANSFORM || pare_kv_unit_bytes(&c, dim) == 0)
        return &c;
    const size_t floats = pare_kv_basis_floats(dim);
    free(basis);
    basis = check_malloc(MOST_HEADS * floats * sizeof *basis);
    memset(basis, 0, MOST_HEADS * floats * sizeof *basis);
    for (size_t h = 0; h < MOST_HEADS; h++) {
        const pare_rotation r = {dim, PARE_ROTATION_MAX_DIM, 5 + h};
        float *at = basis + h * floats, *bits = at + (size_t)(1 + 2 * dim) * dim;
        uint32_t left = 8 * (uint32_t)pare_kv_unit_bytes(&c, dim) - 16;
        for (uint32_t k = 0; k < dim; k++) {
            float *row = at + (size_t)(1 + k) * dim, *back = row + (size_t)dim * dim;
            const uint32_t falling = c.half_bits - c.half_bits * k / dim, n = falling < left ? falling : left;
            row[k] = 1;
            pare_rotate(&r, row, 1);
            memcpy(back, row, dim * sizeof *back);
            bits[k] = (float)n;
            bits[dim + k] = n > 0 ? 1 / (1 + 0.1f * (float)k) : 0;
            left -= n;
        }
    }
    c.basis = basis;
    return &c;
}

/* ---- the table ---- */

static void names_sizes_and_sides(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        pare_kv_side side;
        uint32_t dim;
        size_t bytes;
        double bits;
    } rows[] = {
        {"F16", PARE_KV_KEYS, 80, 160, 16},
        {"bf16", PARE_KV_VALUES, 1, 2, 16},
        {"f32", PARE_KV_KEYS, 7, 28, 32},
        {"q8_0", PARE_KV_KEYS, 128, 136, 8.5},
        {"q5_1", PARE_KV_VALUES, 64, 48, 6},
        {"q5_0r", PARE_KV_KEYS, 64, 44, 5.5},
        {"q4_1", PARE_KV_KEYS, 256, 160, 5},
        {"q4_0r", PARE_KV_KEYS, 128, 72, 4.5},
        {"IQ4_NL", PARE_KV_KEYS, 96, 54, 4.5},
        {"nvfp4", PARE_KV_VALUES, 128, 72, 4.5},
        {"mxfp4", PARE_KV_KEYS, 96, 51, 4.25},
        {"midrise8", PARE_KV_KEYS, 64, 68, 8.5},
        {"midrise3", PARE_KV_VALUES, 128, 56, 3.5},
        {"turbo4", PARE_KV_KEYS, 128, 66, 4.125},
        {"turbo3", PARE_KV_VALUES, 80, 32, 3.2},
        {"turbo2.5", PARE_KV_KEYS, 128, 42, 2.625},
        {"turbo1", PARE_KV_KEYS, 64, 10, 1.25},
        {"turbo3.5p", PARE_KV_KEYS, 128, 60, 3.75},
        {"turbo2p", PARE_KV_KEYS, 576, 148, 37 / 18.0},
        {"kivi2", PARE_KV_KEYS, 80, 960, 3},
        {"kivi4", PARE_KV_VALUES, 64, 40, 5},
        {"channel3", PARE_KV_KEYS, 112, 1792, 4},
        {"klt3.5", PARE_KV_KEYS, 64, 28, 3.5},
        {"klt1.5", PARE_KV_VALUES, 128, 24, 1.5},
        {"klt4", PARE_KV_VALUES, 80, 40, 4},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const pare_kv_codec *c = find(rows[i].name, rows[i].side);
        assert_int_equal(pare_kv_unit_bytes(c, rows[i].dim), rows[i].bytes);
        CHECK(fabs(pare_kv_bits(c, rows[i].dim) - rows[i].bits) < 1e-12);
    }
    CHECK(pare_kv_codec_find("turbo3p", PARE_KV_VALUES) == NULL);
    CHECK(pare_kv_codec_find("channel2", PARE_KV_VALUES) == NULL);
    CHECK(pare_kv_codec_find("q4_00", PARE_KV_KEYS) == NULL);
    for (size_t i = 0; pare_kv_codec_at(i) != NULL; i++) {
        const pare_kv_codec *c = pare_kv_codec_at(i);
        for (int side = PARE_KV_KEYS; side <= PARE_KV_VALUES; side++)
            CHECK((c->sides & (unsigned)side) == 0 || pare_kv_codec_find(c->name, (pare_kv_side)side) == c);
        CHECK(c->sides != 0 && c->group >= 1 && c->what[0] != '\0');
        CHECK(c->group == 1 || c->recent >= c->group); /* a group that is not full is exact */
        CHECK(pare_kv_unit_bytes(c, 0) == 0 && pare_kv_unit_bytes(c, 2048) == 0);
        for (uint32_t dim = 1; dim <= 1024; dim++) {
            unsigned multiple = 1;
            CHECK(sscanf(pare_kv_wants(c), "a multiple of %u", &multiple) == 1 || pare_kv_wants(c)[0] == '1');
            CHECK((pare_kv_unit_bytes(c, dim) != 0) == (dim % multiple == 0));
        }
    }
    CHECK(find("kivi4", PARE_KV_KEYS)->family == PARE_KV_CHANNELS);
    CHECK(find("kivi4", PARE_KV_VALUES)->family == PARE_KV_RANGES);
    for (int bits = 2; bits <= 4; bits++) { /* KIVI's residual of 128; a group that is not full */
        char kivi[16], channel[16];
        snprintf(kivi, sizeof kivi, "kivi%d", bits);
        snprintf(channel, sizeof channel, "channel%d", bits);
        CHECK(find(channel, PARE_KV_KEYS)->before_rope && find(channel, PARE_KV_KEYS)->recent == 32);
        if (bits == 3)
            continue;
        CHECK(find(kivi, PARE_KV_VALUES)->recent == 128 && find(kivi, PARE_KV_KEYS)->recent == 128);
        CHECK(!find(kivi, PARE_KV_KEYS)->before_rope);
    }
    CHECK(find("turbo2", PARE_KV_KEYS)->wants_rotation && !find("q4_0", PARE_KV_KEYS)->wants_rotation);
}

/* ---- bytes ---- */

enum { TOKENS = 64, HEADS = 3, DIM = 128, VALUES = TOKENS * HEADS * DIM };

/* Sums of four uniform integers, of sizes that a cache has, outliers among them; a vector of two values. */
static void fixed_input(float *x)
{
    for (size_t i = 0; i < VALUES; i++) {
        uint64_t bits = pare_random_bits(77, i);
        int sum = (int)(bits & 0xffff) + (int)(bits >> 16 & 0xffff) + (int)(bits >> 32 & 0xffff) + (int)(bits >> 48);
        x[i] = (float)(sum - 131070) * 0x1p-15f * (i / DIM % 3 == 1 ? 0.01f : i / DIM % 3 == 2 ? 1.0f : 30.0f);
        x[i] *= i % DIM == 17 ? 12.0f : 1.0f;
        x[i] += i / DIM % 4 == 3 ? 0.3f : 0.0f;
        if (i / DIM == 20)
            x[i] = i / 16 % 2 == 0 ? 0.0f : -0.25f;
    }
}

static void digest_line(const pare_kv_codec *c, char line[128])
{
    static float x[VALUES];
    pare_digest digest = {0};
    char hex[PARE_SHA256_HEX];
    size_t n = TOKENS / c->group, n_bytes = n * HEADS * pare_kv_unit_bytes(c, DIM);
    uint8_t *bytes = check_malloc(n_bytes);
    fixed_input(x);
    CHECK_OK(pare_kv_encode(c, x, n, HEADS, DIM, bytes, &err), &err);
    CHECK_OK(pare_hash_bytes(bytes, n_bytes, PARE_HASH_SHA256, &digest, &err), &err);
    pare_hex(hex, digest.sha256, sizeof digest.sha256);
    snprintf(line, 128, "%s\t%u\t%s\n", c->name, c->sides, hex);
    free(bytes);
}

/* Those of llama.cpp's codecs are the stock library's: scripts/kv_stock.c. */
static void bytes_do_not_change_on_any_path(void **state)
{
    (void)state;
    size_t n = 0;
    char *table = (char *)check_read_file(source_path("tests/quant/kv_digests.tsv"), &n), line[128];
    int n_changed = 0;
    pare_path before = pare_path_current();
    table = realloc(table, n + 1);
    CHECK(table != NULL);
    table[n] = '\0';
    for (int p = 0; p < PARE_PATH_COUNT; p++) {
        if (!pare_path_available((pare_path)p))
            continue;
        pare_path_use((pare_path)p);
        for (size_t i = 0; pare_kv_codec_at(i) != NULL; i++) {
            digest_line(ready(i, DIM), line);
            if (strstr(table, line) == NULL) {
                print_error("%s: not in the table: %s", pare_path_name((pare_path)p), line);
                n_changed++;
            }
        }
    }
    pare_path_use(before);
    free(table);
    assert_int_equal(n_changed, 0);
}

/* The blocks are those of the type registry, which reads and writes them in files. */
static void blocks_are_the_plain_rules_of_the_types(void **state)
{
    (void)state;
    static const char *const names[] = {"f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "mxfp4", "nvfp4"};
    static float x[VALUES], back[VALUES], want[VALUES];
    fixed_input(x);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const pare_kv_codec *c = find(names[i], PARE_KV_KEYS);
        size_t n_bytes = TOKENS * HEADS * pare_kv_unit_bytes(c, DIM);
        uint8_t *a = check_malloc(n_bytes), *b = check_malloc(n_bytes);
        CHECK_OK(pare_kv_encode(c, x, TOKENS, HEADS, DIM, a, &err), &err);
        CHECK_OK(pare_encode_rows(c->type, x, TOKENS * HEADS, DIM, NULL, PARE_EFFORT_RTN, b, &err), &err);
        CHECK(memcmp(a, b, n_bytes) == 0);
        pare_kv_decode(c, a, TOKENS, HEADS, DIM, back);
        CHECK_OK(pare_decode_rows(c->type, b, TOKENS * HEADS, DIM, want, &err), &err);
        CHECK(memcmp(back, want, sizeof back) == 0);
        free(a);
        free(b);
    }
}

/* Units stand where the header says, and depend on nothing but their own values. */
static void rows_are_units_side_by_side(void **state)
{
    (void)state;
    static float x[VALUES], all[VALUES], one[32 * DIM], own[32 * DIM];
    fixed_input(x);
    for (size_t i = 0; pare_kv_codec_at(i) != NULL; i++) {
        const pare_kv_codec *c = ready(i, DIM);
        size_t unit = pare_kv_unit_bytes(c, DIM), n = TOKENS / c->group, row = 1, head = 2;
        uint8_t *bytes = check_malloc(n * HEADS * unit + 1), *alone = check_malloc(unit);
        CHECK_OK(pare_kv_encode(c, x, n, HEADS, DIM, bytes + 1, &err), &err); /* any alignment */
        for (size_t t = 0; t < c->group; t++)
            memcpy(one + t * DIM, x + ((row * c->group + t) * HEADS + head) * DIM, DIM * sizeof *one);
        pare_kv_codec of_head = *c;
        of_head.basis = c->basis != NULL ? c->basis + head * pare_kv_basis_floats(DIM) : NULL;
        CHECK_OK(pare_kv_encode(&of_head, one, 1, 1, DIM, alone, &err), &err);
        CHECK(memcmp(bytes + 1 + (row * HEADS + head) * unit, alone, unit) == 0);
        pare_kv_decode(c, bytes + 1, n, HEADS, DIM, all);
        pare_kv_decode(&of_head, alone, 1, 1, DIM, own);
        for (size_t t = 0; t < c->group; t++)
            CHECK(memcmp(own + t * DIM, all + ((row * c->group + t) * HEADS + head) * DIM, DIM * sizeof *own) == 0);
        free(bytes);
        free(alone);
    }
}

/* Rows that go through several at a time are those of quant/kv_unit.h, which devices run: sizes of heads and numbers of
 * tokens that leave lanes and units over, on every path. */
static void rows_are_units(void **state)
{
    (void)state;
    enum { N = 37, ROW_HEADS = 3, MOST = 208 };
    static const uint32_t dims[] = {8, 16, 40, 64, 96, MOST};
    static float x[N * ROW_HEADS * MOST], back[MOST], rows[N * ROW_HEADS * MOST];
    const pare_path before = pare_path_current();
    fill_normal(x, sizeof x / sizeof *x, 11);
    for (int p = 0; p < PARE_PATH_COUNT; p++) {
        if (!pare_path_available((pare_path)p))
            continue;
        pare_path_use((pare_path)p);
        for (size_t k = 0; k < sizeof dims / sizeof *dims; k++)
            for (size_t i = 0; pare_kv_codec_at(i) != NULL; i++) {
                const pare_kv_codec *c = ready(i, dims[k]);
                const size_t unit = pare_kv_unit_bytes(c, dims[k]), n = N / c->group;
                if (unit == 0)
                    continue;
                uint8_t *bytes = check_malloc(n * ROW_HEADS * unit), *own = check_malloc(unit);
                CHECK(pare_kv_encode_until(c, x, n, ROW_HEADS, dims[k], bytes) == SIZE_MAX);
                pare_kv_decode(c, bytes, n, ROW_HEADS, dims[k], rows);
                for (size_t h = 0; h < n * ROW_HEADS && c->group == 1; h++) {
                    pare_kv_unit u = pare_kv_unit_of(c, dims[k]);
                    u.basis += c->basis != NULL ? h % ROW_HEADS * pare_kv_basis_floats(dims[k]) : 0;
                    CHECK(pare_kv_unit_encode(&u, x + h * dims[k], 0, own));
                    CHECK(memcmp(own, bytes + h * unit, unit) == 0);
                    pare_kv_unit_decode(&u, own, back, 0);
                    CHECK(memcmp(back, rows + h * dims[k], dims[k] * sizeof *back) == 0);
                }
                free(bytes);
                free(own);
            }
    }
    pare_path_use(before);
}

/* Of several that cannot be coded the first is told, row by row and not head by head. */
static void first_bad_unit_is_told(void **state)
{
    (void)state;
    enum { N = 8, ROW_HEADS = 3, D = 64 };
    static float x[N * ROW_HEADS * D];
    for (size_t i = 0; pare_kv_codec_at(i) != NULL; i++) {
        const pare_kv_codec *c = ready(i, D);
        uint8_t *bytes = check_malloc(N * ROW_HEADS * pare_kv_unit_bytes(c, D));
        fill_normal(x, N * ROW_HEADS * D, 12);
        x[(5 * ROW_HEADS + 2) * D + 7] = x[(6 * ROW_HEADS + 0) * D + 7] = x[(7 * ROW_HEADS + 2) * D] = NAN;
        if (c->group == 1)
            CHECK(pare_kv_encode_until(c, x, N, ROW_HEADS, D, bytes) == 5 * ROW_HEADS + 2);
        free(bytes);
    }
}

/* ---- errors ---- */

/* Sum of squared errors of n vectors of dim elements over that of squares. */
static double distortion(const pare_kv_codec *c, const float *x, size_t n, uint32_t dim)
{
    double error = 0, square = 0;
    uint8_t *bytes = check_malloc(n / c->group * pare_kv_unit_bytes(c, dim));
    float *y = check_malloc(n * dim * sizeof *y);
    CHECK_OK(pare_kv_encode(c, x, n / c->group, 1, dim, bytes, &err), &err);
    pare_kv_decode(c, bytes, n / c->group, 1, dim, y);
    for (size_t i = 0; i < n * dim; i++) {
        error += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
        square += (double)x[i] * (double)x[i];
    }
    free(bytes);
    free(y);
    return error / square;
}

/* Of normal vectors: published by Max (1960) and TurboQuant, theorem 1, which also has the bounds. */
static void gaussian_distortions_are_the_published_ones(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        double bits, want;
    } rows[] = {{"turbo1", 1, 0.363},
                {"turbo2", 2, 0.1175},
                {"turbo2.5", 2.5, (0.1175 + 0.0345) / 2},
                {"turbo3", 3, 0.0345},
                {"turbo3.5", 3.5, (0.0345 + 0.0095) / 2},
                {"turbo4", 4, 0.0095}};
    enum { N = 24576 };
    float *x = check_malloc((size_t)N * 128 * sizeof *x);
    fill_normal(x, (size_t)N * 128, 1);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        double d = distortion(find(rows[i].name, PARE_KV_KEYS), x, N, 128), lower = pow(4, -rows[i].bits);
        double upper = sqrt(3) * acos(-1.0) / 2 * (pow(4, -floor(rows[i].bits)) + pow(4, -ceil(rows[i].bits))) / 2;
        print_message("%s: %.5f of the squared norm, published %.5f, bounds %.5f to %.5f\n", rows[i].name, d,
                      rows[i].want, lower, upper);
        CHECK(fabs(d - rows[i].want) < 0.02 * rows[i].want);
        CHECK(d > lower && d < upper);
    }
    free(x);
}

/* What the other codecs lose of normal vectors: that a level, a bit or a range is wrong shows here. */
static void errors_of_normal_vectors(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        pare_kv_side side;
        double least, most;
    } rows[] = {
        {"q8_0", PARE_KV_KEYS, 2.6e-5, 3.6e-5},     {"q5_1", PARE_KV_KEYS, 1.2e-3, 1.6e-3},
        {"q5_0", PARE_KV_KEYS, 1.4e-3, 2.0e-3},     {"q4_1", PARE_KV_KEYS, 5e-3, 7e-3},
        {"q4_0", PARE_KV_KEYS, 6e-3, 8.5e-3},       {"iq4_nl", PARE_KV_KEYS, 5e-3, 7e-3},
        {"nvfp4", PARE_KV_KEYS, 7e-3, 1.2e-2},      {"mxfp4", PARE_KV_KEYS, 9e-3, 1.6e-2},
        {"midrise8", PARE_KV_KEYS, 2.6e-5, 3.6e-5}, {"midrise4", PARE_KV_KEYS, 5e-3, 8e-3},
        {"midrise2", PARE_KV_KEYS, 0.08, 0.14},     {"kivi4", PARE_KV_KEYS, 4.5e-3, 7e-3},
        {"kivi4", PARE_KV_VALUES, 4.5e-3, 7e-3},    {"kivi2", PARE_KV_KEYS, 0.1, 0.18},
        {"kivi2", PARE_KV_VALUES, 0.1, 0.18},       {"channel3", PARE_KV_KEYS, 0.02, 0.035},
        {"f16", PARE_KV_KEYS, 1e-9, 1e-7},
    };
    enum { N = 512 };
    static float x[N * 128];
    fill_normal(x, N * 128, 2);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        double d = distortion(find(rows[i].name, rows[i].side), x, N, 128);
        if (d < rows[i].least || d > rows[i].most)
            fail_msg("%s: %g", rows[i].name, d);
    }
}

/* For all of normal, x^2-weighted errors: the refit lowers what it says, and no code changes. */
static void refit_lowers_the_weighted_error(void **state)
{
    (void)state;
    static const char *const names[] = {"q4_0", "q4_1", "q5_0", "q5_1"};
    static float x[4096], y[4096], z[4096];
    fill_normal(x, 4096, 3);
    for (size_t k = 0; k < 4; k++) {
        char refit[16];
        uint8_t a[32 * 96], b[32 * 96];
        double plain = 0, fitted = 0;
        snprintf(refit, sizeof refit, "%sr", names[k]);
        const pare_kv_codec *c = find(names[k], PARE_KV_KEYS), *r = find(refit, PARE_KV_KEYS);
        size_t unit = pare_kv_unit_bytes(c, 32), n_scale = k % 2 == 0 ? 2 : 4;
        CHECK_OK(pare_kv_encode(c, x, 128, 1, 32, a, &err), &err);
        CHECK_OK(pare_kv_encode(r, x, 128, 1, 32, b, &err), &err);
        pare_kv_decode(c, a, 128, 1, 32, y);
        pare_kv_decode(r, b, 128, 1, 32, z);
        for (size_t i = 0; i < 128; i++) {
            double before = 0, after = 0;
            CHECK(memcmp(a + i * unit + n_scale, b + i * unit + n_scale, unit - n_scale) == 0);
            for (size_t j = 32 * i; j < 32 * i + 32; j++) {
                before += pow((double)x[j] * ((double)x[j] - (double)y[j]), 2);
                after += pow((double)x[j] * ((double)x[j] - (double)z[j]), 2);
            }
            if (after > before * 1.01) /* but for the rounding of the scale */
                fail_msg("%s, block %zu: %g became %g", names[k], i, before, after);
            plain += before;
            fitted += after;
        }
        CHECK(fitted < 0.97 * plain);
    }
}

/* Codes of codecs by channel and range are the nearest, and values on a grid come back as they were. */
static void ranges_and_channels_are_exact_on_their_grid(void **state)
{
    (void)state;
    static const char *const names[] = {"kivi2", "kivi4", "channel3"};
    static float x[32 * 64], y[32 * 64], turned[32 * 64];
    uint8_t bytes[64 * 24];
    for (size_t k = 0; k < 3; k++) {
        const pare_kv_codec *c = find(names[k], PARE_KV_KEYS);
        uint64_t top = (1u << c->half_bits / 2) - 1;
        for (size_t i = 0; i < 64; i++)
            for (size_t t = 0; t < 32; t++) {
                uint64_t code = t == 0 ? 0 : t == 31 ? top : pare_random_bits(9, 64 * i + t) % (top + 1);
                x[t * 64 + i] = (float)code * (0.5f + (float)i) - 40 + (float)i;
            }
        CHECK_OK(pare_kv_encode(c, x, 1, 1, 64, bytes, &err), &err);
        pare_kv_decode(c, bytes, 1, 1, 64, y);
        CHECK(memcmp(x, y, sizeof x) == 0);
        if (k == 2)
            continue;
        for (size_t i = 0; i < 64; i++) /* values: 64 tokens of a range each */
            for (size_t t = 0; t < 32; t++)
                turned[i * 32 + t] = x[t * 64 + i];
        const pare_kv_codec *v = find(names[k], PARE_KV_VALUES);
        CHECK_OK(pare_kv_encode(v, turned, 64, 1, 32, bytes, &err), &err);
        pare_kv_decode(v, bytes, 64, 1, 32, y);
        CHECK(memcmp(turned, y, sizeof y) == 0);
    }
}

/* Values far from 0 that lie close together: min and step are rounded so far that codes would leave their bits. */
static void ranges_far_from_zero_stay_in_their_bits(void **state)
{
    (void)state;
    static const char *const names[] = {"kivi2", "kivi4"};
    float x[32], y[32];
    uint8_t bytes[32];
    for (size_t k = 0; k < 2; k++)
        for (int at = 0; at < 64; at++) {
            const float low = 1000 + (float)at / 64; /* steps of F16 there: 0.5 */
            for (int i = 0; i < 32; i++)
                x[i] = low + (float)(i * 7 % 32) / 31;
            CHECK_OK(pare_kv_encode(find(names[k], PARE_KV_VALUES), x, 1, 1, 32, bytes, &err), &err);
            pare_kv_decode(find(names[k], PARE_KV_VALUES), bytes, 1, 1, 32, y);
            const float step = k == 0 ? 1.0f / 3 : 1.0f / 15;
            for (int i = 0; i < 32; i++)
                CHECK(fabsf(y[i] - x[i]) <= 0.2501f + step / 2);
        }
}

/* One weight that outweighs all others says nothing of two unknowns: the fit may not make more of it than there was. */
static void refit_leaves_what_one_value_decides(void **state)
{
    (void)state;
    static const char *const names[][2] = {{"q4_1", "q4_1r"}, {"q5_1", "q5_1r"}};
    float x[32], y[32], z[32];
    uint8_t bytes[64];
    for (size_t k = 0; k < 2; k++)
        for (int round = 0; round < 256; round++) {
            double before = 0, after = 0;
            fill_normal(x, 32, 100 + (uint64_t)round);
            for (int i = 0; i < 32; i++)
                x[i] *= i == round % 32 ? 300 : 0.01f;
            CHECK_OK(pare_kv_encode(find(names[k][0], PARE_KV_KEYS), x, 1, 1, 32, bytes, &err), &err);
            pare_kv_decode(find(names[k][0], PARE_KV_KEYS), bytes, 1, 1, 32, y);
            CHECK_OK(pare_kv_encode(find(names[k][1], PARE_KV_KEYS), x, 1, 1, 32, bytes, &err), &err);
            pare_kv_decode(find(names[k][1], PARE_KV_KEYS), bytes, 1, 1, 32, z);
            for (int i = 0; i < 32; i++) {
                before += pow((double)x[i] * ((double)x[i] - (double)y[i]), 2);
                after += pow((double)x[i] * ((double)x[i] - (double)z[i]), 2);
            }
            /* but for the rounding of d and min to F16, which is that of their sum */
            CHECK(sqrt(after) <= 1.01 * sqrt(before) + 90000 * 0x1p-10);
        }
}

/* The largest value that the scales of nvfp4 and mxfp4 reach, and the next that they do not. */
static void the_largest_fits_and_no_more(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        float most, more;
    } rows[] = {{"nvfp4", 5376, 5377}, {"mxfp4", 2.5e38f, 2.6e38f}, {"q4_0", 8 * 65504.0f, 8 * 65520.0f}};
    float x[64];
    uint8_t bytes[64];
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        fill_normal(x, 64, 10);
        x[40] = rows[k].most;
        CHECK_OK(pare_kv_encode(find(rows[k].name, PARE_KV_KEYS), x, 1, 1, 64, bytes, &err), &err);
        x[40] = rows[k].more;
        CHECK(pare_kv_encode(find(rows[k].name, PARE_KV_KEYS), x, 1, 1, 64, bytes, &err) == PARE_ERR_NUMBER);
        CHECK(strstr(err.text, "element 40") != NULL && strstr(err.text, "too large") != NULL);
    }
}

static void midrise_levels_are_in_the_middle_of_equal_steps(void **state)
{
    (void)state;
    for (int bits = 2; bits <= 8; bits++) {
        char name[16];
        float x[32], y[32];
        uint8_t bytes[34];
        snprintf(name, sizeof name, "midrise%d", bits);
        for (int i = 0; i < 32; i++)
            x[i] = (float)(i - 16) / 16; /* -1 to 15/16 */
        CHECK_OK(pare_kv_encode(find(name, PARE_KV_VALUES), x, 1, 1, 32, bytes, &err), &err);
        pare_kv_decode(find(name, PARE_KV_VALUES), bytes, 1, 1, 32, y);
        float step = 2 / (float)(1 << bits);
        for (int i = 0; i < 32; i++) {
            float cell = floorf((x[i] + 1) / step);
            CHECK(y[i] == (cell + 0.5f) * step - 1);
        }
    }
}

/* ---- products ---- */

/* q.k by the decoded k, over many pairs: the product codec's slope on the true products is 1, the other's 1 less its
 * distortion, and its error the published one (TurboQuant, theorem 2: pi / 2 / dim times the distortion of one bit
 * less). */
static void products_are_estimated_without_bias(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        double error; /* dim times the squared error over |q|^2 |k|^2 */
    } rows[] = {{"turbo2p", 0.56}, {"turbo3p", 0.18}, {"turbo4p", 0.054}};
    enum { N = 2048, D = 128 };
    float *k = check_malloc((size_t)N * D * sizeof *k), *q = check_malloc((size_t)N * D * sizeof *q);
    float *y = check_malloc((size_t)N * D * sizeof *y);
    fill_normal(k, (size_t)N * D, 4);
    fill_normal(q, (size_t)N * D, 5);
    for (size_t i = 0; i < (size_t)N * D; i++)
        q[i] = 0.7f * k[i] + 0.7f * q[i]; /* products that are not about 0 */
    for (size_t r = 0; r < 3; r++) {
        const pare_kv_codec *c = find(rows[r].name, PARE_KV_KEYS);
        uint8_t *bytes = check_malloc(N * pare_kv_unit_bytes(c, D));
        double slope = 0, squares = 0, error = 0;
        CHECK_OK(pare_kv_encode(c, k, N, 1, D, bytes, &err), &err);
        pare_kv_decode(c, bytes, N, 1, D, y);
        for (size_t i = 0; i < N; i++) {
            double want = 0, got = 0, qq = 0, kk = 0;
            for (size_t j = i * D; j < (i + 1) * D; j++) {
                want += (double)q[j] * (double)k[j];
                got += (double)q[j] * (double)y[j];
                qq += (double)q[j] * (double)q[j];
                kk += (double)k[j] * (double)k[j];
            }
            slope += got * want;
            squares += want * want;
            error += (got - want) * (got - want) / (qq * kk) * D / N;
        }
        slope /= squares;
        /* errors of 2048 pairs of standard deviation sqrt(error / D) |q| |k|, products of about 0.7 |q| |k| */
        double noise = sqrt(rows[r].error / D / N) / 0.7;
        print_message("%s: slope %.5f (noise %.5f), error %.4f / dim\n", rows[r].name, slope, noise, error);
        CHECK(fabs(slope - 1) < 4 * noise);
        CHECK(error < 1.05 * rows[r].error && error > 0.8 * rows[r].error);
        free(bytes);
    }
    double lost = distortion(find("turbo2", PARE_KV_KEYS), k, N, D);
    CHECK(lost > 20 * sqrt(0.18 / D / N)); /* so the bias of the other variant would be seen */
    free(k);
    free(q);
    free(y);
}

/* ---- hostile numbers ---- */

static void what_cannot_be_kept_is_an_error(void **state)
{
    (void)state;
    static float x[64 * 2 * 64];
    static const struct {
        float value;
        const char *text;
    } bad[] = {
        {NAN, "NaN"}, {INFINITY, "infinity"}, {-INFINITY, "infinity"}, {FLT_MAX, "too large"}, {-3e38f, "too large"}};
    for (size_t i = 0; pare_kv_codec_at(i) != NULL; i++) {
        const pare_kv_codec *c = ready(i, 64);
        bool wide = strcmp(c->name, "f32") == 0 || strcmp(c->name, "bf16") == 0;
        size_t n = 64 / c->group;
        uint8_t *bytes = check_malloc(n * 2 * pare_kv_unit_bytes(c, 64));
        for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
            fill_normal(x, 64 * 2 * 64, 6);
            x[(35 * 2 + 1) * 64 + 9] = bad[k].value;
            if (wide && k >= 3 && (k == 4 || c->type == PARE_TYPE_F32)) {
                CHECK_OK(pare_kv_encode(c, x, n, 2, 64, bytes, &err), &err);
                continue;
            }
            err = (pare_error){0};
            assert_int_equal(pare_kv_encode(c, x, n, 2, 64, bytes, &err), PARE_ERR_NUMBER);
            CHECK(strstr(err.text, "token 35, head 1, element 9") != NULL && strstr(err.text, c->name) != NULL);
            CHECK(strstr(err.text, bad[k].text) != NULL);
        }
        free(bytes);
    }
}

/* Zeros, numbers that squares lose, the largest that fit: all come back finite, zeros as zeros. */
static void odd_numbers_come_back_finite(void **state)
{
    (void)state;
    static const float sizes[] = {0, -0.0f, 1e-45f, 1e-30f, 1e-20f, 6e-8f, 5000.0f};
    static float x[64 * 64], y[64 * 64];
    for (size_t i = 0; pare_kv_codec_at(i) != NULL; i++) {
        const pare_kv_codec *c = ready(i, 64);
        uint8_t *bytes = check_malloc(64 / c->group * pare_kv_unit_bytes(c, 64));
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
            for (size_t j = 0; j < 64 * 64; j++)
                x[j] = j % 3 == 0 ? sizes[k] : j % 3 == 1 ? -sizes[k] : sizes[k] * 0.5f;
            CHECK_OK(pare_kv_encode(c, x, 64 / c->group, 1, 64, bytes, &err), &err);
            pare_kv_decode(c, bytes, 64 / c->group, 1, 64, y);
            for (size_t j = 0; j < 64 * 64; j++)
                CHECK(isfinite(y[j]) && fabsf(y[j]) <= 3 * fabsf(sizes[k]) + 2e-7f);
        }
        /* any bytes can be decoded */
        for (size_t j = 0; j < 64 / c->group * pare_kv_unit_bytes(c, 64); j++)
            bytes[j] = (uint8_t)pare_random_bits(8, j);
        pare_kv_decode(c, bytes, 64 / c->group, 1, 64, y);
        free(bytes);
    }
}

/* Head sizes of models, and lengths that are odd in 16s: no word outside is touched (sanitizers), and errors stay. */
static void any_head_size(void **state)
{
    (void)state;
    static const uint32_t dims[] = {1, 8, 24, 64, 80, 96, 112, 192, 256, 576, 1024};
    static float x[32 * 1024];
    fill_normal(x, 32 * 1024, 7);
    for (size_t i = 0; pare_kv_codec_at(i) != NULL; i++)
        for (size_t k = 0; k < sizeof dims / sizeof *dims; k++) {
            const pare_kv_codec *c = ready(i, dims[k]);
            if (pare_kv_unit_bytes(c, dims[k]) != 0)
                CHECK(distortion(c, x, 32, dims[k]) < (c->family == PARE_KV_PRODUCT     ? 1.2
                                                       : c->family == PARE_KV_TRANSFORM ? 0.8
                                                                                        : 0.45));
        }
}

static void print_digests(void)
{
    char line[128];
    for (size_t i = 0; pare_kv_codec_at(i) != NULL; i++) {
        digest_line(ready(i, DIM), line);
        fputs(line, stdout);
    }
}

int main(int argc, char **argv)
{
    static float x[VALUES];
    if (argc > 1 && strcmp(argv[1], "digests") == 0) {
        print_digests();
        return 0;
    }
    if (argc > 1 && strcmp(argv[1], "input") == 0) {
        fixed_input(x);
        return fwrite(x, sizeof *x, VALUES, stdout) == VALUES ? 0 : 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_sizes_and_sides),
        cmocka_unit_test(rows_are_units),
        cmocka_unit_test(first_bad_unit_is_told),
        cmocka_unit_test(bytes_do_not_change_on_any_path),
        cmocka_unit_test(blocks_are_the_plain_rules_of_the_types),
        cmocka_unit_test(rows_are_units_side_by_side),
        cmocka_unit_test(gaussian_distortions_are_the_published_ones),
        cmocka_unit_test(errors_of_normal_vectors),
        cmocka_unit_test(refit_lowers_the_weighted_error),
        cmocka_unit_test(ranges_and_channels_are_exact_on_their_grid),
        cmocka_unit_test(ranges_far_from_zero_stay_in_their_bits),
        cmocka_unit_test(refit_leaves_what_one_value_decides),
        cmocka_unit_test(the_largest_fits_and_no_more),
        cmocka_unit_test(midrise_levels_are_in_the_middle_of_equal_steps),
        cmocka_unit_test(products_are_estimated_without_bias),
        cmocka_unit_test(what_cannot_be_kept_is_an_error),
        cmocka_unit_test(odd_numbers_come_back_finite),
        cmocka_unit_test(any_head_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
