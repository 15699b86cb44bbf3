/* Error feedback against the form computed in double from the decoded bytes, for every type that takes it. */
#include "check.h"

#include "core/bytes.h"
#include "quant/codes.h"
#include "quant/feedback.h"
#include "quant/path.h"
#include "quant/rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 256, ROWS = PARE_FEEDBACK_ROWS, MAX_ROW_BYTES = 4 * N };

static pare_form form, by_units;
static float x[ROWS * N];

static const pare_form *form_for(pare_type type)
{
    return pare_feedback_unit(type) == 1 ? &form : &by_units;
}

/* Sums over inputs of which neighbours go together; alone: each column on its own, so that the matrix is diagonal. */
static void open_form(bool alone)
{
    static double h[N * N];
    static uint8_t lower[N * (N + 1) / 2 * 4];
    pare_error err = {0};
    uint32_t seed = 5;
    memset(h, 0, sizeof h);
    for (int t = 0; t < 320; t++) {
        double in[N], last = 0;
        for (size_t i = 0; i < N; i++) {
            last = 0.85 * last + (double)unit_random(&seed) - 0.5;
            in[i] = last * (1 + (double)(i * 37 % 23) / 4);
        }
        for (size_t i = 0; i < N; i++)
            for (size_t j = 0; j <= i; j++)
                h[i * N + j] += alone && i != j ? 0 : in[i] * in[j];
    }
    uint8_t *at = lower;
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j <= i; j++, at += 4)
            pare_store_f32le(at, (float)h[i * N + j]);
    const pare_gram g = {.name = "x", .n_columns = N, .count = 320, .lower = lower};
    CHECK_OK(pare_form_open(&form, &g, "test", 1, 0.03, &err), &err);
    CHECK_OK(pare_form_open(&by_units, &g, "test", PARE_FORM_UNIT, 0.03, &err), &err);
}

static int open_all(void **state)
{
    (void)state;
    open_form(false);
    fill_row(x, ROWS * N, 21);
    memset(x + 5 * N, 0, N * sizeof *x); /* a row of zeros: its scale is zero */
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    pare_form_close(&form);
    pare_form_close(&by_units);
    return 0;
}

static uint8_t *encode(pare_type type, size_t *n_bytes)
{
    return encode_rows(type, x, ROWS, N, NULL, PARE_EFFORT_RTN, n_bytes);
}

typedef struct outcome {
    double before, after;
} outcome;

static outcome feed_back(const pare_form *f, pare_type type, const float *rows, size_t n_rows, const float *column,
                         int n_sweeps, uint8_t *bytes)
{
    outcome o = {0};
    void *scratch = check_malloc(pare_feedback_scratch(type, N)); /* exact, so that a sanitizer sees what lies behind */
    pare_feedback_rows(f, type, rows, n_rows, column, n_sweeps, bytes, scratch, &o.before, &o.after);
    free(scratch);
    return o;
}

/* What row r, encoded at bytes, lacks, by positions, and its form; slope [N]: H times that. */
static double form_of_row(const pare_form *f, pare_type type, const float *row, const uint8_t *bytes, double *e,
                          double *slope)
{
    static float y[N];
    double sum = 0;
    pare_type_get(type)->decode(bytes, y, N / pare_type_get(type)->block_len);
    for (size_t k = 0; k < N; k++)
        e[k] = (double)row[f->order[k]] - (double)y[f->order[k]];
    for (size_t k = 0; k < N; k++) {
        slope[k] = 0;
        for (size_t j = 0; j < N; j++)
            slope[k] += (double)f->h[k * N + j] * e[j];
        sum += e[k] * slope[k];
    }
    return sum;
}

static double form_of_rows(const pare_form *f, pare_type type, const uint8_t *bytes, size_t row_bytes)
{
    double e[N], slope[N], sum = 0;
    for (size_t r = 0; r < ROWS; r++)
        sum += form_of_row(f, type, x + r * N, bytes + r * row_bytes, e, slope);
    return sum;
}

static void near(pare_type type, double got, double want)
{
    if (!(fabs(got - want) <= 2e-4 * fabs(want)))
        fail_msg("%s: %.9g, not %.9g", pare_type_get(type)->name, got, want);
}

