#include "eval/backend.h"
#include "eval/cpu.h"
#include "eval/cpu_kernels.h"

#include "core/checked.h"
#include "core/half.h"
#include "core/threads.h"

#include <dnnl.h>
#include <inttypes.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Products of BF16 numbers through oneDNN, which picks AMX tiles, AVX-512 BF16 or an emulation by the CPU.
 *
 *   y [m, n]  =  x [m, k]  *  w^T [k, n]          one piece, one oneDNN primitive, one thread
 *   float        BF16         BF16 rows of k, decoded a few at a time from their blocks
 *
 * A primitive is generated machine code for one shape, and making one takes longer than running it once. So pieces have
 * few shapes: PANEL rows of the weight, or what is left of them, times SLICE rows of x, or what is left rounded up to
 * a power of two or a multiple of STEP; rows that stand for nothing are dropped. */
enum { PANEL = 256, SLICE = 1024, STEP = 64, DECODE_ROWS = 16, MAX_CODES = 64, ALIGNMENT = 64, X_PIECE = 1 << 16 };

typedef struct shape {
    int64_t m, n, k, ld; /* ld: floats from a row of y to the next */
} shape;

typedef struct code {
    shape shape;
    dnnl_primitive_t primitive;
    dnnl_memory_desc_t x, w, y, scratch;
    uint64_t used; /* when; the oldest makes room */
} code;

typedef struct state {
    dnnl_engine_t engine;
    dnnl_primitive_attr_t attr;
    code codes[MAX_CODES];
    uint64_t clock;
    uint16_t *x; /* the operand in BF16, kept for the next product */
    size_t x_bytes;
    void (*close)(pare_backend *b); /* of the backend that this one extends */
} state;

/* What a thread needs for its pieces; each part made by the first piece that needs it. */
typedef struct worker {
    dnnl_stream_t stream;
    uint16_t *w;    /* [PANEL, k] */
    float *decoded; /* [DECODE_ROWS, k] */
    float *y;       /* [rows of the last slice, PANEL] */
    void *scratch;  /* of the primitive */
    size_t scratch_bytes;
} worker;

typedef struct product {
    const state *s;
    const pare_tensor *w;
    uint64_t row, n_rows; /* of w */
    uint32_t n;
    float *y;
    size_t n_panels;
    const code *codes[2][2]; /* [last slice][last panel] */
    worker *workers;
} product;

static pare_status no_memory(const pare_tensor *w, size_t bytes, pare_error *err)
{
    return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for %zu bytes of BF16 numbers", w->name, bytes);
}

static void *get_aligned(size_t bytes)
{
    size_t padded;
    return pare_add_size(bytes, ALIGNMENT - 1, &padded)
               ? aligned_alloc(ALIGNMENT, bytes > 0 ? padded & ~(size_t)(ALIGNMENT - 1) : ALIGNMENT)
               : NULL;
}

static pare_status explain(dnnl_status_t st, const char *what, const shape *s, pare_error *err)
{
    if (st == dnnl_out_of_memory)
        return pare_fail(err, PARE_ERR_MEMORY, "oneDNN: no memory for %s", what);
    if (st == dnnl_unimplemented)
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "BF16 products (%" PRId64 " by %" PRId64 " by %" PRId64
                         ") are not possible on this CPU; oneDNN wants AVX-512 or AMX: use --compute f32",
                         s->m, s->n, s->k);
    return pare_fail(err, PARE_ERR_DEVICE, "oneDNN: %s failed with status %d", what, (int)st);
}

static dnnl_status_t describe(code *c)
{
    const shape *s = &c->shape;
    const dnnl_dims_t x = {s->m, s->k}, x_strides = {s->k, 1}, w = {s->k, s->n}, w_strides = {1, s->k},
                      y = {s->m, s->n}, y_strides = {s->ld, 1};
    dnnl_status_t st = dnnl_memory_desc_init_by_strides(&c->x, 2, x, dnnl_bf16, x_strides);
    if (st == dnnl_success)
        st = dnnl_memory_desc_init_by_strides(&c->w, 2, w, dnnl_bf16, w_strides);
    return st == dnnl_success ? dnnl_memory_desc_init_by_strides(&c->y, 2, y, dnnl_f32, y_strides) : st;
}

/* The code looks for how many threads it may use when it is made; it is to use the one that runs it, so that results do
 * not depend on the number of threads. */
