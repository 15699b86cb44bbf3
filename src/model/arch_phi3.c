/* Phi 3 and Phi 4: q, k and v in one matrix, gate and up in another, LongRoPE in the models with a long context.
 * Sources: transformers models/phi3; llama.cpp conversion/phi.py, src/models/phi3.cpp. */
#include "core/json.h"
#include "model/arch.h"

static const pare_hf_class classes[] = {
    {"Phi3ForCausalLM", "phi3", PARE_WINDOW_ALWAYS, .absent = {.n_ctx = 4096, .norm_eps = 1e-5f}},
    {0},
};

static const pare_arch_weight weights[] = {
    {PARE_W_ROPE_FACTORS_LONG, NULL, {PARE_DIM_ROT_HALF}, PARE_MAP_SAME, PARE_WEIGHT_MADE},
    {PARE_W_ROPE_FACTORS_SHORT, NULL, {PARE_DIM_ROT_HALF}, PARE_MAP_SAME, PARE_WEIGHT_MADE},
    {PARE_W_TOKEN_EMBD, "model.embed_tokens", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_OUTPUT, "lm_head", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_WEIGHT_OPTIONAL},
    {PARE_W_OUTPUT_NORM, "model.norm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_NORM, "model.layers.%u.input_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_QKV, "model.layers.%u.self_attn.qkv_proj", {PARE_DIM_QKV, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_OUT, "model.layers.%u.self_attn.o_proj", {PARE_DIM_EMBD, PARE_DIM_O}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_NORM, "model.layers.%u.post_attention_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_UP, "model.layers.%u.mlp.gate_up_proj", {PARE_DIM_FF2, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_DOWN, "model.layers.%u.mlp.down_proj", {PARE_DIM_EMBD, PARE_DIM_FF}, PARE_MAP_SAME, 0},
};

static const char *const meta_keys[] = {"phi3.context_length",
                                        "phi3.rope.scaling.original_context_length",
                                        "phi3.embedding_length",
                                        "phi3.feed_forward_length",
                                        "phi3.block_count",
                                        "phi3.attention.head_count",
                                        "phi3.attention.head_count_kv",
                                        "phi3.attention.layer_norm_rms_epsilon",
                                        "phi3.rope.dimension_count",
                                        "phi3.rope.freq_base",
                                        "general.file_type",
                                        "phi3.attention.sliding_window",
                                        "general.quantization_version",
                                        NULL};

/* The original context stands beside the scaling, and in models without one as well. */
static pare_status from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    bool found = false;
    uint64_t ctx = hp->rope_ctx_orig > 0 ? hp->rope_ctx_orig : 4096;
    pare_status st = pare_json_u64(config, path, "original_max_position_embeddings", 1, INT32_MAX, &ctx, &found, err);
    hp->rope_ctx_orig = (uint32_t)ctx;
    return st;
}

/* No window is a window of 0. */
static pare_status to_meta(const pare_hparams *hp, pare_meta *meta, pare_error *err)
{
    pare_status st = pare_meta_set_u32(meta, "phi3.attention.sliding_window", hp->window, err);
    if (st != PARE_OK || hp->rope_ctx_orig == 0)
        return st;
    return pare_meta_set_u32(meta, "phi3.rope.scaling.original_context_length", hp->rope_ctx_orig, err);
}

static pare_status to_config(const pare_hparams *hp, json_t *config, pare_error *err)
{
    uint32_t ctx = hp->rope_ctx_orig > 0 ? hp->rope_ctx_orig : hp->n_ctx_train;
    bool ok = json_object_set_new(config, "original_max_position_embeddings", json_integer(ctx)) == 0;
    ok = ok && (hp->window > 0 || json_object_set_new(config, "sliding_window", json_null()) == 0);
    return ok ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
}

static const char *stock_differs(const pare_hparams *hp)
{
    return hp->window > 0 && hp->window < hp->n_ctx_train ? "leaves out the attention windows of architecture 'phi3' "
                                                            "('sliding_window'): it differs in contexts longer "
                                                            "than those"
                                                          : NULL;
}

const pare_arch pare_arch_phi3 = {
    .name = "phi3",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_RMS, .act = PARE_ACT_SILU, .rope = PARE_ROPE_HALVES, .gated_ffn = true},
    .partial_rotary = true,
    .window_key = true,
    .stock_no_window = true,
    .meta_keys = meta_keys,
    .stock_head_dim = true,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .from_config = from_config,
    .to_meta = to_meta,
    .to_config = to_config,
    .stock_differs = stock_differs,
};
