/* EXAONE 4: norms after attention and FFN instead of before, a norm on each q and k head, three layers with a window
 * for one that sees all; where there are windows, the layers without turn no heads. Stock's runtime has windows in the
 * model of 64 layers alone. Sources: transformers models/exaone4; llama.cpp conversion/exaone.py,
 * src/models/exaone4.cpp.
 */
#include "model/arch.h"
#include "model/hparams_limits.h"

#include <string.h>

enum { LAYERS_32B = 64 };

static const pare_hf_class classes[] = {
    {"Exaone4ForCausalLM", "exaone4", PARE_WINDOW_ALWAYS,
     .absent = {.n_ctx = 2048, .norm_eps = 1e-5f, .n_head_kv = 32, .window = 4096}},
    {0},
};

static const pare_arch_weight weights[] = {
    {PARE_W_ROPE_FREQS, NULL, {PARE_DIM_ROT_HALF}, PARE_MAP_SAME, PARE_WEIGHT_MADE},
    {PARE_W_TOKEN_EMBD, "model.embed_tokens", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_OUTPUT, "lm_head", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_WEIGHT_OPTIONAL},
    {PARE_W_OUTPUT_NORM, "model.norm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_Q, "model.layers.%u.self_attn.q_proj", {PARE_DIM_Q, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_K, "model.layers.%u.self_attn.k_proj", {PARE_DIM_K, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_V, "model.layers.%u.self_attn.v_proj", {PARE_DIM_V, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_OUT, "model.layers.%u.self_attn.o_proj", {PARE_DIM_EMBD, PARE_DIM_O}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_Q_NORM, "model.layers.%u.self_attn.q_norm", {PARE_DIM_HEAD_K}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_K_NORM, "model.layers.%u.self_attn.k_norm", {PARE_DIM_HEAD_K}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_POST_NORM, "model.layers.%u.post_attention_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_GATE, "model.layers.%u.mlp.gate_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_UP, "model.layers.%u.mlp.up_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_DOWN, "model.layers.%u.mlp.down_proj", {PARE_DIM_EMBD, PARE_DIM_FF}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_POST_NORM, "model.layers.%u.post_feedforward_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
};

static const char *const meta_keys[] = {"exaone4.block_count",
                                        "exaone4.context_length",
                                        "exaone4.embedding_length",
                                        "exaone4.feed_forward_length",
                                        "exaone4.attention.head_count",
                                        "exaone4.attention.head_count_kv",
                                        "exaone4.rope.scaling.type",
                                        "exaone4.rope.scaling.factor",
                                        "exaone4.rope.scaling.original_context_length",
                                        "exaone4.rope.scaling.yarn_attn_factor",
                                        "exaone4.rope.scaling.yarn_beta_fast",
                                        "exaone4.rope.scaling.yarn_beta_slow",
                                        "exaone4.rope.freq_base",
                                        "exaone4.attention.layer_norm_rms_epsilon",
                                        "exaone4.attention.key_length",
                                        "exaone4.attention.value_length",
                                        "general.file_type",
                                        "exaone4.vocab_size",
                                        "exaone4.attention.sliding_window",
                                        "exaone4.attention.sliding_window_pattern",
                                        "general.quantization_version",
                                        NULL};

static const char window_key[] = "exaone4.attention.sliding_window";

/* A window that no layer has (hp->window is 0 then) still keeps heads from turning. */
static void turn_windowed_alone(pare_hparams *hp, bool window)
{
    for (uint32_t i = 0; window && i < hp->n_layer; i++)
        if (pare_layer_window(hp, i) == 0)
            pare_layers_add(&hp->no_rope, i);
}

static bool has_unused_window(const pare_hparams *hp)
{
    return hp->window == 0 && pare_layers_have(&hp->no_rope, 0);
}

static pare_status from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    (void)path;
    (void)err;
    const json_t *window = json_object_get(config, "sliding_window");
    turn_windowed_alone(hp, window == NULL || !json_is_null(window));
    hp->window_not_in_gguf = hp->window > 0 && hp->n_layer != LAYERS_32B;
    return PARE_OK;
}

static pare_status to_config(const pare_hparams *hp, json_t *config, pare_error *err)
{
    if (!has_unused_window(hp) || json_object_set_new(config, "sliding_window", json_integer(hp->n_ctx_train)) == 0)
        return PARE_OK;
    return pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
}

static pare_status from_meta(pare_hparams *hp, const pare_meta *meta, const char *path, pare_error *err)
{
    uint64_t window = 0;
    bool found = false;
    pare_status st = pare_meta_u64(meta, path, window_key, 0, PARE_MAX_CTX, &window, &found, err);
    turn_windowed_alone(hp, window > 0);
    return st;
}

static pare_status to_meta(const pare_hparams *hp, pare_meta *meta, pare_error *err)
{
    static const pare_layer_set none = {0};
    pare_status st = PARE_OK;
    if (has_unused_window(hp)) {
        st = pare_meta_set_u32(meta, window_key, hp->n_ctx_train, err);
        if (st == PARE_OK)
            st = pare_layers_to_meta(&none, true, hp->n_layer, meta, "exaone4.attention.sliding_window_pattern", err);
    }
    return st == PARE_OK ? pare_meta_set_u32(meta, "exaone4.vocab_size", hp->n_vocab, err) : st;
}

static const char *stock_differs(const pare_hparams *hp)
{
    static const pare_layer_set none = {0};
    bool all_turn = memcmp(&hp->no_rope, &none, sizeof none) == 0;
    if (!all_turn && hp->n_layer != LAYERS_32B)
        return "turns the heads of all layers, unless there are 64: 'sliding_window' says that layers without it turn "
               "none";
    if (all_turn && hp->window == 0 && hp->n_layer == LAYERS_32B)
        return "has windows of 4096 tokens, and layers that turn no heads, in every model of 64 layers; here "
               "'sliding_window' is null";
    return NULL;
}

const pare_arch pare_arch_exaone4 = {
    .name = "exaone4",
    .hf_classes = classes,
    .wiring =
        {.norm = PARE_NORM_RMS, .act = PARE_ACT_SILU, .rope = PARE_ROPE_HALVES, .gated_ffn = true, .norm_after = true},
    .window_key = true,
    .window_period = 4,
    .window_pattern_key = true,
    .meta_keys = meta_keys,
    .stock_head_dim = true,
    .stock_window_layers = LAYERS_32B,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .from_config = from_config,
    .from_meta = from_meta,
    .to_meta = to_meta,
    .to_config = to_config,
    .stock_differs = stock_differs,
};
