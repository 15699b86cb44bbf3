#include "formats/hf_meta.h"
#include "core/json.h"
#include "formats/hf_files.h"
#include "formats/model_id.h"
#include "formats/safe_path.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static pare_status set_text(pare_meta *meta, const char *key, const char *text, pare_error *err)
{
    return text[0] == '\0' ? PARE_OK : pare_meta_set_str(meta, key, (pare_str){text, strlen(text)}, err);
}

/* One sampling parameter of generation_config.json; a value of another kind is left out with a warning. */
static pare_status set_sampling(pare_meta *meta, const char *key, bool integer, const json_t *v, const char *path,
                                pare_error *err)
{
    if (v == NULL || json_is_null(v))
        return PARE_OK;
    double x = json_number_value(v);
    if (!json_is_number(v) || !isfinite(x) || (integer && (x != floor(x) || fabs(x) > INT32_MAX)))
        return pare_warn(err, "%s: the value for '%s' is no %s and is left out", path, key,
                         integer ? "integer" : "number");
    return integer ? pare_meta_set_i32(meta, key, (int32_t)x, err) : pare_meta_set_f32(meta, key, (float)x, err);
}

/* generation_config.json: names of the Hub, the one that wins first. */
static pare_status add_sampling(pare_meta *meta, const char *dir, pare_error *err)
{
    static const struct {
        const char *key, *hf, *hf_other;
        bool integer;
    } rows[] = {
        {"general.sampling.top_k", "top_k", NULL, true},
        {"general.sampling.top_p", "top_p", NULL, false},
        {"general.sampling.min_p", "min_p", NULL, false},
        {"general.sampling.xtc_probability", "xtc_probability", NULL, false},
        {"general.sampling.xtc_threshold", "xtc_threshold", NULL, false},
        {"general.sampling.temp", "temperature", NULL, false},
        {"general.sampling.penalty_last_n", "penalty_last_n", NULL, true},
        {"general.sampling.penalty_repeat", "penalty_repeat", "repetition_penalty", false},
        {"general.sampling.mirostat", "mirostat", NULL, true},
        {"general.sampling.mirostat_tau", "mirostat_tau", NULL, false},
        {"general.sampling.mirostat_eta", "mirostat_eta", NULL, false},
    };
    char why[128];
    json_t *config = NULL;
    if (pare_path_look(dir, "generation_config.json", why, sizeof why) == PARE_PATH_ABSENT)
        return PARE_OK;
    char *path = pare_path_join(dir, "generation_config.json", err);
    if (path == NULL)
        return PARE_ERR_MEMORY;
    pare_status st = pare_json_load(&config, path, PARE_HF_CONFIG_BYTES, true, err);
    for (size_t i = 0; i < sizeof rows / sizeof *rows && st == PARE_OK; i++) {
        const json_t *v = json_object_get(config, rows[i].hf);
        if (v == NULL && rows[i].hf_other != NULL)
            v = json_object_get(config, rows[i].hf_other);
        st = set_sampling(meta, rows[i].key, rows[i].integer, v, path, err);
    }
    json_decref(config);
    free(path);
    return st;
}

static void take(char *dst, const char *src)
{
    if (dst[0] == '\0')
        memcpy(dst, src, PARE_MODEL_ID_TEXT);
}

static void take_title(char *dst, const char *src)
{
    if (dst[0] == '\0')
        pare_model_id_title(dst, PARE_MODEL_ID_TEXT, src);
}

/* What a name adds to what is known already. */
static void add_name(pare_model_id *known, const char *name, uint64_t n_params)
{
    pare_model_id id;
    pare_model_id_parse(&id, name, n_params);
    take_title(known->name, id.name);
    take_title(known->organization, id.organization);
    take(known->basename, id.basename);
    take(known->finetune, id.finetune);
    take(known->version, id.version);
    take(known->size_label, id.size_label);
}

/* The folder's own name, even when it is given as "." */
static char *folder_name(const char *dir, pare_error *err)
{
    char *real = realpath(dir, NULL);
    if (real == NULL) {
        pare_fail(err, PARE_ERR_FORMAT, "%s: cannot be resolved", dir);
        return NULL;
    }
    const char *slash = strrchr(real, '/');
    if (slash != NULL)
        memmove(real, slash + 1, strlen(slash + 1) + 1);
    return real;
}

static size_t count_slashes(const char *text)
{
    size_t n = 0;
    for (; *text != '\0'; text++)
        n += *text == '/';
    return n;
}

pare_status pare_hf_meta_general(pare_model *m, const char *dir, const json_t *config, pare_error *err)
{
    pare_model_id id = {0};
    uint64_t n_params = pare_model_n_params(m);
    const char *trained_as = json_string_value(json_object_get(config, "_name_or_path"));
    char *folder = folder_name(dir, err);
    if (folder == NULL)
        return PARE_ERR_FORMAT;
    if (trained_as != NULL && count_slashes(trained_as) <= 1) /* more: a path on somebody's computer */
        add_name(&id, trained_as, n_params);
    add_name(&id, folder, n_params);
    if (id.size_label[0] == '\0')
        pare_size_label(id.size_label, sizeof id.size_label, n_params);
    pare_status st = set_text(&m->meta, "general.architecture", m->arch->name, err);
    if (st == PARE_OK)
        st = set_text(&m->meta, "general.type", "model", err);
    if (st == PARE_OK)
        st = add_sampling(&m->meta, dir, err);
    const struct {
        const char *key, *text;
    } texts[] = {
        {"general.name", id.name},         {"general.version", id.version},   {"general.organization", id.organization},
        {"general.finetune", id.finetune}, {"general.basename", id.basename}, {"general.size_label", id.size_label}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts && st == PARE_OK; i++)
        st = set_text(&m->meta, texts[i].key, texts[i].text, err);
    free(folder);
    return st;
}
