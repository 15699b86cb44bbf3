/* Products and what reads stored weights: every type. The CPU computes with the factors that the device has, rounded to
 * BF16 where it rounds, so that nothing but the order of sums is left between the two. */
#include "device_check.h"

#include <stdio.h>
#include <string.h>

typedef struct product_shape {
    uint64_t n_rows, blocks; /* of 256 weights, or the type's length if that is larger; of the weight */
    uint64_t row, rows;      /* those that are multiplied */
    uint32_t n;
} product_shape;

static const product_shape small_shapes[] = {
    {1, 1, 0, 1, 1},
    {37, 1, 3, 34, 5},
    {130, 3, 0, 130, 18},
    {70, 2, 65, 5, 65},
};
static const product_shape large_shapes[] = {
    {1, 1, 0, 1, 1}, {515, 3, 3, 511, 5}, {4096, 16, 0, 4096, 515}, {1000, 56, 0, 1000, 128}, {2048, 16, 100, 1300, 1},
};

static void multiply(check *c, const pare_tensor *w, const pare_tensor *factors, const product_shape *s, bool exact)
{
    size_t k = w->row_len, out = s->n * s->rows;
    float *x = check_noise(c, s->n * k, 1);
    const float *rounded = exact ? x : check_rounded(c, x, s->n * k);
    check_shape(c, "rows %llu + %llu of %llu, width %zu, %u tokens", (unsigned long long)s->row,
                (unsigned long long)s->rows, (unsigned long long)s->n_rows, k, s->n);
    float *gx = check_give(c, c->gpu, x, s->n * k * sizeof *x), *gy = check_poisoned(c, c->gpu, out * sizeof *gy);
    float *cx = check_give(c, c->cpu, rounded, s->n * k * sizeof *x), *cy = check_poisoned(c, c->cpu, out * sizeof *cy);
    check_must(c, (exact ? c->gpu->matmul_f32 : c->gpu->matmul)(c->gpu, w, s->row, s->rows, gx, s->n, gy, &c->err));
    check_must(c, c->cpu->matmul(c->cpu, factors, s->row, s->rows, cx, s->n, cy, &c->err));
    check_compare(c, check_take(c, c->gpu, gy, out * sizeof *gy), check_take(c, c->cpu, cy, out * sizeof *cy), out);
}

static uint64_t width_of(pare_type type, const product_shape *s)
{
    uint64_t len = pare_type_get(type)->block_len;
    return s->blocks * (len > 256 ? len : 256);
}

static void run_products(check *c, pare_type type, bool exact)
{
    const product_shape *shapes = c->small ? small_shapes : large_shapes;
    size_t n = c->small ? sizeof small_shapes / sizeof *small_shapes : sizeof large_shapes / sizeof *large_shapes;
    for (size_t i = 0; i < n; i++) {
        const pare_tensor *w = check_weights(c, type, shapes[i].n_rows, width_of(type, &shapes[i]));
        multiply(c, w, check_factors(c, w, !exact), &shapes[i], exact);
    }
}

static void run_matmul(check *c, const void *arg)
{
    run_products(c, *(const pare_type *)arg, false);
}

static void run_matmul_f32(check *c, const void *arg)
{
    run_products(c, *(const pare_type *)arg, true);
}

/* Widths that are no multiple of anything. */
static void run_odd_widths(check *c, const void *arg)
{
    static const uint64_t widths[] = {1, 3, 31, 67, 129};
    const pare_type type = *(const pare_type *)arg;
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        const product_shape s = {19, 0, 0, 19, 7};
        const pare_tensor *w = check_weights(c, type, s.n_rows, widths[i]);
        multiply(c, w, check_factors(c, w, true), &s, false);
    }
}