static void the_form_falls_and_is_what_the_bytes_say(void **state)
{
    (void)state;
    for (int t = 0; t < PARE_TYPE_COUNT; t++) {
        size_t n_bytes = 0;
        double last = HUGE_VAL;
        pare_type type = (pare_type)t;
        if (pare_feedback_unit(type) == 0)
            continue;
        uint8_t *was = encode(type, &n_bytes), *bytes = check_malloc(n_bytes);
        for (int n_sweeps = 0; n_sweeps <= 4; n_sweeps += 2) {
            memcpy(bytes, was, n_bytes);
            outcome o = feed_back(form_for(type), type, x, ROWS, NULL, n_sweeps, bytes);
            near(type, o.before, form_of_rows(form_for(type), type, was, n_bytes / ROWS));
            near(type, o.after, form_of_rows(form_for(type), type, bytes, n_bytes / ROWS));
            CHECK(o.after < 0.8 * o.before && o.after <= last);
            last = o.after;
        }
        free(was);
        free(bytes);
    }
}

/* What each code of each weight of a row stands for: [code][N]. */
static void decode_codes(pare_type type, const uint8_t *bytes, float values[][N])
{
    const pare_type_info *info = pare_type_get(type);
    const pare_codes *c = pare_type_codes(type);
    uint8_t block[MAX_ROW_BYTES], codes[N];
    for (unsigned code = 0; code < c->n; code++) {
        memset(codes, (int)code, sizeof codes);
        for (size_t b = 0; b < N / info->block_len; b++) {
            memcpy(block, bytes + b * info->block_bytes, info->block_bytes);
            c->put(block, codes);
            info->decode(block, values[code] + b * info->block_len, 1);
        }
    }
}

/* Whether another code of one weight would make the form of the row smaller. */
static bool can_be_better(pare_type type, const float *row, const uint8_t *bytes, unsigned n_codes)
{
    static float values[256][N];
    double e[N], slope[N], whole = form_of_row(&form, type, row, bytes, e, slope);
    decode_codes(type, bytes, values);
    for (size_t k = 0; k < N; k++)
        for (unsigned code = 0; code < n_codes; code++) {
            double d = (double)row[form.order[k]] - (double)values[code][form.order[k]] - e[k];
            if (2 * d * slope[k] + d * d * (double)form.h[k * N + k] < -1e-5 * whole)
                return true;
        }
    return false;
}

static void no_other_code_is_better_in_the_end(void **state)
{
    (void)state;
    for (int t = 0; t < PARE_TYPE_COUNT; t++) {
        size_t n_bytes = 0, n_better = 0;
        const pare_codes *c = pare_type_codes((pare_type)t);
        if (c == NULL)
            continue;
        uint8_t *bytes = encode((pare_type)t, &n_bytes), *was = check_malloc(n_bytes);
        memcpy(was, bytes, n_bytes);
        feed_back(&form, (pare_type)t, x, ROWS, NULL, 200, bytes);
        for (size_t r = 0; r < ROWS; r++) {
            const uint8_t *row = bytes + r * (n_bytes / ROWS), *old = was + r * (n_bytes / ROWS);
            if (memcmp(row, old, n_bytes / ROWS) == 0)
                continue;
            n_better++;
            CHECK(can_be_better((pare_type)t, x + r * N, old, c->n));
            if (can_be_better((pare_type)t, x + r * N, row, c->n))
                fail_msg("%s: row %zu", pare_type_get((pare_type)t)->name, r);
        }
        CHECK(n_better == ROWS - 1); /* all but that of zeros */
        free(bytes);
        free(was);
    }
}

/* The value of a code that is nearest to v, for column c. */
static double nearest_value(float values[][N], unsigned n_codes, size_t c, double v)
{
    double best = (double)values[0][c];
    for (unsigned code = 1; code < n_codes; code++)
        best = fabs((double)values[code][c] - v) < fabs(best - v) ? (double)values[code][c] : best;
    return best;
}

/* docs/methods/FEEDBACK.md in double, one column after the other: y [N], by columns. */
static void expect_row(float values[][N], unsigned n_codes, const float *row, int n_sweeps, double *y)
{
    double e[N];
    bool moved = true;
    for (size_t k = N; k-- > 0;) {
        size_t c = form.order[k];
        double target = (double)row[c];
        for (size_t j = k + 1; j < N; j++)
            target += e[j] * (double)form.lower[j * N + k];
        y[c] = nearest_value(values, n_codes, c, target);
        e[k] = (double)row[c] - y[c];
    }
    for (int i = 0; i < n_sweeps && moved; i++) {
        moved = false;
        for (size_t k = N; k-- > 0;) {
            size_t c = form.order[k];
            double slope = 0, was = y[c];
            for (size_t j = 0; j < N; j++)
                slope += (double)form.h[k * N + j] * e[j];
            y[c] = nearest_value(values, n_codes, c, was + slope / (double)form.h[k * N + k]);
            e[k] = (double)row[c] - y[c];
            moved = moved || y[c] != was;
        }
    }
}

