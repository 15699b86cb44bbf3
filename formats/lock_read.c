#include "formats/lock_read.h"
#include "core/checked.h"
#include "core/json.h"
#include "formats/lock_lineage.h"
#include "formats/lock_names.h"
#include "formats/lock_schema.h"
#include "formats/lock_seal.h"
#include "formats/lock_split.h"
#include "formats/safe_path.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void pare_lock_close(pare_lock *lock)
{
    pare_pin_close(&lock->pin);
    json_decref(lock->doc);
    free(lock->files);
    free(lock->path);
    free(lock->folder);
    *lock = (pare_lock){0};
}

static pare_status open_lock(pare_lock *lock, const char *path, pare_error *err)
{
    *lock = (pare_lock){.path = strdup(path), .folder = pare_path_folder(path, err)};
    return lock->path != NULL && lock->folder != NULL ? PARE_OK
                                                      : pare_fail(err, PARE_ERR_MEMORY, "%s: no memory", path);
}

/* A required object or array member. */
static pare_status get_container(const json_t *obj, const char *path, const char *key, bool array, json_t **out,
                                 pare_error *err)
{
    *out = json_object_get(obj, key);
    if (array ? json_is_array(*out) : json_is_object(*out))
        return PARE_OK;
    return pare_fail(err, PARE_ERR_FORMAT, "%s: '%s' is missing or no %s", path, key, array ? "array" : "object");
}

/* 2 n lower-case hexadecimal digits under key of obj; item names what they belong to. */
static pare_status get_hex(const json_t *obj, const char *path, const char *item, const char *key, uint8_t *out,
                           size_t n, bool *found, pare_error *err)
{
    pare_str text = {0};
    pare_status st = pare_json_str(obj, path, key, &text, found, err);
    if (st != PARE_OK || (found != NULL && !*found))
        return st;
    if (strlen(text.data) != text.len || !pare_unhex(out, n, text.data))
        return pare_fail(err, PARE_ERR_FORMAT,
                         "%s: '%s': %s '%.80s' of %zu characters, expected %zu lower-case hexadecimal digits", path,
                         item, key, text.data, text.len, 2 * n);
    return PARE_OK;
}

static pare_status get_digest(const json_t *obj, const char *path, const char *item, pare_digest *d, pare_error *err)
{
    pare_status st = pare_json_integer(obj, path, "size", 0, INT64_MAX, &d->n_bytes, NULL, err);
    if (st == PARE_OK && (st = get_hex(obj, path, item, "sha256", d->sha256, sizeof d->sha256, NULL, err)) == PARE_OK)
        st = get_hex(obj, path, item, "xxh3_128", d->xxh3_128, sizeof d->xxh3_128, NULL, err);
    return st;
}

/* A string without NUL under key. */
static pare_status get_name(const json_t *obj, const char *path, const char *key, const char **out, pare_error *err)
{
    pare_str text = {0};
    pare_status st = pare_json_str(obj, path, key, &text, NULL, err);
    *out = text.data;
    if (st == PARE_OK && strlen(text.data) != text.len)
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: '%s' '%s' holds a NUL", path, key, text.data);
    return st;
}

