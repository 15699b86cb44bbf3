/* What a forward pass needs before it runs: weights, memory, rotary angles. */
#include "eval/forward_parts.h"

#include "core/checked.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

enum { ALIGNMENT = 64 }; /* bytes, of what lies in the workspace */

static void find_weights(const pare_model *m, uint32_t layer, bool per_layer, pare_forward_weights *out)
{
    for (int id = 0; id < PARE_W_COUNT; id++)
        if (pare_weight_per_layer((pare_weight)id) == per_layer) {
            out->w[id] = pare_model_weight(m, (pare_weight)id, layer, "weight");
            out->b[id] = pare_model_weight(m, (pare_weight)id, layer, "bias");
        }
    if (per_layer && m->arch->wiring.post_norm_feeds_ffn) {
        out->w[PARE_W_FFN_NORM] = out->w[PARE_W_ATTN_POST_NORM];
        out->b[PARE_W_FFN_NORM] = out->b[PARE_W_ATTN_POST_NORM];
        out->w[PARE_W_ATTN_POST_NORM] = out->b[PARE_W_ATTN_POST_NORM] = NULL;
    }
}

static pare_status count_bytes(const pare_forward *f, uint64_t n_rows, uint64_t width, size_t *bytes, pare_error *err)
{
    uint64_t n;
    if (!pare_mul_u64(n_rows, width, &n) || !pare_mul_u64(n, sizeof(float), &n) || n > SIZE_MAX / 32)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: activations of %" PRIu64 " by %" PRIu64 " do not fit in memory",
                         f->m->path, n_rows, width);
    *bytes = ((size_t)n + ALIGNMENT) / ALIGNMENT * ALIGNMENT; /* one at least */
    return PARE_OK;
}

static pare_status reserve(pare_forward *f, float **out, uint64_t n_rows, uint64_t width, pare_error *err)
{
    size_t bytes = 0;
    pare_status st = count_bytes(f, n_rows, width, &bytes, err);
    if (st != PARE_OK)
        return st;
    f->n_bytes += bytes;
    return (*out = f->b->alloc(f->b, bytes, err)) != NULL ? PARE_OK : PARE_ERR_MEMORY;
}

pare_status pare_forward_share(pare_forward *f, float **buffer, uint64_t n_rows, uint64_t width, pare_error *err)
{
    size_t bytes = 0;
    pare_status st = count_bytes(f, n_rows, width, &bytes, err);
    if (st != PARE_OK)
        return st;
    assert(f->n_shared < PARE_FORWARD_SHARED); /* so the sum stays below half of what a size_t holds */
    f->shared[f->n_shared].buffer = buffer;
    f->shared[f->n_shared++].offset = f->shared_bytes;
    f->shared_bytes += bytes;
    return PARE_OK;
}

/* Room for this pass in the workspace that passes share. */
static pare_status reserve_workspace(const pare_forward *f, pare_error *err)
{
    pare_backend *b = f->b;
    if (f->shared_bytes <= b->workspace_bytes)
        return PARE_OK;
    b->release(b, b->workspace); /* before: both at once may be more than there is */
    b->workspace_bytes = 0;
    if ((b->workspace = b->alloc(b, f->shared_bytes, err)) == NULL)
        return PARE_ERR_MEMORY;
    b->workspace_bytes = f->shared_bytes;
    return PARE_OK;
}

pare_status pare_forward_enter_workspace(pare_forward *f, pare_error *err)
{
    pare_status st = reserve_workspace(f, err);
    for (size_t i = 0; st == PARE_OK && i < f->n_shared; i++)
        *f->shared[i].buffer = (float *)(void *)((char *)f->b->workspace + f->shared[i].offset);
    return st;
}

/* The divisors of the rotary angles, or NULL. LongRoPE has two sets: the length of the context chooses, not that of a
 * sequence, so that the keys of a sequence that grows stay as they are. */
