/* Operations on activations, but for products, attention and scores. */
#include "device_check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct matrix_shape {
    uint32_t n, width;
} matrix_shape;

static const matrix_shape small_shapes[] = {{1, 1}, {3, 33}, {17, 100}, {2, 1030}};
static const matrix_shape large_shapes[] = {{1, 1}, {3, 33}, {700, 4096}, {33, 8191}, {4099, 576}, {70001, 8}};
enum {
    SMALL_SHAPES = sizeof small_shapes / sizeof *small_shapes,
    LARGE_SHAPES = sizeof large_shapes / sizeof *large_shapes
};

/* One operation on b in place of x [n, width], which holds noise; other: noise of the same shape. */
typedef pare_status (*in_place)(check *c, pare_backend *b, const matrix_shape *s, float *x, const float *other,
                                const void *arg);
typedef struct in_place_row {
    in_place run;
    float scale; /* of the noise */
    const void *arg;
} in_place_row;

static void run_in_place(check *c, const void *arg)
{
    const in_place_row *row = arg;
    pare_backend *both[] = {c->gpu, c->cpu};
    for (int i = 0; i < (c->small ? (int)SMALL_SHAPES : (int)LARGE_SHAPES); i++) {
        const matrix_shape *s = c->small ? &small_shapes[i] : &large_shapes[i];
        size_t n = (size_t)s->n * s->width;
        float *x = check_noise(c, n, row->scale), *other = check_noise(c, n, 1), *out[2];
        check_shape(c, "%u x %u", s->n, s->width);
        for (int k = 0; k < 2; k++) {
            float *p = check_poisoned(c, both[k], n * sizeof *p), *q = check_give(c, both[k], other, n * sizeof *q);
            check_must(c, both[k]->upload(both[k], p, x, n * sizeof *p, &c->err));
            uint64_t seed = c->seed; /* what the row draws is the same for both */
            check_must(c, row->run(c, both[k], s, p, q, row->arg));
            if (k == 0)
                c->seed = seed;
            out[k] = check_take(c, both[k], p, n * sizeof *p);
        }
        check_compare(c, out[0], out[1], n);
    }
}

static pare_status scale(check *c, pare_backend *b, const matrix_shape *s, float *x, const float *other,
                         const void *arg)
{
    (void)other, (void)arg;
    return b->scale(b, x, -1.37f, (size_t)s->n * s->width, &c->err);
}

static pare_status softcap(check *c, pare_backend *b, const matrix_shape *s, float *x, const float *other,
                           const void *arg)
{
    (void)other, (void)arg;
    return b->softcap(b, x, 7, (size_t)s->n * s->width, &c->err);
}

static pare_status add(check *c, pare_backend *b, const matrix_shape *s, float *x, const float *other, const void *arg)
{
    (void)arg;
    return b->add(b, x, other, 0.7f, (size_t)s->n * s->width, &c->err);
}

static pare_status clear(check *c, pare_backend *b, const matrix_shape *s, float *x, const float *other,
                         const void *arg)
{
    (void)other, (void)arg;
    return b->clear(b, x, (size_t)s->n * s->width, &c->err);
}

static pare_status copy(check *c, pare_backend *b, const matrix_shape *s, float *x, const float *other, const void *arg)
{
    (void)arg;
    return b->copy(b, x, other, (size_t)s->n * s->width * sizeof *x, &c->err);
}

static const pare_tensor *vector(check *c, uint32_t n)
{
    float *x = check_kept(c, n * sizeof *x);
    memcpy(x, check_noise(c, n, 1), n * sizeof *x);
    return check_tensor(c, PARE_TYPE_F32, x, 0, n);
}

static pare_status add_row(check *c, pare_backend *b, const matrix_shape *s, float *x, const float *other,
                           const void *arg)
{
    (void)other, (void)arg;
    return b->add_row(b, x, vector(c, s->width + 3), 2, s->n, s->width, &c->err);
}

