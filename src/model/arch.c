#include "model/arch.h"
#include "model/hparams_limits.h"
#include "model/model.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PARE_ARCH(name) extern const pare_arch pare_arch_##name;
#include "model/arch_list.h"
#undef PARE_ARCH

static const pare_arch *const archs[] = {
#define PARE_ARCH(name) &pare_arch_##name,
#include "model/arch_list.h"
#undef PARE_ARCH
};

static const char *const weight_names[PARE_W_COUNT] = {
#define PARE_WEIGHT_NAME(id, gguf) [PARE_W_##id] = gguf,
    PARE_WEIGHTS(PARE_WEIGHT_NAME)
#undef PARE_WEIGHT_NAME
};

static const char layer_prefix[] = "blk.%u.";

const pare_arch *pare_arch_at(size_t i)
{
    return i < sizeof archs / sizeof *archs ? archs[i] : NULL;
}

const pare_arch *pare_arch_find(const char *gguf_name)
{
    for (size_t i = 0; pare_arch_at(i) != NULL; i++)
        if (strcmp(archs[i]->name, gguf_name) == 0)
            return archs[i];
    return NULL;
}

const pare_arch *pare_arch_find_class(const char *hf_class, const pare_hf_class **out)
{
    for (size_t i = 0; pare_arch_at(i) != NULL; i++)
        for (const pare_hf_class *c = archs[i]->hf_classes; c->name != NULL; c++)
            if (strcmp(c->name, hf_class) == 0) {
                if (out != NULL)
                    *out = c;
                return archs[i];
            }
    return NULL;
}

const pare_arch_weight *pare_arch_weight_of(const pare_arch *arch, pare_weight id)
{
    for (size_t i = 0; i < arch->n_weights; i++)
        if (arch->weights[i].id == id)
            return &arch->weights[i];
    return NULL;
}

bool pare_weight_per_layer(pare_weight id)
{
    return strncmp(weight_names[id], layer_prefix, sizeof layer_prefix - 1) == 0;
}

char *pare_weight_name(char *dst, size_t size, pare_weight id, uint32_t layer, const char *suffix)
{
    const char *name = weight_names[id] + (pare_weight_per_layer(id) ? sizeof layer_prefix - 1 : 0);
    int n = (int)strcspn(name, "!");
    bool bare = name[n] == '!' && strcmp(suffix, "weight") == 0;
    char prefix[32] = "";
    if (pare_weight_per_layer(id))
        snprintf(prefix, sizeof prefix, "blk.%" PRIu32 ".", layer);
    snprintf(dst, size, "%s%.*s%s%s", prefix, n, name, bare ? "" : ".", bare ? "" : suffix);
    return dst;
}

char *pare_arch_hf_name(char *dst, size_t size, const pare_arch_weight *w, uint32_t layer, uint32_t expert, bool bias)
{
    bool bare = (w->flags & PARE_NO_SUFFIX) != 0, alone = (w->flags & PARE_BIAS_ALONE) != 0;
    const char *suffix = bias && !(bare && alone) ? (bare ? "_bias" : ".bias") : bare ? "" : ".weight";
    size_t n = 0;
    for (const char *p = w->hf; *p != '\0' && n + 1 < size;) {
        if (p[0] == '%') { /* %u or %e */
            n += (size_t)snprintf(dst + n, size - n, "%" PRIu32, p[1] == 'u' ? layer : expert);
            p += 2;
        } else
            dst[n++] = *p++;
    }
    if (n < size)
        snprintf(dst + n, size - n, "%s", suffix);
    return dst;
}

const char *pare_arch_shared_key(const pare_arch *arch, const pare_hf_class *class)
{
    const pare_arch_weight *up = pare_arch_weight_of(arch, PARE_W_FFN_UP_SHEXP);
    if (class->shared != NULL || up == NULL || arch->routing_keys || (up->flags & PARE_IF_SHARED))
        return class->shared;
    return "shared_expert_intermediate_size";
}

const pare_hf_class *pare_arch_class_for(const pare_arch *arch, const pare_hparams *hp)
{
    const pare_hf_class *second = NULL;
    for (const pare_hf_class *c = arch->hf_classes; c->name != NULL; c++) {
        if ((c->experts_if == NULL && (c->experts != NULL) != (hp->n_expert > 0)) ||
            (c->expert_score != PARE_EXPERT_USUAL && c->expert_score != pare_arch_expert_score(arch, hp)) ||
            (c->experts != NULL && pare_arch_shared_key(arch, c) == NULL && hp->n_ff_shared > 0 && !arch->routing_keys))
            continue;
        if (!arch->window_key || (c->window != PARE_WINDOW_NONE) == (hp->window > 0))
            return c;
        if (second == NULL)
            second = c;
    }
    return second != NULL ? second : arch->hf_classes;
}