/* Step by step the same codes, but where a float decides between two that are as near. One row at a time: it ends when
 * nothing of it moves. */
static void codes_are_those_of_the_method(void **state)
{
    (void)state;
    enum { TRIES = 100 };
    static const pare_type types[] = {PARE_TYPE_Q4_0, PARE_TYPE_Q2_K, PARE_TYPE_MXFP4};
    static const int sweeps[] = {0, 1, 2, 60};
    static float values[256][N], row[N], y[N];
    for (size_t t = 0; t < 3; t++) {
        size_t n_bytes = 0, n_same = 0;
        for (uint32_t i = 0; i < TRIES; i++) {
            double want[N];
            size_t c = 0;
            fill_row(row, N, 1000 + i);
            uint8_t *bytes = encode_rows(types[t], row, 1, N, NULL, PARE_EFFORT_RTN, &n_bytes);
            int n_sweeps = sweeps[i % 10 < 3 ? i % 10 : 3];
            feed_back(&form, types[t], row, 1, NULL, n_sweeps, bytes);
            decode_codes(types[t], bytes, values);
            expect_row(values, pare_type_codes(types[t])->n, row, n_sweeps, want);
            pare_type_get(types[t])->decode(bytes, y, N / pare_type_get(types[t])->block_len);
            while (c < N && fabs(want[c] - (double)y[c]) <= 1e-6 * fabs(want[c]))
                c++;
            n_same += c == N;
            free(bytes);
        }
        if (n_same < TRIES - 1)
            fail_msg("%s: %zu rows of %d", pare_type_get(types[t])->name, n_same, TRIES);
    }
}

/* Rows whose codes were looked at often are not made worse by looking once. */
static void what_is_good_is_not_made_worse(void **state)
{
    (void)state;
    for (int t = 0; t < PARE_TYPE_COUNT; t++) {
        size_t n_bytes = 0;
        pare_type type = (pare_type)t;
        if (pare_feedback_unit(type) == 0)
            continue;
        uint8_t *bytes = encode(type, &n_bytes);
        outcome first = feed_back(form_for(type), type, x, ROWS, NULL, 60, bytes);
        outcome again = feed_back(form_for(type), type, x, ROWS, NULL, 0, bytes);
        near(type, again.before, first.after);
        near(type, again.after, form_of_rows(form_for(type), type, bytes, n_bytes / ROWS));
        CHECK(again.after <= again.before);
        free(bytes);
    }
}

/* Without products of different columns each weight gets the nearest that its scale allows, whatever codes it had. */
static void a_diagonal_form_rounds_to_the_nearest(void **state)
{
    (void)state;
    static float values[256][N];
    pare_form_close(&form);
    pare_form_close(&by_units);
    open_form(true);
    for (int t = 0; t < PARE_TYPE_COUNT; t++) {
        size_t n_bytes = 0;
        pare_type type = (pare_type)t;
        const pare_codes *c = pare_type_codes(type);
        const pare_type_info *info = pare_type_get(type);
        if (c == NULL)
            continue;
        uint8_t *bytes = encode(type, &n_bytes), mixed[N];
        float y[N];
        uint32_t seed = 77;
        for (size_t at = 0; at < n_bytes; at += info->block_bytes) {
            for (size_t i = 0; i < info->block_len; i++)
                mixed[i] = (uint8_t)(unit_random(&seed) * (float)c->n);
            c->put(bytes + at, mixed);
        }
        outcome o = feed_back(&form, type, x, ROWS, NULL, t % 3, bytes);
        CHECK(o.after < o.before);
        for (size_t r = 0; r < ROWS; r++) {
            const uint8_t *row = bytes + r * (n_bytes / ROWS);
            decode_codes(type, row, values);
            info->decode(row, y, N / info->block_len);
            for (size_t i = 0; i < N; i++)
                for (unsigned code = 0; code < c->n; code++) {
                    double got = fabs((double)x[r * N + i] - (double)y[i]);
                    double other = fabs((double)x[r * N + i] - (double)values[code][i]);
                    if (!(got <= other + 1e-6 * fabs((double)y[i]) + 1e-30)) /* squares of less are no floats */
                        fail_msg("%s: row %zu, weight %zu: code %u is nearer", info->name, r, i, code);
                }
        }
        free(bytes);
    }
    pare_form_close(&form);
    pare_form_close(&by_units);
    open_form(false);
}

