#include "core/json.h"
#include "formats/folder_list.h"
#include "formats/git_blob.h"
#include "formats/lock.h"
#include "formats/lock_derive.h"
#include "formats/lock_names.h"
#include "formats/lock_schema.h"
#include "formats/lock_seal.h"
#include "formats/safe_path.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Every JSON value below is made by a call that may fail for want of memory; one test at the end of each object tells:
 * json_object_set_new(object, key, NULL) is an error, and so is a NULL object. */
static pare_status no_memory(pare_error *err)
{
    return pare_fail(err, PARE_ERR_MEMORY, "no memory for a lock");
}

static bool set_digest(json_t *object, const pare_digest *d)
{
    return json_object_set_new(object, "size", json_integer((json_int_t)d->n_bytes)) == 0 &&
           pare_lock_set_hex(object, "sha256", d->sha256, sizeof d->sha256) &&
           pare_lock_set_hex(object, "xxh3_128", d->xxh3_128, sizeof d->xxh3_128);
}

static pare_status set_metadata(json_t *object, const pare_pin_file *f, pare_error *err)
{
    uint8_t sha256[32];
    bool any = false;
    if (f->n_meta == 0)
        return PARE_OK;
    json_t *metadata = json_object(), *keys = json_object();
    bool ok =
        json_object_set_new(metadata, "keys", keys) == 0 && json_object_set_new(object, "metadata", metadata) == 0;
    for (size_t i = 0; i < f->n_meta && ok; i++)
        ok = pare_lock_set_hex(keys, f->meta[i].key, f->meta[i].digest.sha256, 32);
    pare_status st = ok ? pare_lock_metadata_hash(f, false, sha256, &any, err) : no_memory(err);
    if (st == PARE_OK && !pare_lock_set_hex(metadata, "sha256", sha256, 32))
        st = no_memory(err);
    if (st == PARE_OK && (st = pare_lock_metadata_hash(f, true, sha256, &any, err)) == PARE_OK && any &&
        !pare_lock_set_hex(object, "tokenizer_sha256", sha256, 32))
        st = no_memory(err);
    if (st == PARE_OK && f->has_chat_template &&
        !pare_lock_set_hex(object, "chat_template_sha256", f->chat_template.sha256, 32))
        st = no_memory(err);
    return st;
}

static pare_status set_git_sha1(json_t *object, const pare_pin_file *f, pare_error *err)
{
    uint8_t sha1[20];
    pare_status st = pare_git_blob_sha1(f, sha1, err);
    return st == PARE_OK && !pare_lock_set_hex(object, "git_sha1", sha1, sizeof sha1) ? no_memory(err) : st;
}

/* A list that may be long is not made as a JSON value: an integer keeps its place until the object is written. */
enum { PLACE_HOLDER = 0 };

/* Append text, its lines behind the first one with indent more spaces. */
static pare_status put_lines(pare_buf *out, const char *text, size_t len, int indent, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t at = 0; at < len && st == PARE_OK;) {
        const char *newline = memchr(text + at, '\n', len - at);
        size_t n = newline != NULL ? (size_t)(newline + 1 - text) - at : len - at;
        st = pare_buf_put(out, text + at, n, err);
        at += n;
        if (st == PARE_OK && newline != NULL)
            st = pare_buf_printf(out, err, "%*s", indent, "");
    }
    return st;
}

typedef pare_status (*put_fn)(pare_buf *out, const pare_pin *p, const pare_pin_file *f, pare_error *err);

/* Append object as pare_json_dump writes it, without the last line's end, indented, and with what put appends in place
 * of the place holder under key, if it has that. */
