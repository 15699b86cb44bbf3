#include "report/record_read.h"
#include "core/json.h"
#include "core/map.h"
#include "formats/safe_path.h"
#include "report/record_items.h"
#include "report/record_seal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The end of the string that starts at the quote text[at]: its closing quote, or len. */
static size_t string_end(const char *text, size_t len, size_t at)
{
    while (++at < len && text[at] != '"')
        at += text[at] == '\\';
    return at < len ? at : len;
}

/* The member must be one of the outermost object: a lock may hold a record among its measurements, further in than by
 * one space. No parsing, which would not know an edited record that is no JSON any more; as pare writes it, it is found
 * behind any damage. */
bool pare_record_is_one(const void *bytes, size_t len)
{
    static const char key[] = "\"format\"", value[] = "\"" PARE_RECORD_FORMAT "\"";
    static const char own[] = "\n \"format\": \"" PARE_RECORD_FORMAT "\"";
    const char *text = bytes;
    size_t depth = 0;
    bool is_value = false;
    if (len == 0 || memmem(text, len, value, sizeof value - 1) == NULL)
        return false;
    if (memmem(text, len, own, sizeof own - 1) != NULL)
        return true;
    for (size_t at = 0; at < len; at++) {
        depth += text[at] == '{' || text[at] == '[';
        depth -= depth > 0 && (text[at] == '}' || text[at] == ']');
        if (depth == 0 && memchr(" \t\r\n", text[at], 4) == NULL)
            return false;
        if (text[at] != '"')
            continue;
        const size_t from = at;
        at = string_end(text, len, at);
        const pare_str string = {text + from, at < len ? at + 1 - from : 0};
        if (depth == 1 && is_value)
            return pare_str_equal(string, value);
        size_t next = at + 1;
        while (next < len && memchr(" \t\r\n", text[next], 4) != NULL)
            next++;
        is_value = depth == 1 && pare_str_equal(string, key) && next < len && text[next] == ':';
    }
    return false;
}

static pare_status read_sha256(const json_t *object, const char *path, const char *key, bool may_lack, pare_error *err)
{
    uint8_t bytes[32];
    pare_str text = {0};
    bool found = false;
    pare_status st = pare_json_str(object, path, key, &text, &found, err);
    if (st == PARE_OK && !found && !may_lack)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: '%s' is missing", path, key);
    if (st == PARE_OK && found && !pare_unhex(bytes, sizeof bytes, text.data))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: '%s' is '%s', expected 64 lower-case hexadecimal digits", path, key,
                         text.data);
    return st;
}

static pare_status read_items(pare_record *r, pare_error *err)
{
    pare_str name = {0};
    uint64_t n;
    const json_t *items = json_object_get(r->doc, "items");
    if (!json_is_object(items))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: 'items' is no object", r->path);
    pare_status st = pare_json_str(items, r->path, "name", &name, NULL, err);
    if (st == PARE_OK && (pare_path_fault(name) != NULL || memchr(name.data, '/', name.len) != NULL))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: items: '%s' is no plain name of a file", r->path, name.data);
    if (st == PARE_OK)
        st = read_sha256(items, r->path, "sha256", false, err);
    if (st == PARE_OK)
        st = pare_json_u64(items, r->path, "bytes", 0, INT64_MAX, &n, NULL, err);
    if (st == PARE_OK)
        st = pare_json_u64(items, r->path, "lines", 0, INT64_MAX, &n, NULL, err);
    if (st != PARE_OK)
        return st;
    char *folder = pare_path_folder(r->path, err);
    if (folder != NULL)
        r->items_path = pare_path_join(folder, name.data, err);
    free(folder);
    return r->items_path != NULL ? PARE_OK : PARE_ERR_MEMORY;
}

static pare_status read_text(const pare_record *r, size_t i, pare_error *err)
{
    char where[512];
    pare_str name;
    uint64_t n;
    const json_t *text = json_array_get(json_object_get(r->doc, "texts"), i);
    snprintf(where, sizeof where, "%s: texts[%zu]", r->path, i);
    if (!json_is_object(text))
        return pare_fail(err, PARE_ERR_FORMAT, "%s is no object", where);
    pare_status st = pare_json_str(text, where, "name", &name, NULL, err);
    if (st == PARE_OK)
        st = read_sha256(text, where, "sha256", false, err);
    if (st == PARE_OK)
        st = read_sha256(text, where, "ids_sha256", false, err);
    if (st == PARE_OK)
        st = pare_json_u64(text, where, "bytes", 0, INT64_MAX, &n, NULL, err);
    if (st == PARE_OK)
        st = pare_json_u64(text, where, "n_tokens", 0, INT64_MAX, &n, NULL, err);
    return st == PARE_OK ? pare_json_u64(text, where, "n_windows", 0, INT32_MAX, &n, NULL, err) : st;
}