pare_expert_score pare_arch_expert_score(const pare_arch *arch, const pare_hparams *hp)
{
    if (hp->expert_score != PARE_EXPERT_USUAL)
        return hp->expert_score;
    return arch->expert_score != PARE_EXPERT_USUAL ? arch->expert_score : PARE_EXPERT_SOFTMAX;
}

bool pare_arch_needs_experts(const pare_arch *arch)
{
    return pare_arch_weight_of(arch, PARE_W_FFN_UP_EXPS) != NULL && pare_arch_weight_of(arch, PARE_W_FFN_UP) == NULL;
}

pare_hf_share pare_arch_share(const pare_arch_weight *w)
{
    return (pare_hf_share){w->flags >> 20 & 15, w->flags >> 24 & 15, (w->flags >> 28 & 1) != 0};
}

bool pare_arch_allows(const pare_arch_weight *w, bool bias)
{
    if (w->flags & PARE_BIAS_ALONE)
        return bias;
    const unsigned any_bias = PARE_BIAS_OPTIONAL | PARE_BIAS_REQUIRED | PARE_BIAS_ATTN | PARE_BIAS_FFN;
    return !bias || (w->flags & any_bias) != 0;
}

bool pare_arch_applies(const pare_arch_weight *w, const pare_hparams *hp)
{
    uint64_t lacking = (hp->norm_pair ? PARE_IF_ONE_NORM : PARE_IF_NORM_PAIR) | (hp->qk_norm ? 0 : PARE_IF_QK_NORM) |
                       (hp->residual_in_turn ? 0 : PARE_IF_IN_TURN) | (hp->n_ff_shared > 0 ? 0 : PARE_IF_SHARED) |
                       (hp->n_lora_q > 0 ? PARE_IF_Q_WHOLE : PARE_IF_Q_COMPRESSED) |
                       (hp->latent_whole ? PARE_IF_KV_SPLIT : PARE_IF_KV_WHOLE) |
                       (hp->n_embd_layer > 0 ? 0 : PARE_IF_LAYER_INPUTS) |
                       (hp->experts_apart ? PARE_IF_EXPERTS_FUSED : PARE_IF_EXPERTS_APART);
    return (w->flags & lacking) == 0;
}

bool pare_arch_has_value_heads(const pare_arch_weight *w, bool columns)
{
    pare_dim dim = w->dim[columns ? 1 : 0];
    return dim == PARE_DIM_LINEAR_V || dim == PARE_DIM_LINEAR_QKV || dim == PARE_DIM_LINEAR_HEADS;
}

uint64_t pare_arch_stacked(const pare_arch_weight *w, const pare_hparams *hp)
{
    return w->map == PARE_MAP_STACK ? pare_dim_size(w->dim[0], hp, 0) : 1;
}

bool pare_arch_requires(const pare_arch_weight *w, const pare_hparams *hp, uint32_t layer, bool bias)
{
    unsigned others = pare_layer_has_experts(hp, layer) ? PARE_DENSE_ONLY : PARE_EXPERTS_ONLY;
    others |= pare_layers_have(&hp->linear.layers, layer) ? PARE_ATTENTION_ONLY : PARE_LINEAR_ONLY;
    bool other_kind = (w->flags & others) != 0;
    if (!pare_arch_applies(w, hp) || ((w->flags & PARE_OWN_KEYS) && pare_layer_of_keys(hp, layer) != layer))
        return false;
    if (w->id == PARE_W_ATTN_V && hp->keys_as_values && pare_layer_window(hp, layer) == 0)
        return false;
    if (!bias)
        return !other_kind && (w->flags & (PARE_WEIGHT_OPTIONAL | PARE_WEIGHT_MADE | PARE_BIAS_ALONE)) == 0;
    if (other_kind)
        return false;
    return (w->flags & PARE_BIAS_REQUIRED) || ((w->flags & PARE_BIAS_ATTN) && hp->attn_bias) ||
           ((w->flags & PARE_BIAS_FFN) && hp->ffn_bias);
}

