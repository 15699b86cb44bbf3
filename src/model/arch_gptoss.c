/* gpt-oss: a sink a head in attention, a window in every other layer, biases everywhere, experts with a gated unit that
 * is clamped. The Hub stores experts [expert, in, out] with gate and up in turn, or packed as MXFP4 with outputs as
 * rows. Sources: transformers models/gpt_oss; llama.cpp conversion/gpt_oss.py, src/models/openai-moe.cpp. */
#include "core/json.h"
#include "model/arch.h"
#include "model/arch_words.h"

#define USUAL_ALPHA 1.702f /* what stock's runtime computes with */
#define USUAL_LIMIT 7.0f

static const pare_hf_class classes[] = {
    {"GptOssForCausalLM", "gpt_oss", PARE_WINDOW_ALWAYS,
     .absent = {.n_ctx = 131072,
                .norm_eps = 1e-5f,
                .rope_base = 150000,
                .n_head_kv = 8,
                .head_dim = 64,
                .window = 128,
                .n_expert = 128,
                .n_expert_used = 4},
     .rope_stated = true, .head_dim_key = true, .experts = "num_local_experts"},
    {0},
};

static const pare_arch_weight weights[] = {
    {PARE_W_TOKEN_EMBD, "model.embed_tokens", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_OUTPUT, "lm_head", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_WEIGHT_OPTIONAL | PARE_STOCK_WANTS},
    {PARE_W_OUTPUT_NORM, "model.norm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_NORM, "model.layers.%u.input_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_Q, "model.layers.%u.self_attn.q_proj", {PARE_DIM_Q, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_ATTN_K, "model.layers.%u.self_attn.k_proj", {PARE_DIM_K, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_ATTN_V, "model.layers.%u.self_attn.v_proj", {PARE_DIM_V, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_ATTN_OUT,
     "model.layers.%u.self_attn.o_proj",
     {PARE_DIM_EMBD, PARE_DIM_O},
     PARE_MAP_SAME,
     PARE_BIAS_ATTN | PARE_STOCK_WANTS_BIAS},
    {PARE_W_ATTN_SINKS, "model.layers.%u.self_attn.sinks", {PARE_DIM_HEAD}, PARE_MAP_SAME, PARE_NO_SUFFIX},
    {PARE_W_ATTN_POST_NORM, "model.layers.%u.post_attention_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_GATE_INP,
     "model.layers.%u.mlp.router",
     {PARE_DIM_EXPERT, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_BIAS_REQUIRED},
    {PARE_W_FFN_GATE_EXPS,
     "model.layers.%u.mlp.experts.gate_up_proj",
     {PARE_DIM_EXPERT, PARE_DIM_FF_EXPERT, PARE_DIM_EMBD},
     PARE_MAP_TRANSPOSE,
     PARE_NO_SUFFIX | PARE_BIAS_REQUIRED | PARE_SHARE_IN_TURN(0, 2)},
    {PARE_W_FFN_UP_EXPS,
     "model.layers.%u.mlp.experts.gate_up_proj",
     {PARE_DIM_EXPERT, PARE_DIM_FF_EXPERT, PARE_DIM_EMBD},
     PARE_MAP_TRANSPOSE,
     PARE_NO_SUFFIX | PARE_BIAS_REQUIRED | PARE_SHARE_IN_TURN(1, 2)},
    {PARE_W_FFN_DOWN_EXPS,
     "model.layers.%u.mlp.experts.down_proj",
     {PARE_DIM_EXPERT, PARE_DIM_EMBD, PARE_DIM_FF_EXPERT},
     PARE_MAP_TRANSPOSE,
     PARE_NO_SUFFIX | PARE_BIAS_REQUIRED},
};

static pare_status from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    bool found = false;
    hp->glu_alpha = USUAL_ALPHA;
    hp->glu_limit = USUAL_LIMIT;
    hp->attn_bias = true; /* where the config does not say */
    pare_status st = pare_json_bool(config, path, "attention_bias", &hp->attn_bias, &found, err);
    if (st == PARE_OK)
        st = pare_config_positive(config, path, "swiglu_alpha", &hp->glu_alpha, err);
    if (st == PARE_OK)
        st = pare_config_positive(config, path, "swiglu_limit", &hp->glu_limit, err);
    hp->glu_not_in_gguf = hp->glu_alpha != USUAL_ALPHA || hp->glu_limit != USUAL_LIMIT;
    return st;
}

static pare_status from_meta(pare_hparams *hp, const pare_meta *meta, const char *path, pare_error *err)
{
    hp->glu_alpha = USUAL_ALPHA;
    hp->glu_limit = USUAL_LIMIT;
    pare_status st = pare_meta_positive(meta, path, "gpt-oss.swiglu_alpha", &hp->glu_alpha, err);
    return st == PARE_OK ? pare_meta_positive(meta, path, "gpt-oss.swiglu_limit", &hp->glu_limit, err) : st;
}

/* Keys that stock does not read: they stand only where they are needed. */
static pare_status to_meta(const pare_hparams *hp, pare_meta *meta, pare_error *err)
{
    pare_status st = PARE_OK;
    if (hp->glu_alpha != USUAL_ALPHA)
        st = pare_meta_set_f32(meta, "gpt-oss.swiglu_alpha", hp->glu_alpha, err);
    if (st == PARE_OK && hp->glu_limit != USUAL_LIMIT)
        st = pare_meta_set_f32(meta, "gpt-oss.swiglu_limit", hp->glu_limit, err);
    return st;
}

static pare_status to_config(const pare_hparams *hp, json_t *config, pare_error *err)
{
    bool ok = json_object_set_new(config, "swiglu_limit", pare_json_float(hp->glu_limit)) == 0;
    if (hp->glu_alpha != USUAL_ALPHA)
        ok = json_object_set_new(config, "swiglu_alpha", pare_json_float(hp->glu_alpha)) == 0 && ok;
    return ok ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
}

const pare_arch pare_arch_gptoss = {
    .name = "gpt-oss",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_RMS,
               .act = PARE_ACT_CLAMPED_GLU,
               .rope = PARE_ROPE_HALVES,
               .gated_ffn = true,
               .post_norm_feeds_ffn = true},
    .window_key = true,
    .window_period = 2,
    .expert_ff_key = true,
    .expert_norm = true,
    .stock_window = true,
    .stock_rows = PARE_STOCK_ROWS_STATES,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .from_config = from_config,
    .from_meta = from_meta,
    .to_meta = to_meta,
    .to_config = to_config,
};
