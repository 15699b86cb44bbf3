/* Manifests of Ollama's store: OCI image manifests (schemaVersion 2) with media types of Ollama's own. */
#include "core/json.h"
#include "core/text.h"
#include "formats/safe_path.h"
#include "formats/store_parts.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_MANIFEST = 1 << 20, MAX_LAYERS = 256 };

#define WEIGHTS "application/vnd.ollama.image.model"

bool pare_store_is_manifest(const void *bytes, size_t n)
{
    return n <= MAX_MANIFEST && n > 0 && memmem(bytes, n, "\"layers\"", 8) != NULL &&
           memmem(bytes, n, "\"mediaType\"", 11) != NULL && memmem(bytes, n, "\"digest\"", 8) != NULL;
}

/* The folder that holds manifests/ and blobs/: path, as it really lies, up to the last "/manifests/". */
static pare_status find_root(char **out, const char *path, pare_error *err)
{
    char *real = realpath(path, NULL), *end = NULL;
    for (char *at = real; at != NULL && (at = strstr(at, "/manifests/")) != NULL; at++)
        end = at;
    if (end == NULL) {
        free(real);
        return pare_fail(err, PARE_ERR_FORMAT,
                         "%s: a manifest of Ollama's names its blobs from the store that it lies in, below manifests/; "
                         "this one lies in none",
                         path);
    }
    *end = '\0';
    *out = real;
    return PARE_OK;
}

/* A layer or the config: digest "sha256:<64 digits>" and size. */
typedef struct layer {
    const char *media_type, *hex;
    uint64_t size;
} layer;

static pare_status read_layer(layer *out, const json_t *object, const char *path, size_t i, pare_error *err)
{
    const json_t *size = json_object_get(object, "size");
    const char *digest = json_string_value(json_object_get(object, "digest"));
    *out = (layer){.media_type = json_string_value(json_object_get(object, "mediaType"))};
    if (out->media_type == NULL)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: layer %zu has no mediaType", path, i);
    if (digest == NULL || strncmp(digest, "sha256:", 7) != 0 || strlen(digest) != 7 + 64 ||
        !pare_store_is_etag(digest + 7))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: layer %zu has no digest of 'sha256:' and 64 lower-case digits",
                         path, i);
    if (!json_is_integer(size) || json_integer_value(size) < 0)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: layer %zu has no size", path, i);
    out->hex = digest + 7;
    out->size = (uint64_t)json_integer_value(size);
    return PARE_OK;
}

typedef pare_status (*layer_fn)(const layer *l, const char *root, void *user, pare_error *err);

/* Tell of the config and of every layer. */
static pare_status each_layer(const char *path, layer_fn fn, void *user, pare_error *err)
{
    json_t *doc = NULL;
    char *root = NULL;
    pare_status st = pare_json_load(&doc, path, MAX_MANIFEST, 0, err);
    const json_t *layers = json_object_get(doc, "layers"), *config = json_object_get(doc, "config");
    if (st == PARE_OK && (!json_is_array(layers) || json_array_size(layers) > MAX_LAYERS))
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: 'layers' is no list of up to %d", path, MAX_LAYERS);
    if (st == PARE_OK)
        st = find_root(&root, path, err);
    size_t n = json_array_size(layers);
    for (size_t i = 0; i <= n && st == PARE_OK; i++) {
        layer l;
        const json_t *object = i < n ? json_array_get(layers, i) : config;
        if (object != NULL && (st = read_layer(&l, object, path, i, err)) == PARE_OK)
            st = fn(&l, root, user, err);
    }
    free(root);
    json_decref(doc);
    return st;
}

static pare_status list_layer(const layer *l, const char *root, void *user, pare_error *err)
{
    pare_buf name = {0};
    char *path = NULL;
    pare_status st = pare_buf_printf(&name, err, "blobs/sha256-%s", l->hex);
    if (st == PARE_OK && (path = pare_path_join(root, name.data, err)) == NULL)
        st = PARE_ERR_MEMORY;
    if (st == PARE_OK)
        st = pare_store_list_add(user, name.data, path, l->hex, &l->size, err);
    pare_buf_close(&name);
    free(path);
    return st;
}

pare_status pare_store_list_manifest(pare_store_list *list, const char *path, pare_error *err)
{
    list->store = "Ollama's manifest";
    return each_layer(path, list_layer, list, err);
}

typedef struct weights {
    char *path;
    const char *manifest;
} weights;

static pare_status take_weights(const layer *l, const char *root, void *user, pare_error *err)
{
    weights *w = user;
    pare_buf name = {0};
    char why[256];
    pare_path_state state;
    if (strcmp(l->media_type, WEIGHTS) != 0)
        return PARE_OK;
    if (w->path != NULL)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: several layers are weights; name the blob itself", w->manifest);
    pare_status st = pare_buf_printf(&name, err, "blobs/sha256-%s", l->hex);
    if (st == PARE_OK)
        st = pare_path_look(&state, root, name.data, why, sizeof why, err);
    if (st == PARE_OK && state != PARE_PATH_FILE)
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: the blob of the weights %s/%s %s", w->manifest, root, name.data, why);
    if (st == PARE_OK && (w->path = pare_path_join(root, name.data, err)) == NULL)
        st = PARE_ERR_MEMORY;
    pare_buf_close(&name);
    return st;
}

pare_status pare_store_weights(char **out, const char *path, pare_error *err)
{
    weights w = {.manifest = path};
    pare_status st = each_layer(path, take_weights, &w, err);
    if (st == PARE_OK && w.path == NULL)
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: no layer is weights (%s)", path, WEIGHTS);
    if (st != PARE_OK) {
        free(w.path);
        w.path = NULL;
    }
    *out = w.path;
    return st;
}
