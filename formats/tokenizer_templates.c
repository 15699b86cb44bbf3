/* formats/tokenizer_templates.c - chat templates of a folder, carried as they are and never run
 *
 * chat_template of tokenizer_config.json, a text or a list of {"name", "template"}; else chat_template.jinja with
 * additional_chat_templates/NAME.jinja; else chat_template of chat_template.json. */
#include "core/look.h"
#include "core/map.h"
#include "formats/folder_list.h"
#include "formats/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

static pare_status set_template(pare_vocab *v, pare_str text, const char *dir, pare_str *out, pare_error *err)
{
    if (text.len > PARE_MAX_CHAT_TEMPLATE)
        return pare_fail(err, PARE_ERR_RANGE, "%s: chat_template of %zu bytes, at most %d", dir, text.len,
                         PARE_MAX_CHAT_TEMPLATE);
    *out = pare_vocab_text(v, text, false, err);
    return out->data == NULL ? PARE_ERR_MEMORY : PARE_OK;
}

/* A template with a name: "default" is the template, the others go by their names, cleaned as in stock. all has room.
 */
static pare_status add_template(pare_vocab *v, pare_chat_template *all, pare_str name, pare_str body, const char *dir,
                                pare_error *err)
{
    pare_str text = {0};
    pare_status st = set_template(v, body, dir, &text, err);
    if (st != PARE_OK)
        return st;
    if (pare_str_equal(name, "default")) {
        v->chat_template = text;
        return PARE_OK;
    }
    char *clean = pare_arena_copy(&v->arena, name.data, name.len, err);
    if (clean == NULL)
        return PARE_ERR_MEMORY;
    for (size_t k = 0; k < name.len; k++)
        if (strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", clean[k]) == NULL || clean[k] == 0)
            clean[k] = '_';
    for (uint32_t i = 0; i < v->n_named_templates; i++)
        if (pare_str_equal(all[i].name, clean))
            return pare_fail(err, PARE_ERR_FORMAT, "%s: chat template '%s' is there twice", dir, clean);
    all[v->n_named_templates++] = (pare_chat_template){{clean, name.len}, text};
    v->named_templates = all;
    return PARE_OK;
}

static pare_status read_list(pare_vocab *v, const json_t *list, const char *dir, pare_error *err)
{
    size_t n = json_array_size(list);
    pare_chat_template *all = pare_arena_alloc(&v->arena, n * sizeof *all, err);
    pare_status st = all == NULL ? PARE_ERR_MEMORY : PARE_OK;
    for (size_t i = 0; i < n && st == PARE_OK; i++) {
        pare_str name = pare_text_of(json_object_get(json_array_get(list, i), "name"));
        const json_t *body = json_object_get(json_array_get(list, i), "template");
        st = name.len > 0 && json_is_string(body)
                 ? add_template(v, all, name, pare_text_of(body), dir, err)
                 : pare_fail(err, PARE_ERR_FORMAT, "%s: entry %zu of chat_template has no name or no template", dir, i);
    }
    return st;
}

/* The text of a file into the vocabulary under name; all as in add_template. */
static pare_status read_file(pare_vocab *v, pare_chat_template *all, pare_str name, const char *path, pare_error *err)
{
    pare_map file = {0};
    size_t bad = 0;
    pare_status st = pare_map_open_content(&file, path, err);
    pare_str text = {file.data == NULL ? "" : (const char *)file.data, (size_t)file.size};
    if (st == PARE_OK && !pare_utf8_valid(text.data, text.len, &bad))
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: offset %zu: not UTF-8", path, bad);
    if (st == PARE_OK)
        st = add_template(v, all, name, text, path, err);
    pare_map_close(&file);
    return st;
}

static pare_status read_additional(pare_vocab *v, const char *dir, pare_error *err)
{
    static const char suffix[] = ".jinja";
    pare_folder_list list = {0};
    struct stat info;
    bool there = false;
    char *folder = pare_path_join(dir, "additional_chat_templates", err);
    pare_status st = folder == NULL ? PARE_ERR_MEMORY : pare_look(folder, &info, &there, err);
    there = there && S_ISDIR(info.st_mode);
    if (st == PARE_OK && there && (st = pare_folder_list_read(&list, folder, err)) == PARE_OK) {
        pare_chat_template *all = pare_arena_alloc(&v->arena, list.n * sizeof *all, err);
        st = all == NULL ? PARE_ERR_MEMORY : PARE_OK;
        for (size_t i = 0; i < list.n && st == PARE_OK; i++) {
            const char *name = list.entries[i].name, *end = strstr(name, suffix);
            char *path = NULL;
            if (end == NULL || end == name || end[sizeof suffix - 1] != 0 || strchr(name, '/') != NULL)
                continue;
            if ((path = pare_path_join(folder, name, err)) == NULL)
                st = PARE_ERR_MEMORY;
            else
                st = read_file(v, all, (pare_str){name, (size_t)(end - name)}, path, err);
            free(path);
        }
    }
    pare_folder_list_close(&list);
    free(folder);
    return st;
}

/* True for a template that does nothing but to name the file beside it. */
static bool names_file(pare_str text)
{
    static const char file[] = "chat_template.jinja";
    return text.len < 80 && memmem(text.data, text.len, "include", 7) != NULL &&
           memmem(text.data, text.len, file, sizeof file - 1) != NULL;
}

pare_status pare_tokenizer_templates(pare_vocab *v, const char *dir, const json_t *tokenizer_config, pare_error *err)
{
    const json_t *t = json_object_get(tokenizer_config, "chat_template");
    json_t *doc = NULL;
    pare_status st = PARE_OK;
    char *path = NULL;
    if (json_is_string(t) && names_file(pare_text_of(t)))
        t = NULL;
    if (t == NULL)
        st = pare_path_find(&path, dir, "chat_template.jinja", err);
    if (path != NULL) {
        st = read_file(v, NULL, (pare_str){"default", 7}, path, err);
        if (st == PARE_OK)
            st = read_additional(v, dir, err);
    } else if (t == NULL && st == PARE_OK && (st = pare_path_find(&path, dir, "chat_template.json", err)) == PARE_OK &&
               path != NULL) {
        st = pare_json_load(&doc, path, 2 * PARE_MAX_CHAT_TEMPLATE, PARE_JSON_BIG_AS_REAL, err);
        t = json_object_get(doc, "chat_template");
    }
    if (st == PARE_OK && json_is_string(t))
        st = set_template(v, pare_text_of(t), dir, &v->chat_template, err);
    else if (st == PARE_OK && json_is_array(t))
        st = read_list(v, t, dir, err);
    else if (st == PARE_OK && t != NULL && !json_is_null(t))
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: chat_template is neither text nor a list of templates", dir);
    json_decref(doc);
    free(path);
    return st;
}
