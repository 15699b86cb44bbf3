/* OLMo 2: norms after attention and FFN instead of before, and one RMS norm over all q (and all k) heads together. OLMo
 * 3 has a window in three of four layers, which scaling of RoPE leaves alone. Sources: transformers models/olmo2,
 * models/olmo3; llama.cpp conversion/olmo.py, src/models/olmo2.cpp. */
#include "core/json.h"
#include "model/arch.h"

static const pare_hf_class classes[] = {
    {"Olmo2ForCausalLM", "olmo2", PARE_WINDOW_NONE, .absent = {.n_ctx = 2048, .norm_eps = 1e-5f}},
    {"Olmo3ForCausalLM", "olmo3", PARE_WINDOW_ALWAYS,
     .absent = {.n_ctx = 2048, .norm_eps = 1e-5f, .rope_base = 500000, .window = 4096}},
    {0},
};

static const pare_arch_weight weights[] = {
    {PARE_W_TOKEN_EMBD, "model.embed_tokens", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_OUTPUT, "lm_head", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_WEIGHT_OPTIONAL | PARE_STOCK_WANTS},
    {PARE_W_OUTPUT_NORM, "model.norm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_Q, "model.layers.%u.self_attn.q_proj", {PARE_DIM_Q, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_ATTN_K, "model.layers.%u.self_attn.k_proj", {PARE_DIM_K, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_ATTN_V, "model.layers.%u.self_attn.v_proj", {PARE_DIM_V, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_ATTN_OUT,
     "model.layers.%u.self_attn.o_proj",
     {PARE_DIM_EMBD, PARE_DIM_O},
     PARE_MAP_SAME,
     PARE_BIAS_ATTN | PARE_STOCK_LACKS_BIAS},
    {PARE_W_ATTN_Q_NORM, "model.layers.%u.self_attn.q_norm", {PARE_DIM_Q}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_K_NORM, "model.layers.%u.self_attn.k_norm", {PARE_DIM_K}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_POST_NORM, "model.layers.%u.post_attention_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_GATE, "model.layers.%u.mlp.gate_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_UP, "model.layers.%u.mlp.up_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_DOWN, "model.layers.%u.mlp.down_proj", {PARE_DIM_EMBD, PARE_DIM_FF}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_POST_NORM, "model.layers.%u.post_feedforward_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
};

/* transformers takes one scaling for all layers unless it is told of each kind. */
static pare_status to_config(const pare_hparams *hp, json_t *config, pare_error *err)
{
    static const char *const common[] = {"rope_theta", "rope_scaling", "rope_local_base_freq"};
    json_t *scaling = json_object_get(config, "rope_scaling"), *full = NULL, *windowed = NULL;
    if (hp->window == 0 || !json_is_object(scaling))
        return PARE_OK;
    float base = hp->rope_base_window != 0 ? hp->rope_base_window : hp->rope_base;
    full = json_copy(scaling);
    windowed = json_pack("{s:s, s:o}", "rope_type", "default", "rope_theta", pare_json_float(base));
    bool ok = json_object_set_new(full, "rope_theta", pare_json_float(hp->rope_base)) == 0;
    ok = json_object_set_new(config, "rope_parameters",
                             json_pack("{s:o, s:o}", "full_attention", full, "sliding_attention", windowed)) == 0 &&
         ok;
    for (size_t i = 0; i < sizeof common / sizeof *common; i++)
        json_object_del(config, common[i]);
    return ok ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
}

const pare_arch pare_arch_olmo2 = {
    .name = "olmo2",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_RMS,
               .act = PARE_ACT_SILU,
               .rope = PARE_ROPE_HALVES,
               .gated_ffn = true,
               .norm_after = true,
               .qk_norm_whole = true},
    .window_key = true,
    .window_period = 4,
    .window_pattern_key = true,
    .window_rope_plain = true,
    .stock_head_dim = true,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .to_config = to_config,
};
