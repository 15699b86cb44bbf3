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

/* Give members other names, {from, to}; take members out. NULL-terminated. False: no memory. */
bool pare_config_rename(json_t *config, const char *const (*names)[2]);
void pare_config_drop(json_t *config, const char *const *keys);

#endif
