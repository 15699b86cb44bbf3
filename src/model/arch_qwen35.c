/* Qwen 3.5: Qwen3-Next's layers with one FFN. GGUF has the value heads of linear attention in another order: head v of
 * key head k stands at v n_head_k + k, on the Hub at k share + v. Positions of a text are the same in all sections of
 * its RoPE; the part that sees and the layers that predict further tokens are left out. Sources: transformers
 * models/qwen3_5; llama.cpp conversion/qwen.py, src/models/qwen35.cpp. */
#include "model/arch_qwen35.h"

#include "core/json.h"
#include "model/hparams_limits.h"
#include "model/hparams_linear.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const int32_t usual_sections[4] = {11, 11, 10, 0};

const char *const pare_qwen35_prefixes[] = {"model.", "model.language_model.", NULL};
const char *const pare_qwen35_left_out[] = {"mtp.*", "model.visual.*", NULL};

static const json_t *rope_of(const json_t *config)
{
    const json_t *rope = json_object_get(config, "rope_parameters");
    return json_is_object(rope) ? rope : json_object_get(config, "rope_scaling");
}

pare_status pare_qwen35_from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    static const pare_linear_attention absent = {
        .n_head_k = 16, .n_head_v = 32, .head_dim_k = 128, .head_dim_v = 128, .kernel = 4};
    const json_t *sections = json_object_get(rope_of(config), "mrope_section");
    memcpy(hp->rope_sections, usual_sections, sizeof usual_sections);
    hp->linear.tiled = true;
    if (sections != NULL && (!json_is_array(sections) || json_array_size(sections) > 4))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: 'mrope_section' is no array of up to 4 numbers", path);
    for (size_t i = 0; sections != NULL && i < 4; i++) {
        const json_t *v = json_array_get(sections, i);
        json_int_t n = v != NULL ? json_integer_value(v) : 0;
        if ((v != NULL && !json_is_integer(v)) || n < 0 || n > PARE_MAX_HEAD_DIM)
            return pare_fail(err, PARE_ERR_RANGE, "%s: 'mrope_section' entry %zu is no number from 0 to %d", path, i,
                             PARE_MAX_HEAD_DIM);
        hp->rope_sections[i] = (int32_t)n;
    }
    return pare_linear_from_config(hp, &absent, config, path, err);
}

pare_status pare_qwen35_from_meta(pare_hparams *hp, const pare_meta *meta, const char *arch_name, const char *path,
                                  pare_error *err)
{
    char key[160];
    snprintf(key, sizeof key, "%s.rope.dimension_sections", arch_name);
    const pare_meta_value *v = pare_meta_find(meta, key);
    memcpy(hp->rope_sections, usual_sections, sizeof usual_sections);
    hp->linear.tiled = true;
    if (v != NULL && (v->type != PARE_META_ARRAY || v->elem != PARE_META_I32 || v->n > 4))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: '%s' is no array of up to 4 numbers of type i32", path, key);
    if (v != NULL)
        memcpy(hp->rope_sections, v->v.data, (size_t)v->n * sizeof *hp->rope_sections);
    return pare_linear_from_meta(hp, arch_name, meta, path, err);
}

pare_status pare_qwen35_to_meta(const pare_hparams *hp, pare_meta *meta, const char *arch_name, pare_error *err)
{
    char key[160];
    snprintf(key, sizeof key, "%s.rope.dimension_sections", arch_name);
    pare_status st = pare_meta_set_array(meta, key, PARE_META_I32, hp->rope_sections, 4, err);
    return st == PARE_OK ? pare_linear_to_meta(hp, arch_name, meta, err) : st;
}