static pare_status put_object(pare_buf *out, const json_t *object, int indent, const char *key, put_fn put,
                              const pare_pin *p, const pare_pin_file *f, pare_error *err)
{
    char mark[64];
    pare_buf text = {0};
    pare_status st = pare_json_dump(object, &text, err);
    snprintf(mark, sizeof mark, "\n \"%s\": ", key); /* so far to the left, no member of a member */
    const char *at = st == PARE_OK && json_object_get(object, key) != NULL ? strstr(text.data, mark) : NULL;
    size_t head = at != NULL ? (size_t)(at - text.data) + strlen(mark) : text.len - 1;
    if (st == PARE_OK)
        st = put_lines(out, text.data, head, indent, err);
    if (st == PARE_OK && at != NULL && (st = put(out, p, f, err)) == PARE_OK)
        st = put_lines(out, text.data + head + 1, text.len - 1 - head - 1, indent, err);
    pare_buf_close(&text);
    return st;
}

/* A string value. */
static pare_status put_string(pare_buf *out, const char *text, pare_error *err)
{
    json_t *value = json_string(text);
    char *dump = value != NULL ? json_dumps(value, JSON_ENCODE_ANY) : NULL;
    pare_status st = dump != NULL ? pare_buf_puts(out, dump, err) : no_memory(err);
    free(dump);
    json_decref(value);
    return st;
}

static pare_status put_tensor(pare_buf *out, const pare_pin_tensor *t, pare_error *err)
{
    char sha256[PARE_SHA256_HEX], xxh3[PARE_XXH3_HEX];
    pare_hex(sha256, t->digest.sha256, sizeof t->digest.sha256);
    pare_hex(xxh3, t->digest.xxh3_128, sizeof t->digest.xxh3_128);
    pare_status st = pare_buf_puts(out, "{\n     \"name\": ", err);
    if (st == PARE_OK && (st = put_string(out, t->name, err)) == PARE_OK)
        st = pare_buf_printf(out, err, ",\n     \"offset\": %" PRIu64 ",\n     \"sha256\": \"%s\",\n     \"shape\": [",
                             t->offset, sha256);
    for (uint32_t i = 0; i < t->n_dims && st == PARE_OK; i++)
        st = pare_buf_printf(out, err, "%s\n      %" PRIu64, i > 0 ? "," : "", t->dim[i]);
    if (st == PARE_OK)
        st = pare_buf_printf(
            out, err, "%s],\n     \"size\": %" PRIu64 ",\n     \"type\": \"%s\",\n     \"xxh3_128\": \"%s\"\n    }",
            t->n_dims > 0 ? "\n     " : "", t->digest.n_bytes, pare_type_get(t->type)->name, xxh3);
    return st;
}

static pare_status put_tensors(pare_buf *out, const pare_pin *p, const pare_pin_file *f, pare_error *err)
{
    pare_status st = pare_buf_puts(out, "[", err);
    (void)p;
    for (size_t i = 0; i < f->n_tensors && st == PARE_OK; i++)
        if ((st = pare_buf_puts(out, i > 0 ? ",\n    " : "\n    ", err)) == PARE_OK)
            st = put_tensor(out, &f->tensors[i], err);
    return st == PARE_OK ? pare_buf_puts(out, "\n   ]", err) : st;
}

static pare_status put_file(pare_buf *out, const pare_pin_file *f, pare_error *err)
{
    json_t *object = json_object(), *rest = f->has_rest ? json_object() : NULL;
    bool ok = set_digest(object, &f->digest) && json_object_set_new(object, "name", json_string(f->name)) == 0;
    if (ok && f->n_tensors > 0)
        ok = json_object_set_new(object, "tensors", json_integer(PLACE_HOLDER)) == 0;
    if (ok && f->has_rest)
        ok = set_digest(rest, &f->rest) && json_object_set(object, "rest", rest) == 0;
    pare_status st = ok ? set_metadata(object, f, err) : no_memory(err);
    if (st == PARE_OK && (st = set_git_sha1(object, f, err)) == PARE_OK)
        st = put_object(out, object, 2, "tensors", put_tensors, NULL, f, err);
    json_decref(rest);
    json_decref(object);
    return st;
}