static pare_status read_texts(pare_record *r, pare_error *err)
{
    const json_t *texts = json_object_get(r->doc, "texts"), *settings = json_object_get(r->doc, "settings");
    uint64_t n_ctx = 0;
    pare_status st = PARE_OK;
    r->n_texts = json_array_size(texts);
    r->has_reference = json_object_get(r->doc, "reference") != NULL;
    if (!json_is_array(texts) || r->n_texts > PARE_RECORD_MAX_TEXTS)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: 'texts' is no array of at most %d", r->path, PARE_RECORD_MAX_TEXTS);
    if (!json_is_object(settings))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: 'settings' is no object", r->path);
    if (r->n_texts > 0)
        st = pare_json_u64(settings, r->path, "n_ctx", 4, INT32_MAX, &n_ctx, NULL, err);
    r->n_ctx = (uint32_t)n_ctx;
    if (st == PARE_OK && r->n_texts > 0)
        st = pare_json_u64(settings, r->path, "seed", 0, INT64_MAX, &r->seed, NULL, err);
    for (size_t i = 0; i < r->n_texts && st == PARE_OK; i++)
        st = read_text(r, i, err);
    return st;
}

static pare_status read_tasks(pare_record *r, pare_error *err)
{
    const json_t *tasks = json_object_get(r->doc, "tasks");
    r->n_tasks = json_array_size(tasks);
    if ((tasks != NULL && !json_is_array(tasks)) || r->n_tasks > PARE_RECORD_MAX_TEXTS)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: 'tasks' is no array of at most %d", r->path, PARE_RECORD_MAX_TEXTS);
    return PARE_OK;
}

static pare_status read_document(pare_record *r, pare_error *err)
{
    pare_str format = {0};
    uint64_t schema = 0;
    if (!json_is_object(r->doc))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: no object", r->path);
    pare_status st = pare_json_str(r->doc, r->path, "format", &format, NULL, err);
    if (st == PARE_OK && !pare_str_equal(format, PARE_RECORD_FORMAT))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: 'format' is '%s', expected '" PARE_RECORD_FORMAT "'", r->path,
                         format.data);
    if (st == PARE_OK)
        st = pare_json_u64(r->doc, r->path, "schema", 1, INT32_MAX, &schema, NULL, err);
    if (st == PARE_OK && schema > PARE_RECORD_SCHEMA)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: schema %" PRIu64 ", this version reads up to %d", r->path,
                         schema, PARE_RECORD_SCHEMA);
    if (st == PARE_OK)
        st = read_sha256(r->doc, r->path, "digest", false, err);
    if (st == PARE_OK)
        st = read_items(r, err);
    if (st == PARE_OK)
        st = read_texts(r, err);
    return st == PARE_OK ? read_tasks(r, err) : st;
}

pare_status pare_record_parse(pare_record *out, const char *path, const void *text, size_t len, pare_error *err)
{
    *out = (pare_record){.path = strdup(path)};
    if (out->path == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory", path);
    pare_status st = pare_json_parse(&out->doc, path, text, len, PARE_JSON_NUL, err);
    if (st == PARE_OK)
        st = read_document(out, err);
    if (st != PARE_OK)
        pare_record_unload(out);
    return st;
}

void pare_record_unload(pare_record *r)
{
    free(r->path);
    free(r->items_path);
    json_decref(r->doc);
    *r = (pare_record){0};
}

pare_status pare_record_check_items(const pare_record *r, bool *fit, char *why, size_t size, pare_error *err)
{
    pare_record_items it = {0};
    pare_digest digest;
    pare_error absent = {0};
    char hex[PARE_SHA256_HEX];
    const json_t *items = json_object_get(r->doc, "items");
    json_int_t bytes = json_integer_value(json_object_get(items, "bytes"));
    *fit = false;
    pare_status st = pare_record_items_open(&it, r->items_path, &absent);
    if (st == PARE_ERR_FORMAT) {
        snprintf(why, size, "%s", absent.text);
        return PARE_OK;
    }
    if (st == PARE_OK)
        st = pare_record_items_digest(&it, &digest, err);
    else if (err != NULL)
        *err = absent;
    pare_record_items_close(&it);
    if (st != PARE_OK)
        return st;
    pare_hex(hex, digest.sha256, sizeof digest.sha256);
    *fit = strcmp(hex, json_string_value(json_object_get(items, "sha256"))) == 0;
    if (digest.n_bytes != (uint64_t)bytes)
        snprintf(why, size, "%" PRIu64 " bytes, the record says %" PRId64, digest.n_bytes, (int64_t)bytes);
    else
        snprintf(why, size, "the SHA-256 is %s", hex);
    return PARE_OK;
}

pare_status pare_record_load(pare_record *out, const char *path, pare_error *err)
{
    pare_map file = {0};
    bool found, fits = false;
    char why[512] = "";
    *out = (pare_record){0};
    pare_status st = pare_map_open_content(&file, path, err);
    if (st == PARE_OK && file.size > PARE_RECORD_MAX_BYTES)
        st = pare_fail(err, PARE_ERR_RANGE, "%s: %" PRIu64 " bytes, at most %d are allowed", path, file.size,
                       PARE_RECORD_MAX_BYTES);
    if (st == PARE_OK)
        st = pare_record_parse(out, path, file.size > 0 ? (const char *)file.data : "", (size_t)file.size, err);
    if (st == PARE_OK && (st = pare_record_check_digest(file.data, (size_t)file.size, &found, &fits, err)) == PARE_OK &&
        !fits)
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: was changed after it was written; pare verify says where", path);
    pare_map_close(&file);
    if (st == PARE_OK && (st = pare_record_check_items(out, &fits, why, sizeof why, err)) == PARE_OK && !fits)
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: its items are not those that were written: %s", path, why);
    if (st != PARE_OK)
        pare_record_unload(out);
    return st;
}
