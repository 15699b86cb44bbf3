/* GLM 4 of 2024 (glm-4-9b-hf, GLM-Edge): RoPE on neighbours in a part of each head, gate and up in one matrix. Sources:
 * transformers models/glm; llama.cpp conversion/chatglm.py, src/models/chatglm.cpp. */
#include "core/json.h"
#include "model/arch.h"

static const pare_hf_class classes[] = {
    {"GlmForCausalLM", "glm", PARE_WINDOW_NONE,
     .absent = {.n_ctx = 131072, .norm_eps = 1.5625e-7f, .n_head_kv = 2, .head_dim = 128, .partial_rotary = 0.5f}},
    {0},
};

static const pare_arch_weight weights[] = {
    {PARE_W_TOKEN_EMBD, "model.embed_tokens", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_OUTPUT, "lm_head", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_WEIGHT_OPTIONAL},
    {PARE_W_OUTPUT_NORM, "model.norm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_NORM, "model.layers.%u.input_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_Q, "model.layers.%u.self_attn.q_proj", {PARE_DIM_Q, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_ATTN_K, "model.layers.%u.self_attn.k_proj", {PARE_DIM_K, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_ATTN_V, "model.layers.%u.self_attn.v_proj", {PARE_DIM_V, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_ATTN_OUT, "model.layers.%u.self_attn.o_proj", {PARE_DIM_EMBD, PARE_DIM_O}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_NORM, "model.layers.%u.post_attention_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_UP, "model.layers.%u.mlp.gate_up_proj", {PARE_DIM_FF2, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_DOWN, "model.layers.%u.mlp.down_proj", {PARE_DIM_EMBD, PARE_DIM_FF}, PARE_MAP_SAME, 0},
};

static const char *const meta_keys[] = {"chatglm.context_length",
                                        "chatglm.embedding_length",
                                        "chatglm.feed_forward_length",
                                        "chatglm.block_count",
                                        "chatglm.attention.head_count",
                                        "chatglm.attention.head_count_kv",
                                        "chatglm.attention.layer_norm_rms_epsilon",
                                        "general.file_type",
                                        "chatglm.rope.dimension_count",
                                        "chatglm.rope.freq_base",
                                        "general.quantization_version",
                                        NULL};

/* Biases of q, k and v unless the config says otherwise. */
static pare_status from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    bool found = false;
    hp->attn_bias = true;
    return pare_json_bool(config, path, "attention_bias", &hp->attn_bias, &found, err);
}

const pare_arch pare_arch_chatglm = {
    .name = "chatglm",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_RMS, .act = PARE_ACT_SILU, .rope = PARE_ROPE_INTERLEAVED, .gated_ffn = true},
    .partial_rotary = true,
    .stock_head_dim = true,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .meta_keys = meta_keys,
    .from_config = from_config,
};
