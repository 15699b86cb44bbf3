#include "formats/lock_derive.h"
#include "core/json.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_CONFIG_BYTES = 64 << 20 };

bool pare_lock_set_hex(json_t *object, const char *key, const uint8_t *bytes, size_t n)
{
    char hex[PARE_SHA256_HEX];
    pare_hex(hex, bytes, n);
    return json_object_set_new(object, key, json_string(hex)) == 0;
}

pare_status pare_lock_sums_line(pare_buf *out, const uint8_t sha256[32], const char *name, pare_error *err)
{
    char hex[PARE_SHA256_HEX];
    pare_hex(hex, sha256, 32);
    pare_status st = pare_buf_printf(out, err, "%s%s  ", strpbrk(name, "\\\n\r") != NULL ? "\\" : "", hex);
    for (; *name != '\0' && st == PARE_OK; name++)
        st = *name == '\\'   ? pare_buf_puts(out, "\\\\", err)
             : *name == '\n' ? pare_buf_puts(out, "\\n", err)
             : *name == '\r' ? pare_buf_puts(out, "\\r", err)
                             : pare_buf_put(out, name, 1, err);
    return st == PARE_OK ? pare_buf_put(out, "\n", 1, err) : st;
}

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static int compare_meta(const void *a, const void *b)
{
    return strcmp((*(const pare_pin_meta *const *)a)->key, (*(const pare_pin_meta *const *)b)->key);
}

static pare_status hash_text(const pare_buf *text, uint8_t sha256[32], pare_error *err)
{
    pare_digest digest;
    pare_status st = pare_hash_bytes(text->data, text->len, PARE_HASH_SHA256, &digest, err);
    if (st == PARE_OK)
        memcpy(sha256, digest.sha256, 32);
    return st;
}