/* Weights that their codes stand for exactly, beside rows that get better: every byte stays, those of codes too that
 * have the same level as another one. */
static void what_cannot_be_better_keeps_its_bytes(void **state)
{
    (void)state;
    static float rows[ROWS * N];
    for (int t = 0; t < PARE_TYPE_COUNT; t++) {
        size_t n_bytes = 0;
        pare_type type = (pare_type)t;
        const pare_codes *c = pare_type_codes(type);
        const pare_type_info *info = pare_type_get(type);
        if (c == NULL)
            continue;
        uint8_t *bytes = encode(type, &n_bytes), *was = check_malloc(n_bytes), mixed[N];
        uint32_t seed = 41;
        memcpy(rows, x, sizeof rows);
        for (size_t r = 0; r < ROWS; r += 3)
            for (size_t b = 0; b < N / info->block_len; b++) {
                uint8_t *block = bytes + r * (n_bytes / ROWS) + b * info->block_bytes;
                for (size_t i = 0; i < info->block_len; i++)
                    mixed[i] = (uint8_t)(unit_random(&seed) * (float)c->n);
                c->put(block, mixed);
                info->decode(block, rows + r * N + b * info->block_len, 1);
            }
        memcpy(was, bytes, n_bytes);
        outcome o = feed_back(&form, type, rows, ROWS, NULL, 4, bytes);
        CHECK(o.after < o.before);
        for (size_t r = 0; r < ROWS; r++) {
            bool same = memcmp(bytes + r * (n_bytes / ROWS), was + r * (n_bytes / ROWS), n_bytes / ROWS) == 0;
            if (same != (r % 3 == 0 || r == 5))
                fail_msg("%s: row %zu", info->name, r);
        }
        free(bytes);
        free(was);
    }
}

static void rows_do_not_know_of_each_other(void **state)
{
    (void)state;
    for (int t = 0; t < PARE_TYPE_COUNT; t++) {
        size_t n_bytes = 0;
        pare_type type = (pare_type)t;
        if (pare_feedback_unit(type) == 0)
            continue;
        uint8_t *was = encode(type, &n_bytes), *single = check_malloc(n_bytes), *bytes = check_malloc(n_bytes);
        outcome one[ROWS];
        size_t row_bytes = n_bytes / ROWS;
        memcpy(single, was, n_bytes);
        for (size_t r = 0; r < ROWS; r++)
            one[r] = feed_back(form_for(type), type, x + r * N, 1, NULL, 2, single + r * row_bytes);
        for (size_t n_rows = 1; n_rows <= ROWS; n_rows += n_rows == 1 ? 4 : 11) {
            outcome sum = {0};
            memcpy(bytes, was, n_bytes);
            outcome o = feed_back(form_for(type), type, x, n_rows, NULL, 2, bytes);
            CHECK(memcmp(bytes, single, n_rows * row_bytes) == 0);
            CHECK(memcmp(bytes + n_rows * row_bytes, was + n_rows * row_bytes, (ROWS - n_rows) * row_bytes) == 0);
            for (size_t r = 0; r < n_rows; r++) {
                sum.before += one[r].before;
                sum.after += one[r].after;
            }
            CHECK(o.before == sum.before && o.after == sum.after);
        }
        free(was);
        free(single);
        free(bytes);
    }
}

static void scale_squares(pare_form_square *squares, const uint32_t *order, const float *column)
{
    for (size_t k = 0; k < N; k++)
        for (size_t j = 0; j < 8; j++) {
            float both = column[order[k]] * column[order[k / 8 * 8 + j]];
            pare_form_square *s = &squares[k / 8];
            s->m[k % 8 * 8 + j] *= both;
            s->inverse[k % 8 * 8 + j] /= both;
            if (k % 8 / 4 == j / 4)
                s->half[j / 4][k % 4 * 4 + j % 4] *= both;
        }
}