static pare_status put_files(pare_buf *out, const pare_pin *p, const pare_pin_file *f, pare_error *err)
{
    pare_status st = pare_buf_puts(out, "[", err);
    (void)f;
    for (size_t i = 0; i < p->n_files && st == PARE_OK; i++)
        if ((st = pare_buf_puts(out, i > 0 ? ",\n  " : "\n  ", err)) == PARE_OK)
            st = put_file(out, &p->files[i], err);
    return st == PARE_OK ? pare_buf_puts(out, p->n_files > 0 ? "\n ]" : "]", err) : st;
}

static bool is_covered(const json_t *folders, const char *name)
{
    const json_t *folder;
    size_t i;
    json_array_foreach(folders, i, folder)
    {
        const size_t n = json_string_length(folder);
        if (strcmp(json_string_value(folder), ".") == 0 ||
            (strncmp(name, json_string_value(folder), n) == 0 && name[n] == '/'))
            return true;
    }
    return false;
}

/* The name of path in a lock; NULL: it lies outside of the lock's folder, or is the lock. */
static pare_status name_beside(char **name, const char *path, const char *lock_path, pare_error *err)
{
    pare_pin alone = {0};
    pare_pin_file *f = NULL;
    pare_error why = {0};
    *name = NULL;
    pare_status st = pare_pin_add_file(&alone, path, &f, err);
    if (st == PARE_OK && (st = pare_lock_set_names(&alone, lock_path, &why)) == PARE_OK && alone.n_files == 1 &&
        (*name = strdup(alone.files[0].name)) == NULL)
        st = no_memory(err);
    else if (st != PARE_OK && st != PARE_ERR_USAGE)
        st = pare_fail(err, st, "%s", why.text);
    pare_pin_close(&alone);
    return st == PARE_ERR_USAGE ? PARE_OK : st;
}

/* What is written with the lock into a folder that it covers is no extra there. The usual names need no word. */
static pare_status add_beside(json_t *doc, const char *const *beside, size_t n, const char *lock_path, pare_error *err)
{
    const json_t *folders = json_object_get(doc, "complete_folders");
    json_t *list = json_array();
    pare_status st = list != NULL ? PARE_OK : no_memory(err);
    for (size_t i = 0; i < n && folders != NULL && st == PARE_OK; i++) {
        char *name = NULL;
        if (beside[i] != NULL)
            st = name_beside(&name, beside[i], lock_path, err);
        const char *fault = name != NULL ? pare_path_fault((pare_str){name, strlen(name)}) : NULL;
        if (name == NULL || !is_covered(folders, name) || pare_folder_is_left_out(name, NULL))
            fault = NULL;
        else if (fault != NULL)
            st = pare_fail(err, PARE_ERR_FORMAT, "%s: file '%s': its name %s; a lock cannot hold it", lock_path, name,
                           fault);
        else if (json_array_append_new(list, json_string(name)) != 0)
            st = no_memory(err);
        free(name);
    }
    if (st == PARE_OK && json_array_size(list) > 0 && json_object_set(doc, "beside", list) != 0)
        st = no_memory(err);
    json_decref(list);
    return st;
}

static pare_status add_folders(json_t *doc, const pare_pin *p, const char *lock_path, pare_error *err)
{
    pare_status st = PARE_OK;
    if (p->n_folders == 0)
        return PARE_OK;
    json_t *list = json_array(), *left_out = json_array();
    if (json_object_set_new(doc, "complete_folders", list) != 0 || json_object_set_new(doc, "left_out", left_out) != 0)
        return no_memory(err);
    for (size_t i = 0; pare_folder_left_out[i] != NULL; i++)
        if (json_array_append_new(left_out, json_string(pare_folder_left_out[i])) != 0)
            return no_memory(err);
    for (size_t i = 0; i < p->n_folders && st == PARE_OK; i++) {
        char *name = NULL;
        st = pare_lock_folder_name(p->folders[i], lock_path, &name, err);
        if (st == PARE_OK && json_array_append_new(list, json_string(name)) != 0)
            st = no_memory(err);
        free(name);
    }
    return st;
}

