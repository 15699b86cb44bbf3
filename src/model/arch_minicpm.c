/* MiniCPM 1, 2 and 4: Llama with factors for the embeddings, the branches of a layer and the logits, LongRoPE in the
 * later ones. Sources: llama.cpp conversion/minicpm.py, src/models/minicpm.cpp; Hu et al., MiniCPM, arXiv 2404.06395.
 */
#include "core/json.h"
#include "model/arch.h"
#include "model/arch_words.h"

#include <math.h>

static const pare_hf_class classes[] = {
    {"MiniCPMForCausalLM", "minicpm", PARE_WINDOW_NONE, .absent = {.n_ctx = 2048, .norm_eps = 1e-6f}},
    {0},
};

static const pare_arch_weight weights[] = {
    {PARE_W_ROPE_FACTORS_LONG, NULL, {PARE_DIM_ROT_HALF}, PARE_MAP_SAME, PARE_WEIGHT_MADE},
    {PARE_W_ROPE_FACTORS_SHORT, NULL, {PARE_DIM_ROT_HALF}, PARE_MAP_SAME, PARE_WEIGHT_MADE},
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

/* A branch is multiplied by scale_depth / sqrt(layers), logits are divided by width / dim_model_base. */
static pare_status from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    float depth = 1, base = 1;
    hp->embd_scale = 1;
    pare_status st = pare_config_positive(config, path, "scale_emb", &hp->embd_scale, err);
    if (st == PARE_OK)
        st = pare_config_positive(config, path, "scale_depth", &depth, err);
    if (st == PARE_OK)
        st = pare_config_positive(config, path, "dim_model_base", &base, err);
    hp->residual_scale = (float)((double)depth / sqrt((double)hp->n_layer));
    hp->logit_divisor = (float)hp->n_embd / base;
    return st;
}

/* A file that says nothing is of the first model. */
static pare_status from_meta(pare_hparams *hp, const pare_meta *meta, const char *path, pare_error *err)
{
    hp->embd_scale = 12;
    hp->residual_scale = (float)(1.4 / sqrt((double)hp->n_layer));
    hp->logit_divisor = (float)hp->n_embd / 256;
    pare_status st = pare_meta_positive(meta, path, "minicpm.embedding_scale", &hp->embd_scale, err);
    if (st == PARE_OK)
        st = pare_meta_positive(meta, path, "minicpm.residual_scale", &hp->residual_scale, err);
    return st == PARE_OK ? pare_meta_positive(meta, path, "minicpm.logit_scale", &hp->logit_divisor, err) : st;
}

static pare_status to_meta(const pare_hparams *hp, pare_meta *meta, pare_error *err)
{
    pare_status st = pare_meta_set_f32(meta, "minicpm.embedding_scale", hp->embd_scale, err);
    if (st == PARE_OK)
        st = pare_meta_set_f32(meta, "minicpm.residual_scale", hp->residual_scale, err);
    return st == PARE_OK ? pare_meta_set_f32(meta, "minicpm.logit_scale", hp->logit_divisor, err) : st;
}

static pare_status to_config(const pare_hparams *hp, json_t *config, pare_error *err)
{
    double depth = (double)hp->residual_scale * sqrt((double)hp->n_layer),
           base = hp->n_embd / (double)hp->logit_divisor;
    bool ok = json_object_set_new(config, "scale_emb", pare_json_float(hp->embd_scale)) == 0;
    ok = json_object_set_new(config, "scale_depth", json_real(depth)) == 0 && ok;
    ok = json_object_set_new(config, "dim_model_base", json_real(base)) == 0 && ok;
    return ok ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
}

const pare_arch pare_arch_minicpm = {
    .name = "minicpm",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_RMS, .act = PARE_ACT_SILU, .rope = PARE_ROPE_INTERLEAVED, .gated_ffn = true},
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .from_config = from_config,
    .from_meta = from_meta,
    .to_meta = to_meta,
    .to_config = to_config,
};