static const pare_tensor *rope_factors(const pare_forward *f)
{
    const pare_hparams *hp = &f->m->hp;
    uint32_t ctx_orig = hp->rope_ctx_orig > 0 ? hp->rope_ctx_orig : hp->n_ctx_train;
    if (f->model.w[PARE_W_ROPE_FREQS] != NULL)
        return f->model.w[PARE_W_ROPE_FREQS];
    return f->model.w[f->n_ctx > ctx_orig ? PARE_W_ROPE_FACTORS_LONG : PARE_W_ROPE_FACTORS_SHORT];
}

/* Does RoPE turn the heads of layers with a window by other angles? */
static bool window_turns_otherwise(const pare_forward *f)
{
    const pare_hparams *hp = &f->m->hp;
    bool scaled = hp->rope_scaling != PARE_ROPE_PLAIN || rope_factors(f) != NULL;
    return hp->window > 0 &&
           (hp->window_heads.n_rot != 0 || (hp->rope_base_window != 0 && hp->rope_base_window != hp->rope_base) ||
            (scaled && f->m->arch->window_rope_plain));
}

/* Elements of a head that RoPE turns in layers with a window. */
static uint32_t window_rot(const pare_hparams *hp)
{
    return hp->window_heads.n_rot != 0 ? hp->window_heads.n_rot : hp->n_rot;
}

static pare_status reserve_all(pare_forward *f, pare_error *err)
{
    const pare_hparams *hp = &f->m->hp;
    uint64_t tokens = f->max_tokens, slice = f->slice_tokens;
    uint32_t widest = hp->n_ff > hp->n_ff_expert ? hp->n_ff : hp->n_ff_expert;
    widest = widest > hp->n_ff_shared_kv ? widest : hp->n_ff_shared_kv;
    widest = widest > hp->n_ff_shared ? widest : hp->n_ff_shared;
    uint32_t linear = hp->linear.n_head_v * hp->linear.head_dim_v, widest_heads = linear > f->n_o ? linear : f->n_o;
    const struct {
        float **buffer;
        uint64_t n_rows, width;
    } shared[] = {{&f->k, tokens, f->n_k}, {&f->v, tokens, f->n_v},      {&f->h, slice, hp->n_embd},
                  {&f->q, slice, f->n_q},  {&f->o, slice, widest_heads}, {&f->branch, slice, hp->n_embd},
                  {&f->up, slice, widest}, {&f->gate, slice, widest}};
    pare_status st = reserve(f, &f->x, tokens, hp->n_embd, err);
    if (st == PARE_OK)
        st = reserve(f, &f->cos_sin, f->n_ctx, hp->n_rot, err);
    if (st == PARE_OK && window_turns_otherwise(f))
        st = reserve(f, &f->cos_sin_window, f->n_ctx, window_rot(hp), err);
    for (size_t i = 0; st == PARE_OK && i < sizeof shared / sizeof shared[0]; i++)
        st = pare_forward_share(f, shared[i].buffer, shared[i].n_rows, shared[i].width, err);
    if (st == PARE_OK)
        st = pare_forward_reserve_latent(f, slice, err);
    for (int i = 0; i < 2 && hp->n_layer_shared_kv > 0 && st == PARE_OK; i++)
        if ((st = pare_forward_share(f, &f->kept_k[i], tokens, f->n_k, err)) == PARE_OK)
            st = pare_forward_share(f, &f->kept_v[i], tokens, f->n_v, err);
    if (st == PARE_OK)
        st = pare_forward_reserve_streams(f, err);
    if (st == PARE_OK)
        st = pare_forward_reserve_experts(f, slice, err);
    if (st == PARE_OK)
        st = pare_forward_reserve_recurrent(f, slice, err);
    if (st == PARE_OK && f->m->arch->wiring.attn_gated)
        st = pare_forward_share(f, &f->q_gate, slice, 2 * (uint64_t)f->n_q, err);
    if (st == PARE_OK && f->m->arch->wiring.attn_gated)
        st = pare_forward_share(f, &f->gates, slice, f->n_q, err);
    return st == PARE_OK ? reserve_workspace(f, err) : st;
}

