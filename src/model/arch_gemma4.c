/* Gemma 4: Gemma 3's layers, whose norms have whole weights; layers that see all have larger heads, of which a
 * part of the pairs turns, and may take keys as values (hparams_kinds.c); values are normalised, queries not scaled;
 * input vectors of each layer as Gemma 3n has them, where the model has any; a number that scales what a layer leaves.
 * Some models have experts beside the FFN of every layer (eval/forward_parts.h). What the class that sees and hears has
 * beside the language model is left out.
 * Sources: transformers models/gemma4; llama.cpp conversion/gemma.py, src/models/gemma4.cpp. */
#include "core/json.h"
#include "model/arch.h"
#include "model/arch_words.h"
#include "model/hparams_limits.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { STOCK_CAP = 30 }; /* of the logits, where a GGUF file says none; 0 says that there is none */

#define ABSENT                                                                                                         \
    .absent = {.n_vocab = 262144,                                                                                      \
               .n_head = 8,                                                                                            \
               .n_head_kv = 4,                                                                                         \
               .n_ff = 9216,                                                                                           \
               .head_dim = 256,                                                                                        \
               .head_dim_full = 512,                                                                                   \
               .n_ctx = 131072,                                                                                        \
               .norm_eps = 1e-6f,                                                                                      \
               .rope_base = 1e6f,                                                                                      \
               .window = 512,                                                                                          \
               .tied = true},                                                                                          \
    .head_dim_key = true, .experts = "num_experts", .experts_if = "enable_moe_block", .experts_used = "top_k_experts"

static const pare_hf_class classes[] = {
    {"Gemma4ForCausalLM", "gemma4_text", PARE_WINDOW_ALWAYS, ABSENT},
    {"Gemma4ForConditionalGeneration", "gemma4", PARE_WINDOW_ALWAYS, ABSENT, .section = "text_config"},
    {0},
};

