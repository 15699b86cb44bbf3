/* model.safetensors.index.json with arbitrary content, in a folder that holds two shards: "a" with the tensor w, "b"
 * with x and y. */
#include "formats/safe_path.h"
#include "formats/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[] = "/tmp/pare-fuzz-XXXXXX";

static void put(const char *name, const void *bytes, size_t n)
{
    char *path = pare_path_join(dir, name, NULL);
    FILE *f = path != NULL ? fopen(path, "wb") : NULL;
    if (f == NULL || fwrite(bytes, 1, n, f) != n || fclose(f) != 0)
        abort();
    free(path);
}

static void put_shard(const char *name, const char *header, size_t n_data)
{
    uint8_t bytes[256] = {(uint8_t)strlen(header)};
    memcpy(bytes + 8, header, strlen(header));
    put(name, bytes, 8 + strlen(header) + n_data);
}

static void remove_folder(void)
{
    static const char *const names[] = {"a", "b", "model.safetensors.index.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = pare_path_join(dir, names[i], NULL);
        if (path != NULL)
            unlink(path);
        free(path);
    }
    rmdir(dir);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    pare_model m;
    pare_error err = {0};
    if (!ready) {
        if (mkdtemp(dir) == NULL)
            abort();
        put_shard("a", "{\"w\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4);
        put_shard("b",
                  "{\"x\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]},\"y\":{\"dtype\":\"F16\",\"shape\":[1]"
                  ",\"data_offsets\":[1,3]}}",
                  3);
        atexit(remove_folder);
        ready = true;
    }
    put("model.safetensors.index.json", data, size);
    char *path = pare_path_join(dir, "model.safetensors.index.json", NULL);
    pare_safetensors_open_index(&m, path, &err);
    pare_model_close(&m);
    free(path);
    return 0;
}