/* f with c_i c_j H_ij and its factor c_i L_ij / c_j. */
static pare_form scaled_form(const pare_form *f, const float *column)
{
    pare_form r = *f;
    r.h = check_malloc(N * N * sizeof(float));
    r.lower = check_malloc(N * N * sizeof(float));
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j < N; j++) {
            float a = column[f->order[i]], b = column[f->order[j]];
            r.h[i * N + j] = f->h[i * N + j] * a * b;
            r.lower[i * N + j] = j / f->unit < i / f->unit ? f->lower[i * N + j] * a / b : 0;
        }
    if (f->unit == 1)
        return r;
    r.first = check_malloc(N / 8 * sizeof *r.first);
    r.again = check_malloc(N / 8 * sizeof *r.again);
    memcpy(r.first, f->first, N / 8 * sizeof *r.first);
    memcpy(r.again, f->again, N / 8 * sizeof *r.again);
    scale_squares(r.first, f->order, column);
    scale_squares(r.again, f->order, column);
    return r;
}

static void free_scaled(pare_form *f)
{
    free(f->h);
    free(f->lower);
    free(f->first);
    free(f->again);
}

/* Factors of the inputs are those of the form; powers of two change no bit. */
static void factors_are_those_of_the_form(void **state)
{
    (void)state;
    float column[N];
    for (size_t i = 0; i < N; i++)
        column[i] = ldexpf(1, (int)(i * 5 % 9) - 4);
    pare_form columns = scaled_form(&form, column), units = scaled_form(&by_units, column);
    for (int t = 0; t < PARE_TYPE_COUNT; t++) {
        size_t n_bytes = 0;
        pare_type type = (pare_type)t;
        if (pare_feedback_unit(type) == 0)
            continue;
        const pare_form *f = form_for(type), *scaled = f == &form ? &columns : &units;
        uint8_t *bytes = encode(type, &n_bytes), *other = encode(type, &n_bytes), *plain = encode(type, &n_bytes);
        outcome a = feed_back(f, type, x, ROWS, column, 3, bytes);
        outcome b = feed_back(scaled, type, x, ROWS, NULL, 3, other);
        feed_back(f, type, x, ROWS, NULL, 3, plain);
        CHECK(memcmp(bytes, other, n_bytes) == 0 && memcmp(bytes, plain, n_bytes) != 0);
        CHECK(a.before == b.before && a.after == b.after);
        free(bytes);
        free(other);
        free(plain);
    }
    free_scaled(&columns);
    free_scaled(&units);
}

static void paths_do_not_matter(void **state)
{
    (void)state;
    pare_path best = pare_path_current();
    for (int t = 0; t < PARE_TYPE_COUNT; t++) {
        size_t n_bytes = 0;
        outcome first = {0};
        pare_type type = (pare_type)t;
        if (pare_feedback_unit(type) == 0)
            continue;
        uint8_t *was = encode(type, &n_bytes), *want = check_malloc(n_bytes), *bytes = check_malloc(n_bytes);
        for (int p = 0; p < PARE_PATH_COUNT; p++) {
            if (!pare_path_available((pare_path)p))
                continue;
            pare_path_use((pare_path)p);
            memcpy(bytes, was, n_bytes);
            outcome o = feed_back(form_for(type), type, x, ROWS, NULL, 2, bytes);
            if (p == PARE_PATH_PORTABLE) {
                memcpy(want, bytes, n_bytes);
                first = o;
            }
            CHECK(memcmp(bytes, want, n_bytes) == 0 && o.before == first.before && o.after == first.after);
        }
        pare_path_use(best);
        free(was);
        free(want);
        free(bytes);
    }
}

/* A form that is no float any more says nothing; the rows beside it do not mind. */
static void what_is_too_large_keeps_its_bytes(void **state)
{
    (void)state;
    static float rows[ROWS * N];
    size_t n_bytes = 0;
    memcpy(rows, x, sizeof rows);
    for (size_t i = 0; i < N; i++)
        rows[2 * N + i] *= 1e25f;
    uint8_t *bytes = encode_rows(PARE_TYPE_MXFP4, rows, ROWS, N, NULL, PARE_EFFORT_RTN, &n_bytes);
    uint8_t *was = check_malloc(n_bytes), *plain = encode(PARE_TYPE_MXFP4, &n_bytes);
    size_t row_bytes = n_bytes / ROWS;
    memcpy(was, bytes, n_bytes);
    outcome o = feed_back(&form, PARE_TYPE_MXFP4, rows, ROWS, NULL, 2, bytes);
    CHECK(isfinite(o.before) && o.after < o.before);
    feed_back(&form, PARE_TYPE_MXFP4, x, ROWS, NULL, 2, plain);
    for (size_t r = 0; r < ROWS; r++)
        CHECK(memcmp(bytes + r * row_bytes, (r == 2 ? was : plain) + r * row_bytes, row_bytes) == 0);
    free(bytes);
    free(was);
    free(plain);
}

