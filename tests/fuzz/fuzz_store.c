/* A manifest of Ollama's, and the note of a download, with arbitrary content: "M" and the manifest, else the note. What
 * they list is compared with what lies there. */
#include "folder.h"
#include "formats/safe_path.h"
#include "formats/store.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static pare_status ignore(const char *kind, const char *name, const char *text, void *user, pare_error *err)
{
    (void)kind;
    (void)name;
    (void)text;
    (void)user;
    (void)err;
    return PARE_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bool manifest = size > 0 && data[0] == 'M';
    char *weights = NULL, *path = pare_path_join(fuzz_folder(), manifest ? "manifests/m" : "w", NULL);
    pare_store_list list;
    pare_error err = {0};
    uint64_t n_bytes = 0;
    if (path == NULL)
        abort();
    fuzz_put("w", "x", 1);
    fuzz_put(manifest ? "manifests/m" : ".cache/huggingface/download/w.metadata", data + manifest, size - manifest);
    if (pare_store_list_read(&list, path, &err) == PARE_OK)
        (void)pare_store_check(&list, &n_bytes, ignore, NULL, &err);
    pare_store_list_close(&list);
    if (manifest)
        (void)pare_store_weights(&weights, path, &err);
    free(weights);
    free(path);
    return 0;
}
