/* model/arch_words.h - what the hooks of architecture descriptions (arch_<name>.c) have in common */
#ifndef PARE_MODEL_ARCH_WORDS_H
#define PARE_MODEL_ARCH_WORDS_H

#include "model/hparams.h"

/* A switch of config.json and the value with which its family is described. */
typedef struct pare_config_switch {
    const char *key;
    bool usual;
} pare_config_switch;

/* Refuse a config that says otherwise. Errors: PARE_ERR_UNSUPPORTED with key and value; PARE_ERR_FORMAT. */
pare_status pare_config_expect(const json_t *config, const char *path, const char *arch_name,
                               const pare_config_switch *switches, size_t n, pare_error *err);

/* A number above 0 and up to 1e9; absent or null leaves *out as it is. Errors: PARE_ERR_RANGE, PARE_ERR_FORMAT. */
pare_status pare_config_positive(const json_t *config, const char *path, const char *key, float *out, pare_error *err);
pare_status pare_meta_positive(const pare_meta *meta, const char *path, const char *key, float *out, pare_error *err);

/* The same from 0 on. */
pare_status pare_config_not_negative(const json_t *config, const char *path, const char *key, float *out,
                                     pare_error *err);

/* Give members other names, {from, to}; take members out. NULL-terminated. False: no memory. */
bool pare_config_rename(json_t *config, const char *const (*names)[2]);
void pare_config_drop(json_t *config, const char *const *keys);

/* A number from 0 (none) to 1e9, a cap or a limit. In config.json absent gives `usual` and null none; in metadata
 * absent leaves *out. Errors: PARE_ERR_RANGE, PARE_ERR_FORMAT. */
pare_status pare_config_cap(const json_t *config, const char *path, const char *key, double usual, float *out,
                            pare_error *err);
pare_status pare_meta_cap(const pare_meta *meta, const char *path, const char *key, float *out, pare_error *err);
bool pare_cap_to_config(json_t *config, const char *key, float cap); /* false: no memory */

/* query_pre_attn_scalar of Gemma 2 and 3, s: hp->attn_scale is 1 / sqrt(s). Stock's runtime reads no key for it: it
 * takes the size of a head, or width / heads in the model of `other_layers` layers. Where that is wrong, key (which
 * only pare reads) has the scale. */
pare_status pare_query_scalar_from_config(pare_hparams *hp, const json_t *config, const char *path, double usual,
                                          uint32_t other_layers, pare_error *err);
pare_status pare_query_scalar_from_meta(pare_hparams *hp, const pare_meta *meta, const char *path, const char *key,
                                        uint32_t other_layers, pare_error *err);
pare_status pare_query_scalar_to_meta(const pare_hparams *hp, pare_meta *meta, const char *key, uint32_t other_layers,
                                      pare_error *err);
bool pare_query_scalar_to_config(const pare_hparams *hp, json_t *config); /* false: no memory */

/* Granite's factors of the embeddings, the scores, the branches of a layer and the logits, and the two counts that its
 * converter writes before them. What a config leaves out is 1, for the scores as well; a file without a scale of scores
 * has the usual one. arch_name begins the keys of metadata. Errors: PARE_ERR_RANGE, PARE_ERR_FORMAT, PARE_ERR_MEMORY.
 */
pare_status pare_multipliers_from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err);
pare_status pare_multipliers_from_meta(pare_hparams *hp, const pare_meta *meta, const char *arch_name, const char *path,
                                       pare_error *err);
pare_status pare_multipliers_to_meta(const pare_hparams *hp, pare_meta *meta, const char *arch_name, pare_error *err);
pare_status pare_multipliers_to_config(const pare_hparams *hp, json_t *config, pare_error *err);

/* The word vectors are the output matrix in every model of the family. Errors: PARE_ERR_UNSUPPORTED. */
pare_status pare_config_want_tied(const pare_hparams *hp, const char *path, pare_error *err);

#endif
