#include "core/json.h"
#include "formats/folder_list.h"
#include "formats/lock.h"
#include "formats/lock_derive.h"
#include "formats/lock_names.h"
#include "formats/lock_schema.h"
#include "formats/safe_path.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
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

static json_t *tensor_object(const pare_pin_tensor *t)
{
    json_t *object = json_object(), *shape = json_array();
    bool ok = set_digest(object, &t->digest) && json_object_set_new(object, "name", json_string(t->name)) == 0 &&
              json_object_set_new(object, "type", json_string(pare_type_get(t->type)->name)) == 0 &&
              json_object_set_new(object, "offset", json_integer((json_int_t)t->offset)) == 0;
    for (uint32_t i = 0; i < t->n_dims && ok; i++)
        ok = json_array_append_new(shape, json_integer((json_int_t)t->dim[i])) == 0;
    if (json_object_set_new(object, "shape", shape) != 0 || !ok) {
        json_decref(object);
        return NULL;
    }
    return object;
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

/* What Git hashes to name a file: "blob <bytes>", NUL, the content. A file with tensors is kept by Git LFS, so that Git
 * itself holds only the pointer; the Hub lists both as `oid`. */
static pare_status hash_git_blob(const pare_pin_file *f, EVP_MD_CTX *sha1, pare_error *err)
{
    char text[256], hex[PARE_SHA256_HEX], buffer[65536];
    uint64_t total = 0;
    if (f->n_tensors > 0) {
        pare_hex(hex, f->digest.sha256, 32);
        int n =
            snprintf(text, sizeof text, "version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %" PRIu64 "\n",
                     hex, f->digest.n_bytes);
        int head = snprintf(buffer, sizeof buffer, "blob %d", n) + 1;
        return EVP_DigestUpdate(sha1, buffer, (size_t)head) == 1 && EVP_DigestUpdate(sha1, text, (size_t)n) == 1
                   ? PARE_OK
                   : no_memory(err);
    }
    FILE *file = fopen(f->stored_at != NULL ? f->stored_at : f->path, "rb");
    if (file == NULL)
        return pare_fail(err, PARE_ERR_IO, "%s: cannot open: %s", f->path, strerror(errno));
    int head = snprintf(text, sizeof text, "blob %" PRIu64, f->digest.n_bytes) + 1;
    bool ok = EVP_DigestUpdate(sha1, text, (size_t)head) == 1;
    for (size_t n; ok && (n = fread(buffer, 1, sizeof buffer, file)) > 0; total += n)
        ok = EVP_DigestUpdate(sha1, buffer, n) == 1;
    bool same = ferror(file) == 0 && total == f->digest.n_bytes;
    fclose(file);
    if (ok && !same)
        return pare_fail(err, PARE_ERR_IO,
                         "%s: had %" PRIu64 " bytes when it was hashed, now %" PRIu64 " could be read", f->path,
                         f->digest.n_bytes, total);
    return ok ? PARE_OK : no_memory(err);
}

static pare_status set_git_sha1(json_t *object, const pare_pin_file *f, pare_error *err)
{
    uint8_t sha1[20];
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    pare_status st =
        ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha1(), NULL) == 1 ? hash_git_blob(f, ctx, err) : no_memory(err);
    if (st == PARE_OK &&
        (EVP_DigestFinal_ex(ctx, sha1, NULL) != 1 || !pare_lock_set_hex(object, "git_sha1", sha1, sizeof sha1)))
        st = no_memory(err);
    EVP_MD_CTX_free(ctx);
    return st;
}

static pare_status add_file(json_t *files, const pare_pin_file *f, pare_error *err)
{
    json_t *object = json_object(), *tensors = json_array();
    bool ok = json_array_append_new(files, object) == 0 && set_digest(object, &f->digest) &&
              json_object_set_new(object, "name", json_string(f->name)) == 0;
    for (size_t i = 0; i < f->n_tensors && ok; i++)
        ok = json_array_append_new(tensors, tensor_object(&f->tensors[i])) == 0;
    if (f->n_tensors == 0)
        json_decref(tensors);
    else if (json_object_set_new(object, "tensors", tensors) != 0)
        ok = false;
    pare_status st = ok ? set_metadata(object, f, err) : no_memory(err);
    return st == PARE_OK ? set_git_sha1(object, f, err) : st;
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

static pare_status make_document(json_t *doc, const pare_pin *p, const char *lock_path, const pare_lock_extra *extra,
                                 pare_error *err)
{
    json_t *files = json_array(), *tokenizers = NULL;
    if (json_object_set_new(doc, "schema", json_integer(PARE_LOCK_SCHEMA)) != 0 ||
        json_object_set_new(doc, "tool", json_pack("{s:s,s:s}", "name", "pare", "version", PARE_VERSION)) != 0 ||
        json_object_set_new(doc, "files", files) != 0)
        return no_memory(err);
    pare_status st = pare_lock_set_time(doc, "created", err);
    for (size_t i = 0; i < p->n_files && st == PARE_OK; i++)
        st = add_file(files, &p->files[i], err);
    if (st == PARE_OK && (st = add_folders(doc, p, lock_path, err)) == PARE_OK &&
        (st = pare_lock_tokenizers(p, &tokenizers, err)) == PARE_OK) {
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
            st = pare_fail(err, PARE_ERR_USAGE, "%s: file '%s': its name %s; a lock cannot hold it", lock_path,
                           names[i], fault);
    }
    if (st == PARE_OK)
        st = pare_lock_check_twins(names, p->n_files, lock_path, err);
    free(names);
    return st;
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
    if (st == PARE_OK && (st = pare_json_dump(doc, &text, err)) == PARE_OK)
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
    for (size_t i = 0; i < p->n_files && st == PARE_OK; i++)
        st = pare_lock_sums_line(&text, p->files[i].digest.sha256, p->files[i].name, err);
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