static void run_embed(check *c, const void *arg)
{
    const pare_type type = *(const pare_type *)arg;
    const pare_type_info *info = pare_type_get(type);
    const uint32_t n = c->small ? 9 : 700, n_rows = c->small ? 23 : 3000;
    for (uint64_t blocks = 1; blocks <= (c->small ? 3u : 33u); blocks = 3 * blocks + (blocks > 1 ? 1 : 0)) {
        uint64_t width = blocks * info->block_len;
        const pare_tensor *w = check_weights(c, type, n_rows, width);
        int32_t *ids = check_ids(c, n, n_rows);
        check_shape(c, "width %llu", (unsigned long long)width);
        float *gy = check_poisoned(c, c->gpu, n * width * sizeof *gy),
              *cy = check_poisoned(c, c->cpu, n * width * sizeof *cy);
        check_must(c, c->gpu->embed(c->gpu, w, ids, n, gy, &c->err));
        check_must(c, c->cpu->embed(c->cpu, w, ids, n, cy, &c->err));
        check_same(c, check_take(c, c->gpu, gy, n * width * sizeof *gy),
                   check_take(c, c->cpu, cy, n * width * sizeof *cy), n * width);
    }
}

static void run_gram(check *c, const void *arg)
{
    static const uint32_t small[][2] = {{1, 1}, {3, 33}, {70, 65}, {40, 130}},
                          large[][2] = {{1, 1}, {3, 33}, {515, 1000}, {4096, 4096}, {100, 129}};
    const uint32_t(*shapes)[2] = c->small ? small : large;
    (void)arg;
    for (size_t i = 0; i < (c->small ? 4 : 5); i++) {
        uint32_t n = shapes[i][0], width = shapes[i][1];
        size_t out = (size_t)width * width;
        float *x = check_noise(c, (size_t)n * width, 1), *start = check_noise(c, out, 1);
        for (size_t r = 0; r < width; r++) /* h is symmetric */
            for (size_t j = 0; j < r; j++)
                start[r * width + j] = start[j * width + r];
        check_shape(c, "%u tokens, width %u", n, width);
        float *gh = check_poisoned(c, c->gpu, out * sizeof *gh), *ch = check_poisoned(c, c->cpu, out * sizeof *ch);
        check_must(c, c->gpu->upload(c->gpu, gh, start, out * sizeof *gh, &c->err));
        check_must(c, c->cpu->upload(c->cpu, ch, start, out * sizeof *ch, &c->err));
        float *gx = check_give(c, c->gpu, x, (size_t)n * width * sizeof *x),
              *cx = check_give(c, c->cpu, check_rounded(c, x, (size_t)n * width), (size_t)n * width * sizeof *x);
        check_must(c, c->gpu->add_gram(c->gpu, gx, n, width, gh, &c->err));
        check_must(c, c->cpu->add_gram(c->cpu, cx, n, width, ch, &c->err));
        check_compare(c, check_take(c, c->gpu, gh, out * sizeof *gh), check_take(c, c->cpu, ch, out * sizeof *ch), out);
    }
}

static bool holds_weights(const pare_type_info *info)
{
    return info->decode != NULL && (info->traits & (PARE_TRAIT_INTEGER | PARE_TRAIT_ACTIVATION)) == 0;
}

void check_products(check *c)
{
    char name[64];
    for (pare_type t = 0; t < PARE_TYPE_COUNT; t++) {
        const pare_type_info *info = pare_type_get(t);
        if (info->decode == NULL)
            continue;
        snprintf(name, sizeof name, "embed %s", info->name);
        check_row(c, name, 0, run_embed, &t);
    }
    for (pare_type t = 0; t < PARE_TYPE_COUNT; t++) {
        const pare_type_info *info = pare_type_get(t);
        if (!holds_weights(info))
            continue;
        snprintf(name, sizeof name, "matmul %s", info->name);
        check_row(c, name, 2e-5, run_matmul, &t);
    }
    static const pare_type some[] = {PARE_TYPE_F32, PARE_TYPE_F16, PARE_TYPE_BF16, PARE_TYPE_Q8_0};
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        snprintf(name, sizeof name, "matmul_f32 %s", pare_type_get(some[i])->name);
        check_row(c, name, 2e-5, run_matmul_f32, &some[i]);
        snprintf(name, sizeof name, "matmul of odd widths, %s", pare_type_get(some[i])->name);
        if (pare_type_get(some[i])->block_len == 1)
            check_row(c, name, 2e-5, run_odd_widths, &some[i]);
    }
    check_row(c, "add_gram", 2e-5, run_gram, NULL);
}
