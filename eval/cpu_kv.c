/* Keys and values into codecs and out of them, and rotations of heads: rows shared over threads. */
#include "eval/cpu.h"

#include "core/threads.h"

enum { ELEMENTS_A_PIECE = 1 << 14 };

typedef struct work {
    const pare_kv_codec *codec;
    const float *in;
    float *out; /* of decoding */
    const uint8_t *units;
    uint8_t *dst; /* of encoding */
    uint64_t n, step;
    size_t tokens, row_bytes; /* floats and bytes of a row of units */
    uint32_t n_head, dim;
} work;

static work work_of(const pare_kv_codec *c, uint64_t n, uint32_t n_head, uint32_t dim)
{
    work w = {.codec = c, .n = n, .n_head = n_head, .dim = dim};
    w.tokens = (size_t)c->group * n_head * dim;
    w.row_bytes = pare_kv_unit_bytes(c, dim) * n_head;
    w.step = w.tokens < ELEMENTS_A_PIECE ? ELEMENTS_A_PIECE / (w.tokens > 0 ? w.tokens : 1) : 1;
    return w;
}

static uint64_t piece_rows(const work *w, size_t piece, uint64_t *first)
{
    *first = piece * w->step;
    return w->n - *first < w->step ? w->n - *first : w->step;
}

static pare_status encode_piece(size_t piece, int thread, void *ctx, pare_error *err)
{
    (void)thread;
    const work *w = ctx;
    uint64_t first, n = piece_rows(w, piece, &first);
    const float *x = w->in + first * w->tokens;
    const size_t bad = pare_kv_encode_until(w->codec, x, n, w->n_head, w->dim, w->dst + first * w->row_bytes);
    if (bad == SIZE_MAX)
        return PARE_OK;
    const size_t row = first + bad / w->n_head, head = bad % w->n_head;
    return pare_kv_refuse(w->codec, w->in + row * w->tokens + head * w->dim, (size_t)w->n_head * w->dim,
                          row * w->codec->group, head, w->dim, err);
}

static pare_status decode_piece(size_t piece, int thread, void *ctx, pare_error *err)
{
    (void)thread;
    (void)err;
    const work *w = ctx;
    uint64_t first, n = piece_rows(w, piece, &first);
    pare_kv_decode(w->codec, w->units + first * w->row_bytes, n, w->n_head, w->dim, w->out + first * w->tokens);
    return PARE_OK;
}

pare_status pare_cpu_kv_encode(pare_backend *b, const pare_kv_codec *c, const float *x, uint64_t n, uint32_t n_head,
                               uint32_t dim, void *dst, pare_error *err)
{
    (void)b;
    work w = work_of(c, n, n_head, dim);
    w.in = x;
    w.dst = dst;
    return pare_parallel((n + w.step - 1) / w.step, encode_piece, &w, err);
}

pare_status pare_cpu_kv_decode(pare_backend *b, const pare_kv_codec *c, const void *src, uint64_t n, uint32_t n_head,
                               uint32_t dim, float *x, pare_error *err)
{
    (void)b;
    work w = work_of(c, n, n_head, dim);
    w.units = src;
    w.out = x;
    return pare_parallel((n + w.step - 1) / w.step, decode_piece, &w, err);
}

static pare_status turn_piece(size_t piece, int thread, void *ctx, pare_error *err)
{
    (void)thread;
    (void)err;
    const pare_turn *t = ctx;
    const size_t width = (size_t)t->n_head * t->head_dim,
                 step = width < ELEMENTS_A_PIECE ? ELEMENTS_A_PIECE / width : 1;
    const size_t first = piece * step, n = t->n - first < step ? t->n - first : step;
    float *x = t->x + first * width;
    for (size_t i = 0; t->shift != NULL && !t->back && i < n; i++)
        for (size_t c = 0; c < width; c++)
            x[i * width + c] -= t->shift[c];
    if (t->rotation.dim != 0)
        (t->back ? pare_rotate_back : pare_rotate)(&t->rotation, x, n * t->n_head);
    return PARE_OK;
}

pare_status pare_cpu_turn(pare_backend *b, const pare_turn *t, pare_error *err)
{
    (void)b;
    pare_turn copy = *t;
    const size_t width = (size_t)t->n_head * t->head_dim;
    if (width == 0)
        return PARE_OK;
    const size_t step = width < ELEMENTS_A_PIECE ? ELEMENTS_A_PIECE / width : 1;
    return pare_parallel((t->n + step - 1) / step, turn_piece, &copy, err);
}
