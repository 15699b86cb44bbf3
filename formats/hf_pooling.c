#include "formats/hf_pooling.h"

#include "core/json.h"
#include "formats/hf_files.h"
#include "formats/safe_path.h"

#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES = 512 };

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), k = strlen(end);
    return n >= k && strcmp(text + n - k, end) == 0;
}

/* Older files have a switch a mode, newer ones a name. */
static const struct {
    const char *key, *name;
    pare_pooling pooling;
} modes[] = {{"pooling_mode_mean_tokens", "mean", PARE_POOLING_MEAN},
             {"pooling_mode_cls_token", "cls", PARE_POOLING_CLS},
             {"pooling_mode_lasttoken", "lasttoken", PARE_POOLING_LAST}};
enum { N_MODES = sizeof modes / sizeof *modes };

static pare_status take_mode(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    const char *key, *name = json_string_value(json_object_get(config, "pooling_mode"));
    json_t *value;
    size_t n_on = 0, found = N_MODES;
    json_object_foreach((json_t *)(uintptr_t)config, key, value) n_on +=
        strncmp(key, "pooling_mode_", 13) == 0 && json_is_true(value);
    for (size_t i = 0; i < N_MODES; i++)
        if (n_on == 1 ? json_is_true(json_object_get(config, modes[i].key))
                      : n_on == 0 && name != NULL && strcmp(name, modes[i].name) == 0)
            found = i;
    if (found == N_MODES)
        return pare_warn(err, "%s: pooling of another kind than one of mean, cls and lasttoken is left out", path);
    hp->has_pooling = true;
    hp->pooling = modes[found].pooling;
    return PARE_OK;
}

static pare_status read_module(pare_hparams *hp, const char *dir, const char *folder, pare_error *err)
{
    char name[PATH_BYTES], why[PATH_BYTES];
    json_t *config = NULL;
    size_t n = strlen(folder);
    while (n > 0 && folder[n - 1] == '/')
        n--;
    if ((size_t)snprintf(name, sizeof name, "%.*s/config.json", (int)n, folder) >= sizeof name ||
        pare_path_fault((pare_str){name, strlen(name)}) != NULL)
        return pare_fail(err, PARE_ERR_FORMAT, "%s/modules.json: the path of the pooling module is no plain name", dir);
    pare_path_state state;
    pare_status st = pare_path_look(&state, dir, name, why, sizeof why, err);
    if (st != PARE_OK)
        return st;
    if (state == PARE_PATH_REFUSED)
        return pare_fail(err, PARE_ERR_FORMAT, "%s/%s: %s", dir, name, why);
    if (state == PARE_PATH_ABSENT)
        return pare_warn(err, "%s: modules.json names %s, which is not there: how to pool is not known", dir, name);
    char *path = pare_path_join(dir, name, err);
    st = path == NULL ? PARE_ERR_MEMORY
                      : pare_json_load(&config, path, PARE_HF_CONFIG_BYTES, PARE_JSON_BIG_AS_REAL, err);
    if (st == PARE_OK && !json_is_object(config))
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: is no JSON object", path);
    if (st == PARE_OK)
        st = take_mode(hp, config, path, err);
    json_decref(config);
    free(path);
    return st;
}

static pare_status read_list(pare_hparams *hp, const char *dir, const json_t *list, pare_error *err)
{
    pare_status st = PARE_OK;
    if (!json_is_array(list))
        return pare_fail(err, PARE_ERR_FORMAT, "%s/modules.json: is no list", dir);
    for (size_t i = 0; i < json_array_size(list) && st == PARE_OK; i++) {
        const json_t *module = json_array_get(list, i);
        const char *type = json_string_value(json_object_get(module, "type"));
        const char *path = json_string_value(json_object_get(module, "path"));
        if (type == NULL || path == NULL)
            return pare_fail(err, PARE_ERR_FORMAT, "%s/modules.json: entry %zu has no type or no path", dir, i);
        if (ends_with(type, "Pooling"))
            st = read_module(hp, dir, path, err);
        else if (!ends_with(type, "Transformer") && !ends_with(type, "Normalize"))
            st = pare_warn(err, "%s/modules.json: module '%.100s' behind the model is left out", dir, type);
    }
    return st;
}

pare_status pare_hf_read_pooling(pare_hparams *hp, const char *dir, pare_error *err)
{
    char why[PATH_BYTES];
    json_t *list = NULL;
    pare_path_state state;
    pare_status st = pare_path_look(&state, dir, "modules.json", why, sizeof why, err);
    if (st != PARE_OK)
        return st;
    if (state == PARE_PATH_ABSENT)
        return PARE_OK;
    if (state == PARE_PATH_REFUSED)
        return pare_fail(err, PARE_ERR_FORMAT, "%s/modules.json: %s", dir, why);
    char *path = pare_path_join(dir, "modules.json", err);
    st = path == NULL ? PARE_ERR_MEMORY : pare_json_load(&list, path, PARE_HF_CONFIG_BYTES, PARE_JSON_BIG_AS_REAL, err);
    if (st == PARE_OK)
        st = read_list(hp, dir, list, err);
    json_decref(list);
    free(path);
    return st;
}