/* Entries and signs change, scales do not, nor do the shifts of IQ1_S; rows of zeros keep all bytes. */
static void units_leave_the_scales(void **state)
{
    (void)state;
    for (int t = 0; t < PARE_TYPE_COUNT; t++) {
        size_t n_bytes = 0, n_changed = 0;
        const pare_grid_shape *shape = pare_unit_shape((pare_type)t);
        if (shape == NULL)
            continue;
        uint8_t *was = encode((pare_type)t, &n_bytes), *bytes = check_malloc(n_bytes);
        memcpy(bytes, was, n_bytes);
        feed_back(&by_units, (pare_type)t, x, ROWS, NULL, 1, bytes);
        for (size_t at = 0; at < n_bytes; at += shape->block_bytes) { /* a block is a row */
            pare_grid_fit a, b;
            shape->unpack(was + at, &a);
            shape->unpack(bytes + at, &b);
            CHECK(a.d == b.d && memcmp(a.scale, b.scale, sizeof a.scale) == 0);
            CHECK(!shape->one_shift || memcmp(a.signs, b.signs, sizeof a.signs) == 0);
            n_changed += memcmp(was + at, bytes + at, shape->block_bytes) != 0;
        }
        CHECK(n_changed == ROWS - 1);
        free(was);
        free(bytes);
    }
}

/* A row whose length no block of columns in feedback_round divides, and shorter than one. */
static void short_rows(void **state)
{
    (void)state;
    static const size_t lengths[] = {32, 96, 160};
    for (size_t i = 0; i < 3; i++) {
        size_t n = lengths[i];
        pare_form f = {.n = n};
        pare_error err = {0};
        uint8_t *lower = check_malloc(n * (n + 1) / 2 * 4), *at = lower, bytes[N];
        for (size_t k = 0; k < n; k++)
            for (size_t j = 0; j <= k; j++, at += 4)
                pare_store_f32le(at, (float)pow(0.9, (double)(k - j)));
        const pare_gram g = {.name = "x", .n_columns = n, .count = 1, .lower = lower};
        CHECK_OK(pare_form_open(&f, &g, "test", 1, 0.01, &err), &err);
        pare_encoder(PARE_TYPE_Q4_0)(x, n, NULL, PARE_EFFORT_RTN, bytes);
        void *scratch = check_malloc(pare_feedback_scratch(PARE_TYPE_Q4_0, n));
        double before = 0, after = 0, sum = 0;
        pare_feedback_rows(&f, PARE_TYPE_Q4_0, x, 1, NULL, 3, bytes, scratch, &before, &after);
        float y[N];
        pare_type_get(PARE_TYPE_Q4_0)->decode(bytes, y, n / 32);
        for (size_t k = 0; k < n; k++)
            for (size_t j = 0; j < n; j++)
                sum += (double)f.h[k * n + j] * ((double)x[f.order[k]] - (double)y[f.order[k]]) *
                       ((double)x[f.order[j]] - (double)y[f.order[j]]);
        near(PARE_TYPE_Q4_0, after, sum);
        CHECK(after < 0.7 * before);
        free(scratch);
        free(lower);
        pare_form_close(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_form_falls_and_is_what_the_bytes_say),
        cmocka_unit_test(no_other_code_is_better_in_the_end),
        cmocka_unit_test(codes_are_those_of_the_method),
        cmocka_unit_test(what_is_good_is_not_made_worse),
        cmocka_unit_test(a_diagonal_form_rounds_to_the_nearest),
        cmocka_unit_test(what_cannot_be_better_keeps_its_bytes),
        cmocka_unit_test(rows_do_not_know_of_each_other),
        cmocka_unit_test(factors_are_those_of_the_form),
        cmocka_unit_test(paths_do_not_matter),
        cmocka_unit_test(what_is_too_large_keeps_its_bytes),
        cmocka_unit_test(units_leave_the_scales),
        cmocka_unit_test(short_rows),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
