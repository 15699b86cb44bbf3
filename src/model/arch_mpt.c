/* MPT: LayerNorm, most often without biases, and ALiBi in place of rotary positions; some models clamp q, k and v.
 * Sources: transformers models/mpt; llama.cpp conversion/mpt.py, src/models/mpt.cpp. */
#include "core/json.h"
#include "model/arch.h"
#include "model/arch_words.h"
#include "model/hparams_limits.h"

static const pare_hf_class classes[] = {
    {"MptForCausalLM", "mpt", PARE_WINDOW_NONE,
     .absent = {.n_ctx = 2048, .norm_eps = 1e-5f, .ff_factor = 4, .tied = true}},
    {"MPTForCausalLM", "mpt", PARE_WINDOW_NONE,
     .absent = {.n_ctx = 2048, .norm_eps = 1e-5f, .ff_factor = 4, .tied = true}},
    {0},
};

static const pare_arch_weight weights[] = {
    {PARE_W_TOKEN_EMBD, "transformer.wte", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_OUTPUT, "lm_head", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_WEIGHT_OPTIONAL},
    {PARE_W_OUTPUT_NORM, "transformer.norm_f", {PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_OPTIONAL},
    {PARE_W_ATTN_NORM, "transformer.blocks.%u.norm_1", {PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_OPTIONAL},
    {PARE_W_ATTN_QKV,
     "transformer.blocks.%u.attn.Wqkv",
     {PARE_DIM_QKV, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_BIAS_OPTIONAL},
    {PARE_W_ATTN_OUT,
     "transformer.blocks.%u.attn.out_proj",
     {PARE_DIM_EMBD, PARE_DIM_O},
     PARE_MAP_SAME,
     PARE_BIAS_OPTIONAL},
    {PARE_W_FFN_NORM, "transformer.blocks.%u.norm_2", {PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_OPTIONAL},
    {PARE_W_FFN_UP,
     "transformer.blocks.%u.ffn.up_proj",
     {PARE_DIM_FF, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_BIAS_OPTIONAL},
    {PARE_W_FFN_DOWN,
     "transformer.blocks.%u.ffn.down_proj",
     {PARE_DIM_EMBD, PARE_DIM_FF},
     PARE_MAP_SAME,
     PARE_BIAS_OPTIONAL},
};

static const char *const meta_keys[] = {"mpt.context_length",
                                        "mpt.embedding_length",
                                        "mpt.block_count",
                                        "mpt.feed_forward_length",
                                        "mpt.attention.head_count",
                                        "mpt.attention.head_count_kv",
                                        "mpt.attention.layer_norm_epsilon",
                                        "mpt.attention.clamp_kqv",
                                        "mpt.attention.max_alibi_bias",
                                        "general.quantization_version",
                                        NULL};

/* Attention without ALiBi would have learned positions, attention with qk_ln norms; neither has been published. */
static pare_status from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    static const pare_config_switch switches[] = {{"alibi", true}, {"qk_ln", false}, {"prefix_lm", false}};
    const json_t *attn = json_object_get(config, "attn_config");
    bool found = false;
    uint64_t factor = 4, kv = hp->n_head;
    pare_status st = pare_json_u64(config, path, "expansion_ratio", 1, PARE_MAX_FF / hp->n_embd, &factor, &found, err);
    hp->n_ff = (uint32_t)factor * hp->n_embd;
    hp->alibi_max = 8;
    hp->n_head_kv = hp->n_head;
    if (st != PARE_OK || !json_is_object(attn))
        return st;
    if ((st = pare_config_expect(attn, path, "mpt", switches, sizeof switches / sizeof *switches, err)) == PARE_OK)
        st = pare_config_positive(attn, path, "alibi_bias_max", &hp->alibi_max, err);
    if (st == PARE_OK)
        st = pare_config_positive(attn, path, "clip_qkv", &hp->qkv_clamp, err);
    if (st == PARE_OK)
        st = pare_config_positive(attn, path, "softmax_scale", &hp->attn_scale, err);
    if (st == PARE_OK)
        st = pare_json_u64(attn, path, "kv_n_heads", 1, hp->n_head, &kv, &found, err);
    hp->attn_scale_not_in_gguf = hp->attn_scale != 0;
    hp->n_head_kv = (uint32_t)kv;
    return st;
}

static pare_status from_meta(pare_hparams *hp, const pare_meta *meta, const char *path, pare_error *err)
{
    pare_status st = pare_meta_positive(meta, path, "mpt.attention.max_alibi_bias", &hp->alibi_max, err);
    if (st == PARE_OK)
        st = pare_meta_positive(meta, path, "mpt.attention.scale", &hp->attn_scale, err);
    return st == PARE_OK ? pare_meta_positive(meta, path, "mpt.attention.clamp_kqv", &hp->qkv_clamp, err) : st;
}

static pare_status to_meta(const pare_hparams *hp, pare_meta *meta, pare_error *err)
{
    pare_status st = pare_meta_set_f32(meta, "mpt.attention.max_alibi_bias", hp->alibi_max, err);
    if (st == PARE_OK && hp->qkv_clamp > 0)
        st = pare_meta_set_f32(meta, "mpt.attention.clamp_kqv", hp->qkv_clamp, err);
    if (st == PARE_OK && hp->attn_scale > 0)
        st = pare_meta_set_f32(meta, "mpt.attention.scale", hp->attn_scale, err);
    return st;
}

static pare_status to_config(const pare_hparams *hp, json_t *config, pare_error *err)
{
    static const char *const names[][2] = {
        {"num_hidden_layers", "n_layers"},  {"max_position_embeddings", "max_seq_len"}, {"hidden_size", "d_model"},
        {"num_attention_heads", "n_heads"}, {"layer_norm_eps", "layer_norm_epsilon"},   {NULL, NULL}};
    static const char *const not_here[] = {"num_key_value_heads", "rope_theta", "rope_scaling",
                                           "attention_bias",      "mlp_bias",   "intermediate_size",
                                           "hidden_act",          NULL};
    if (hp->n_ff % hp->n_embd != 0 || hp->n_head_kv != hp->n_head || hp->alibi_max != 8)
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "class 'MptForCausalLM' has no word for this FFN, these key/value heads or this ALiBi");
    json_t *attn = json_pack("{s:b, s:i}", "alibi", 1, "alibi_bias_max", (int)hp->alibi_max);
    bool ok = pare_config_rename(config, names);
    if (hp->qkv_clamp > 0)
        ok = json_object_set_new(attn, "clip_qkv", pare_json_float(hp->qkv_clamp)) == 0 && ok;
    if (hp->attn_scale > 0)
        ok = json_object_set_new(attn, "softmax_scale", pare_json_float(hp->attn_scale)) == 0 && ok;
    ok = json_object_set_new(config, "attn_config", attn) == 0 && ok;
    ok = json_object_set_new(config, "expansion_ratio", json_integer(hp->n_ff / hp->n_embd)) == 0 && ok;
    pare_config_drop(config, not_here);
    return ok ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
}

const pare_arch pare_arch_mpt = {
    .name = "mpt",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_LAYER, .act = PARE_ACT_GELU_ERF, .rope = PARE_ROPE_NONE},
    .stock_head_dim = true,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .meta_keys = meta_keys,
    .from_config = from_config,
    .from_meta = from_meta,
    .to_meta = to_meta,
    .to_config = to_config,
};
