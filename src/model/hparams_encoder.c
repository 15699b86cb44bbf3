#include "model/hparams_encoder.h"

#include "core/json.h"
#include "model/hparams_limits.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MAX_TOKEN_TYPES = 1 << 16, USUAL_TOKEN_TYPES = 2, USUAL_PAD = 1 /* RoBERTa's */ };

static const char token_types_key[] = "tokenizer.ggml.token_type_count";

const char *pare_pooling_name(pare_pooling pooling)
{
    static const char *const names[] = {
        [PARE_POOLING_MEAN] = "mean", [PARE_POOLING_CLS] = "cls", [PARE_POOLING_LAST] = "last"};
    return (size_t)pooling < sizeof names / sizeof *names ? names[pooling] : NULL;
}

pare_pooling pare_pooling_find(const char *name)
{
    for (int p = PARE_POOLING_MEAN; name != NULL && p <= PARE_POOLING_LAST; p++)
        if (strcmp(name, pare_pooling_name((pare_pooling)p)) == 0)
            return (pare_pooling)p;
    return PARE_POOLING_NONE;
}

/* RoBERTa's positions: a text's first token stands at pad_token_id + 1. */
static pare_status read_skipped(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    uint64_t pad = USUAL_PAD;
    bool found = false;
    pare_status st = pare_json_u64(config, path, "pad_token_id", 0, PARE_MAX_VOCAB - 1, &pad, &found, err);
    if (st != PARE_OK)
        return st;
    if (pad + 1 >= hp->n_ctx_train)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: 'pad_token_id' is %" PRIu64 ", and positions count from the next number on; there are "
                         "only %" PRIu32 " of them",
                         path, pad, hp->n_ctx_train);
    hp->n_pos_skipped = (uint32_t)pad + 1;
    hp->n_ctx_train -= hp->n_pos_skipped;
    return PARE_OK;
}

pare_status pare_hparams_encoder_from_config(pare_hparams *hp, const pare_arch *arch, const pare_hf_class *class,
                                             const json_t *config, const char *path, pare_error *err)
{
    uint64_t types = USUAL_TOKEN_TYPES;
    bool found = false;
    pare_status st = PARE_OK;
    hp->both_ways = arch->wiring.encoder;
    if (pare_arch_weight_of(arch, PARE_W_TOKEN_TYPES) != NULL) {
        st = pare_json_u64(config, path, "type_vocab_size", 1, MAX_TOKEN_TYPES, &types, &found, err);
        hp->n_token_types = (uint32_t)types;
    }
    return st == PARE_OK && class->skips_pad_positions ? read_skipped(hp, config, path, err) : st;
}

pare_status pare_hparams_encoder_from_meta(pare_hparams *hp, const pare_arch *arch, const pare_meta *meta,
                                           const char *path, pare_error *err)
{
    char key[160];
    bool causal = !arch->wiring.encoder, found = false;
    uint64_t pooling = PARE_POOLING_NONE, types = USUAL_TOKEN_TYPES;
    snprintf(key, sizeof key, "%s.attention.causal", arch->name);
    pare_status st = pare_meta_bool(meta, path, key, &causal, &found, err);
    hp->both_ways = !causal;
    snprintf(key, sizeof key, "%s.pooling_type", arch->name);
    if (st == PARE_OK)
        st = pare_meta_u64(meta, path, key, 0, PARE_POOLING_RANK, &pooling, &hp->has_pooling, err);
    hp->pooling = (pare_pooling)pooling;
    if (st == PARE_OK && pare_arch_weight_of(arch, PARE_W_TOKEN_TYPES) != NULL) {
        st = pare_meta_u64(meta, path, token_types_key, 1, MAX_TOKEN_TYPES, &types, &found, err);
        hp->n_token_types = (uint32_t)types;
    }
    return st;
}

pare_status pare_hparams_encoder_to_meta(const pare_hparams *hp, const pare_arch *arch, pare_meta *meta,
                                         pare_error *err)
{
    char key[160];
    pare_status st = PARE_OK;
    snprintf(key, sizeof key, "%s.attention.causal", arch->name);
    if (hp->both_ways || arch->wiring.encoder)
        st = pare_meta_set_bool(meta, key, !hp->both_ways, err);
    snprintf(key, sizeof key, "%s.pooling_type", arch->name);
    if (st == PARE_OK && hp->has_pooling)
        st = pare_meta_set_u32(meta, key, (uint32_t)hp->pooling, err);
    return st;
}

pare_status pare_hparams_token_types_to_meta(const pare_hparams *hp, pare_meta *meta, pare_error *err)
{
    return hp->n_token_types == 0 ? PARE_OK : pare_meta_set_u32(meta, token_types_key, hp->n_token_types, err);
}

pare_status pare_hparams_encoder_to_config(const pare_hparams *hp, json_t *config, pare_error *err)
{
    if (hp->n_token_types > 0 && json_object_set_new(config, "type_vocab_size", json_integer(hp->n_token_types)) != 0)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
    return PARE_OK;
}
