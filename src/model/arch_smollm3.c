/* SmolLM3: Llama's layers, of which every fourth turns no heads. Sources: transformers models/smollm3; llama.cpp
 * conversion/llama.py, src/models/smollm3.cpp. */
#include "core/json.h"
#include "model/arch.h"
#include "model/hparams_limits.h"

#include <inttypes.h>
#include <string.h>

enum { DEFAULT_PERIOD = 4 };

static const pare_hf_class classes[] = {
    {"SmolLM3ForCausalLM", "smollm3", PARE_WINDOW_SWITCHED,
     .absent = {.n_ctx = 32768, .norm_eps = 1e-6f, .rope_base = 2e6f, .n_head_kv = 4, .tied = true}},
    {0},
};

static const pare_arch_weight weights[] = {
    {PARE_W_ROPE_FREQS, NULL, {PARE_DIM_ROT_HALF}, PARE_MAP_SAME, PARE_WEIGHT_MADE},
    {PARE_W_TOKEN_EMBD, "model.embed_tokens", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_OUTPUT, "lm_head", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_WEIGHT_OPTIONAL},
    {PARE_W_OUTPUT_NORM, "model.norm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_NORM, "model.layers.%u.input_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_Q, "model.layers.%u.self_attn.q_proj", {PARE_DIM_Q, PARE_DIM_EMBD}, PARE_MAP_ROPE_Q, PARE_BIAS_ATTN},
    {PARE_W_ATTN_K, "model.layers.%u.self_attn.k_proj", {PARE_DIM_K, PARE_DIM_EMBD}, PARE_MAP_ROPE_K, PARE_BIAS_ATTN},
    {PARE_W_ATTN_V, "model.layers.%u.self_attn.v_proj", {PARE_DIM_V, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_ATTN_OUT,
     "model.layers.%u.self_attn.o_proj",
     {PARE_DIM_EMBD, PARE_DIM_O},
     PARE_MAP_SAME,
     PARE_BIAS_ATTN | PARE_STOCK_LACKS_BIAS},
    {PARE_W_FFN_NORM, "model.layers.%u.post_attention_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_GATE,
     "model.layers.%u.mlp.gate_proj",
     {PARE_DIM_FF, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_BIAS_FFN | PARE_STOCK_LACKS_BIAS},
    {PARE_W_FFN_UP,
     "model.layers.%u.mlp.up_proj",
     {PARE_DIM_FF, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_BIAS_FFN | PARE_STOCK_LACKS_BIAS},
    {PARE_W_FFN_DOWN,
     "model.layers.%u.mlp.down_proj",
     {PARE_DIM_EMBD, PARE_DIM_FF},
     PARE_MAP_SAME,
     PARE_BIAS_FFN | PARE_STOCK_LACKS_BIAS},
};

/* Where stock's runtime, which knows no other way, has heads that do not turn. */
static pare_layer_set usual_layers(const pare_hparams *hp)
{
    pare_layer_set usual = {0};
    pare_layers_add_every(&usual, hp->n_layer, DEFAULT_PERIOD);
    return usual;
}

/* no_rope_layers: 1 for a layer that turns, 0 for one that does not; or one of so many does not. */
static pare_status read_layers(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    const json_t *turns = json_object_get(config, "no_rope_layers");
    uint64_t period = DEFAULT_PERIOD;
    bool found = false;
    if (turns == NULL || json_is_null(turns)) {
        pare_status st = pare_json_u64(config, path, "no_rope_layer_interval", 1, UINT32_MAX, &period, &found, err);
        pare_layers_add_every(&hp->no_rope, hp->n_layer, (uint32_t)period);
        return st;
    }
    if (!json_is_array(turns) || json_array_size(turns) < hp->n_layer)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: 'no_rope_layers' is no array with an entry for each of %" PRIu32 " layers", path,
                         hp->n_layer);
    for (uint32_t i = 0; i < hp->n_layer; i++) {
        const json_t *v = json_array_get(turns, i);
        if (!json_is_integer(v) && !json_is_boolean(v))
            return pare_fail(err, PARE_ERR_RANGE, "%s: 'no_rope_layers' entry %" PRIu32 " is neither 0 nor 1", path, i);
        if (json_integer_value(v) == 0 && !json_is_true(v))
            pare_layers_add(&hp->no_rope, i);
    }
    return PARE_OK;
}

/* Without layer_types the window is for the layers that do not turn. */
static pare_status from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    const json_t *types = json_object_get(config, "layer_types");
    pare_status st = read_layers(hp, config, path, err);
    bool said = types != NULL && !json_is_null(types), any = false;
    for (uint32_t i = 0; i < hp->n_layer && hp->window > 0 && !said; i++) {
        bool turns = !pare_layers_have(&hp->no_rope, i);
        if (turns)
            pare_layers_add(&hp->full, i);
        any = any || !turns;
    }
    if (hp->window > 0 && !said && !any) {
        hp->window = 0;
        hp->full = (pare_layer_set){0};
    }
    hp->window_not_in_gguf = hp->window > 0;
    pare_layer_set usual = usual_layers(hp);
    hp->no_rope_not_in_gguf = memcmp(&usual, &hp->no_rope, sizeof usual) != 0;
    return st;
}

static const char key[] = "smollm3.rope.layer_pattern"; /* a bool a layer that turns; no key of stock's */

static pare_status from_meta(pare_hparams *hp, const pare_meta *meta, const char *path, pare_error *err)
{
    const pare_meta_value *v = pare_meta_find(meta, key);
    hp->no_rope = usual_layers(hp);
    return v != NULL ? pare_layers_from_meta(&hp->no_rope, v, false, hp->n_layer, path, err) : PARE_OK;
}

static pare_status to_meta(const pare_hparams *hp, pare_meta *meta, pare_error *err)
{
    pare_layer_set usual = usual_layers(hp);
    pare_status st = pare_meta_set_u32(meta, "smollm3.vocab_size", hp->n_vocab, err);
    if (st == PARE_OK)
        st = pare_meta_set_u32(meta, "smollm3.rope.dimension_count", hp->n_rot, err);
    if (st == PARE_OK && memcmp(&usual, &hp->no_rope, sizeof usual) != 0)
        st = pare_layers_to_meta(&hp->no_rope, false, hp->n_layer, meta, key, err);
    return st;
}

static pare_status to_config(const pare_hparams *hp, json_t *config, pare_error *err)
{
    json_t *turns = json_array();
    bool ok = turns != NULL;
    for (uint32_t i = 0; i < hp->n_layer && ok; i++)
        ok = json_array_append_new(turns, json_integer(!pare_layers_have(&hp->no_rope, i))) == 0;
    ok = json_object_set_new(config, "no_rope_layers", turns) == 0 && ok;
    return ok ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
}

const pare_arch pare_arch_smollm3 = {
    .name = "smollm3",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_RMS, .act = PARE_ACT_SILU, .rope = PARE_ROPE_INTERLEAVED, .gated_ffn = true},
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .from_config = from_config,
    .from_meta = from_meta,
    .to_meta = to_meta,
    .to_config = to_config,
};
