#include "device_check.h"

#include "core/half.h"
#include "core/random.h"
#include "quant/registry.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GUARD = 256, POISON = 0xff }; /* four of these bytes are a NaN */

static void give_back(check_memory *m, size_t *n)
{
    for (; *n > 0; --*n) {
        check_memory *last = &m[*n - 1];
        if (last->b != NULL)
            last->b->release(last->b, last->p);
        else
            free(last->p);
    }
}

void check_free(check *c)
{
    give_back(c->memory, &c->n_memory);
    give_back(c->kept, &c->n_kept);
    free(c->memory);
    free(c->kept);
}

void check_must(check *c, pare_status st)
{
    if (st != PARE_OK)
        longjmp(c->leave, 1);
}

void check_shape(check *c, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(c->shape, sizeof c->shape, fmt, args);
    va_end(args);
}

static void note(check *c, check_memory **list, size_t *n, size_t *cap, check_memory m)
{
    if (*n == *cap) {
        size_t more = *cap > 0 ? 2 * *cap : 64;
        check_memory *larger = realloc(*list, more * sizeof *larger);
        if (larger == NULL)
            check_must(c, pare_fail(&c->err, PARE_ERR_MEMORY, "no memory for a list"));
        *list = larger;
        *cap = more;
    }
    (*list)[(*n)++] = m;
}

static void *host_memory(check *c, size_t bytes)
{
    void *p = calloc(1, bytes > 0 ? bytes : 1);
    if (p == NULL)
        check_must(c, pare_fail(&c->err, PARE_ERR_MEMORY, "no memory for %zu bytes", bytes));
    return p;
}

void *check_host(check *c, size_t bytes)
{
    void *p = host_memory(c, bytes);
    note(c, &c->memory, &c->n_memory, &c->cap_memory, (check_memory){.p = p, .bytes = bytes});
    return p;
}

void *check_kept(check *c, size_t bytes)
{
    void *p = host_memory(c, bytes);
    note(c, &c->kept, &c->n_kept, &c->cap_kept, (check_memory){.p = p, .bytes = bytes});
    return p;
}

static void fill_noise(check *c, float *x, size_t n, float scale)
{
    c->seed++;
    for (size_t i = 0; i < n; i++)
        x[i] = scale * (float)((double)(pare_random(c->seed, i) >> 11) / 4503599627370496.0 - 1.0);
}

float *check_noise(check *c, size_t n, float scale)
{
    float *x = check_host(c, n * sizeof *x);
    fill_noise(c, x, n, scale);
    return x;
}

int32_t *check_ids(check *c, uint32_t n, uint32_t below)
{
    int32_t *ids = check_host(c, n * sizeof *ids);
    c->seed++;
    for (uint32_t i = 0; i < n; i++)
        ids[i] = (int32_t)pare_random_below(c->seed, i, below);
    return ids;
}

static void *take_memory(check *c, pare_backend *b, size_t bytes)
{
    void *p = b->alloc(b, bytes, &c->err);
    if (p == NULL)
        longjmp(c->leave, 1);
    note(c, &c->memory, &c->n_memory, &c->cap_memory, (check_memory){b, p, bytes});
    return p;
}

void *check_give(check *c, pare_backend *b, const void *src, size_t bytes)
{
    void *p = take_memory(c, b, bytes > 0 ? bytes : 1);
    if (bytes > 0)
        check_must(c, b->upload(b, p, src, bytes, &c->err));
    return p;
}

void *check_poisoned(check *c, pare_backend *b, size_t bytes)
{
    uint8_t *poison = check_host(c, bytes + GUARD);
    memset(poison, POISON, bytes + GUARD);
    return check_give(c, b, poison, bytes + GUARD);
}

void *check_take(check *c, pare_backend *b, const void *p, size_t bytes)
{
    uint8_t *out = check_host(c, bytes + GUARD);
    check_must(c, b->download(b, out, p, bytes + GUARD, &c->err));
    for (size_t i = 0; i < GUARD; i++)
        if (out[bytes + i] != POISON)
            check_must(c, pare_fail(&c->err, PARE_ERR_RANGE, "%s writes %zu bytes behind its output (%s)", b->name,
                                    i + 1, c->shape));
    return out;
}

const pare_tensor *check_tensor(check *c, pare_type type, const void *data, uint64_t n_rows, uint64_t row_len)
{
    pare_tensor *t = check_kept(c, sizeof *t);
    *t = (pare_tensor){.name = pare_type_get(type)->name, .type = type, .data = data};
    if (n_rows > 0)
        t->dim[t->n_dims++] = n_rows;
    t->dim[t->n_dims++] = row_len;
    check_must(c, pare_tensor_set_shape(t, "check", &c->err));
    return t;
}