uint64_t pare_dim_size(pare_dim dim, const pare_hparams *hp, uint32_t layer)
{
    const pare_layer_shape of = pare_layer_shape_of(hp, layer);
    uint64_t q = (uint64_t)hp->n_head * of.head_dim_k, k = (uint64_t)of.n_head_kv * of.head_dim_k;
    uint64_t v = (uint64_t)of.n_head_kv * of.head_dim_v;
    uint64_t plain = hp->head_dim_k - hp->n_rot;
    const pare_linear_attention *linear = &hp->linear;
    uint64_t linear_v = (uint64_t)linear->n_head_v * linear->head_dim_v;
    const uint64_t sizes[] = {
        [PARE_DIM_NONE] = 1,
        [PARE_DIM_VOCAB] = hp->n_vocab,
        [PARE_DIM_EMBD] = hp->n_embd,
        [PARE_DIM_FF] = of.n_ff,
        [PARE_DIM_Q] = q,
        [PARE_DIM_K] = k,
        [PARE_DIM_V] = v,
        [PARE_DIM_O] = (uint64_t)hp->n_head * of.head_dim_v,
        [PARE_DIM_QKV] = q + k + v,
        [PARE_DIM_HEAD_K] = of.head_dim_k,
        [PARE_DIM_HEAD_V] = of.head_dim_v,
        [PARE_DIM_HEAD_PLAIN] = plain,
        [PARE_DIM_LORA_Q] = hp->n_lora_q,
        [PARE_DIM_LORA_KV] = hp->n_lora_kv,
        [PARE_DIM_LATENT] = (uint64_t)hp->n_lora_kv + hp->n_rot,
        [PARE_DIM_KV_B] = hp->n_head * (plain + hp->head_dim_v),
        [PARE_DIM_HEAD] = hp->n_head,
        [PARE_DIM_HEAD_KV] = of.n_head_kv,
        [PARE_DIM_EMBD_LAYER] = hp->n_embd_layer,
        [PARE_DIM_EMBD_LAYERS] = (uint64_t)hp->n_layer * hp->n_embd_layer,
        [PARE_DIM_STREAM] = hp->n_stream,
        [PARE_DIM_STREAM_PAIR] = (uint64_t)hp->n_stream * hp->n_stream,
        [PARE_DIM_STREAM_MORE] = hp->n_stream > 0 ? hp->n_stream - 1 : 0,
        [PARE_DIM_LAUREL] = hp->laurel_rank,
        [PARE_DIM_ROT_HALF] = hp->n_rot / 2,
        [PARE_DIM_CTX] = hp->n_ctx_train,
        [PARE_DIM_TOKEN_TYPES] = hp->n_token_types,
        [PARE_DIM_FF2] = 2 * (uint64_t)of.n_ff,
        [PARE_DIM_EXPERT] = hp->n_expert,
        [PARE_DIM_FF_EXPERT] = hp->n_ff_expert,
        [PARE_DIM_FF_EXPERT2] = 2 * (uint64_t)hp->n_ff_expert,
        [PARE_DIM_FF_SHARED] = hp->n_ff_shared,
        [PARE_DIM_Q_GATED] = 2 * q,
        [PARE_DIM_LINEAR_QKV] = 2 * (uint64_t)linear->n_head_k * linear->head_dim_k + linear_v,
        [PARE_DIM_LINEAR_V] = linear_v,
        [PARE_DIM_LINEAR_HEADS] = linear->n_head_v,
        [PARE_DIM_LINEAR_HEADS2] = 2 * (uint64_t)linear->n_head_v,
        [PARE_DIM_LINEAR_HEAD_V] = linear->head_dim_v,
        [PARE_DIM_LINEAR_KERNEL] = linear->kernel,
        [PARE_DIM_ONE] = 1,
    };
    return sizes[dim];
}

/* What pare_arch_check has found so far. */
typedef struct check {
    pare_model *m;
    pare_buf missing;
    size_t n_missing, n_known; /* n_known: tensors that the description names */
} check;

enum { MAX_NAMED = 10 };

static pare_status note_missing(check *c, const char *name, pare_error *err)
{
    if (c->n_missing++ >= MAX_NAMED)
        return PARE_OK;
    return pare_buf_printf(&c->missing, err, "%s'%s'", c->missing.len > 0 ? ", " : "", name);
}

static pare_status put_dim(pare_buf *out, uint64_t dim, pare_error *err)
{
    return pare_buf_printf(out, err, "%s%" PRIu64, out->len > 0 ? ", " : "", dim);
}