static pare_status read_tensor(pare_pin_file *f, const json_t *obj, const char *path, pare_index *names,
                               pare_error *err)
{
    pare_tensor t = {0};
    const char *type = NULL;
    json_t *shape = NULL;
    pare_digest digest = {0};
    int64_t old = PARE_INDEX_NONE;
    pare_status st = get_name(obj, path, "name", &t.name, err);
    if (st != PARE_OK || (st = get_name(obj, path, "type", &type, err)) != PARE_OK ||
        (st = get_digest(obj, path, t.name, &digest, err)) != PARE_OK ||
        (st = pare_json_integer(obj, path, "offset", 0, INT64_MAX, &t.offset, NULL, err)) != PARE_OK ||
        (st = get_container(obj, path, "shape", true, &shape, err)) != PARE_OK)
        return st;
    if ((t.type = pare_type_from_name(type)) == PARE_TYPE_NONE)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: file '%s': tensor '%s': unknown type '%s'", path, f->path, t.name,
                         type);
    if (json_array_size(shape) > PARE_MAX_DIMS)
        return pare_fail(err, PARE_ERR_RANGE, "%s: file '%s': tensor '%s': %zu dimensions, at most %d are allowed",
                         path, f->path, t.name, json_array_size(shape), PARE_MAX_DIMS);
    for (; t.n_dims < json_array_size(shape); t.n_dims++) {
        const json_t *dim = json_array_get(shape, t.n_dims);
        if (!json_is_integer(dim) || json_integer_value(dim) < 0)
            return pare_fail(err, PARE_ERR_FORMAT, "%s: file '%s': tensor '%s': shape holds what is no count", path,
                             f->path, t.name);
        t.dim[t.n_dims] = (uint64_t)json_integer_value(dim);
    }
    if (!pare_in_range(t.offset, digest.n_bytes, f->digest.n_bytes))
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: file '%s' of %" PRIu64 " bytes: tensor '%s' has %" PRIu64 " bytes at offset %" PRIu64,
                         path, f->path, f->digest.n_bytes, t.name, digest.n_bytes, t.offset);
    if ((st = pare_pin_add_tensor(f, &t, t.offset, &digest, err)) != PARE_OK)
        return st;
    const char *name = f->tensors[f->n_tensors - 1].name; /* which stays */
    if ((st = pare_index_add(names, (pare_str){name, strlen(name)}, 0, &old, err)) == PARE_OK && old != PARE_INDEX_NONE)
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: file '%s': tensor '%s' twice", path, f->path, name);
    return st;
}

/* A lock while it is read. */
typedef struct source {
    const char *path, *text; /* all of it */
    pare_lock_split split;
    size_t next; /* list of tensors that is not read yet */
} source;

/* The list that the member "tensors" of a file stands for: they are in the order of the text. */
static pare_status read_tensors(pare_pin_file *f, const json_t *tensors, source *s, pare_error *err)
{
    const json_t *number = json_array_get(tensors, 0);
    pare_index names = {0};
    size_t at = 0;
    bool more = true;
    if (!json_is_array(tensors))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: file '%s': 'tensors' is no array", s->path, f->path);
    if (json_array_size(tensors) != 1 || !json_is_integer(number) || s->next >= s->split.n ||
        json_integer_value(number) != (json_int_t)s->next) /* not what lock_split put there */
        return pare_fail(err, PARE_ERR_FORMAT, "%s: file '%s': 'tensors' is written with escapes", s->path, f->path);
    const pare_span array = s->split.arrays[s->next++];
    pare_status st = PARE_OK;
    while (st == PARE_OK && more) {
        pare_span object;
        json_t *tensor = NULL;
        st = pare_lock_split_next(s->path, s->text, array, &at, &object, &more, err);
        if (st == PARE_OK && more &&
            (st = pare_json_parse(&tensor, s->path, s->text + object.from, object.to - object.from, PARE_JSON_NUL,
                                  err)) == PARE_OK)
            st = read_tensor(f, tensor, s->path, &names, err);
        json_decref(tensor);
    }
    pare_index_close(&names);
    return st;
}

static pare_status read_metadata(pare_pin_file *f, pare_lock_file *more, const json_t *metadata, const char *path,
                                 pare_error *err)
{
    const char *key;
    json_t *keys, *value;
    pare_status st = get_container(metadata, path, "keys", false, &keys, err);
    if (st == PARE_OK)
        st = get_hex(metadata, path, f->path, "sha256", more->metadata, 32, NULL, err);
    more->has_metadata = true;
    json_object_foreach(keys, key, value)
    {
        pare_digest digest = {0};
        if (st == PARE_OK && (st = get_hex(keys, path, f->path, key, digest.sha256, 32, NULL, err)) == PARE_OK)
            st = pare_pin_add_meta_digest(f, key, &digest, err);
    }
    return st;
}

