/* Phi 1 and 2: LayerNorm, attention and FFN in parallel from one norm, RoPE on a part of each head, biases everywhere,
 * in the output as well. Sources: transformers models/phi; llama.cpp conversion/phi.py, src/models/phi2.cpp. */
#include "model/arch.h"
#include "model/arch_words.h"

static const pare_hf_class classes[] = {
    {"PhiForCausalLM", "phi", PARE_WINDOW_NONE, .absent = {.n_ctx = 2048, .norm_eps = 1e-5f, .partial_rotary = 0.5f}},
    {0},
};

static const pare_arch_weight weights[] = {
    {PARE_W_TOKEN_EMBD, "model.embed_tokens", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_OUTPUT,
     "lm_head",
     {PARE_DIM_VOCAB, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_WEIGHT_OPTIONAL | PARE_BIAS_REQUIRED | PARE_STOCK_WANTS},
    {PARE_W_OUTPUT_NORM, "model.final_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
    {PARE_W_ATTN_NORM, "model.layers.%u.input_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
    {PARE_W_ATTN_Q, "model.layers.%u.self_attn.q_proj", {PARE_DIM_Q, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
    {PARE_W_ATTN_K, "model.layers.%u.self_attn.k_proj", {PARE_DIM_K, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
    {PARE_W_ATTN_V, "model.layers.%u.self_attn.v_proj", {PARE_DIM_V, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
    {PARE_W_ATTN_OUT,
     "model.layers.%u.self_attn.dense",
     {PARE_DIM_EMBD, PARE_DIM_O},
     PARE_MAP_SAME,
     PARE_BIAS_REQUIRED},
    {PARE_W_FFN_UP, "model.layers.%u.mlp.fc1", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
    {PARE_W_FFN_DOWN, "model.layers.%u.mlp.fc2", {PARE_DIM_EMBD, PARE_DIM_FF}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
};

static const char *const meta_keys[] = {"phi2.context_length",
                                        "phi2.embedding_length",
                                        "phi2.feed_forward_length",
                                        "phi2.block_count",
                                        "phi2.attention.head_count",
                                        "phi2.attention.head_count_kv",
                                        "phi2.attention.layer_norm_epsilon",
                                        "phi2.rope.dimension_count",
                                        "general.file_type",
                                        "general.quantization_version",
                                        NULL};

/* Norms of q and k have a key, but no published model, and no form in GGUF. */
static pare_status from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    static const pare_config_switch switches[] = {{"qk_layernorm", false}};
    (void)hp;
    return pare_config_expect(config, path, "phi2", switches, 1, err);
}

static pare_status to_config(const pare_hparams *hp, json_t *config, pare_error *err)
{
    static const char *const not_here[] = {"attention_bias", "mlp_bias", NULL};
    (void)hp;
    (void)err;
    pare_config_drop(config, not_here);
    return PARE_OK;
}

const pare_arch pare_arch_phi2 = {
    .name = "phi2",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_LAYER, .act = PARE_ACT_GELU_TANH, .rope = PARE_ROPE_HALVES, .parallel_residual = true},
    .partial_rotary = true,
    .stock_head_dim = true,
    .stock_sum = PARE_STOCK_SUM_ATTN_FFN,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .meta_keys = meta_keys,
    .from_config = from_config,
    .to_config = to_config,
};