static pare_status make_code(const state *s, code *c, pare_error *err)
{
    dnnl_matmul_desc_t matmul;
    dnnl_primitive_desc_t pd = NULL;
    int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    dnnl_status_t st = describe(c);
    if (st == dnnl_success)
        st = dnnl_matmul_desc_init(&matmul, &c->x, &c->w, NULL, &c->y);
    if (st == dnnl_success)
        st = dnnl_primitive_desc_create(&pd, &matmul, s->attr, s->engine, NULL);
    if (st == dnnl_success) {
        c->scratch = *dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
        st = dnnl_primitive_create(&c->primitive, pd);
    }
    if (pd != NULL)
        dnnl_primitive_desc_destroy(pd);
    omp_set_num_threads(threads);
    return st == dnnl_success ? PARE_OK : explain(st, "making a product", &c->shape, err);
}

/* The code for a shape. Codes found or made by the last few calls stay. */
static pare_status find_code(state *s, shape want, const code **out, pare_error *err)
{
    code *oldest = &s->codes[0];
    for (int i = 0; i < MAX_CODES; i++) {
        code *c = &s->codes[i];
        if (c->primitive != NULL && memcmp(&c->shape, &want, sizeof want) == 0) {
            c->used = ++s->clock;
            *out = c;
            return PARE_OK;
        }
        if (c->used < oldest->used)
            oldest = c;
    }
    if (oldest->primitive != NULL)
        dnnl_primitive_destroy(oldest->primitive);
    *oldest = (code){.shape = want};
    pare_status st = make_code(s, oldest, err);
    if (st == PARE_OK)
        oldest->used = ++s->clock;
    *out = oldest;
    return st;
}

static uint32_t round_rows(uint32_t n)
{
    uint32_t rows = 1;
    if (n > STEP)
        return (n + STEP - 1) / STEP * STEP;
    while (rows < n)
        rows *= 2;
    return rows;
}

/* Codes of the up to four kinds of pieces. */
static pare_status find_codes(state *s, product *p, pare_error *err)
{
    uint32_t last_slice = (p->n - 1) % SLICE + 1, last_panel = (uint32_t)((p->n_rows - 1) % PANEL) + 1;
    pare_status st = PARE_OK;
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2 && st == PARE_OK; j++) {
            if ((i == 0 && p->n <= SLICE) || (j == 0 && p->n_rows <= PANEL))
                continue; /* the last is the first */
            uint32_t n_x = i == 0 ? SLICE : last_slice, n_w = j == 0 ? PANEL : last_panel;
            uint32_t rounded = round_rows(n_x);
            shape want = {rounded, n_w, (int64_t)p->w->row_len, rounded == n_x ? (int64_t)p->n_rows : n_w};
            st = find_code(s, want, &p->codes[i][j], err);
        }
    return st;
}

/* Rows [first, first + n_rows) of w in BF16: as they lie in the mapped file where they are that already. */
static pare_status get_weights(const product *p, worker *k, uint64_t first, uint64_t n_rows, const uint16_t **out,
                               pare_error *err)
{
    const pare_tensor *w = p->w;
    size_t width = w->row_len;
    if (w->type == PARE_TYPE_BF16 && w->data != NULL && (uintptr_t)w->data % sizeof **out == 0) {
        *out = (const uint16_t *)(const void *)(w->data + first * w->row_bytes);
        return PARE_OK;
    }
    if (k->w == NULL && (k->w = get_aligned(PANEL * width * sizeof *k->w)) == NULL)
        return no_memory(w, PANEL * width * sizeof *k->w, err);
    if (k->decoded == NULL && (k->decoded = get_aligned(DECODE_ROWS * width * sizeof *k->decoded)) == NULL)
        return no_memory(w, DECODE_ROWS * width * sizeof *k->decoded, err);
    *out = k->w;
    for (uint64_t r = 0; r < n_rows; r += DECODE_ROWS) {
        const float *rows;
        uint64_t n = n_rows - r < DECODE_ROWS ? n_rows - r : DECODE_ROWS;
        pare_status st = pare_cpu_rows(w, first + r, n, k->decoded, &rows, err);
        if (st != PARE_OK)
            return st;
        pare_cpu_to_bf16(rows, n * width, k->w + r * width);
    }
    return PARE_OK;
}

/* oneDNN takes operands that it does not change through pointers that are not const, too. */
static void *plain(const void *p)
{
    return (void *)(uintptr_t)p;
}

static dnnl_status_t run_code(const state *s, const code *c, worker *k, const uint16_t *x, const uint16_t *w, float *y)
{
    dnnl_exec_arg_t args[] = {
        {.arg = DNNL_ARG_SRC}, {.arg = DNNL_ARG_WEIGHTS}, {.arg = DNNL_ARG_DST}, {.arg = DNNL_ARG_SCRATCHPAD}};
    const dnnl_memory_desc_t *form[] = {&c->x, &c->w, &c->y, &c->scratch};
    void *data[] = {plain(x), plain(w), y, k->scratch};
    dnnl_status_t st = dnnl_success;
    if (k->stream == NULL)
        st = dnnl_stream_create(&k->stream, s->engine, dnnl_stream_default_flags);
    for (int i = 0; i < 4 && st == dnnl_success; i++)
        st = dnnl_memory_create(&args[i].memory, form[i], s->engine, data[i]);
    if (st == dnnl_success)
        st = dnnl_primitive_execute(c->primitive, k->stream, 4, args);
    if (st == dnnl_success)
        st = dnnl_stream_wait(k->stream);
    for (int i = 0; i < 4; i++)
        if (args[i].memory != NULL)
            dnnl_memory_destroy(args[i].memory);
    return st;
}

