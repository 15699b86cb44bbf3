/* StableLM: LayerNorm, RoPE on a part of each head; StableLM 2 12B has layers in parallel and a norm of its own for
 * each head of q and k. Sources: transformers models/stablelm; llama.cpp conversion/stablelm.py,
 * src/models/stablelm.cpp. */
#include "core/json.h"
#include "model/arch.h"
#include "model/arch_words.h"

static const pare_hf_class classes[] = {
    {"StableLmForCausalLM", "stablelm", PARE_WINDOW_NONE,
     .absent = {.n_ctx = 4096, .norm_eps = 1e-5f, .n_head_kv = 32, .partial_rotary = 0.25f}},
    {"StableLMEpochForCausalLM", "stablelm_epoch", PARE_WINDOW_NONE,
     .absent = {.n_ctx = 4096, .norm_eps = 1e-5f, .n_head_kv = 32, .partial_rotary = 0.25f}},
    {0},
};

static const pare_arch_weight weights[] = {
    {PARE_W_TOKEN_EMBD, "model.embed_tokens", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_OUTPUT, "lm_head", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_WEIGHT_OPTIONAL | PARE_STOCK_WANTS},
    {PARE_W_OUTPUT_NORM, "model.norm", {PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
    {PARE_W_ATTN_NORM, "model.layers.%u.input_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
    {PARE_W_ATTN_Q, "model.layers.%u.self_attn.q_proj", {PARE_DIM_Q, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_ATTN_K, "model.layers.%u.self_attn.k_proj", {PARE_DIM_K, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_ATTN_V, "model.layers.%u.self_attn.v_proj", {PARE_DIM_V, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_ATTN_OUT, "model.layers.%u.self_attn.o_proj", {PARE_DIM_EMBD, PARE_DIM_O}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_Q_NORM,
     "model.layers.%u.self_attn.q_layernorm.norms.%e",
     {PARE_DIM_HEAD, PARE_DIM_HEAD_K},
     PARE_MAP_STACK,
     PARE_IF_QK_NORM},
    {PARE_W_ATTN_K_NORM,
     "model.layers.%u.self_attn.k_layernorm.norms.%e",
     {PARE_DIM_HEAD_KV, PARE_DIM_HEAD_K},
     PARE_MAP_STACK,
     PARE_IF_QK_NORM},
    {PARE_W_FFN_NORM,
     "model.layers.%u.post_attention_layernorm",
     {PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_BIAS_REQUIRED | PARE_IF_IN_TURN},
    {PARE_W_FFN_GATE, "model.layers.%u.mlp.gate_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_UP, "model.layers.%u.mlp.up_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_DOWN, "model.layers.%u.mlp.down_proj", {PARE_DIM_EMBD, PARE_DIM_FF}, PARE_MAP_SAME, 0},
};

static const char *const meta_keys[] = {"stablelm.context_length",
                                        "stablelm.embedding_length",
                                        "stablelm.block_count",
                                        "stablelm.feed_forward_length",
                                        "stablelm.rope.dimension_count",
                                        "stablelm.attention.head_count",
                                        "stablelm.attention.head_count_kv",
                                        "stablelm.use_parallel_residual",
                                        "stablelm.attention.layer_norm_epsilon",
                                        "general.file_type",
                                        "general.quantization_version",
                                        NULL};

static pare_status from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    bool found = false, parallel = false;
    hp->attn_bias = false;
    pare_status st = pare_json_bool(config, path, "use_qkv_bias", &hp->attn_bias, &found, err);
    if (st == PARE_OK)
        st = pare_json_bool(config, path, "qk_layernorm", &hp->qk_norm, &found, err);
    if (st == PARE_OK)
        st = pare_json_bool(config, path, "use_parallel_residual", &parallel, &found, err);
    hp->residual_in_turn = !parallel;
    return st;
}

static pare_status to_meta(const pare_hparams *hp, pare_meta *meta, pare_error *err)
{
    return pare_meta_set_bool(meta, "stablelm.use_parallel_residual", !hp->residual_in_turn, err);
}

static pare_status to_config(const pare_hparams *hp, json_t *config, pare_error *err)
{
    static const char *const names[][2] = {{"attention_bias", "use_qkv_bias"}, {NULL, NULL}};
    static const char *const not_here[] = {"mlp_bias", NULL};
    bool ok = pare_config_rename(config, names);
    ok = json_object_set_new(config, "qk_layernorm", json_boolean(hp->qk_norm)) == 0 && ok;
    ok = json_object_set_new(config, "use_parallel_residual", json_boolean(!hp->residual_in_turn)) == 0 && ok;
    pare_config_drop(config, not_here);
    return ok ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
}

const pare_arch pare_arch_stablelm = {
    .name = "stablelm",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_LAYER,
               .act = PARE_ACT_SILU,
               .rope = PARE_ROPE_HALVES,
               .gated_ffn = true,
               .parallel_residual = true,
               .in_turn_with_ffn_norm = true},
    .partial_rotary = true,
    .meta_keys = meta_keys,
    .stock_head_dim = true,
    .stock_sum = PARE_STOCK_SUM_ATTN_INPUT,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .from_config = from_config,
    .to_meta = to_meta,
    .to_config = to_config,
};