typedef struct norm_kind {
    pare_norm kind;
    bool weight, bias, in_place;
} norm_kind;

static pare_status norm(check *c, pare_backend *b, const matrix_shape *s, float *x, const float *other, const void *arg)
{
    const norm_kind *k = arg;
    const pare_norm_op op = {.kind = k->kind,
                             .x = k->in_place ? x : other,
                             .n = s->n,
                             .width = s->width,
                             .weight = k->weight ? vector(c, s->width) : NULL,
                             .bias = k->bias ? vector(c, s->width) : NULL,
                             .eps = 1e-5f,
                             .y = x};
    return b->norm(b, &op, &c->err);
}

typedef struct activation_kind {
    pare_activation act;
    bool gated;
} activation_kind;

static pare_status activate(check *c, pare_backend *b, const matrix_shape *s, float *x, const float *other,
                            const void *arg)
{
    const activation_kind *k = arg;
    size_t n = (size_t)s->n * s->width;
    return k->gated ? b->activate(b, k->act, x, other, n, x, &c->err) : b->activate(b, k->act, NULL, x, n, x, &c->err);
}

static pare_status rope(check *c, pare_backend *b, const matrix_shape *s, float *x, const float *other, const void *arg)
{
    enum { POSITIONS = 9000 };
    uint32_t heads = s->width % 4 == 0 ? s->width / 4 : 1, dim = s->width / heads;
    heads = s->width % 64 == 0 ? s->width / 64 : heads;
    dim = s->width / heads;
    uint32_t n_rot = dim >= 8 ? dim / 8 * 6 : dim / 2 * 2; /* some of a head's elements stay */
    int32_t *positions = check_ids(c, s->n, POSITIONS);
    float *table = check_host(c, (size_t)POSITIONS * (n_rot + 1) * sizeof *table);
    (void)other;
    if (n_rot == 0)
        return PARE_OK;
    for (size_t p = 0; p < POSITIONS; p++)
        for (uint32_t i = 0; i < n_rot / 2; i++) {
            double angle = (double)p * pow(10000, -2.0 * i / n_rot);
            table[p * n_rot + 2 * (size_t)i] = (float)cos(angle);
            table[p * n_rot + 2 * (size_t)i + 1] = (float)sin(angle);
        }
    const pare_rope r = {.positions = positions,
                         .n = s->n,
                         .n_head = heads,
                         .head_dim = dim,
                         .n_rot = n_rot,
                         .layout = *(const pare_rope_layout *)arg,
                         .cos_sin = check_give(c, b, table, (size_t)POSITIONS * n_rot * sizeof *table)};
    return b->rope(b, &r, x, &c->err);
}

static pare_status gather(check *c, pare_backend *b, const matrix_shape *s, float *x, const float *other,
                          const void *arg)
{
    (void)arg;
    return b->gather(b, other, check_ids(c, s->n, s->n), s->n, s->width, x, &c->err);
}

/* All columns but the first to all but the last. */
static pare_status copy_columns(check *c, pare_backend *b, const matrix_shape *s, float *x, const float *other,
                                const void *arg)
{
    (void)arg;
    return b->copy_columns(b, other, s->width, 1, s->n, s->width - 1, x, s->width, 0, &c->err);
}

/* Every second row of x, in reverse. */
static pare_status scatter_add(check *c, pare_backend *b, const matrix_shape *s, float *x, const float *other,
                               const void *arg)
{
    uint32_t n = (s->n + 1) / 2;
    int32_t *ids = check_host(c, n * sizeof *ids);
    (void)arg;
    for (uint32_t i = 0; i < n; i++)
        ids[i] = (int32_t)(2 * (n - 1 - i));
    return b->scatter_add(b, other, ids, check_noise(c, n, 1), n, s->width, x, &c->err);
}

