/* Linear attention on the CPU: a convolution over time, and the gated delta rule. Every channel and every head is one
 * piece of work that walks through its tokens in order, so results do not depend on the number of threads. */
#include "eval/cpu.h"

#include "core/threads.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHANNELS = 64 }; /* of a piece of the convolution */

typedef struct conv_job {
    const pare_conv *c;
    const float *w; /* [width, kernel] */
    uint32_t pieces;
} conv_job;

/* Input `back` tokens before row r of the span, 0 before its sequence began. */
static float before(const pare_conv *c, const pare_attention_span *s, const float *past, uint32_t r, uint32_t back,
                    uint32_t channel)
{
    if (back <= r)
        return c->x[((size_t)s->row + r - back) * c->width + channel];
    if (s->n_past < back - r)
        return 0;
    return past[(size_t)(c->kernel - 1 - (back - r)) * c->width + channel];
}

/* Leave the last kernel - 1 inputs of a channel, oldest first, for what follows the span. */
static void keep_past(const pare_conv *c, const pare_attention_span *s, float *past, uint32_t channel)
{
    for (uint32_t i = 0; i + 1 < c->kernel; i++) /* what is read lies behind what is written */
        past[(size_t)i * c->width + channel] = before(c, s, past, s->n - 1, c->kernel - 2 - i, channel);
}

static pare_status conv_piece(size_t piece, int thread, void *ctx, pare_error *err)
{
    (void)thread;
    (void)err;
    const conv_job *j = ctx;
    const pare_conv *c = j->c;
    const pare_attention_span *s = &c->spans[piece / j->pieces];
    int32_t slot = c->slots[piece / j->pieces];
    float *past = slot >= 0 ? c->past + (size_t)slot * (c->kernel - 1) * c->width : NULL;
    uint32_t first = (uint32_t)(piece % j->pieces) * CHANNELS;
    uint32_t end = c->width - first < CHANNELS ? c->width : first + CHANNELS;
    for (uint32_t r = 0; r < s->n; r++)
        for (uint32_t channel = first; channel < end; channel++) {
            float sum = 0;
            for (uint32_t k = 0; k < c->kernel; k++)
                sum += j->w[(size_t)channel * c->kernel + k] * before(c, s, past, r, c->kernel - 1 - k, channel);
            c->y[((size_t)s->row + r) * c->width + channel] = sum / (1 + expf(-sum));
        }
    for (uint32_t channel = first; past != NULL && channel < end; channel++)
        keep_past(c, s, past, channel);
    return PARE_OK;
}

pare_status pare_cpu_conv(pare_backend *b, const pare_conv *c, pare_error *err)
{
    (void)b;
    float *owned;
    conv_job j = {.c = c, .pieces = (c->width + CHANNELS - 1) / CHANNELS};
    pare_status st = pare_cpu_vector(c->w, (uint64_t)c->width * c->kernel, &owned, &j.w, err);
    if (st == PARE_OK)
        st = pare_parallel((size_t)c->n_spans * j.pieces, conv_piece, &j, err);
    free(owned);
    return st;
}

typedef struct delta_job {
    const pare_delta *d;
    const float *a, *dt;
} delta_job;

/* y = x / sqrt(sum of x^2 + 1e-6) * scale */
static void normalise(const float *x, uint32_t n, float scale, float *y)
{
    float sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    float factor = scale / sqrtf(sum + PARE_DELTA_EPS);
    for (uint32_t i = 0; i < n; i++)
        y[i] = x[i] * factor;
}

/* One token of a head: state [dim_k, dim_v], out [dim_v]; q and k are normalised, kept and change: [dim_v] scratch. */
static void delta_step(const pare_delta *d, float *state, const float *q, const float *k, const float *v, float decay,
                       float beta, float *change, float *out)
{
    uint32_t n = d->dim_v;
    memset(change, 0, n * sizeof *change);
    memset(out, 0, n * sizeof *out);
    for (uint32_t i = 0; i < d->dim_k; i++)
        for (uint32_t j = 0; j < n; j++) {
            state[i * n + j] *= decay;
            change[j] += state[i * n + j] * k[i];
        }
    for (uint32_t j = 0; j < n; j++)
        change[j] = (v[j] - change[j]) * beta;
    for (uint32_t i = 0; i < d->dim_k; i++)
        for (uint32_t j = 0; j < n; j++) {
            state[i * n + j] += k[i] * change[j];
            out[j] += state[i * n + j] * q[i];
        }
}

static float softplus(float x)
{
    return x > 20 ? x : log1pf(expf(x));
}

static pare_status delta_piece(size_t piece, int thread, void *ctx, pare_error *err)
{
    (void)thread;
    const delta_job *j = ctx;
    const pare_delta *d = j->d;
    uint32_t h = (uint32_t)(piece % d->n_head_v), h_k = pare_delta_key_head(d, h);
    const pare_attention_span *s = &d->spans[piece / d->n_head_v];
    int32_t slot = d->slots[piece / d->n_head_v];
    size_t n_state = (size_t)d->dim_k * d->dim_v, n_scratch = 2 * (size_t)d->dim_k + d->dim_v;
    float *scratch = malloc((n_scratch + (slot < 0 ? n_state : 0)) * sizeof *scratch);
    if (scratch == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for a state of %" PRIu32 " by %" PRIu32, d->dim_k, d->dim_v);
    float *q = scratch, *k = q + d->dim_k, *change = k + d->dim_k;
    float *state = slot < 0 ? change + d->dim_v : d->state + ((size_t)slot * d->n_head_v + h) * n_state;
    size_t width = pare_delta_width(d), keys = (size_t)d->n_head_k * d->dim_k;
    if (s->n_past == 0)
        memset(state, 0, n_state * sizeof *state);
    for (size_t r = s->row; r < (size_t)s->row + s->n; r++) {
        const float *x = d->qkv + r * width;
        normalise(x + (size_t)h_k * d->dim_k, d->dim_k, 1 / sqrtf((float)d->dim_k), q);
        normalise(x + keys + (size_t)h_k * d->dim_k, d->dim_k, 1, k);
        float decay = expf(j->a[h] * softplus(d->alpha[r * d->n_head_v + h] + j->dt[h]));
        float beta = 1 / (1 + expf(-d->beta[r * d->n_head_v + h]));
        delta_step(d, state, q, k, x + 2 * keys + (size_t)h * d->dim_v, decay, beta, change,
                   d->out + (r * d->n_head_v + h) * d->dim_v);
    }
    free(scratch);
    return PARE_OK;
}

pare_status pare_cpu_delta(pare_backend *b, const pare_delta *d, pare_error *err)
{
    (void)b;
    float *owned_a = NULL, *owned_dt = NULL;
    delta_job j = {.d = d};
    pare_status st = pare_cpu_vector(d->a, d->n_head_v, &owned_a, &j.a, err);
    if (st == PARE_OK)
        st = pare_cpu_vector(d->dt, d->n_head_v, &owned_dt, &j.dt, err);
    if (st == PARE_OK)
        st = pare_parallel((size_t)d->n_spans * d->n_head_v, delta_piece, &j, err);
    free(owned_a);
    free(owned_dt);
    return st;
}