/* cos and sin of position * turn, in double, for every position. Frequency factors (llama3 scaling) divide the angle
 * pair by pair. */
static pare_status fill_cos_sin(pare_forward *f, const pare_hparams *hp, const pare_tensor *factors, float *out,
                                pare_error *err)
{
    size_t half = hp->n_rot / 2, bytes = (size_t)f->n_ctx * hp->n_rot * sizeof(float); /* reserved before: it fits */
    if (half == 0)
        return PARE_OK;
    float *table = malloc(bytes), *divisor = malloc(half * sizeof *divisor);
    double *turns = malloc(half * sizeof *turns), magnitude = pare_rope_magnitude(hp);
    pare_status st = PARE_OK;
    if (table == NULL || divisor == NULL || turns == NULL) {
        st = pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu bytes of rotary angles", f->m->path, bytes);
        goto done;
    }
    for (size_t i = 0; i < half; i++)
        divisor[i] = 1;
    if (factors != NULL && (st = pare_tensor_read_f32(factors, 0, 1, divisor, err)) != PARE_OK)
        goto done;
    pare_rope_turns(hp, turns);
    for (size_t i = 0; i < half; i++) {
        double turn = turns[i] / (double)divisor[i];
        for (uint32_t t = 0; t < f->n_ctx; t++) {
            table[t * 2 * half + 2 * i] = (float)(magnitude * cos(t * turn));
            table[t * 2 * half + 2 * i + 1] = (float)(magnitude * sin(t * turn));
        }
    }
    st = f->b->upload(f->b, out, table, bytes, err);
done:
    free(table);
    free(divisor);
    free(turns);
    return st;
}

/* The angles of all layers, and of those with a window where theirs are others. */
static pare_status fill_angles(pare_forward *f, pare_error *err)
{
    const pare_tensor *factors = rope_factors(f);
    pare_status st = fill_cos_sin(f, &f->m->hp, factors, f->cos_sin, err);
    if (st != PARE_OK || f->cos_sin_window == NULL)
        return st;
    pare_hparams windowed = f->m->hp;
    windowed.n_rot = window_rot(&windowed);
    if (windowed.rope_base_window != 0)
        windowed.rope_base = windowed.rope_base_window;
    if (f->m->arch->window_rope_plain) {
        windowed.rope_scaling = PARE_ROPE_PLAIN;
        windowed.rope_attn_factor = 0;
        factors = NULL;
    }
    return fill_cos_sin(f, &windowed, factors, f->cos_sin_window, err);
}

pare_forward_widths pare_forward_widths_of(const pare_forward *f, uint32_t layer)
{
    const pare_layer_shape of = pare_layer_shape_of(&f->m->hp, layer);
    uint32_t n_head = f->m->hp.n_head;
    if (pare_forward_is_latent(f))
        return (pare_forward_widths){f->n_q, f->n_k, f->n_v, f->n_o};
    return (pare_forward_widths){n_head * of.head_dim_k, of.n_head_kv * of.head_dim_k, of.n_head_kv * of.head_dim_v,
                                 n_head * of.head_dim_v};
}

static void widen(uint32_t *most, uint32_t n)
{
    *most = *most > n ? *most : n;
}

static void find_widths(pare_forward *f)
{
    const pare_hparams *hp = &f->m->hp;
    for (uint32_t i = 0; i < hp->n_layer; i++) {
        const pare_layer_shape of = pare_layer_shape_of(hp, i);
        widen(&f->n_q, hp->n_head * of.head_dim_k);
        widen(&f->n_k, of.n_head_kv * of.head_dim_k);
        widen(&f->n_v, of.n_head_kv * of.head_dim_v);
        widen(&f->n_o, hp->n_head * of.head_dim_v);
    }
    if (pare_forward_is_latent(f))
        pare_forward_latent_widths(f);
}

