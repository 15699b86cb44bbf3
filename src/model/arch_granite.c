/* Granite 3: Llama with factors for the embeddings, the attention scores, the branches of a layer and the logits.
 * Sources: transformers models/granite; llama.cpp conversion/granite.py, src/models/granite.cpp. */
#include "core/json.h"
#include "model/arch.h"
#include "model/arch_words.h"

#include <math.h>

static const pare_hf_class classes[] = {
    {"GraniteForCausalLM", "granite", PARE_WINDOW_NONE, .absent = {.n_ctx = 2048, .norm_eps = 1e-6f}},
    {0},
};

static const pare_arch_weight weights[] = {
    {PARE_W_ROPE_FREQS, NULL, {PARE_DIM_ROT_HALF}, PARE_MAP_SAME, PARE_WEIGHT_MADE},
    {PARE_W_TOKEN_EMBD, "model.embed_tokens", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_OUTPUT, "lm_head", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_WEIGHT_OPTIONAL},
    {PARE_W_OUTPUT_NORM, "model.norm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_NORM, "model.layers.%u.input_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_Q, "model.layers.%u.self_attn.q_proj", {PARE_DIM_Q, PARE_DIM_EMBD}, PARE_MAP_ROPE_Q, PARE_BIAS_ATTN},
    {PARE_W_ATTN_K, "model.layers.%u.self_attn.k_proj", {PARE_DIM_K, PARE_DIM_EMBD}, PARE_MAP_ROPE_K, PARE_BIAS_ATTN},
    {PARE_W_ATTN_V, "model.layers.%u.self_attn.v_proj", {PARE_DIM_V, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_ATTN_OUT, "model.layers.%u.self_attn.o_proj", {PARE_DIM_EMBD, PARE_DIM_O}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_FFN_NORM, "model.layers.%u.post_attention_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_GATE, "model.layers.%u.mlp.gate_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_FFN},
    {PARE_W_FFN_UP, "model.layers.%u.mlp.up_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_FFN},
    {PARE_W_FFN_DOWN, "model.layers.%u.mlp.down_proj", {PARE_DIM_EMBD, PARE_DIM_FF}, PARE_MAP_SAME, PARE_BIAS_FFN},
};

/* The factors, where each stands on both sides. What a config leaves out is 1, for the scores as well. */
enum { N_FACTORS = 4 };
static const struct {
    const char *config, *meta;
} factors[N_FACTORS] = {{"attention_multiplier", "granite.attention.scale"},
                        {"embedding_multiplier", "granite.embedding_scale"},
                        {"residual_multiplier", "granite.residual_scale"},
                        {"logits_scaling", "granite.logit_scale"}};

static float *factor_of(pare_hparams *hp, int i)
{
    float *const at[N_FACTORS] = {&hp->attn_scale, &hp->embd_scale, &hp->residual_scale, &hp->logit_divisor};
    return at[i];
}

static pare_status from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    pare_status st = PARE_OK;
    for (int i = 0; i < N_FACTORS && st == PARE_OK; i++) {
        *factor_of(hp, i) = 1;
        st = pare_config_positive(config, path, factors[i].config, factor_of(hp, i), err);
    }
    return st;
}

static pare_status from_meta(pare_hparams *hp, const pare_meta *meta, const char *path, pare_error *err)
{
    pare_status st = PARE_OK;
    for (int i = 0; i < N_FACTORS && st == PARE_OK; i++)
        st = pare_meta_positive(meta, path, factors[i].meta, factor_of(hp, i), err);
    return st;
}

static pare_status to_meta(const pare_hparams *hp, pare_meta *meta, pare_error *err)
{
    pare_hparams copy = *hp;
    pare_status st = pare_meta_set_u32(meta, "granite.vocab_size", hp->n_vocab, err);
    if (st == PARE_OK)
        st = pare_meta_set_u32(meta, "granite.rope.dimension_count", hp->n_rot, err);
    for (int i = 0; i < N_FACTORS && st == PARE_OK; i++)
        if (*factor_of(&copy, i) != 0)
            st = pare_meta_set_f32(meta, factors[i].meta, *factor_of(&copy, i), err);
    return st;
}

/* A file without a scale of scores has the usual one, a config without it 1. */
static pare_status to_config(const pare_hparams *hp, json_t *config, pare_error *err)
{
    pare_hparams copy = *hp;
    bool ok = true;
    if (hp->attn_scale == 0)
        copy.attn_scale = (float)(1.0 / sqrt((double)hp->head_dim_k));
    for (int i = 0; i < N_FACTORS; i++)
        if (*factor_of(&copy, i) != 0)
            ok = ok && json_object_set_new(config, factors[i].config, pare_json_float(*factor_of(&copy, i))) == 0;
    return ok ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
}

const pare_arch pare_arch_granite = {
    .name = "granite",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_RMS, .act = PARE_ACT_SILU, .rope = PARE_ROPE_INTERLEAVED, .gated_ffn = true},
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .from_config = from_config,
    .from_meta = from_meta,
    .to_meta = to_meta,
    .to_config = to_config,
};