pare_status pare_lock_metadata_hash(const pare_pin_file *f, bool tokenizer_only, uint8_t sha256[32], bool *any,
                                    pare_error *err)
{
    size_t n = 0;
    pare_buf text = {0};
    *any = false;
    const pare_pin_meta **sorted = calloc(f->n_meta > 0 ? f->n_meta : 1, sizeof *sorted);
    if (sorted == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu keys", f->path, f->n_meta);
    for (size_t i = 0; i < f->n_meta; i++) {
        const char *key = f->meta[i].key;
        if (!tokenizer_only || (starts_with(key, "tokenizer.") && !starts_with(key, "tokenizer.chat_template")))
            sorted[n++] = &f->meta[i];
    }
    qsort(sorted, n, sizeof *sorted, compare_meta);
    pare_status st = PARE_OK;
    for (size_t i = 0; i < n && st == PARE_OK; i++)
        st = pare_lock_sums_line(&text, sorted[i]->digest.sha256, sorted[i]->key, err);
    if (st == PARE_OK && n > 0 && (st = hash_text(&text, sha256, err)) == PARE_OK)
        *any = true;
    pare_buf_close(&text);
    free(sorted);
    return st;
}

/* Files that decide how text becomes ids. */
static bool is_tokenizer_file(const char *base)
{
    static const char *const names[] = {"tokenizer.json",
                                        "tokenizer.model",
                                        "tokenizer_config.json",
                                        "special_tokens_map.json",
                                        "added_tokens.json",
                                        "vocab.json",
                                        "vocab.txt",
                                        "merges.txt",
                                        "spiece.model",
                                        "tekken.json",
                                        "tiktoken.model"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(base, names[i]) == 0)
            return true;
    return false;
}

/* Where the last component of name starts, and how long the folder part before it is (0: none). */
static const char *base_of(const char *name, size_t *folder_len)
{
    const char *slash = strrchr(name, '/');
    *folder_len = slash == NULL ? 0 : (size_t)(slash - name);
    return slash == NULL ? name : slash + 1;
}

static bool in_folder(const pare_pin_file *f, const char *folder, size_t folder_len)
{
    size_t len;
    base_of(f->name, &len);
    return len == folder_len && strncmp(f->name, folder, len) == 0;
}

/* The template of a tokenizer_config.json, when it is one string; an older form is a list of named ones. A file that is
 * no JSON has none: whether it is as pinned is seen from its hash. */
static pare_status template_of_config(const pare_pin_file *f, uint8_t sha256[32], bool *found, pare_error *err)
{
    json_t *doc = NULL;
    pare_digest digest;
    pare_status st = pare_json_load(&doc, f->path, MAX_CONFIG_BYTES, PARE_JSON_BIG_AS_REAL, err);
    if (st == PARE_ERR_FORMAT || st == PARE_ERR_RANGE)
        return PARE_OK;
    const json_t *text = json_object_get(doc, "chat_template");
    if (st == PARE_OK && json_is_string(text) &&
        (st = pare_hash_bytes(json_string_value(text), json_string_length(text), PARE_HASH_SHA256, &digest, err)) ==
            PARE_OK) {
        memcpy(sha256, digest.sha256, 32);
        *found = true;
    }
    json_decref(doc);
    return st;
}

/* chat_template.jinja wins over tokenizer_config.json, as in transformers. */
static pare_status folder_template(const pare_pin *p, const char *folder, size_t len, uint8_t sha256[32], bool *found,
                                   pare_error *err)
{
    const pare_pin_file *config = NULL;
    size_t ignored;
    *found = false;
    for (size_t i = 0; i < p->n_files; i++) {
        const pare_pin_file *f = &p->files[i];
        const char *base = base_of(f->name, &ignored);
        if (!in_folder(f, folder, len))
            continue;
        if (strcmp(base, "chat_template.jinja") == 0) {
            memcpy(sha256, f->digest.sha256, 32);
            *found = true;
            return PARE_OK;
        }
        if (strcmp(base, "tokenizer_config.json") == 0)
            config = f;
    }
    return config != NULL ? template_of_config(config, sha256, found, err) : PARE_OK;
}

/* The entry for the folder of p->files[first], the first of its tokenizer files; p's files are sorted by name. */
static pare_status folder_tokenizer(const pare_pin *p, size_t first, json_t *list, pare_error *err)
{
    size_t len, ignored;
    uint8_t sha256[32], template_sha256[32];
    bool found = false;
    pare_buf text = {0};
    const char *folder = p->files[first].name;
    base_of(folder, &len);
    pare_status st = PARE_OK;
    for (size_t i = first; i < p->n_files && st == PARE_OK; i++) {
        const pare_pin_file *f = &p->files[i];
        const char *base = base_of(f->name, &ignored);
        if (in_folder(f, folder, len) && is_tokenizer_file(base))
            st = pare_lock_sums_line(&text, f->digest.sha256, base, err);
    }
    if (st == PARE_OK && (st = hash_text(&text, sha256, err)) == PARE_OK)
        st = folder_template(p, folder, len, template_sha256, &found, err);
    if (st == PARE_OK) {
        json_t *entry = json_object();
        if (json_object_set_new(entry, "folder", len == 0 ? json_string(".") : json_stringn(folder, len)) != 0 ||
            !pare_lock_set_hex(entry, "sha256", sha256, 32) ||
            (found && !pare_lock_set_hex(entry, "chat_template_sha256", template_sha256, 32)) ||
            json_array_append(list, entry) != 0)
            st = pare_fail(err, PARE_ERR_MEMORY, "no memory for a lock");
        json_decref(entry);
    }
    pare_buf_close(&text);
    return st;
}

pare_status pare_lock_tokenizers(const pare_pin *p, json_t **out, pare_error *err)
{
    size_t len, ignored;
    json_t *list = json_array();
    pare_status st = list == NULL ? pare_fail(err, PARE_ERR_MEMORY, "no memory for a lock") : PARE_OK;
    for (size_t i = 0; i < p->n_files && st == PARE_OK; i++) {
        if (!is_tokenizer_file(base_of(p->files[i].name, &len)))
            continue;
        bool first = true;
        for (size_t k = 0; k < i && first; k++)
            first = !(is_tokenizer_file(base_of(p->files[k].name, &ignored)) &&
                      in_folder(&p->files[k], p->files[i].name, len));
        if (first)
            st = folder_tokenizer(p, i, list, err);
    }
    if (st == PARE_OK)
        *out = list;
    else
        json_decref(list);
    return st;
}
