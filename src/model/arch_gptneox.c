/* GPT-NeoX (Pythia, RedPajama): LayerNorm, RoPE on a part of each head, attention and FFN in parallel, q, k and v fused
 * head by head. Sources: transformers models/gpt_neox; llama.cpp conversion/gptneox.py. */
#include "core/json.h"
#include "model/arch.h"

static const pare_hf_class classes[] = {
    {"GPTNeoXForCausalLM", "gpt_neox", PARE_WINDOW_NONE,
     .absent = {.n_ctx = 2048, .norm_eps = 1e-5f, .partial_rotary = 0.25f}},
    {0},
};

static const pare_arch_weight weights[] = {
    {PARE_W_TOKEN_EMBD, "gpt_neox.embed_in", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_OUTPUT,
     "embed_out",
     {PARE_DIM_VOCAB, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_WEIGHT_OPTIONAL | PARE_STOCK_WANTS},
    {PARE_W_OUTPUT_NORM, "gpt_neox.final_layer_norm", {PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
    {PARE_W_ATTN_NORM, "gpt_neox.layers.%u.input_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
    {PARE_W_ATTN_QKV,
     "gpt_neox.layers.%u.attention.query_key_value",
     {PARE_DIM_QKV, PARE_DIM_EMBD},
     PARE_MAP_QKV_GROUPS,
     PARE_BIAS_ATTN | PARE_STOCK_WANTS_BIAS},
    {PARE_W_ATTN_OUT,
     "gpt_neox.layers.%u.attention.dense",
     {PARE_DIM_EMBD, PARE_DIM_O},
     PARE_MAP_SAME,
     PARE_BIAS_ATTN | PARE_STOCK_WANTS_BIAS},
    {PARE_W_FFN_NORM,
     "gpt_neox.layers.%u.post_attention_layernorm",
     {PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_BIAS_REQUIRED},
    {PARE_W_FFN_UP,
     "gpt_neox.layers.%u.mlp.dense_h_to_4h",
     {PARE_DIM_FF, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_BIAS_REQUIRED},
    {PARE_W_FFN_DOWN,
     "gpt_neox.layers.%u.mlp.dense_4h_to_h",
     {PARE_DIM_EMBD, PARE_DIM_FF},
     PARE_MAP_SAME,
     PARE_BIAS_REQUIRED},
};

static const char *const meta_keys[] = {"gptneox.context_length",        "gptneox.embedding_length",
                                        "gptneox.block_count",           "gptneox.feed_forward_length",
                                        "gptneox.rope.dimension_count",  "gptneox.attention.head_count",
                                        "gptneox.use_parallel_residual", "gptneox.attention.layer_norm_epsilon",
                                        "general.quantization_version",  NULL};

static pare_status from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    bool found = false, parallel = true;
    hp->attn_bias = true; /* where the config does not say */
    pare_status st = pare_json_bool(config, path, "attention_bias", &hp->attn_bias, &found, err);
    if (st == PARE_OK)
        st = pare_json_bool(config, path, "use_parallel_residual", &parallel, &found, err);
    hp->residual_in_turn = !parallel;
    return st;
}

static pare_status from_meta(pare_hparams *hp, const pare_meta *meta, const char *path, pare_error *err)
{
    bool found = false, parallel = true;
    pare_status st = pare_meta_bool(meta, path, "gptneox.use_parallel_residual", &parallel, &found, err);
    hp->residual_in_turn = !parallel;
    return st;
}

static pare_status to_meta(const pare_hparams *hp, pare_meta *meta, pare_error *err)
{
    return pare_meta_set_bool(meta, "gptneox.use_parallel_residual", !hp->residual_in_turn, err);
}

/* The older names, which all versions of transformers and stock's converter read. */
static pare_status to_config(const pare_hparams *hp, json_t *config, pare_error *err)
{
    bool ok = json_object_set_new(config, "use_parallel_residual", json_boolean(!hp->residual_in_turn)) == 0;
    ok = json_object_set(config, "rotary_pct", json_object_get(config, "partial_rotary_factor")) == 0 && ok;
    ok = json_object_set(config, "rotary_emb_base", json_object_get(config, "rope_theta")) == 0 && ok;
    json_object_del(config, "partial_rotary_factor");
    json_object_del(config, "rope_theta");
    if (hp->n_head_kv == hp->n_head)
        json_object_del(config, "num_key_value_heads");
    json_object_del(config, "mlp_bias");
    return ok ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
}

const pare_arch pare_arch_gptneox = {
    .name = "gptneox",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_LAYER, .act = PARE_ACT_GELU_ERF, .rope = PARE_ROPE_HALVES, .parallel_residual = true},
    .partial_rotary = true,
    .meta_keys = meta_keys,
    .stock_head_dim = true,
    .stock_sum = PARE_STOCK_SUM_FFN_INPUT,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .from_config = from_config,
    .from_meta = from_meta,
    .to_meta = to_meta,
    .to_config = to_config,
};