/* What an entry of "files" says of the inside of its file. */
static pare_status read_inside(pare_pin_file *f, pare_lock_file *more, const json_t *obj, source *s, pare_error *err)
{
    const char *path = s->path;
    pare_status st = PARE_OK;
    const json_t *tensors = json_object_get(obj, "tensors"), *metadata = json_object_get(obj, "metadata"),
                 *rest = json_object_get(obj, "rest");
    if (rest != NULL && !json_is_object(rest))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: file '%s': 'rest' is no object", path, f->path);
    f->has_rest = rest != NULL;
    if (f->has_rest && (st = get_digest(rest, path, f->path, &f->rest, err)) != PARE_OK)
        return st;
    if (tensors != NULL)
        st = read_tensors(f, tensors, s, err);
    if (st == PARE_OK && metadata != NULL)
        st = read_metadata(f, more, metadata, path, err);
    if (st == PARE_OK)
        st = get_hex(obj, path, f->path, "tokenizer_sha256", more->tokenizer, 32, &more->has_tokenizer, err);
    if (st == PARE_OK)
        st = get_hex(obj, path, f->path, "chat_template_sha256", f->chat_template.sha256, 32, &f->has_chat_template,
                     err);
    return st;
}

/* Add the file called name, whose name has been checked. */
static pare_status add_file(pare_lock *lock, const char *name, pare_pin_file **f, pare_error *err)
{
    char *full = pare_path_join(lock->folder, name, err);
    pare_status st = full == NULL ? PARE_ERR_MEMORY : pare_pin_add_file(&lock->pin, full, f, err);
    if (st == PARE_OK && ((*f)->name = strdup(name)) == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for a name", lock->path);
    free(full);
    return st;
}

static pare_status check_path(const pare_lock *lock, pare_str name, const char *fault, pare_error *err)
{
    if (fault == NULL)
        return PARE_OK;
    return pare_fail(err, PARE_ERR_FORMAT, "%s: file '%.*s' %s; expected a plain relative path", lock->path,
                     (int)(name.len < 256 ? name.len : 256), name.data, fault);
}

static pare_status read_file(pare_lock *lock, const json_t *obj, size_t i, source *s, pare_error *err)
{
    pare_str name = {0};
    pare_pin_file *f = NULL;
    pare_lock_file *more = &lock->files[i];
    pare_status st = pare_json_str(obj, lock->path, "name", &name, NULL, err);
    if (st != PARE_OK || (st = check_path(lock, name, pare_path_fault(name), err)) != PARE_OK ||
        (st = add_file(lock, name.data, &f, err)) != PARE_OK ||
        (st = get_digest(obj, lock->path, name.data, &f->digest, err)) != PARE_OK ||
        (st = get_hex(obj, lock->path, name.data, "git_sha1", more->git_sha1, sizeof more->git_sha1,
                      &more->has_git_sha1, err)) != PARE_OK ||
        (st = pare_lock_check_xet(obj, lock->path, err)) != PARE_OK)
        return st;
    return read_inside(f, more, obj, s, err);
}

static pare_status read_folders(pare_lock *lock, pare_error *err)
{
    const json_t *list = json_object_get(lock->doc, "complete_folders");
    pare_status st = PARE_OK;
    if (list != NULL && !json_is_array(list))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: 'complete_folders' is no array", lock->path);
    for (size_t i = 0; i < json_array_size(list) && st == PARE_OK; i++) {
        const json_t *v = json_array_get(list, i);
        if (!json_is_string(v))
            return pare_fail(err, PARE_ERR_FORMAT, "%s: 'complete_folders' holds what is no string", lock->path);
        pare_str name = {json_string_value(v), json_string_length(v)};
        if (!pare_str_equal(name, ".") && (st = check_path(lock, name, pare_path_fault(name), err)) != PARE_OK)
            return st;
        st = pare_pin_add_folder(&lock->pin, name.data, err);
    }
    lock->left_out = json_is_array(json_object_get(lock->doc, "left_out"));
    return st;
}

static pare_status read_beside(pare_lock *lock, pare_error *err)
{
    pare_status st = PARE_OK;
    lock->beside = json_object_get(lock->doc, "beside");
    if (lock->beside != NULL && !json_is_array(lock->beside))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: 'beside' is no array", lock->path);
    for (size_t i = 0; i < json_array_size(lock->beside) && st == PARE_OK; i++) {
        const json_t *v = json_array_get(lock->beside, i);
        if (!json_is_string(v))
            return pare_fail(err, PARE_ERR_FORMAT, "%s: 'beside' holds what is no string", lock->path);
        const pare_str name = {json_string_value(v), json_string_length(v)};
        st = check_path(lock, name, pare_path_fault(name), err);
    }
    return st;
}

static pare_status check_seal(pare_lock *lock, const char *text, size_t len, pare_error *err)
{
    static const char key[] = "\n \"seal\": \""; /* as it is written, of the outermost object */
    uint8_t seal[32], sha256[32];
    if (json_is_null(json_object_get(lock->doc, "seal")))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: 'seal' is null, expected 64 lower-case hexadecimal digits",
                         lock->path);
    pare_status st = get_hex(lock->doc, lock->path, "seal", "seal", seal, sizeof seal, &lock->has_seal, err);
    const char *at = st == PARE_OK && lock->has_seal ? memmem(text, len, key, sizeof key - 1) : NULL;
    if (at == NULL || len - (size_t)(at - text) < sizeof key - 1 + 2 * sizeof seal)
        return st;
    st = pare_lock_seal(text, len, (size_t)(at - text) + sizeof key - 1, sha256, err);
    lock->sealed = st == PARE_OK && memcmp(seal, sha256, sizeof seal) == 0;
    return st;
}