static const pare_arch_weight weights[] = {
    {PARE_W_TOKEN_EMBD, "model.embed_tokens", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_LAYER_EMBD,
     "model.embed_tokens_per_layer",
     {PARE_DIM_VOCAB, PARE_DIM_EMBD_LAYERS},
     PARE_MAP_FILL_ROWS,
     PARE_IF_LAYER_INPUTS},
    {PARE_W_LAYER_MODEL_PROJ,
     "model.per_layer_model_projection",
     {PARE_DIM_EMBD_LAYERS, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_IF_LAYER_INPUTS},
    {PARE_W_LAYER_PROJ_NORM,
     "model.per_layer_projection_norm",
     {PARE_DIM_EMBD_LAYER},
     PARE_MAP_SAME,
     PARE_IF_LAYER_INPUTS},
    {PARE_W_ROPE_FREQS, NULL, {PARE_DIM_ROT_HALF}, PARE_MAP_SAME, PARE_WEIGHT_MADE},
    {PARE_W_OUTPUT_NORM, "model.norm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_NORM, "model.layers.%u.input_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_Q, "model.layers.%u.self_attn.q_proj", {PARE_DIM_Q, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_K, "model.layers.%u.self_attn.k_proj", {PARE_DIM_K, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_OWN_KEYS},
    {PARE_W_ATTN_V, "model.layers.%u.self_attn.v_proj", {PARE_DIM_V, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_OWN_KEYS},
    {PARE_W_ATTN_OUT, "model.layers.%u.self_attn.o_proj", {PARE_DIM_EMBD, PARE_DIM_O}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_Q_NORM, "model.layers.%u.self_attn.q_norm", {PARE_DIM_HEAD_K}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_K_NORM, "model.layers.%u.self_attn.k_norm", {PARE_DIM_HEAD_K}, PARE_MAP_SAME, PARE_OWN_KEYS},
    {PARE_W_ATTN_POST_NORM, "model.layers.%u.post_attention_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_NORM, "model.layers.%u.pre_feedforward_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_GATE, "model.layers.%u.mlp.gate_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_UP, "model.layers.%u.mlp.up_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_DOWN, "model.layers.%u.mlp.down_proj", {PARE_DIM_EMBD, PARE_DIM_FF}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_POST_NORM, "model.layers.%u.post_feedforward_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_POST_NORM_1,
     "model.layers.%u.post_feedforward_layernorm_1",
     {PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_EXPERTS_ONLY},
    {PARE_W_FFN_PRE_NORM_2,
     "model.layers.%u.pre_feedforward_layernorm_2",
     {PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_EXPERTS_ONLY},
    {PARE_W_FFN_POST_NORM_2,
     "model.layers.%u.post_feedforward_layernorm_2",
     {PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_EXPERTS_ONLY},
    {PARE_W_FFN_GATE_INP,
     "model.layers.%u.router.proj",
     {PARE_DIM_EXPERT, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_EXPERTS_ONLY},
    {PARE_W_FFN_GATE_INP_SCALE,
     "model.layers.%u.router.scale",
     {PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_EXPERTS_ONLY | PARE_NO_SUFFIX},
    {PARE_W_EXPERT_SCALE,
     "model.layers.%u.router.per_expert_scale",
     {PARE_DIM_EXPERT},
     PARE_MAP_SAME,
     PARE_EXPERTS_ONLY | PARE_NO_SUFFIX},
    {PARE_W_FFN_GATE_UP_EXPS,
     "model.layers.%u.experts.gate_up_proj",
     {PARE_DIM_EXPERT, PARE_DIM_FF_EXPERT2, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_EXPERTS_ONLY | PARE_NO_SUFFIX | PARE_IF_EXPERTS_FUSED},
    {PARE_W_FFN_GATE_EXPS,
     "model.layers.%u.experts.gate_up_proj",
     {PARE_DIM_EXPERT, PARE_DIM_FF_EXPERT, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_EXPERTS_ONLY | PARE_NO_SUFFIX | PARE_IF_EXPERTS_APART | PARE_SHARE(0, 2)},
    {PARE_W_FFN_UP_EXPS,
     "model.layers.%u.experts.gate_up_proj",
     {PARE_DIM_EXPERT, PARE_DIM_FF_EXPERT, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_EXPERTS_ONLY | PARE_NO_SUFFIX | PARE_IF_EXPERTS_APART | PARE_SHARE(1, 2)},
    {PARE_W_FFN_DOWN_EXPS,
     "model.layers.%u.experts.down_proj",
     {PARE_DIM_EXPERT, PARE_DIM_EMBD, PARE_DIM_FF_EXPERT},
     PARE_MAP_SAME,
     PARE_EXPERTS_ONLY | PARE_NO_SUFFIX},
    {PARE_W_LAYER_GATE,
     "model.layers.%u.per_layer_input_gate",
     {PARE_DIM_EMBD_LAYER, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_IF_LAYER_INPUTS},
    {PARE_W_LAYER_PROJ,
     "model.layers.%u.per_layer_projection",
     {PARE_DIM_EMBD, PARE_DIM_EMBD_LAYER},
     PARE_MAP_SAME,
     PARE_IF_LAYER_INPUTS},
    {PARE_W_LAYER_INPUT_NORM,
     "model.layers.%u.post_per_layer_input_norm",
     {PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_IF_LAYER_INPUTS},
    {PARE_W_LAYER_SCALE,
     "model.layers.%u.layer_scalar",
     {PARE_DIM_ONE},
     PARE_MAP_SAME,
     PARE_NO_SUFFIX | PARE_WEIGHT_OPTIONAL},
};

static const char *const prefixes[] = {"model.", "model.language_model.", "language_model.model.", NULL};
static const char *const ignored[] = {"lm_head.weight", "*.lm_head.weight", NULL}; /* the embeddings */
static const char *const left_out[] = {"model.vision_tower.*", "model.audio_tower.*", "model.embed_vision.*",
                                       "model.embed_audio.*", NULL};

static const char *const meta_keys[] = {"gemma4.block_count",
                                        "gemma4.context_length",
                                        "gemma4.embedding_length",
                                        "gemma4.feed_forward_length",
                                        "gemma4.attention.head_count",
                                        "gemma4.attention.head_count_kv",
                                        "gemma4.rope.freq_base",
                                        "gemma4.rope.freq_base_swa",
                                        "gemma4.attention.layer_norm_rms_epsilon",
                                        "gemma4.expert_count",
                                        "gemma4.expert_used_count",
                                        "gemma4.attention.key_length",
                                        "gemma4.attention.value_length",
                                        "general.file_type",
                                        "gemma4.final_logit_softcapping",
                                        "gemma4.attention.sliding_window",
                                        "gemma4.attention.shared_kv_layers",
                                        "gemma4.embedding_length_per_layer_input",
                                        "gemma4.attention.sliding_window_pattern",
                                        "gemma4.attention.key_length_swa",
                                        "gemma4.attention.value_length_swa",
                                        "gemma4.expert_feed_forward_length",
                                        "gemma4.rope.dimension_count",
                                        "gemma4.rope.dimension_count_swa",
                                        "general.quantization_version",
                                        NULL};

/* What follows from the family, whatever the source. */
static void set_fixed(pare_hparams *hp)
{
    hp->embd_scale = sqrtf((float)hp->n_embd);
    hp->attn_scale = 1;
}

static const pare_config_switch switches[] = {{"attention_bias", false}};

/* Layers that see all: proportional RoPE, where a quarter of the pairs turns if nothing is said. */
static pare_status settle_rope(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    const json_t *rope = json_object_get(config, "rope_parameters");
    if (hp->rope_scaling != PARE_ROPE_PLAIN || hp->rope_llama3.factor > 0 || hp->rope_longrope.n > 0)
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "%s: 'rope_parameters' of 'full_attention' scale RoPE; architecture 'gemma4' is described "
                         "with 'rope_type' proportional or default",
                         path);
    if (hp->rope_part == 0)
        hp->rope_part = rope == NULL || json_is_null(rope) ? 0.25f : 1;
    return PARE_OK;
}

static pare_status from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    const json_t *both = json_object_get(config, "use_bidirectional_attention");
    const char *word = json_string_value(both);
    uint64_t width = 256, n_vocab = hp->n_vocab < 262144 ? hp->n_vocab : 262144;
    bool found = false;
    pare_status st;
    set_fixed(hp);
    if (both != NULL && !json_is_null(both) && (word == NULL || strcmp(word, "vision") != 0))
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "%s: 'use_bidirectional_attention' is '%.64s'; architecture 'gemma4' is described with null "
                         "and 'vision', under which a text looks back alone",
                         path, word != NULL ? word : "no string");
    if ((st = pare_config_expect(config, path, "gemma4", switches, sizeof switches / sizeof *switches, err)) !=
            PARE_OK ||
        (st = settle_rope(hp, config, path, err)) != PARE_OK ||
        (st = pare_config_cap(config, path, "final_logit_softcapping", 0, &hp->final_softcap, err)) != PARE_OK)
        return st;
    const json_t *inputs = json_object_get(config, "hidden_size_per_layer_input");
    if (inputs != NULL && json_is_null(inputs))
        width = 0;
    else if ((st = pare_json_u64(config, path, "hidden_size_per_layer_input", 0, PARE_MAX_EMBD, &width, &found, err)) !=
             PARE_OK)
        return st;
    hp->n_embd_layer = (uint32_t)width;
    if (width > 0 && (st = pare_json_u64(config, path, "vocab_size_per_layer_input", 1, hp->n_vocab, &n_vocab, &found,
                                         err)) != PARE_OK)
        return st;
    hp->n_vocab_layer = width > 0 ? (uint32_t)n_vocab : 0;
    if (hp->window > 0)
        pare_layers_add(&hp->full, hp->n_layer - 1); /* whatever layer_types says */
    return pare_config_want_tied(hp, path, err);
}

static pare_status from_meta(pare_hparams *hp, const pare_meta *meta, const char *path, pare_error *err)
{
    uint64_t width = 0;
    bool found = false;
    set_fixed(hp);
    hp->final_softcap = STOCK_CAP;
    pare_status st = pare_meta_cap(meta, path, "gemma4.final_logit_softcapping", &hp->final_softcap, err);
    if (st == PARE_OK)
        st =
            pare_meta_u64(meta, path, "gemma4.embedding_length_per_layer_input", 0, PARE_MAX_EMBD, &width, &found, err);
    hp->n_embd_layer = (uint32_t)width;
    if (st == PARE_OK && hp->n_embd_layer * (uint64_t)hp->n_layer > PARE_MAX_FF)
        st = pare_fail(err, PARE_ERR_RANGE,
                       "%s: 'gemma4.embedding_length_per_layer_input' is %" PRIu32 " for each of %" PRIu32
                       " layers; up to %d in all are allowed",
                       path, hp->n_embd_layer, hp->n_layer, PARE_MAX_FF);
    return st;
}

static pare_status to_meta(const pare_hparams *hp, pare_meta *meta, pare_error *err)
{
    pare_status st = pare_meta_set_f32(meta, "gemma4.final_logit_softcapping", hp->final_softcap, err);
    return st == PARE_OK ? pare_meta_set_u32(meta, "gemma4.embedding_length_per_layer_input", hp->n_embd_layer, err)
                         : st;
}

/* rope_parameters, which has a part for each kind of layers, in place of the common words. */
static json_t *rope_object(const pare_hparams *hp)
{
    float window_base = hp->rope_base_window != 0 ? hp->rope_base_window : hp->rope_base;
    return json_pack("{s:{s:s, s:o, s:o}, s:{s:s, s:o}}", "full_attention", "rope_type", "proportional",
                     "partial_rotary_factor", pare_json_float(hp->rope_part != 0 ? hp->rope_part : 1), "rope_theta",
                     pare_json_float(hp->rope_base), "sliding_attention", "rope_type", "default", "rope_theta",
                     pare_json_float(window_base));
}

static pare_status to_config(const pare_hparams *hp, json_t *config, pare_error *err)
{
    static const char *const common[] = {"rope_theta", "rope_scaling", "rope_local_base_freq", NULL};
    if (hp->rope_scaling != PARE_ROPE_PLAIN || hp->rope_llama3.factor > 0)
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "a config.json of architecture 'gemma4' has no words for RoPE that "
                         "is scaled");
    pare_config_drop(config, common);
    const struct {
        const char *key;
        json_t *value;
    } members[] = {
        {"rope_parameters", rope_object(hp)},
        {"hidden_size_per_layer_input", json_integer(hp->n_embd_layer)},
        {"vocab_size_per_layer_input", json_integer(hp->n_vocab_layer > 0 ? hp->n_vocab_layer : hp->n_vocab)},
        {"hidden_activation", json_string("gelu_pytorch_tanh")}};
    bool ok = pare_cap_to_config(config, "final_logit_softcapping", hp->final_softcap);
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        ok = json_object_set_new(config, members[i].key, members[i].value) == 0 && ok;
    return ok ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
}

const pare_arch pare_arch_gemma4 = {
    .name = "gemma4",
    .hf_classes = classes,
    .wiring =
        {.norm = PARE_NORM_RMS, .act = PARE_ACT_GELU_TANH, .rope = PARE_ROPE_HALVES, .gated_ffn = true, .v_norm = true},
    .expert_ff_key = true,
    .expert_norm = true,
    .window_key = true,
    .window_absent = 512,
    .window_period = 6,
    .window_pattern_key = true,
    .window_heads = true,
    .rope_base_window = 10000,
    .window_rope_plain = true,
    .space_prefix_key = true,
    .meta_keys = meta_keys,
    .hf_prefixes = prefixes,
    .stock_window = true,
    .stock_rows = PARE_STOCK_ROWS_NORMED,
    .stock_output_twice = true,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .hf_ignored = ignored,
    .hf_left_out = left_out,
    .stock_ffn_factor = true,
    .from_config = from_config,
    .from_meta = from_meta,
    .to_meta = to_meta,
    .to_config = to_config,
};