static pare_status reserve_scratch(const product *p, const code *c, worker *k, pare_error *err)
{
    size_t bytes = dnnl_memory_desc_get_size(&c->scratch);
    if (bytes > k->scratch_bytes || k->scratch == NULL) {
        free(k->scratch);
        k->scratch_bytes = bytes;
        if ((k->scratch = get_aligned(bytes)) == NULL)
            return no_memory(p->w, bytes, err);
    }
    if (k->y == NULL && (k->y = get_aligned((size_t)SLICE * PANEL * sizeof *k->y)) == NULL)
        return no_memory(p->w, (size_t)SLICE * PANEL * sizeof *k->y, err);
    return PARE_OK;
}

static pare_status multiply_piece(size_t i, int thread, void *ctx, pare_error *err)
{
    const product *p = ctx;
    worker *k = &p->workers[thread];
    uint64_t first = i % p->n_panels * PANEL, n_rows = p->n_rows - first < PANEL ? p->n_rows - first : PANEL;
    uint32_t from = (uint32_t)(i / p->n_panels) * SLICE, n = p->n - from < SLICE ? p->n - from : SLICE;
    const code *c = p->codes[p->n - from <= SLICE][p->n_rows - first <= PANEL];
    const uint16_t *w = NULL;
    pare_status st = reserve_scratch(p, c, k, err);
    if (st == PARE_OK)
        st = get_weights(p, k, p->row + first, n_rows, &w, err);
    if (st != PARE_OK)
        return st;
    bool whole = c->shape.m == n;
    float *y = p->y + (size_t)from * p->n_rows + first;
    dnnl_status_t status = run_code(p->s, c, k, p->s->x + (size_t)from * p->w->row_len, w, whole ? y : k->y);
    if (status != dnnl_success)
        return explain(status, "a product", &c->shape, err);
    for (uint32_t r = 0; !whole && r < n; r++)
        memcpy(y + (size_t)r * p->n_rows, k->y + r * n_rows, n_rows * sizeof *y);
    return PARE_OK;
}

typedef struct rounding {
    const float *x;
    uint16_t *y;
    size_t n;
} rounding;

static pare_status round_piece(size_t i, int thread, void *ctx, pare_error *err)
{
    (void)thread;
    (void)err;
    const rounding *r = ctx;
    size_t first = i * X_PIECE;
    pare_cpu_to_bf16(r->x + first, r->n - first < X_PIECE ? r->n - first : X_PIECE, r->y + first);
    return PARE_OK;
}

/* x in BF16, rows of zeros behind it up to the rounded number. */
static pare_status round_operand(state *s, const product *p, const float *x, pare_error *err)
{
    size_t width = p->w->row_len, values = p->n * width, rows = (p->n - 1) / SLICE * SLICE, bytes;
    rows += round_rows((p->n - 1) % SLICE + 1);
    if (!pare_mul_size(rows, width * sizeof *s->x, &bytes))
        return no_memory(p->w, SIZE_MAX, err);
    if (bytes > s->x_bytes) {
        free(s->x);
        s->x_bytes = 0;
        if ((s->x = get_aligned(bytes)) == NULL)
            return no_memory(p->w, bytes, err);
        s->x_bytes = bytes;
    }
    memset(s->x + values, 0, bytes - values * sizeof *s->x);
    rounding r = {x, s->x, values};
    return pare_parallel((values + X_PIECE - 1) / X_PIECE, round_piece, &r, err);
}

