/* Latent attention (DeepSeek-AI, DeepSeek-V2, arXiv 2405.04434, section 2.1): keys and values of all heads are made of
 * one vector of kv_lora_rank elements a token; the last qk_rope_head_dim elements of a key are turned by RoPE and
 * shared by all heads; queries may pass through q_lora_rank elements.
 *
 *   config.json                              here                     GGUF
 *   q_lora_rank (null: none)                 n_lora_q                 attention.q_lora_rank
 *   kv_lora_rank                             n_lora_kv                attention.kv_lora_rank
 *   qk_nope_head_dim + qk_rope_head_dim      head_dim_k               attention.key_length_mla
 *   v_head_dim                               head_dim_v               attention.value_length_mla
 *   qk_rope_head_dim                         n_rot                    rope.dimension_count
 *                                            n_lora_kv + n_rot        attention.key_length    of the latent form,
 *                                            n_lora_kv                attention.value_length  whose one kv head all
 * share
 *
 * Older GGUF files (latent_whole) have key_length and value_length of a head, and as many kv heads as heads. */
#include "core/json.h"
#include "model/hparams_parts.h"

#include <inttypes.h>
#include <stdio.h>

/* A number of config.json: null is 0 where that is allowed, absent the class's. */
static pare_status config_u32(const json_t *config, const char *path, const char *key, uint64_t max, uint32_t absent,
                              bool may_be_null, uint32_t *out, pare_error *err)
{
    const json_t *v = json_object_get(config, key);
    uint64_t n = absent;
    bool found = false;
    *out = 0;
    if (may_be_null && v != NULL && json_is_null(v))
        return PARE_OK;
    pare_status st = pare_json_u64(config, path, key, 1, max, &n, absent == 0 && !may_be_null ? NULL : &found, err);
    *out = (uint32_t)n;
    return st;
}

pare_status pare_latent_from_config(pare_hparams *hp, const pare_arch *arch, const pare_hf_class *class,
                                    const json_t *config, const char *path, pare_error *err)
{
    uint32_t plain = 0;
    bool found = false, interleave = true;
    if (!arch->latent)
        return PARE_OK;
    const struct {
        const char *key;
        uint64_t max;
        uint32_t absent, *out;
        bool may_be_null;
    } numbers[] = {
        {"q_lora_rank", PARE_MAX_EMBD, class->absent.lora_q, &hp->n_lora_q, true},
        {"kv_lora_rank", PARE_MAX_EMBD, class->absent.lora_kv, &hp->n_lora_kv, false},
        {"qk_rope_head_dim", PARE_MAX_HEAD_DIM / 2, class->absent.head_rot, &hp->n_rot, false},
        {"qk_nope_head_dim", PARE_MAX_HEAD_DIM / 2, class->absent.head_plain, &plain, false},
        {"v_head_dim", PARE_MAX_HEAD_DIM, class->absent.head_v, &hp->head_dim_v, false},
    };
    pare_status st = PARE_OK;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers && st == PARE_OK; i++)
        st = config_u32(config, path, numbers[i].key, numbers[i].max, numbers[i].absent, numbers[i].may_be_null,
                        numbers[i].out, err);
    if (st == PARE_OK)
        st = pare_json_bool(config, path, "rope_interleave", &interleave, &found, err);
    if (st == PARE_OK && !interleave)
        st = pare_fail(err, PARE_ERR_UNSUPPORTED,
                       "%s: 'rope_interleave' is false; pairs of neighbours are what architecture '%s' is described "
                       "with",
                       path, arch->name);
    if (st == PARE_OK && hp->n_head_kv != 0 && hp->n_head_kv != hp->n_head)
        st = pare_fail(err, PARE_ERR_RANGE,
                       "%s: 'num_key_value_heads' is %" PRIu32 ", but latent attention makes keys for each of the "
                       "%" PRIu32 " heads",
                       path, hp->n_head_kv, hp->n_head);
    hp->head_dim_k = plain + hp->n_rot;
    hp->head_dim_key = false;
    return st;
}