pare_status pare_qwen35_to_config(const pare_hparams *hp, json_t *config, pare_error *err)
{
    const int32_t *s = hp->rope_sections;
    json_t *scaling = json_object_get(config, "rope_scaling");
    json_t *rope = json_is_object(scaling) ? json_copy(scaling) : json_pack("{s:s}", "rope_type", "default");
    bool ok = json_object_set_new(rope, "rope_theta", pare_json_float(hp->rope_base)) == 0;
    ok = json_object_set_new(rope, "partial_rotary_factor", json_real((double)hp->n_rot / hp->head_dim_k)) == 0 && ok;
    ok = json_object_set_new(rope, "mrope_section", json_pack("[i,i,i]", s[0], s[1], s[2])) == 0 && ok;
    ok = json_object_set_new(config, "rope_parameters", rope) == 0 && ok;
    static const char *const here[] = {"rope_theta", "rope_scaling", "partial_rotary_factor"};
    for (size_t i = 0; i < sizeof here / sizeof *here; i++)
        json_object_del(config, here[i]);
    ok = pare_linear_to_config(hp, config) && ok;
    return ok ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
}

#define ABSENT                                                                                                         \
    .absent = {.n_vocab = 248320,                                                                                      \
               .n_head = 16,                                                                                           \
               .n_ctx = 32768,                                                                                         \
               .norm_eps = 1e-6f,                                                                                      \
               .n_head_kv = 4,                                                                                         \
               .head_dim = 256,                                                                                        \
               .partial_rotary = 0.25f},                                                                               \
    .head_dim_key = true

static const pare_hf_class classes[] = {
    {"Qwen3_5ForCausalLM", "qwen3_5_text", PARE_WINDOW_NONE, ABSENT},
    {"Qwen3_5ForConditionalGeneration", "qwen3_5", PARE_WINDOW_NONE, ABSENT, .section = "text_config"},
    {0},
};

static const pare_arch_weight weights[] = {
    PARE_QWEN35_ROWS,
    {PARE_W_FFN_GATE, "model.layers.%u.mlp.gate_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_UP, "model.layers.%u.mlp.up_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_DOWN, "model.layers.%u.mlp.down_proj", {PARE_DIM_EMBD, PARE_DIM_FF}, PARE_MAP_SAME, 0},
};

static const char *const meta_keys[] = {"qwen35.block_count",
                                        "qwen35.context_length",
                                        "qwen35.embedding_length",
                                        "qwen35.feed_forward_length",
                                        "qwen35.attention.head_count",
                                        "qwen35.attention.head_count_kv",
                                        "qwen35.rope.freq_base",
                                        "qwen35.attention.layer_norm_rms_epsilon",
                                        "qwen35.attention.key_length",
                                        "qwen35.attention.value_length",
                                        "general.file_type",
                                        "qwen35.ssm.conv_kernel",
                                        "qwen35.ssm.state_size",
                                        "qwen35.ssm.group_count",
                                        "qwen35.ssm.time_step_rank",
                                        "qwen35.ssm.inner_size",
                                        "qwen35.attention.recurrent_layers",
                                        "qwen35.full_attention_interval",
                                        "qwen35.rope.dimension_count",
                                        "qwen35.rope.dimension_sections",
                                        "general.quantization_version",
                                        NULL};

static pare_status from_meta(pare_hparams *hp, const pare_meta *meta, const char *path, pare_error *err)
{
    return pare_qwen35_from_meta(hp, meta, "qwen35", path, err);
}

static pare_status to_meta(const pare_hparams *hp, pare_meta *meta, pare_error *err)
{
    return pare_qwen35_to_meta(hp, meta, "qwen35", err);
}

const pare_arch pare_arch_qwen35 = {
    .name = "qwen35",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_RMS,
               .act = PARE_ACT_SILU,
               .rope = PARE_ROPE_HALVES,
               .gated_ffn = true,
               .post_norm_feeds_ffn = true,
               .attn_gated = true},
    .partial_rotary = true,
    .meta_keys = meta_keys,
    .hf_prefixes = pare_qwen35_prefixes,
    .stock_rows = PARE_STOCK_ROWS_NORMED,
    .stock_positions = true,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .hf_left_out = pare_qwen35_left_out,
    .stock_ffn_factor = true,
    .from_config = pare_qwen35_from_config,
    .from_meta = from_meta,
    .to_meta = to_meta,
    .to_config = pare_qwen35_to_config,
};