/* Blocks of random bits; those that decode to something absurd are drawn again, and zeros if they always do. */
static void random_blocks(check *c, pare_type type, uint8_t *out, size_t n_blocks)
{
    const pare_type_info *info = pare_type_get(type);
    float *decoded = check_host(c, info->block_len * sizeof *decoded);
    c->seed++;
    for (size_t i = 0, draw = 0; i < n_blocks; i++) {
        bool sane = false;
        for (int attempt = 0; attempt < 64 && !sane; attempt++) {
            for (uint32_t j = 0; j < info->block_bytes; j++)
                out[i * info->block_bytes + j] = (uint8_t)pare_random(c->seed, draw++);
            info->decode(out + i * info->block_bytes, decoded, 1);
            sane = true;
            for (uint32_t j = 0; j < info->block_len; j++)
                sane = sane && fabsf(decoded[j]) <= 1000; /* false for a NaN */
        }
        if (!sane)
            memset(out + i * info->block_bytes, 0, info->block_bytes);
    }
}

const pare_tensor *check_weights(check *c, pare_type type, uint64_t n_rows, uint64_t row_len)
{
    enum { DISTINCT = 48 }; /* rows are repeated behind as many: encoding takes time */
    uint64_t row_bytes = 0, n = n_rows < DISTINCT ? n_rows : DISTINCT;
    if (!pare_row_bytes(type, row_len, &row_bytes))
        check_must(c, pare_fail(&c->err, PARE_ERR_RANGE, "rows of %llu", (unsigned long long)row_len));
    uint8_t *data = check_kept(c, n_rows * row_bytes);
    if (pare_encoder(type) != NULL) {
        float *x = check_noise(c, n * row_len, 0.5f);
        check_must(c, pare_encode_rows(type, x, n, row_len, NULL, PARE_EFFORT_RTN, data, &c->err));
    } else {
        random_blocks(c, type, data, n * row_bytes / pare_type_get(type)->block_bytes);
    }
    for (uint64_t r = n; r < n_rows; r++)
        memcpy(data + r * row_bytes, data + (r % n) * row_bytes, row_bytes);
    return check_tensor(c, type, data, n_rows, row_len);
}

static void round_factors(const check *c, float *x, size_t n)
{
    if (c->rounds)
        for (size_t i = 0; i < n; i++)
            x[i] = pare_bf16_to_f32(pare_f32_to_bf16(x[i]));
}

const pare_tensor *check_factors(check *c, const pare_tensor *w, bool rounded)
{
    float *x = check_kept(c, w->n_rows * w->row_len * sizeof *x);
    check_must(c, pare_decode_rows(w->type, w->data, w->n_rows, w->row_len, x, &c->err));
    if (rounded)
        round_factors(c, x, w->n_rows * w->row_len);
    return check_tensor(c, PARE_TYPE_F32, x, w->n_rows, w->row_len);
}

const float *check_rounded(check *c, const float *x, size_t n)
{
    float *y = check_host(c, n * sizeof *y);
    memcpy(y, x, n * sizeof *y);
    round_factors(c, y, n);
    return y;
}

void check_error(check *c, double error)
{
    if (error > c->worst || isnan(error)) {
        c->worst = isnan(error) ? INFINITY : error;
        memcpy(c->worst_shape, c->shape, sizeof c->shape);
    }
}

void check_compare(check *c, const float *got, const float *want, size_t n)
{
    double miss = 0, all = 0, largest = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)got[i] - (double)want[i]);
        miss += d * d;
        all += (double)want[i] * (double)want[i];
        largest = d > largest || isnan(d) ? d : largest;
    }
    if (all == 0)
        all = 1;
    check_error(c, sqrt(miss / all));
    check_error(c, largest / 16 / sqrt(all / (double)(n > 0 ? n : 1)));
}

void check_same(check *c, const float *got, const float *want, size_t n)
{
    size_t different = 0;
    for (size_t i = 0; i < n; i++)
        different += memcmp(&got[i], &want[i], sizeof got[i]) != 0 && !(isnan(got[i]) && isnan(want[i]));
    check_error(c, (double)different);
}

static bool ran_through(check *c, void (*run)(check *c, const void *arg), const void *arg)
{
    c->worst = 0;
    c->worst_shape[0] = c->shape[0] = '\0';
    c->err = (pare_error){0};
    c->n_rows++;
    if (setjmp(c->leave) != 0)
        return false;
    run(c, arg);
    return true;
}

static bool wanted(const check *c, const char *name)
{
    return c->only == NULL || strstr(name, c->only) != NULL;
}

void check_row(check *c, const char *name, double tolerance, void (*run)(check *c, const void *arg), const void *arg)
{
    if (!wanted(c, name))
        return;
    bool ran = ran_through(c, run, arg), fine = ran && c->worst <= tolerance;
    c->n_failed += !fine;
    if (!ran)
        printf("%-34s FAILED: %s (%s)\n", name, c->err.text, c->shape);
    else
        printf("%-34s %9.2e  %7.0e  %s%s\n", name, c->worst, tolerance,
               fine ? "ok" : "FAILED: ", fine ? "" : c->worst_shape);
    fflush(stdout);
    give_back(c->memory, &c->n_memory);
}

void check_timed(check *c, const char *name, void (*run)(check *c, const void *arg), const void *arg)
{
    if (!wanted(c, name))
        return;
    if (!ran_through(c, run, arg)) {
        c->n_failed++;
        printf("speed: %-42s FAILED: %s\n", name, c->err.text);
    }
    give_back(c->memory, &c->n_memory);
}