/* The pass without its activation memory; NULL: no memory. */
static pare_forward *create(const pare_model *m, pare_backend *b, uint32_t n_ctx, uint32_t n_tokens)
{
    const pare_hparams *hp = &m->hp;
    pare_forward *f = calloc(1, sizeof *f);
    if (f == NULL)
        return NULL;
    f->m = m;
    f->b = b;
    f->n_ctx = n_ctx;
    f->max_tokens = n_tokens;
    f->slice_tokens = n_tokens < b->slice_tokens ? n_tokens : b->slice_tokens;
    if (hp->both_ways && f->slice_tokens < n_ctx) /* a layer needs the keys of a whole sequence */
        f->slice_tokens = n_ctx < n_tokens ? n_ctx : n_tokens;
    f->layers = calloc(hp->n_layer > 0 ? hp->n_layer : 1, sizeof *f->layers);
    f->spans = malloc(n_tokens * sizeof *f->spans);
    f->positions = malloc(n_tokens * sizeof *f->positions);
    f->kept_spans = malloc(f->slice_tokens * sizeof *f->kept_spans);
    f->kept_positions = malloc(f->slice_tokens * sizeof *f->kept_positions);
    f->kept_rows = malloc(f->slice_tokens * sizeof *f->kept_rows);
    if (f->layers == NULL || f->spans == NULL || f->positions == NULL || f->kept_spans == NULL ||
        f->kept_positions == NULL || f->kept_rows == NULL) {
        pare_forward_close(f);
        return NULL;
    }
    find_widths(f);
    find_weights(m, 0, false, &f->model);
    for (uint32_t i = 0; i < hp->n_layer; i++)
        find_weights(m, i, true, &f->layers[i]);
    return f;
}

pare_status pare_forward_open_tokens(pare_forward **out, const pare_model *m, pare_backend *b, uint32_t n_ctx,
                                     uint32_t n_tokens, pare_error *err)
{
    pare_status st = pare_forward_check_supported(m, n_ctx, err);
    if (st != PARE_OK)
        return st;
    if (n_ctx == 0 || n_ctx > INT32_MAX || n_tokens == 0 || n_tokens > INT32_MAX)
        return pare_fail(err, PARE_ERR_USAGE, "%s: %" PRIu32 " tokens at once, of sequences of %" PRIu32, m->path,
                         n_tokens, n_ctx);
    pare_forward *f = create(m, b, n_ctx, n_tokens);
    if (f == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %" PRIu32 " layers and %" PRIu32 " tokens", m->path,
                         m->hp.n_layer, n_tokens);
    if ((st = pare_forward_check_weights(f, err)) != PARE_OK || (st = reserve_all(f, err)) != PARE_OK ||
        (st = fill_angles(f, err)) != PARE_OK || (st = pare_forward_hold(f, err)) != PARE_OK) {
        pare_forward_close(f);
        return st;
    }
    *out = f;
    return PARE_OK;
}

pare_status pare_forward_open(pare_forward **out, const pare_model *m, pare_backend *b, uint32_t n_ctx, uint32_t n_seq,
                              pare_error *err)
{
    if ((uint64_t)n_ctx * n_seq > INT32_MAX || n_ctx == 0 || n_seq == 0)
        return pare_fail(err, PARE_ERR_USAGE, "%s: %" PRIu32 " windows of %" PRIu32 " tokens at once", m->path, n_seq,
                         n_ctx);
    return pare_forward_open_tokens(out, m, b, n_ctx, n_ctx * n_seq, err);
}

void pare_forward_close(pare_forward *f)
{
    if (f == NULL)
        return;
    pare_forward_drop(f);
    f->b->release(f->b, f->x);
    f->b->release(f->b, f->cos_sin);
    f->b->release(f->b, f->cos_sin_window);
    pare_forward_release_experts(f);
    pare_forward_release_kv(f);
    free(f->linear.slots);
    free(f->layers);
    free(f->spans);
    free(f->positions);
    free(f->kept_spans);
    free(f->kept_positions);
    free(f->kept_rows);
    free(f);
}

uint64_t pare_forward_bytes(const pare_forward *f)
{
    return f->n_bytes + f->shared_bytes;
}
