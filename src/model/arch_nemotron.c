/* Nemotron 3 8B, 4 and Minitron: LayerNorm with weights stored minus one, squared ReLU without a gate, RoPE on a part
 * of each head. Sources: transformers models/nemotron; llama.cpp conversion/nemotron.py, src/models/nemotron.cpp. */
#include "model/arch.h"
#include "model/arch_words.h"

static const pare_hf_class classes[] = {
    {"NemotronForCausalLM", "nemotron", PARE_WINDOW_NONE,
     .absent = {.n_ctx = 4096, .norm_eps = 1e-5f, .partial_rotary = 0.5f}},
    {0},
};

static const pare_arch_weight weights[] = {
    {PARE_W_TOKEN_EMBD, "model.embed_tokens", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_OUTPUT, "lm_head", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_WEIGHT_OPTIONAL | PARE_STOCK_WANTS},
    {PARE_W_OUTPUT_NORM, "model.norm", {PARE_DIM_EMBD}, PARE_MAP_PLUS_ONE, PARE_BIAS_REQUIRED},
    {PARE_W_ATTN_NORM, "model.layers.%u.input_layernorm", {PARE_DIM_EMBD}, PARE_MAP_PLUS_ONE, PARE_BIAS_REQUIRED},
    {PARE_W_ATTN_Q, "model.layers.%u.self_attn.q_proj", {PARE_DIM_Q, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_ATTN_K, "model.layers.%u.self_attn.k_proj", {PARE_DIM_K, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_ATTN_V, "model.layers.%u.self_attn.v_proj", {PARE_DIM_V, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_ATTN_OUT, "model.layers.%u.self_attn.o_proj", {PARE_DIM_EMBD, PARE_DIM_O}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_FFN_NORM,
     "model.layers.%u.post_attention_layernorm",
     {PARE_DIM_EMBD},
     PARE_MAP_PLUS_ONE,
     PARE_BIAS_REQUIRED},
    {PARE_W_FFN_UP, "model.layers.%u.mlp.up_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_FFN},
    {PARE_W_FFN_DOWN, "model.layers.%u.mlp.down_proj", {PARE_DIM_EMBD, PARE_DIM_FF}, PARE_MAP_SAME, PARE_BIAS_FFN},
};

static pare_status to_meta(const pare_hparams *hp, pare_meta *meta, pare_error *err)
{
    return pare_meta_set_u32(meta, "nemotron.vocab_size", hp->n_vocab, err);
}

static pare_status to_config(const pare_hparams *hp, json_t *config, pare_error *err)
{
    static const char *const names[][2] = {{"layer_norm_eps", "norm_eps"}, {NULL, NULL}};
    (void)hp;
    bool ok = pare_config_rename(config, names);
    return ok ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
}

const pare_arch pare_arch_nemotron = {
    .name = "nemotron",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_LAYER, .act = PARE_ACT_RELU2, .rope = PARE_ROPE_HALVES},
    .partial_rotary = true,
    .stock_head_dim = true,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .to_meta = to_meta,
    .to_config = to_config,
};
