#include "core/json.h"
#include "formats/bundle.h"
#include "formats/bundle_names.h"
#include "formats/folder_list.h"
#include "formats/lock_names.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static pare_status no_memory(pare_error *err)
{
    return pare_fail(err, PARE_ERR_MEMORY, "no memory for a bundle");
}

/* Set key of object to the base64 of a buffer. */
static pare_status set_base64(json_t *object, const char *key, const pare_buf *bytes, pare_error *err)
{
    uint8_t *text = bytes->len <= PARE_BUNDLE_MAX_BYTES ? malloc(bytes->len / 3 * 4 + 8) : NULL;
    if (text == NULL)
        return no_memory(err);
    int n = EVP_EncodeBlock(text, (const uint8_t *)bytes->data, (int)bytes->len);
    bool ok = json_object_set_new(object, key, json_stringn((const char *)text, (size_t)n)) == 0;
    free(text);
    return ok ? PARE_OK : no_memory(err);
}

/* Told of everything in the folder, once: collects what pinning leaves out of it, but for the lock and the checksums,
 * which are signed. */
typedef struct left_out {
    json_t *paths;
    bool failed;
} left_out;

static bool collect(const char *name, void *user)
{
    left_out *out = user;
    if (name[0] != '.' || !pare_folder_is_left_out(name, NULL))
        return false;
    out->failed = out->failed || json_array_append_new(out->paths, json_string(name)) != 0;
    return true;
}

static bool lists(const json_t *paths, const char *name)
{
    size_t i;
    json_t *path;
    json_array_foreach((json_t *)(uintptr_t)paths, i, path) if (strcmp(json_string_value(path), name) == 0) return true;
    return false;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(json_string_value(*(json_t *const *)a), json_string_value(*(json_t *const *)b));
}

/* The same folder gives the same list. */
static pare_status sort_paths(json_t *paths, pare_error *err)
{
    size_t n = json_array_size(paths), i;
    json_t **sorted = calloc(n > 0 ? n : 1, sizeof *sorted), *path;
    if (sorted == NULL)
        return no_memory(err);
    json_array_foreach(paths, i, path) sorted[i] = json_incref(path);
    qsort(sorted, n, sizeof *sorted, compare_texts);
    json_array_clear(paths);
    bool ok = true;
    for (i = 0; i < n; i++)
        ok = json_array_append_new(paths, sorted[i]) == 0 && ok;
    free(sorted);
    return ok ? PARE_OK : no_memory(err);
}

/* What the statement says is left out of root: Git's names, what lies there that pinning leaves out, the bundle. */
static pare_status make_ignored(json_t **out, const char *root, const char *bundle, pare_error *err)
{
    left_out found = {.paths = json_array()};
    pare_folder_list list;
    char *name = NULL;
    *out = found.paths;
    pare_status st = pare_folder_list_where(&list, root, collect, &found, err);
    pare_folder_list_close(&list);
    for (size_t i = 0; i < PARE_BUNDLE_N_GIT_NAMES && st == PARE_OK; i++)
        if (!lists(found.paths, pare_bundle_git_names[i]))
            found.failed |= json_array_append_new(found.paths, json_string(pare_bundle_git_names[i])) != 0;
    if (st != PARE_OK)
        return st;
    /* The bundle's own name: as that of a file in the folder, when it is one. */
    pare_pin p = {0};
    pare_pin_file *f = NULL;
    pare_buf beside = {0};
    st = pare_buf_printf(&beside, err, "%s/", root);
    if (st == PARE_OK && (st = pare_pin_add_file(&p, bundle, &f, err)) == PARE_OK &&
        pare_lock_set_names(&p, beside.data, NULL) == PARE_OK && (name = strdup(p.files[0].name)) == NULL)
        st = no_memory(err);
    if (st == PARE_OK && name != NULL && !lists(found.paths, name))
        found.failed |= json_array_append_new(found.paths, json_string(name)) != 0;
    free(name);
    pare_buf_close(&beside);
    pare_pin_close(&p);
    if (st == PARE_OK && found.failed)
        st = no_memory(err);
    return st == PARE_OK ? sort_paths(found.paths, err) : st;
}

/* The subject is called as the folder is; this says nothing to a verifier. */
static json_t *make_subject(const char *root, const char *called, const uint8_t digest[32])
{
    char hex[PARE_SHA256_HEX], *real = realpath(root, NULL);
    const char *slash = real != NULL ? strrchr(real, '/') : NULL;
    const char *name = called != NULL ? called : slash != NULL && slash[1] != '\0' ? slash + 1 : "model";
    pare_hex(hex, digest, 32);
    json_t *subject =
        json_pack("[{s:o, s:{s:s}}]", "name", pare_json_text(name, strlen(name)), "digest", "sha256", hex);
    free(real);
    return subject;
}

