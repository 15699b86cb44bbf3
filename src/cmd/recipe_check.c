#include "cmd/recipe_check.h"
#include "cmd/outputs.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static pare_status contradicts(const cmd_recipe *r, pare_error *err, const char *member, const json_t *has,
                               const char *by, const char *says)
{
    char *text = has != NULL ? json_dumps(has, JSON_ENCODE_ANY | JSON_SORT_KEYS) : strdup("nothing");
    pare_status st = pare_fail(err, PARE_ERR_FORMAT, "%s: recipe: '%s' is %.300s, and %s says %.300s", r->lock.path,
                               member, text != NULL ? text : "?", by, says);
    free(text);
    return st;
}

static pare_status contradicts_json(const cmd_recipe *r, pare_error *err, const char *list, size_t i, const json_t *has,
                                    const char *by, const json_t *says)
{
    char member[64];
    char *text = says != NULL ? json_dumps(says, JSON_ENCODE_ANY | JSON_SORT_KEYS) : strdup("nothing");
    snprintf(member, sizeof member, "%s[%zu]", list, i);
    pare_status st = contradicts(r, err, member, has, by, text != NULL ? text : "?");
    free(text);
    return st;
}

static pare_status check_array(const cmd_recipe *r, const char *key, const json_t *list, pare_error *err)
{
    return list == NULL || json_is_array(list)
               ? PARE_OK
               : pare_fail(err, PARE_ERR_FORMAT, "%s: recipe: '%s' is no array", r->lock.path, key);
}

static pare_status check_options(const cmd_recipe *r, pare_error *err)
{
    const json_t *has = json_object_get(r->recipe, "options");
    pare_status st = check_array(r, "options", has, err);
    if (st != PARE_OK || has == NULL)
        return st;
    json_t *says = cmd_recipe_options(&r->args);
    const size_t n = json_array_size(has), m = json_array_size(says);
    for (size_t i = 0; i < (n > m ? n : m) && st == PARE_OK; i++) {
        const json_t *a = json_array_get(has, i), *b = json_array_get(says, i);
        if (a == NULL || b == NULL || !json_equal(a, b))
            st = contradicts_json(r, err, "options", i, a, "'argv'", b);
    }
    json_decref(says);
    return st;
}

static bool same_text(const json_t *a, const char *text)
{
    return json_is_string(a) && text != NULL && strcmp(json_string_value(a), text) == 0;
}

/* Both are written of the same files, in the same order; "inputs" without folders. */
static pare_status check_inputs(const cmd_recipe *r, pare_error *err)
{
    const json_t *has = json_object_get(r->recipe, "inputs");
    pare_status st = check_array(r, "inputs", has, err);
    const size_t n = json_array_size(has), m = json_array_size(r->parents);
    for (size_t i = 0; has != NULL && i < (n > m ? n : m) && st == PARE_OK; i++) {
        const json_t *a = json_array_get(has, i), *b = json_array_get(r->parents, i);
        const char *name = json_string_value(json_object_get(b, "name"));
        if (a == NULL || b == NULL || name == NULL || !same_text(json_object_get(a, "name"), cmd_base_name(name)) ||
            !json_equal(json_object_get(a, "sha256"), json_object_get(b, "sha256")))
            st = contradicts_json(r, err, "inputs", i, a, "'parents'", b);
    }
    return st;
}

static bool is_digits(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (text[i] < '0' || text[i] > '9')
            return false;
    return true;
}

/* Is base, a name without folders, the output called name, or "STEM-00001-of-00002.gguf", a part of it? */
static bool is_file_of(const char *base, const char *name)
{
    enum { DIGITS = 5, TAIL = 20 }; /* "-00001-of-00002.gguf" */
    const size_t n = strlen(name), stem = n > 5 && strcmp(name + n - 5, ".gguf") == 0 ? n - 5 : n;
    if (strcmp(base, name) == 0)
        return true;
    const char *tail = base + stem;
    return strncmp(base, name, stem) == 0 && strlen(tail) == TAIL && tail[0] == '-' && is_digits(tail + 1, DIGITS) &&
           strncmp(tail + 1 + DIGITS, "-of-", 4) == 0 && is_digits(tail + 5 + DIGITS, DIGITS) &&
           strcmp(tail + 5 + 2 * DIGITS, ".gguf") == 0;
}

/* All files that are made lie in one folder, whose name nothing else tells; those of a model that is a folder in that
 * one, or, where its lock lies in it, anywhere below the lock. */
static pare_status check_outputs(const cmd_recipe *r, pare_error *err)
{
    const char *first = json_string_value(json_array_get(r->outputs, 0));
    const size_t folder = strlen(first) - strlen(cmd_base_name(first));
    if (cmd_output_is_folder(&r->args))
        return PARE_OK;
    for (size_t i = 0; i < json_array_size(r->outputs); i++) {
        const json_t *has = json_array_get(r->outputs, i);
        const char *path = json_string_value(has), *base = cmd_base_name(path);
        char member[64];
        snprintf(member, sizeof member, "outputs[%zu]", i);
        if (!is_file_of(base, r->name))
            return contradicts(r, err, member, has, "'argv'", r->name);
        if (strlen(path) - strlen(base) != folder || strncmp(path, first, folder) != 0)
            return contradicts(r, err, member, has, "'outputs[0]'", first);
    }
    return PARE_OK;
}

static pare_status check_surroundings(const cmd_recipe *r, pare_error *err)
{
    char says[32];
    uint64_t threads = 0;
    bool found = false;
    const json_t *device = json_object_get(r->recipe, "device");
    const char *given = cmd_text(&r->args, OPT_DEVICE);
    pare_status st = pare_json_integer(r->recipe, r->lock.path, "threads", 1, INT32_MAX, &threads, &found, err);
    if (st != PARE_OK)
        return st;
    snprintf(says, sizeof says, "%" PRIu64, cmd_number(&r->args, OPT_THREADS));
    if (found && cmd_has(&r->args, OPT_THREADS) && threads != cmd_number(&r->args, OPT_THREADS))
        return contradicts(r, err, "threads", json_object_get(r->recipe, "threads"), "'argv'", says);
    if (device != NULL && !json_is_string(device))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: recipe: 'device' is no string", r->lock.path);
    if (device != NULL && given != NULL && strcmp(given, "cpu") == 0 && !same_text(device, "cpu"))
        return contradicts(r, err, "device", device, "'argv'", given);
    return PARE_OK;
}

pare_status cmd_recipe_check(const cmd_recipe *r, pare_error *err)
{
    pare_status st = check_options(r, err);
    if (st == PARE_OK)
        st = check_inputs(r, err);
    if (st == PARE_OK)
        st = check_outputs(r, err);
    return st == PARE_OK ? check_surroundings(r, err) : st;
}