static pare_status matmul_bf16(pare_backend *b, const pare_tensor *w, uint64_t row, uint64_t n_rows, const float *x,
                               uint32_t n, float *y, pare_error *err)
{
    state *s = b->state;
    if (n_rows > INT32_MAX || w->row_len > INT32_MAX || n > INT32_MAX - SLICE)
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "tensor '%s': %" PRIu64 " rows of %" PRIu64 " elements times %" PRIu32
                         "; the CPU backend takes up to %d of each",
                         w->name, n_rows, w->row_len, n, INT32_MAX - SLICE);
    if (n == 0 || n_rows == 0)
        return PARE_OK;
    int threads = pare_threads();
    product p = {.s = s, .w = w, .row = row, .n_rows = n_rows, .n = n, .y = y};
    p.n_panels = (size_t)((n_rows + PANEL - 1) / PANEL);
    pare_status st = find_codes(s, &p, err);
    if (st == PARE_OK)
        st = round_operand(s, &p, x, err);
    if (st != PARE_OK)
        return st;
    if ((p.workers = calloc((size_t)threads, sizeof *p.workers)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %d threads", threads);
    st = pare_parallel(p.n_panels * ((n + SLICE - 1) / SLICE), multiply_piece, &p, err);
    for (int i = 0; i < threads; i++) {
        worker *k = &p.workers[i];
        if (k->stream != NULL)
            dnnl_stream_destroy(k->stream);
        free(k->w);
        free(k->decoded);
        free(k->y);
        free(k->scratch);
    }
    free(p.workers);
    return st;
}

typedef struct widening {
    const float *x;
    float *y;
    size_t n;
} widening;

/* To BF16 and back: products of such floats are those of the BF16 numbers. */
static pare_status widen_piece(size_t i, int thread, void *ctx, pare_error *err)
{
    (void)thread;
    (void)err;
    const widening *r = ctx;
    size_t first = i * X_PIECE, end = r->n - first < X_PIECE ? r->n : first + X_PIECE;
    for (size_t k = first; k < end; k++)
        r->y[k] = pare_bf16_to_f32(pare_f32_to_bf16(r->x[k]));
    return PARE_OK;
}

static pare_status add_gram_bf16(pare_backend *b, const float *x, uint32_t n, uint32_t width, float *h, pare_error *err)
{
    size_t values = (size_t)n * width, bytes;
    float *y = pare_mul_size(values, sizeof *y, &bytes) ? malloc(bytes > 0 ? bytes : 1) : NULL;
    if (y == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu floats of activations", values);
    widening r = {x, y, values};
    pare_status st = pare_parallel((values + X_PIECE - 1) / X_PIECE, widen_piece, &r, err);
    if (st == PARE_OK)
        st = pare_cpu_add_gram(b, y, n, width, h, err);
    free(y);
    return st;
}

static void close_bf16(pare_backend *b)
{
    state *s = b->state;
    for (int i = 0; i < MAX_CODES; i++)
        if (s->codes[i].primitive != NULL)
            dnnl_primitive_destroy(s->codes[i].primitive);
    if (s->attr != NULL)
        dnnl_primitive_attr_destroy(s->attr);
    if (s->engine != NULL)
        dnnl_engine_destroy(s->engine);
    b->close = s->close;
    free(s->x);
    free(s);
    b->close(b);
}

pare_status pare_backend_cpu_bf16(pare_backend **out, pare_error *err)
{
    pare_backend *b;
    *out = NULL;
    pare_status st = pare_backend_cpu(&b, err);
    if (st != PARE_OK)
        return st;
    state *s = b->state = calloc(1, sizeof *s);
    if (s == NULL) {
        b->close(b);
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for the BF16 backend");
    }
    s->close = b->close;
    b->compute = "bf16";
    b->matmul = matmul_bf16;
    b->add_gram = add_gram_bf16;
    b->close = close_bf16;
    dnnl_status_t status = dnnl_engine_create(&s->engine, dnnl_cpu, 0);
    if (status == dnnl_success)
        status = dnnl_primitive_attr_create(&s->attr);
    if (status == dnnl_success) /* several threads run the same code: each brings its own memory */
        status = dnnl_primitive_attr_set_scratchpad_mode(s->attr, dnnl_scratchpad_mode_user);
    const shape probe = {STEP, STEP, STEP, STEP};
    const code *c;
    st = status == dnnl_success ? find_code(s, probe, &c, err) : explain(status, "starting", &probe, err);
    if (st != PARE_OK) {
        b->close(b);
        return st;
    }
    *out = b;
    return PARE_OK;
}

static const char *instruction_set(void)
{
    static const struct {
        dnnl_cpu_isa_t isa; /* a set of bits */
        const char *name;
    } sets[] = {{dnnl_cpu_isa_avx512_core_amx, "AMX"},
                {dnnl_cpu_isa_avx512_core_bf16, "AVX-512 BF16"},
                {dnnl_cpu_isa_avx512_core, "AVX-512"}};
    dnnl_cpu_isa_t here = dnnl_get_effective_cpu_isa();
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++)
        if ((here & sets[i].isa) == sets[i].isa)
            return sets[i].name;
    return "not on this CPU";
}

const char *pare_cpu_bf16_library(void)
{
    static char text[64];
    const dnnl_version_t *v = dnnl_version();
    snprintf(text, sizeof text, "oneDNN %d.%d.%d, %s", v->major, v->minor, v->patch, instruction_set());
    return text;
}