pare_status pare_arch_check_shape(const pare_tensor *t, const pare_arch_weight *w, bool bias, const pare_hparams *hp,
                                  uint32_t layer, const char *path, pare_error *err)
{
    uint32_t n = 0;
    while (n < 3 && w->dim[n] != PARE_DIM_NONE)
        n++;
    if (bias && n > 1 && (w->flags & PARE_BIAS_ALONE) == 0)
        n--; /* one element a row */
    uint32_t first = w->dim[0] == PARE_DIM_ONE && t->n_dims + 1 == n;
    bool same = t->n_dims + first == n;
    for (uint32_t i = first; i < n && same; i++)
        same = t->dim[i - first] == pare_dim_size(w->dim[i], hp, layer);
    if (same)
        return PARE_OK;
    pare_buf found = {0}, wanted = {0};
    pare_status st = PARE_OK;
    for (uint32_t i = 0; i < t->n_dims && st == PARE_OK; i++)
        st = put_dim(&found, t->dim[i], err);
    for (uint32_t i = 0; i < n && st == PARE_OK; i++)
        st = put_dim(&wanted, pare_dim_size(w->dim[i], hp, layer), err);
    if (st == PARE_OK)
        st = pare_fail(err, PARE_ERR_RANGE,
                       "%s: tensor '%s' at offset %" PRIu64 " has shape [%s], the hyperparameters want [%s]", path,
                       t->name, t->offset, found.data != NULL ? found.data : "", wanted.data);
    pare_buf_close(&found);
    pare_buf_close(&wanted);
    return st;
}

/* One tensor of a weight: there with the right shape, or noted as missing when it must be there. */
static pare_status check_one(check *c, const pare_arch_weight *w, uint32_t layer, bool bias, bool required,
                             pare_error *err)
{
    char name[128];
    pare_weight_name(name, sizeof name, w->id, layer, bias ? "bias" : "weight");
    const pare_tensor *t = pare_model_find(c->m, name);
    if (!pare_arch_applies(w, &c->m->hp))
        return PARE_OK; /* another row describes it, or none */
    if (t == NULL)
        return required ? note_missing(c, name, err) : PARE_OK;
    c->n_known++;
    return pare_arch_check_shape(t, w, bias, &c->m->hp, layer, c->m->path, err);
}

/* llama-model.cpp looks for these, whatever the type of the weight. */
bool pare_arch_has_factor(const pare_arch *arch, pare_weight id)
{
    static const pare_weight ids[] = {
        PARE_W_ATTN_Q,        PARE_W_ATTN_K,         PARE_W_ATTN_V,       PARE_W_ATTN_QKV,       PARE_W_ATTN_OUT,
        PARE_W_FFN_GATE,      PARE_W_FFN_UP,         PARE_W_FFN_DOWN,     PARE_W_FFN_GATE_EXPS,  PARE_W_FFN_UP_EXPS,
        PARE_W_FFN_DOWN_EXPS, PARE_W_FFN_GATE_SHEXP, PARE_W_FFN_UP_SHEXP, PARE_W_FFN_DOWN_SHEXP, PARE_W_OUTPUT};
    if (id == PARE_W_FFN_DOWN_EXPS && pare_arch_weight_of(arch, PARE_W_EXPERT_SCALE) != NULL)
        return false;
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        if (ids[i] == id)
            return true;
    return false;
}

/* The factor of a weight, where the model has a tensor with it: one number a matrix. */
static pare_status link_factor(check *c, const pare_arch_weight *w, uint32_t layer, pare_error *err)
{
    pare_model *m = c->m;
    const pare_tensor *weight =
                          pare_arch_has_factor(m->arch, w->id) ? pare_model_weight(m, w->id, layer, "weight") : NULL,
                      *scale = weight != NULL ? pare_model_weight(m, w->id, layer, "scale") : NULL;
    c->n_known += weight != NULL && pare_model_weight(m, w->id, layer, "input_scale") != NULL; /* of activations */
    if (scale == NULL)
        return PARE_OK;
    c->n_known++;
    uint64_t n = pare_tensor_matrices(weight);
    if (scale->type != PARE_TYPE_F32 || scale->n_rows != 1 || scale->row_len != n)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: tensor '%s' at offset %" PRIu64 " has %" PRIu64 " rows of %" PRIu64
                         " %s, expected one of %" PRIu64 " f32",
                         m->path, scale->name, scale->offset, scale->n_rows, scale->row_len,
                         pare_type_get(scale->type)->name, n);
    if (weight->factor != NULL)
        return PARE_OK;
    float *factor = pare_arena_alloc(&m->arena, (size_t)n * sizeof *factor, err); /* the bytes are in the file */
    pare_status st = factor != NULL ? pare_tensor_read_f32(scale, 0, 1, factor, err) : PARE_ERR_MEMORY;
    for (uint64_t i = 0; i < n && st == PARE_OK; i++)
        if (!isfinite(factor[i]))
            st = pare_fail(err, PARE_ERR_NUMBER, "%s: tensor '%s' holds %g at %" PRIu64, m->path, scale->name,
                           (double)factor[i], i);
    if (st == PARE_OK)
        m->tensors[weight - m->tensors].factor = factor;
    return st;
}