static void run_columns(check *c, const void *arg)
{
    pare_backend *both[] = {c->gpu, c->cpu};
    (void)arg;
    for (int i = 0; i < (c->small ? (int)SMALL_SHAPES : (int)LARGE_SHAPES); i++) {
        const matrix_shape *s = c->small ? &small_shapes[i] : &large_shapes[i];
        size_t n = (size_t)s->n * s->width;
        float *x = check_noise(c, n, 2);
        double *out[2][2], *start = check_host(c, s->width * sizeof *start);
        check_shape(c, "%u x %u", s->n, s->width);
        for (uint32_t j = 0; j < s->width; j++)
            start[j] = j;
        for (int k = 0; k < 2; k++) {
            pare_backend *b = both[k];
            double *sums[2];
            for (int m = 0; m < 2; m++) {
                sums[m] = check_poisoned(c, b, s->width * sizeof *start);
                check_must(c, b->upload(b, sums[m], start, s->width * sizeof *start, &c->err));
            }
            check_must(
                c, b->add_columns(b, check_give(c, b, x, n * sizeof *x), s->n, s->width, sums[0], sums[1], &c->err));
            for (int m = 0; m < 2; m++)
                out[k][m] = check_take(c, b, sums[m], s->width * sizeof *start);
        }
        for (int m = 0; m < 2; m++)
            for (uint32_t j = 0; j < s->width; j++)
                check_error(c, fabs(out[0][m][j] - out[1][m][j]) / (1 + fabs(out[1][m][j])));
    }
}

static void check_norms(check *c)
{
    char name[64];
    for (int i = 0; i < 16; i++) {
        const norm_kind k = {i % 2 ? PARE_NORM_LAYER : PARE_NORM_RMS, (i & 2) != 0, (i & 4) != 0, (i & 8) != 0};
        if (k.kind == PARE_NORM_RMS && k.bias)
            continue; /* this kind has none */
        const in_place_row row = {norm, 2, &k};
        snprintf(name, sizeof name, "norm %s%s%s%s", i % 2 ? "layer" : "rms", k.weight ? ", weight" : "",
                 k.bias ? ", bias" : "", k.in_place ? ", in place" : "");
        check_row(c, name, 2e-6, run_in_place, &row);
    }
}

static void check_activations(check *c)
{
    static const char *const names[] = {"silu", "gelu", "gelu tanh", "relu", "relu2", "sigmoid"};
    char name[64];
    for (int i = 0; i < 12; i++) {
        const activation_kind k = {(pare_activation)(i / 2), i % 2 == 1};
        const in_place_row row = {activate, 12, &k};
        snprintf(name, sizeof name, "activate %s%s", names[i / 2], k.gated ? ", gated" : "");
        check_row(c, name, 2e-6, run_in_place, &row);
    }
}

void check_operations(check *c)
{
    static const pare_rope_layout layouts[] = {PARE_ROPE_INTERLEAVED, PARE_ROPE_HALVES};
    const struct {
        const char *name;
        double tolerance;
        in_place_row row;
    } rows[] = {
        {"scale", 0, {scale, 2, NULL}},
        {"softcap", 2e-6, {softcap, 30, NULL}},
        {"add", 1e-7, {add, 1, NULL}},
        {"clear", 0, {clear, 1, NULL}},
        {"copy", 0, {copy, 1, NULL}},
        {"add_row", 0, {add_row, 1, NULL}},
        {"gather", 0, {gather, 1, NULL}},
        {"copy_columns", 0, {copy_columns, 1, NULL}},
        {"scatter_add", 1e-7, {scatter_add, 1, NULL}},
        {"rope interleaved", 2e-7, {rope, 1, &layouts[0]}},
        {"rope halves", 2e-7, {rope, 1, &layouts[1]}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        check_row(c, rows[i].name, rows[i].tolerance, run_in_place, &rows[i].row);
    check_norms(c);
    check_activations(c);
    check_row(c, "add_columns", 1e-13, run_columns, NULL);
}