static pare_status make_statement(pare_buf *out, const pare_pin *p, const char *root, const char *called,
                                  const char *bundle, pare_error *err)
{
    json_t *resources = json_array(), *ignored = NULL, *doc = NULL;
    pare_hasher h = {0};
    pare_digest digest;
    bool ok = resources != NULL;
    pare_status st = pare_hasher_open(&h, PARE_HASH_SHA256, err);
    for (size_t i = 0; i < p->n_files && st == PARE_OK && ok; i++) {
        const pare_pin_file *f = &p->files[i];
        char hex[PARE_SHA256_HEX];
        pare_hex(hex, f->digest.sha256, 32);
        if (!pare_utf8_valid(f->name, strlen(f->name), NULL))
            st = pare_fail(err, PARE_ERR_FORMAT, "%s: its name is not UTF-8; a bundle cannot hold it", f->path);
        else
            st = pare_hasher_add(&h, f->digest.sha256, 32, err);
        ok = st != PARE_OK || json_array_append_new(resources, json_pack("{s:s, s:s, s:s}", "name", f->name,
                                                                         "algorithm", "sha256", "digest", hex)) == 0;
    }
    if (st == PARE_OK)
        st = pare_hasher_finish(&h, &digest, err);
    pare_hasher_close(&h);
    if (st == PARE_OK && ok)
        st = make_ignored(&ignored, root, bundle, err);
    if (st == PARE_OK && ok)
        doc = json_pack("{s:s, s:o, s:s, s:{s:{s:s, s:s, s:b, s:O}, s:O}}", "_type", PARE_BUNDLE_STATEMENT, "subject",
                        make_subject(root, called, digest.sha256), "predicateType", PARE_BUNDLE_PREDICATE, "predicate",
                        "serialization", "method", "files", "hash_type", "sha256", "allow_symlinks", 0, "ignore_paths",
                        ignored, "resources", resources);
    if (st == PARE_OK)
        st = doc != NULL ? pare_json_dump(doc, out, err) : no_memory(err);
    json_decref(doc);
    json_decref(ignored);
    json_decref(resources);
    return st;
}

static pare_status make_bundle(pare_buf *out, const pare_buf *statement, const pare_ec_key *key, pare_error *err)
{
    pare_buf message = {0}, signature = {0};
    json_t *doc = NULL, *first = json_pack("{s:s}", "keyid", ""), *envelope = json_object();
    pare_status st = pare_bundle_encode(&message, statement->data, statement->len, err);
    if (st == PARE_OK && (st = pare_ec_key_sign(key, message.data, message.len, &signature, err)) == PARE_OK &&
        (st = set_base64(first, "sig", &signature, err)) == PARE_OK)
        st = set_base64(envelope, "payload", statement, err);
    if (st == PARE_OK &&
        (json_object_set_new(envelope, "payloadType", json_string(PARE_BUNDLE_PAYLOAD_TYPE)) != 0 ||
         json_object_set_new(envelope, "signatures", json_pack("[O]", first)) != 0 ||
         (doc = json_pack("{s:s, s:{s:{s:s}, s:[]}, s:O}", "mediaType", PARE_BUNDLE_MEDIA_TYPE, "verificationMaterial",
                          "publicKey", "hint", key->hint, "tlogEntries", "dsseEnvelope", envelope)) == NULL))
        st = no_memory(err);
    if (st == PARE_OK)
        st = pare_json_dump(doc, out, err);
    json_decref(doc);
    json_decref(envelope);
    json_decref(first);
    pare_buf_close(&signature);
    pare_buf_close(&message);
    return st;
}

pare_status pare_bundle_add(pare_output_set *set, pare_pin *p, const char *beside, const char *path, const char *called,
                            const pare_ec_key *key, bool force, pare_error *err)
{
    pare_buf statement = {0}, text = {0};
    char *root = NULL;
    pare_status st = pare_lock_set_names(p, beside, err);
    if (st == PARE_OK && (root = pare_path_folder(beside, err)) == NULL)
        st = PARE_ERR_MEMORY;
    if (st == PARE_OK && (st = make_statement(&statement, p, root, called, path, err)) == PARE_OK &&
        (st = make_bundle(&text, &statement, key, err)) == PARE_OK)
        st = pare_output_set_add_file(set, path, text.data, text.len,
                                      PARE_OUTPUT_DESCRIBES | (force ? PARE_OUTPUT_FORCE : 0), err);
    free(root);
    pare_buf_close(&statement);
    pare_buf_close(&text);
    return st;
}
