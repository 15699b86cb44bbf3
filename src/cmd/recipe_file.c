#include "cmd/recipe_file.h"
#include "cmd/build.h"
#include "cmd/recipe_check.h"
#include "core/json.h"
#include "core/map.h"
#include "formats/lock_schema.h"
#include "formats/safe_path.h"
#include "formats/store.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_WORDS = 10000 };

static pare_status read_lock(cmd_recipe *r, const char *path, pare_error *err)
{
    pare_map file;
    pare_status st = pare_map_open_content(&file, path, err);
    if (st == PARE_OK && file.size > PARE_LOCK_MAX_BYTES)
        st = pare_fail(err, PARE_ERR_RANGE, "%s: is too large for a lock", path);
    if (st == PARE_OK)
        st = pare_buf_put(&r->text, file.data, (size_t)file.size, err);
    pare_map_close(&file);
    if (st == PARE_OK)
        st = pare_lock_parse(&r->lock, path, r->text.data, r->text.len, err);
    return st == PARE_OK ? pare_json_parse(&r->doc, path, r->text.data, r->text.len, PARE_JSON_NUL, err) : st;
}

static pare_status bad(const cmd_recipe *r, pare_error *err, const char *what)
{
    return pare_fail(err, PARE_ERR_FORMAT, "%s: recipe: %s", r->lock.path, what);
}

/* The text of a string without NUL, or NULL. */
static const char *plain_text(const json_t *value)
{
    const char *text = json_string_value(value);
    return text != NULL && strlen(text) == json_string_length(value) ? text : NULL;
}

static bool is_one_component(const char *name)
{
    return name != NULL && strchr(name, '/') == NULL && pare_path_fault((pare_str){name, strlen(name)}) == NULL;
}

/* Does this verb write what can be pinned? */
static bool can_pin(const cmd_verb *verb)
{
    const cmd_option *option;
    for (size_t i = 0; (option = cmd_option_at(verb->id, i)) != NULL; i++)
        if (option->id == OPT_PIN && verb->id != CMD_PIN)
            return true;
    return false;
}

/* The recorded words as a command line of this version. What cannot be parsed was written by another one, or by hand.
 */