static pare_status meta_u32(const pare_arch *arch, const pare_meta *meta, const char *path, const char *suffix,
                            uint64_t min, uint64_t max, uint32_t *out, bool *found, pare_error *err)
{
    char key[160];
    uint64_t n = *out;
    snprintf(key, sizeof key, "%s.%s", arch->name, suffix);
    pare_status st = pare_meta_u64(meta, path, key, min, max, &n, found, err);
    *out = (uint32_t)n;
    return st;
}

pare_status pare_latent_from_meta(pare_hparams *hp, const pare_arch *arch, const pare_meta *meta, const char *path,
                                  pare_error *err)
{
    bool has_k = false, has_v = false, found = false;
    uint32_t k = 0, v = 0;
    if (!arch->latent)
        return PARE_OK;
    pare_status st = meta_u32(arch, meta, path, "attention.q_lora_rank", 0, PARE_MAX_EMBD, &hp->n_lora_q, &found, err);
    if (st == PARE_OK)
        st = meta_u32(arch, meta, path, "attention.kv_lora_rank", 1, PARE_MAX_EMBD, &hp->n_lora_kv, NULL, err);
    if (st == PARE_OK)
        st = meta_u32(arch, meta, path, "rope.dimension_count", 1, PARE_MAX_HEAD_DIM, &hp->n_rot, NULL, err);
    if (st == PARE_OK)
        st = meta_u32(arch, meta, path, "attention.key_length_mla", 1, PARE_MAX_HEAD_DIM, &k, &has_k, err);
    if (st == PARE_OK)
        st = meta_u32(arch, meta, path, "attention.value_length_mla", 1, PARE_MAX_HEAD_DIM, &v, &has_v, err);
    if (st == PARE_OK && has_k != has_v)
        st = pare_fail(err, PARE_ERR_FORMAT,
                       "%s: of '%s.attention.key_length_mla' and 'value_length_mla' only one is there", path,
                       arch->name);
    hp->latent_whole = !has_k;
    if (has_k) {
        hp->head_dim_k = k;
        hp->head_dim_v = v;
    }
    hp->n_head_kv = hp->n_head;
    hp->head_dim_key = false;
    return st;
}

pare_status pare_latent_to_config(const pare_hparams *hp, const pare_arch *arch, json_t *config, pare_error *err)
{
    if (!arch->latent)
        return PARE_OK;
    json_object_del(config, "head_dim");
    bool ok =
        json_object_set_new(config, "q_lora_rank", hp->n_lora_q > 0 ? json_integer(hp->n_lora_q) : json_null()) == 0;
    ok = json_object_set_new(config, "kv_lora_rank", json_integer(hp->n_lora_kv)) == 0 && ok;
    ok = json_object_set_new(config, "qk_rope_head_dim", json_integer(hp->n_rot)) == 0 && ok;
    ok = json_object_set_new(config, "qk_nope_head_dim", json_integer(hp->head_dim_k - hp->n_rot)) == 0 && ok;
    ok = json_object_set_new(config, "v_head_dim", json_integer(hp->head_dim_v)) == 0 && ok;
    return ok ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
}

pare_status pare_latent_to_meta(const pare_hparams *hp, const pare_arch *arch, pare_meta *meta, pare_error *err)
{
    const struct {
        const char *suffix;
        uint32_t v;
    } numbers[] = {
        {"attention.q_lora_rank", hp->n_lora_q},
        {"attention.kv_lora_rank", hp->n_lora_kv},
        {"attention.key_length", hp->latent_whole ? hp->head_dim_k : hp->n_lora_kv + hp->n_rot},
        {"attention.value_length", hp->latent_whole ? hp->head_dim_v : hp->n_lora_kv},
        {"attention.key_length_mla", hp->latent_whole ? 0 : hp->head_dim_k},
        {"attention.value_length_mla", hp->latent_whole ? 0 : hp->head_dim_v},
        {"rope.dimension_count", hp->n_rot},
    };
    pare_status st = PARE_OK;
    char key[160];
    for (size_t i = 0; arch->latent && i < sizeof numbers / sizeof *numbers && st == PARE_OK; i++) {
        snprintf(key, sizeof key, "%s.%s", arch->name, numbers[i].suffix);
        if (numbers[i].v > 0)
            st = pare_meta_set_u32(meta, key, numbers[i].v, err);
    }
    return st;
}
