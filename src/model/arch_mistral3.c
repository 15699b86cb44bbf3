/* Mistral Small 3.1 and later, Ministral 3: Llama, in the larger files beside a part that sees, which is left out.
 * Ministral 3 stretches its context with YaRN and makes the scores of queries beyond the original context steeper.
 * Sources: transformers models/mistral3, models/ministral3; llama.cpp conversion/mistral3.py, src/models/mistral3.cpp.
 */
#include "core/json.h"
#include "model/arch.h"
#include "model/arch_words.h"

#define ABSENT                                                                                                         \
    .absent = {.n_ctx = 262144, .norm_eps = 1e-5f, .rope_base = 1e6f, .n_head_kv = 8, .head_dim = 128},                \
    .head_dim_key = true

static const pare_hf_class classes[] = {
    {"Ministral3ForCausalLM", "ministral3", PARE_WINDOW_ALWAYS, ABSENT, .rope_stated = true},
    {"Mistral3ForConditionalGeneration", "mistral3", PARE_WINDOW_ALWAYS, ABSENT, .section = "text_config"},
    {0},
};

static const pare_arch_weight weights[] = {
    {PARE_W_ROPE_FREQS, NULL, {PARE_DIM_ROT_HALF}, PARE_MAP_SAME, PARE_WEIGHT_MADE},
    {PARE_W_TOKEN_EMBD, "model.embed_tokens", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_OUTPUT, "lm_head", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_WEIGHT_OPTIONAL},
    {PARE_W_OUTPUT_NORM, "model.norm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_NORM, "model.layers.%u.input_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_Q, "model.layers.%u.self_attn.q_proj", {PARE_DIM_Q, PARE_DIM_EMBD}, PARE_MAP_ROPE_Q, 0},
    {PARE_W_ATTN_K, "model.layers.%u.self_attn.k_proj", {PARE_DIM_K, PARE_DIM_EMBD}, PARE_MAP_ROPE_K, 0},
    {PARE_W_ATTN_V, "model.layers.%u.self_attn.v_proj", {PARE_DIM_V, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_OUT, "model.layers.%u.self_attn.o_proj", {PARE_DIM_EMBD, PARE_DIM_O}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_NORM, "model.layers.%u.post_attention_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_GATE, "model.layers.%u.mlp.gate_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_UP, "model.layers.%u.mlp.up_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_DOWN, "model.layers.%u.mlp.down_proj", {PARE_DIM_EMBD, PARE_DIM_FF}, PARE_MAP_SAME, 0},
};

static const char *const prefixes[] = {"model.", "language_model.model.", "model.language_model.", NULL};
static const char *const outer[] = {"language_model.", NULL};
static const char *const left_out[] = {"vision_tower.*", "multi_modal_projector.*", "model.vision_tower.*",
                                       "model.multi_modal_projector.*", NULL};

static pare_status from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    const json_t *rope = json_object_get(config, "rope_parameters");
    return json_is_object(rope) ? pare_config_not_negative(rope, path, "llama_4_scaling_beta", &hp->attn_steeper, err)
                                : PARE_OK;
}

static pare_status from_meta(pare_hparams *hp, const pare_meta *meta, const char *path, pare_error *err)
{
    return pare_meta_positive(meta, path, "mistral3.attention.temperature_scale", &hp->attn_steeper, err);
}

static pare_status to_meta(const pare_hparams *hp, pare_meta *meta, pare_error *err)
{
    pare_status st = pare_meta_set_u32(meta, "mistral3.vocab_size", hp->n_vocab, err);
    if (st == PARE_OK)
        st = pare_meta_set_u32(meta, "mistral3.rope.dimension_count", hp->n_rot, err);
    if (st == PARE_OK && hp->attn_steeper > 0)
        st = pare_meta_set_f32(meta, "mistral3.attention.temperature_scale", hp->attn_steeper, err);
    return st;
}

/* The class wants the factor and the context that it counts from in any case. */
static pare_status to_config(const pare_hparams *hp, json_t *config, pare_error *err)
{
    json_t *rope = json_deep_copy(json_object_get(config, "rope_scaling"));
    if (!json_is_object(rope)) {
        json_decref(rope);
        rope = json_pack("{s:s}", "rope_type", "default");
    }
    uint32_t ctx = hp->rope_ctx_orig > 0 ? hp->rope_ctx_orig : hp->n_ctx_train;
    bool ok = json_object_set(rope, "rope_theta", json_object_get(config, "rope_theta")) == 0;
    ok = json_object_set_new(rope, "llama_4_scaling_beta", pare_json_float(hp->attn_steeper)) == 0 && ok;
    ok = json_object_set_new(rope, "original_max_position_embeddings", json_integer(ctx)) == 0 && ok;
    ok = json_object_set_new(config, "rope_parameters", rope) == 0 && ok;
    json_object_del(config, "rope_scaling");
    json_object_del(config, "rope_theta");
    return ok ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
}

const pare_arch pare_arch_mistral3 = {
    .name = "mistral3",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_RMS, .act = PARE_ACT_SILU, .rope = PARE_ROPE_INTERLEAVED, .gated_ffn = true},
    .hf_prefixes = prefixes,
    .hf_outer = outer,
    .hf_left_out = left_out,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .stock_ffn_factor = true,
    .from_config = from_config,
    .from_meta = from_meta,
    .to_meta = to_meta,
    .to_config = to_config,
};