static pare_status check_names(const pare_lock *lock, pare_error *err)
{
    const char **names = calloc(lock->pin.n_files > 0 ? lock->pin.n_files : 1, sizeof *names);
    if (names == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu names", lock->path, lock->pin.n_files);
    for (size_t i = 0; i < lock->pin.n_files; i++)
        names[i] = lock->pin.files[i].name;
    pare_status st = pare_lock_check_twins(names, lock->pin.n_files, lock->path, err);
    free(names);
    return st;
}

static pare_status read_document(pare_lock *lock, source *s, pare_error *err)
{
    uint64_t schema = 0;
    json_t *files = NULL;
    if (!json_is_object(lock->doc))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: is no JSON object", lock->path);
    pare_status st = pare_json_integer(lock->doc, lock->path, "schema", 0, INT64_MAX, &schema, NULL, err);
    if (st == PARE_OK && schema != PARE_LOCK_SCHEMA)
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: schema %" PRIu64 ", this program reads %d", lock->path, schema,
                       PARE_LOCK_SCHEMA);
    if (st != PARE_OK || (st = get_container(lock->doc, lock->path, "files", true, &files, err)) != PARE_OK)
        return st;
    size_t n = json_array_size(files);
    if (n == 0)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: 'files' is empty: nothing is pinned", lock->path);
    if ((lock->files = calloc(n, sizeof *lock->files)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu files", lock->path, n);
    for (size_t i = 0; i < n && st == PARE_OK; i++)
        st = read_file(lock, json_array_get(files, i), i, s, err);
    if (st != PARE_OK || (st = read_folders(lock, err)) != PARE_OK || (st = read_beside(lock, err)) != PARE_OK)
        return st;
    lock->tokenizers = json_object_get(lock->doc, "tokenizers");
    if (lock->tokenizers != NULL && !json_is_array(lock->tokenizers))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: 'tokenizers' is no array", lock->path);
    st = pare_lock_check_lineage(lock->doc, lock->path, err);
    return st == PARE_OK ? check_names(lock, err) : st;
}

/* The error of text that is no JSON, as reading it as a whole tells it, with its place; else the one that is there. */
static pare_status explain(const char *path, const void *text, size_t len, pare_status st, pare_error *err)
{
    json_t *doc = NULL;
    pare_error why = {0};
    if (st != PARE_ERR_FORMAT || pare_json_parse(&doc, path, text, len, PARE_JSON_NUL, &why) == PARE_OK ||
        why.status != st) {
        json_decref(doc);
        return st;
    }
    if (err != NULL)
        *err = why;
    return st;
}

pare_status pare_lock_parse(pare_lock *lock, const char *path, const void *text, size_t len, pare_error *err)
{
    source s = {.path = path, .text = text};
    pare_status st = open_lock(lock, path, err);
    if (st == PARE_OK && (st = pare_lock_split_open(&s.split, path, text, len, err)) == PARE_OK &&
        (st = pare_json_parse(&lock->doc, path, s.split.rest.data != NULL ? s.split.rest.data : "", s.split.rest.len,
                              PARE_JSON_NUL, err)) == PARE_OK)
        st = read_document(lock, &s, err);
    st = explain(path, text, len, st, err);
    pare_lock_split_close(&s.split);
    if (st == PARE_OK)
        st = check_seal(lock, text, len, err);
    if (st != PARE_OK)
        pare_lock_close(lock);
    return st;
}

pare_status pare_lock_warn_unsealed(const pare_lock *lock, pare_error *err)
{
    return pare_warn(err, "%s: the lock has no seal: an edit of it cannot be told", lock->path);
}

/* Undo sha256sum's escapes of a name in place. */
static bool unescape(char *name, size_t *len)
{
    size_t n = 0;
    for (size_t i = 0; i < *len; i++) {
        char c = name[i];
        if (c == '\\') {
            if (++i == *len || strchr("\\nr", name[i]) == NULL || name[i] == '\0')
                return false;
            c = name[i] == 'n' ? '\n' : name[i] == 'r' ? '\r' : '\\';
        }
        name[n++] = c;
    }
    name[n] = '\0';
    *len = n;
    return true;
}

/* "<64 hex>  <name>" or "<64 hex> *<name>", a backslash before it when the name is escaped. */
static pare_status read_sums_line(pare_lock *lock, const char *line, size_t len, size_t number, pare_error *err)
{
    char hex[PARE_SHA256_HEX];
    uint8_t sha256[32];
    pare_pin_file *f = NULL;
    bool escaped = len > 0 && line[0] == '\\';
    line += escaped;
    len -= escaped;
    snprintf(hex, sizeof hex, "%.*s", (int)(len < 64 ? len : 64), line);
    if (len < 67 || !pare_unhex(sha256, 32, hex) || line[64] != ' ' || (line[65] != ' ' && line[65] != '*'))
        return pare_fail(err, PARE_ERR_FORMAT,
                         "%s: line %zu: expected 64 lower-case hexadecimal digits, two spaces and a name", lock->path,
                         number);
    if (line[len - 1] == '\r')
        return pare_fail(err, PARE_ERR_FORMAT, "%s: line %zu: ends in CR LF, expected LF alone", lock->path, number);
    line += 66;
    len -= 66;
    if (len > 2 && memcmp(line, "./", 2) == 0) {
        line += 2;
        len -= 2;
    }
    pare_str name = {line, len};
    pare_status st = check_path(lock, name, memchr(line, '\0', len) != NULL ? "holds a NUL" : NULL, err);
    char *copy = st == PARE_OK ? strndup(line, len) : NULL;
    if (st == PARE_OK && copy == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for a name", lock->path);
    if (st == PARE_OK && escaped && !unescape(copy, &len))
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: line %zu: unknown escape in the name", lock->path, number);
    name = (pare_str){copy, len};
    if (st == PARE_OK && (st = check_path(lock, name, pare_path_leaves(name), err)) == PARE_OK &&
        (st = add_file(lock, copy, &f, err)) == PARE_OK)
        memcpy(f->digest.sha256, sha256, 32);
    free(copy);
    return st;
}

pare_status pare_sums_parse(pare_lock *lock, const char *path, const void *text, size_t len, pare_error *err)
{
    const char *at = text, *end = at + len;
    pare_status st = open_lock(lock, path, err);
    lock->sums = true;
    for (size_t number = 1; at < end && st == PARE_OK; number++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t n = (size_t)((newline != NULL ? newline : end) - at);
        if (n == 0 || at[0] != '#') /* sha256sum skips comments, too */
            st = read_sums_line(lock, at, n, number, err);
        at = newline != NULL ? newline + 1 : end;
    }
    if (st == PARE_OK)
        st = check_names(lock, err);
    if (st == PARE_OK)
        st = pare_pin_add_folder(&lock->pin, ".", err);
    if (st != PARE_OK)
        pare_lock_close(lock);
    return st;
}

bool pare_lock_is_one(const char *path)
{
    pare_map file;
    pare_lock lock = {0};
    pare_status st = pare_map_open(&file, path, NULL);
    if (st == PARE_OK && (st = pare_lock_parse(&lock, path, file.data, (size_t)file.size, NULL)) != PARE_OK) {
        pare_lock_close(&lock);
        st = pare_sums_parse(&lock, path, file.data, (size_t)file.size, NULL);
    }
    pare_lock_close(&lock);
    pare_map_close(&file);
    return st == PARE_OK;
}
