/* Command-R (Cohere): attention and FFN in parallel behind one LayerNorm without bias, RoPE on neighbours, logits times
 * logit_scale; the larger models normalise each q and k head, with weights of its own a head. Sources: transformers
 * models/cohere; llama.cpp conversion/command_r.py, src/models/command-r.cpp. */
#include "core/json.h"
#include "model/arch.h"
#include "model/arch_words.h"
#include "model/hparams_limits.h"

static const pare_hf_class classes[] = {
    {"CohereForCausalLM", "cohere", PARE_WINDOW_NONE,
     .absent = {.n_ctx = 8192, .norm_eps = 1e-5f, .rope_base = 500000, .tied = true}},
    {0},
};

static const pare_arch_weight weights[] = {
    {PARE_W_TOKEN_EMBD, "model.embed_tokens", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_OUTPUT_NORM, "model.norm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_NORM, "model.layers.%u.input_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_Q, "model.layers.%u.self_attn.q_proj", {PARE_DIM_Q, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_ATTN_K, "model.layers.%u.self_attn.k_proj", {PARE_DIM_K, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_ATTN_V, "model.layers.%u.self_attn.v_proj", {PARE_DIM_V, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_ATTN_OUT,
     "model.layers.%u.self_attn.o_proj",
     {PARE_DIM_EMBD, PARE_DIM_O},
     PARE_MAP_SAME,
     PARE_BIAS_ATTN | PARE_STOCK_LACKS_BIAS},
    {PARE_W_ATTN_Q_NORM,
     "model.layers.%u.self_attn.q_norm",
     {PARE_DIM_HEAD, PARE_DIM_HEAD_K},
     PARE_MAP_SAME,
     PARE_IF_QK_NORM},
    {PARE_W_ATTN_K_NORM,
     "model.layers.%u.self_attn.k_norm",
     {PARE_DIM_HEAD_KV, PARE_DIM_HEAD_K},
     PARE_MAP_SAME,
     PARE_IF_QK_NORM},
    {PARE_W_FFN_GATE, "model.layers.%u.mlp.gate_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_UP, "model.layers.%u.mlp.up_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_DOWN, "model.layers.%u.mlp.down_proj", {PARE_DIM_EMBD, PARE_DIM_FF}, PARE_MAP_SAME, 0},
};

static const char *const meta_keys[] = {"command-r.block_count",
                                        "command-r.context_length",
                                        "command-r.embedding_length",
                                        "command-r.feed_forward_length",
                                        "command-r.attention.head_count",
                                        "command-r.attention.head_count_kv",
                                        "command-r.rope.freq_base",
                                        "command-r.attention.layer_norm_epsilon",
                                        "general.file_type",
                                        "command-r.logit_scale",
                                        "command-r.rope.scaling.type",
                                        "general.quantization_version",
                                        NULL};

/* model_max_length is the context that the models were trained for; max_position_embeddings is what their makers
 * thought a user's memory holds. */
static pare_status from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    bool found = false;
    uint64_t n_ctx = hp->n_ctx_train;
    hp->logit_scale = 0.0625f;
    pare_status st = pare_config_positive(config, path, "logit_scale", &hp->logit_scale, err);
    if (st == PARE_OK)
        st = pare_json_bool(config, path, "use_qk_norm", &hp->qk_norm, &found, err);
    if (st == PARE_OK)
        st = pare_json_u64(config, path, "model_max_length", 1, PARE_MAX_CTX, &n_ctx, &found, err);
    hp->n_ctx_train = (uint32_t)n_ctx;
    return st == PARE_OK ? pare_config_want_tied(hp, path, err) : st;
}

static pare_status from_meta(pare_hparams *hp, const pare_meta *meta, const char *path, pare_error *err)
{
    return pare_meta_positive(meta, path, "command-r.logit_scale", &hp->logit_scale, err);
}

static pare_status to_meta(const pare_hparams *hp, pare_meta *meta, pare_error *err)
{
    pare_status st = pare_meta_set_f32(meta, "command-r.logit_scale", hp->logit_scale != 0 ? hp->logit_scale : 1, err);
    if (st == PARE_OK && hp->rope_scaling == PARE_ROPE_PLAIN)
        st = pare_meta_set_str(meta, "command-r.rope.scaling.type", (pare_str){"none", 4}, err);
    return st;
}

static pare_status to_config(const pare_hparams *hp, json_t *config, pare_error *err)
{
    bool ok =
        json_object_set_new(config, "logit_scale", pare_json_float(hp->logit_scale != 0 ? hp->logit_scale : 1)) == 0;
    ok = json_object_set_new(config, "use_qk_norm", json_boolean(hp->qk_norm)) == 0 && ok;
    return ok ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
}

enum { STOCK_NORM_LAYERS = 64 };

static const char *stock_differs(const pare_hparams *hp)
{
    return hp->qk_norm && hp->n_layer < STOCK_NORM_LAYERS
               ? "does not load it: it has a place for norms of q and k ('use_qk_norm') in models of 64 layers or more"
               : NULL;
}

const pare_arch pare_arch_command_r = {
    .name = "command-r",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_LAYER,
               .act = PARE_ACT_SILU,
               .rope = PARE_ROPE_INTERLEAVED,
               .gated_ffn = true,
               .parallel_residual = true},
    .meta_keys = meta_keys,
    .stock_head_dim = true,
    .stock_sum = PARE_STOCK_SUM_FFN_INPUT,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .from_config = from_config,
    .from_meta = from_meta,
    .to_meta = to_meta,
    .to_config = to_config,
    .stock_differs = stock_differs,
};