static pare_status check_weight(check *c, const pare_arch_weight *w, uint32_t layer, pare_error *err)
{
    pare_status st = PARE_OK;
    if (pare_arch_allows(w, false))
        st = check_one(c, w, layer, false, pare_arch_requires(w, &c->m->hp, layer, false), err);
    if (st == PARE_OK)
        st = link_factor(c, w, layer, err);
    if (st == PARE_OK && pare_arch_allows(w, true))
        st = check_one(c, w, layer, true, pare_arch_requires(w, &c->m->hp, layer, true), err);
    return st;
}

/* Tensors of layers that do not exist say that block_count is wrong. */
static pare_status check_layers(const pare_model *m, pare_error *err)
{
    for (size_t i = 0; i < m->n_tensors; i++) {
        const char *name = m->tensors[i].name;
        const size_t n = strncmp(name, "blk.", 4) == 0 ? strspn(name + 4, "+-0123456789") : 0;
        if (n == 0 || name[4 + n] != '.')
            continue;
        if (name[4] < '0' || name[4] > '9' || (n > 1 && name[4] == '0'))
            return pare_fail(err, PARE_ERR_RANGE,
                             "%s: tensor '%s' at offset %" PRIu64 " is of layer '%.*s', which is no number of a layer",
                             m->path, name, m->tensors[i].offset, (int)n, name + 4);
        unsigned long long layer = strtoull(name + 4, NULL, 10); /* saturates, which is out of range as well */
        if (layer >= m->hp.n_layer)
            return pare_fail(err, PARE_ERR_RANGE,
                             "%s: tensor '%s' at offset %" PRIu64 " is of layer %llu, but '%s.block_count' is %" PRIu32,
                             m->path, name, m->tensors[i].offset, layer, m->arch->name, m->hp.n_layer);
    }
    return PARE_OK;
}

/* Vocabularies are padded to multiples of 64 and more, for the sake of matrix units (Megatron-LM's
 * --make-vocab-size-divisible-by is 128); Hub's converters give the rows behind the tokens names. */
enum { VOCAB_PADDING = 64 };

/* Rows of the embedding against the metadata and the tokenizer: more rows than tokens only as padding. */
static pare_status check_vocab_rows(pare_model *m, pare_error *err)
{
    const pare_tensor *embd = pare_model_weight(m, PARE_W_TOKEN_EMBD, 0, "weight");
    if (embd == NULL || embd->n_dims != 2)
        return PARE_OK; /* named by the check of the weights */
    const pare_meta_value *tokens = pare_meta_find(&m->meta, "tokenizer.ggml.tokens");
    uint64_t rows = embd->dim[0];
    if (m->hp.n_vocab == 0) {
        if (rows == 0 || rows > PARE_MAX_VOCAB)
            return pare_fail(err, PARE_ERR_RANGE, "%s: tensor '%s' has %" PRIu64 " rows, allowed 1 to %d", m->path,
                             embd->name, rows, PARE_MAX_VOCAB);
        m->hp.n_vocab = (uint32_t)rows;
    }
    if (rows != m->hp.n_vocab)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: tensor '%s' at offset %" PRIu64 " has %" PRIu64 " rows, the vocabulary has %" PRIu32,
                         m->path, embd->name, embd->offset, rows, m->hp.n_vocab);
    if (tokens == NULL || tokens->type != PARE_META_ARRAY || tokens->n == rows)
        return PARE_OK;
    if (tokens->n > rows)
        return pare_fail(err, PARE_ERR_RANGE, "%s: tensor '%s' has %" PRIu64 " rows for %" PRIu64 " tokens", m->path,
                         embd->name, rows, tokens->n);
    if (rows % VOCAB_PADDING != 0)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: tensor '%s' at offset %" PRIu64 " has %" PRIu64 " rows for %" PRIu64
                         " tokens, allowed beyond them is padding to a multiple of %d",
                         m->path, embd->name, embd->offset, rows, tokens->n, VOCAB_PADDING);
    return pare_warn(err, "%s: tensor '%s' has %" PRIu64 " rows, the tokenizer only %" PRIu64 " tokens", m->path,
                     embd->name, rows, tokens->n);
}

