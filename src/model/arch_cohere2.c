/* Cohere 2 (Command R7B, Command A): Command-R's layers, three of four with a window; only these turn their heads.
 * Sources: transformers models/cohere2; llama.cpp conversion/command_r.py, src/models/cohere2.cpp. */
#include "core/json.h"
#include "model/arch.h"
#include "model/arch_words.h"

enum { DEFAULT_WINDOW = 4096 };

static const pare_hf_class classes[] = {
    {"Cohere2ForCausalLM", "cohere2", PARE_WINDOW_ALWAYS,
     .absent = {.n_ctx = 8192, .norm_eps = 1e-5f, .window = DEFAULT_WINDOW, .tied = true}},
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
    {PARE_W_FFN_GATE, "model.layers.%u.mlp.gate_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_UP, "model.layers.%u.mlp.up_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_DOWN, "model.layers.%u.mlp.down_proj", {PARE_DIM_EMBD, PARE_DIM_FF}, PARE_MAP_SAME, 0},
};

static const char *const meta_keys[] = {"cohere2.block_count",
                                        "cohere2.context_length",
                                        "cohere2.embedding_length",
                                        "cohere2.feed_forward_length",
                                        "cohere2.attention.head_count",
                                        "cohere2.attention.head_count_kv",
                                        "cohere2.rope.freq_base",
                                        "cohere2.attention.layer_norm_epsilon",
                                        "general.file_type",
                                        "cohere2.attention.key_length",
                                        "cohere2.attention.value_length",
                                        "cohere2.logit_scale",
                                        "cohere2.attention.sliding_window",
                                        "cohere2.vocab_size",
                                        "cohere2.rope.dimension_count",
                                        "cohere2.rope.scaling.type",
                                        "general.quantization_version",
                                        NULL};

static void turn_windowed_alone(pare_hparams *hp)
{
    for (uint32_t i = 0; i < hp->n_layer; i++)
        if (pare_layer_window(hp, i) == 0)
            pare_layers_add(&hp->no_rope, i);
}

static pare_status from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    turn_windowed_alone(hp);
    hp->logit_scale = 0.0625f;
    pare_status st = pare_config_positive(config, path, "logit_scale", &hp->logit_scale, err);
    return st == PARE_OK ? pare_config_want_tied(hp, path, err) : st;
}

static pare_status from_meta(pare_hparams *hp, const pare_meta *meta, const char *path, pare_error *err)
{
    turn_windowed_alone(hp);
    return pare_meta_positive(meta, path, "cohere2.logit_scale", &hp->logit_scale, err);
}

static pare_status to_meta(const pare_hparams *hp, pare_meta *meta, pare_error *err)
{
    pare_status st = pare_meta_set_f32(meta, "cohere2.logit_scale", hp->logit_scale != 0 ? hp->logit_scale : 1, err);
    if (st == PARE_OK)
        st = pare_meta_set_u32(meta, "cohere2.vocab_size", hp->n_vocab, err);
    if (st == PARE_OK)
        st = pare_meta_set_u32(meta, "cohere2.rope.dimension_count", hp->n_rot, err);
    if (st == PARE_OK && hp->rope_scaling == PARE_ROPE_PLAIN)
        st = pare_meta_set_str(meta, "cohere2.rope.scaling.type", (pare_str){"none", 4}, err);
    return st;
}

static pare_status to_config(const pare_hparams *hp, json_t *config, pare_error *err)
{
    bool ok =
        json_object_set_new(config, "logit_scale", pare_json_float(hp->logit_scale != 0 ? hp->logit_scale : 1)) == 0;
    ok = json_object_set_new(config, "rotary_pct", json_real(1)) == 0 && ok; /* stock's converter wants it */
    return ok ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
}

const pare_arch pare_arch_cohere2 = {
    .name = "cohere2",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_LAYER,
               .act = PARE_ACT_SILU,
               .rope = PARE_ROPE_INTERLEAVED,
               .gated_ffn = true,
               .parallel_residual = true},
    .window_key = true,
    .window_absent = DEFAULT_WINDOW,
    .window_period = 4,
    .meta_keys = meta_keys,
    .stock_head_dim = true,
    .stock_window = true,
    .stock_sum = PARE_STOCK_SUM_FFN_INPUT,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .stock_ffn_factor = true,
    .from_config = from_config,
    .from_meta = from_meta,
    .to_meta = to_meta,
    .to_config = to_config,
};