pare_status pare_lock_set_time(json_t *object, const char *key, pare_error *err)
{
    const char *text = getenv("SOURCE_DATE_EPOCH");
    if (text == NULL || text[0] == '\0')
        return PARE_OK;
    char *end, stamp[64];
    errno = 0;
    long long seconds = strtoll(text, &end, 10);
    time_t when = (time_t)seconds;
    struct tm utc;
    if (errno != 0 || *end != '\0' || seconds < 0 || gmtime_r(&when, &utc) == NULL ||
        strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", &utc) == 0)
        return pare_fail(err, PARE_ERR_USAGE, "SOURCE_DATE_EPOCH is '%s', expected seconds since 1970", text);
    return json_object_set_new(object, key, json_string(stamp)) == 0 ? PARE_OK : no_memory(err);
}

/* All but the files. */
static pare_status make_document(json_t *doc, const pare_pin *p, const char *lock_path, const pare_lock_extra *extra,
                                 pare_error *err)
{
    json_t *tokenizers = NULL;
    if (json_object_set_new(doc, "schema", json_integer(PARE_LOCK_SCHEMA)) != 0 ||
        json_object_set_new(doc, "tool", json_pack("{s:s,s:s}", "name", "pare", "version", PARE_VERSION)) != 0 ||
        json_object_set_new(doc, "files", json_integer(PLACE_HOLDER)) != 0 ||
        json_object_set_new(doc, "seal", json_string(PARE_LOCK_OPEN_SEAL)) != 0)
        return no_memory(err);
    pare_status st = pare_lock_set_time(doc, "created", err);
    if (st == PARE_OK && (st = add_folders(doc, p, lock_path, err)) == PARE_OK && extra != NULL)
        st = add_beside(doc, extra->beside, sizeof extra->beside / sizeof *extra->beside, lock_path, err);
    if (st == PARE_OK && (st = pare_lock_tokenizers(p, &tokenizers, err)) == PARE_OK) {
        bool ok = json_array_size(tokenizers) == 0 || json_object_set(doc, "tokenizers", tokenizers) == 0;
        if (ok && extra != NULL && extra->recipe != NULL)
            ok = json_object_set(doc, "recipe", (json_t *)(uintptr_t)extra->recipe) == 0;
        if (ok && extra != NULL && extra->measurements != NULL)
            ok = json_object_set(doc, "measurements", (json_t *)(uintptr_t)extra->measurements) == 0;
        if (ok && extra != NULL && extra->parents != NULL)
            ok = json_object_set(doc, "parents", (json_t *)(uintptr_t)extra->parents) == 0;
        if (ok && extra != NULL && extra->repository != NULL)
            ok = json_object_set(doc, "repository", (json_t *)(uintptr_t)extra->repository) == 0;
        if (!ok)
            st = no_memory(err);
    }
    json_decref(tokenizers);
    return st;
}

/* What a lock cannot say must not be written into one: it would be refused when it is read. */
static pare_status check_names(const pare_pin *p, const char *lock_path, pare_error *err)
{
    pare_status st = PARE_OK;
    const char **names = calloc(p->n_files > 0 ? p->n_files : 1, sizeof *names);
    if (names == NULL)
        return no_memory(err);
    for (size_t i = 0; i < p->n_files && st == PARE_OK; i++) {
        names[i] = p->files[i].name;
        const char *fault = pare_path_fault((pare_str){names[i], strlen(names[i])});
        if (fault != NULL)
            st = pare_fail(err, PARE_ERR_FORMAT, "%s: file '%s': its name %s; a lock cannot hold it", lock_path,
                           names[i], fault);
    }
    if (st == PARE_OK)
        st = pare_lock_check_twins(names, p->n_files, lock_path, err);
    free(names);
    return st;
}

/* The text of the lock, sealed. */
static pare_status put_lock(pare_buf *out, const json_t *doc, const pare_pin *p, pare_error *err)
{
    static const char key[] = "\n \"seal\": \"";
    char hex[PARE_SHA256_HEX];
    uint8_t sha256[32];
    pare_status st = put_object(out, doc, 0, "files", put_files, p, NULL, err);
    if (st != PARE_OK || (st = pare_buf_puts(out, "\n", err)) != PARE_OK)
        return st;
    char *digits = (char *)memmem(out->data, out->len, key, sizeof key - 1) + sizeof key - 1;
    if ((st = pare_lock_seal(out->data, out->len, (size_t)(digits - out->data), sha256, err)) != PARE_OK)
        return st;
    pare_hex(hex, sha256, sizeof sha256);
    memcpy(digits, hex, sizeof hex - 1);
    return PARE_OK;
}

pare_status pare_lock_add(pare_output_set *set, pare_pin *p, const char *lock_path, const pare_lock_extra *extra,
                          bool force, pare_error *err)
{
    pare_buf text = {0};
    json_t *doc = NULL;
    pare_status st = pare_lock_set_names(p, lock_path, err);
    if (st == PARE_OK && (st = check_names(p, lock_path, err)) == PARE_OK) {
        doc = json_object();
        st = make_document(doc, p, lock_path, extra, err);
    }
    if (st == PARE_OK && (st = put_lock(&text, doc, p, err)) == PARE_OK)
        st = pare_output_set_add_file(set, lock_path, text.data, text.len,
                                      PARE_OUTPUT_DESCRIBES | (force ? PARE_OUTPUT_FORCE : 0), err);
    for (size_t i = 0; i < p->n_files && st == PARE_OK; i++)
        st = p->files[i].source.known ? pare_output_set_source(set, p->files[i].path, &p->files[i].source, err)
                                      : PARE_OK;
    json_decref(doc);
    pare_buf_close(&text);
    return st;
}

pare_status pare_sums_add(pare_output_set *set, pare_pin *p, const char *sums_path, bool force, pare_error *err)
{
    pare_buf text = {0};
    pare_status st = pare_lock_set_names(p, sums_path, err);
    for (size_t i = 0; i < p->n_files && st == PARE_OK; i++) {
        const char *name = p->files[i].name, *fault = pare_path_leaves((pare_str){name, strlen(name)});
        st = fault != NULL
                 ? pare_fail(err, PARE_ERR_USAGE, "%s: file '%s': its name %s; it would be refused on reading",
                             sums_path, name, fault)
                 : pare_lock_sums_line(&text, p->files[i].digest.sha256, name, err);
    }
    if (st == PARE_OK)
        st = pare_output_set_add_file(set, sums_path, text.len > 0 ? text.data : "", text.len,
                                      PARE_OUTPUT_DESCRIBES | (force ? PARE_OUTPUT_FORCE : 0), err);
    pare_buf_close(&text);
    return st;
}

pare_status pare_lock_write(pare_pin *p, const char *lock_path, const pare_lock_extra *extra, bool force,
                            pare_error *err)
{
    pare_output_set set = {0};
    pare_status st = pare_lock_add(&set, p, lock_path, extra, force, err);
    if (st == PARE_OK)
        st = pare_output_set_publish(&set, err);
    pare_output_set_close(&set);
    return st;
}

pare_status pare_sums_write(pare_pin *p, const char *sums_path, bool force, pare_error *err)
{
    pare_output_set set = {0};
    pare_status st = pare_sums_add(&set, p, sums_path, force, err);
    if (st == PARE_OK)
        st = pare_output_set_publish(&set, err);
    pare_output_set_close(&set);
    return st;
}