static pare_status parse_words(cmd_recipe *r, pare_error *err)
{
    const json_t *argv = json_object_get(r->recipe, "argv");
    const char *command = plain_text(json_object_get(r->recipe, "command"));
    const size_t n = json_array_size(argv);
    pare_error why = {0};
    if (argv != NULL && !json_is_array(argv))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: recipe: 'argv' is no array", r->lock.path);
    if (argv == NULL)
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "%s: recipe: has no command line ('argv'): an older version wrote it, which recorded no more "
                         "than options",
                         r->lock.path);
    if (n == 0 || n > MAX_WORDS)
        return bad(r, err, "'argv' is empty, or longer than a command line");
    if ((r->words = calloc(n + 1, sizeof *r->words)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory", r->lock.path);
    for (size_t i = 0; i < n; i++) {
        const char *word = plain_text(json_array_get(argv, i));
        if (word == NULL)
            return bad(r, err, "'argv' holds what is no word");
        if ((r->words[i] = strdup(word)) == NULL)
            return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory", r->lock.path);
    }
    if (command == NULL || strcmp(command, r->words[0]) != 0)
        return bad(r, err, "'command' is not the first word of 'argv'");
    const cmd_verb *verb = cmd_verb_find(command);
    if (verb == NULL || !can_pin(verb))
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: recipe: '%s' is no command that this version can repeat",
                         r->lock.path, command);
    /* getopt_long moves the words of its argv */
    if ((r->moved = malloc((n + 1) * sizeof *r->moved)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory", r->lock.path);
    memcpy(r->moved, r->words, (n + 1) * sizeof *r->moved);
    pare_status st = cmd_args_parse_words(&r->args, verb, (int)n, r->moved, &why);
    return st == PARE_OK || st == PARE_ERR_MEMORY
               ? st
               : pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: recipe: is no command line of this version (%s): %s",
                           r->lock.path, CMD_BUILD_VERSION, why.text);
}

static bool is_listed(const pare_lock *lock, const char *name)
{
    for (size_t i = 0; i < lock->pin.n_files; i++)
        if (strcmp(lock->pin.files[i].name, name) == 0)
            return true;
    return false;
}

static pare_status check_outputs(cmd_recipe *r, pare_error *err)
{
    r->outputs = json_object_get(r->recipe, "outputs");
    if (json_array_size(r->outputs) == 0)
        return bad(r, err, "'outputs' names no file");
    for (size_t i = 0; i < json_array_size(r->outputs); i++) {
        const char *name = plain_text(json_array_get(r->outputs, i));
        if (name == NULL)
            return bad(r, err, "'outputs' holds what is no name");
        if (!is_listed(&r->lock, name)) /* which has checked its own names */
            return pare_fail(err, PARE_ERR_FORMAT, "%s: recipe: makes '%s', which the lock does not list", r->lock.path,
                             name);
    }
    return PARE_OK;
}

static bool is_model_file(const json_t *parents, const char *name)
{
    for (size_t i = 0; i < json_array_size(parents); i++) {
        const json_t *row = json_array_get(parents, i);
        if (strcmp(json_string_value(json_object_get(row, "role")), "model") == 0 &&
            strcmp(json_string_value(json_object_get(row, "name")), name) == 0)
            return true;
    }
    return false;
}

/* The operand was a folder, a file, or the name of a store for one of them; a model without a folder's name is a file.
 */
static void name_model(cmd_recipe *r)
{
    const char *operand = r->args.operands[0], *slash = strrchr(operand, '/');
    r->model = pare_store_has_name(operand) && slash != NULL ? slash + 1 : operand;
    r->model_is_file = is_model_file(r->parents, r->model);
    if (!r->model_is_file && r->folder == NULL && json_array_size(r->parents) > 0) {
        r->model = json_string_value(json_object_get(json_array_get(r->parents, 0), "name"));
        r->model_is_file = true;
    }
}

static pare_status take_members(cmd_recipe *r, pare_error *err)
{
    const json_t *folder = json_object_get(r->recipe, "folder");
    r->parents = json_object_get(r->doc, "parents");
    r->version = plain_text(json_object_get(r->recipe, "pare"));
    r->folder = plain_text(folder);
    r->name = cmd_text(&r->args, OPT_OUTPUT);
    r->bytes_by_cpu = json_is_true(json_object_get(r->recipe, "bytes_by_cpu"));
    if (r->args.n_operands != 1)
        return bad(r, err, "'argv' names not exactly one model");
    name_model(r);
    if (r->version == NULL)
        return bad(r, err, "'pare' is no version");
    if (json_array_size(r->parents) == 0)
        return bad(r, err, "'parents' names no input");
    if (folder != NULL && !is_one_component(r->folder))
        return bad(r, err, "'folder' is no name of a folder");
    if (!is_one_component(r->name))
        return bad(r, err, "'argv' has no plain name behind --output");
    pare_status st = check_outputs(r, err);
    return st == PARE_OK ? cmd_recipe_check(r, err) : st;
}

pare_status cmd_recipe_read(cmd_recipe *r, const char *path, pare_error *err)
{
    *r = (cmd_recipe){0};
    pare_status st = read_lock(r, path, err);
    if (st != PARE_OK)
        return st;
    r->recipe = json_object_get(r->doc, "recipe");
    if (!json_is_object(r->recipe) || json_object_size(r->recipe) == 0)
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "%s: records no recipe: it says what the files are, not how they were made", path);
    st = parse_words(r, err);
    return st == PARE_OK ? take_members(r, err) : st;
}

void cmd_recipe_close(cmd_recipe *r)
{
    for (size_t i = 0; r->words != NULL && r->words[i] != NULL; i++)
        free(r->words[i]);
    free(r->words);
    free(r->moved);
    cmd_args_close(&r->args);
    json_decref(r->doc);
    pare_lock_close(&r->lock);
    pare_buf_close(&r->text);
    *r = (cmd_recipe){0};
}