/* Whether the first layer that sees all, and has keys of its own, has no matrix for values. */
static bool takes_keys_as_values(const pare_model *m)
{
    for (uint32_t i = 0; i < m->hp.n_layer; i++)
        if (pare_layer_window(&m->hp, i) == 0 && pare_layer_of_keys(&m->hp, i) == i)
            return pare_model_weight(m, PARE_W_ATTN_K, i, "weight") != NULL &&
                   pare_model_weight(m, PARE_W_ATTN_V, i, "weight") == NULL;
    return false;
}

/* What only the tensors say. */
static void complete_from_tensors(pare_model *m)
{
    pare_hparams *hp = &m->hp;
    hp->tied_output = pare_model_weight(m, PARE_W_OUTPUT, 0, "weight") == NULL;
    hp->norm_pair = pare_model_weight(m, PARE_W_ATTN_NORM_2, 0, "weight") != NULL;
    hp->qk_norm = pare_model_weight(m, PARE_W_ATTN_Q_NORM, 0, "weight") != NULL;
    const pare_tensor *low = pare_model_weight(m, PARE_W_LAUREL_L, 0, "weight");
    if (low != NULL && low->n_rows <= PARE_MAX_EMBD)
        hp->laurel_rank = (uint32_t)low->n_rows;
    if (pare_arch_weight_of(m->arch, PARE_W_FFN_GATE_UP_EXPS) != NULL)
        hp->experts_apart = pare_model_weight(m, PARE_W_FFN_UP_EXPS, 0, "weight") != NULL;
    if (m->arch->window_heads)
        hp->keys_as_values = takes_keys_as_values(m);
    if (m->arch->wiring.in_turn_with_ffn_norm)
        hp->residual_in_turn = pare_model_weight(m, PARE_W_FFN_NORM, 0, "weight") != NULL;
    if (hp->rope_scaling == PARE_ROPE_PLAIN && pare_model_weight(m, PARE_W_ROPE_FACTORS_LONG, 0, "weight") != NULL)
        hp->rope_scaling = PARE_ROPE_LONGROPE;
}

pare_status pare_arch_check(pare_model *m, pare_error *err)
{
    check c = {.m = m};
    const pare_arch *arch = m->arch;
    complete_from_tensors(m);
    pare_status st = check_vocab_rows(m, err);
    if (st == PARE_OK)
        st = check_layers(m, err);
    for (size_t i = 0; i < arch->n_weights && st == PARE_OK; i++) {
        uint32_t n = pare_weight_per_layer(arch->weights[i].id) ? m->hp.n_layer : 1;
        for (uint32_t layer = 0; layer < n && st == PARE_OK; layer++)
            st = check_weight(&c, &arch->weights[i], layer, err);
    }
    if (st == PARE_OK && c.n_missing > 0)
        st = pare_fail(err, PARE_ERR_FORMAT,
                       "%s: %zu weights of architecture '%s' are missing for a block_count of %" PRIu32 ": %s%s",
                       m->path, c.n_missing, arch->name, m->hp.n_layer, c.missing.data,
                       c.n_missing > MAX_NAMED ? ", ..." : "");
    if (st == PARE_OK && c.n_known < m->n_tensors)
        st = pare_warn(err, "%s: %zu of %zu tensors are no part of architecture '%s' as it is described", m->path,
                       m->n_tensors - c.n_known, m->n_tensors, arch->name);
    pare_buf_close(&c.missing);
    return st;
}

pare_status pare_arch_refuse_unknown(const pare_model *m, pare_error *err)
{
    pare_str name = {0};
    bool found = false;
    if (m->n_tensors == 0)
        return pare_model_want_tensors(m, err);
    if (pare_meta_name(&m->meta, m->path, "general.architecture", &name, &found, NULL) != PARE_OK || !found)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: pare does not know the architecture of this model", m->path);
    return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: pare does not know the architecture '%.*s' of this model", m->path,
                     (int)(name.len < 64 ? name.len : 64), name.data);
}
