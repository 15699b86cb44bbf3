/* model.safetensors.index.json with arbitrary content, in a folder that holds two shards: "a" with the tensor w, "b"
 * with x and y. */
#include "folder.h"
#include "formats/safe_path.h"
#include "formats/safetensors.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_shard(const char *name, const char *header, size_t n_data)
{
    uint8_t bytes[256] = {(uint8_t)strlen(header)};
    memcpy(bytes + 8, header, strlen(header));
    fuzz_put(name, bytes, 8 + strlen(header) + n_data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    pare_model m;
    pare_error err = {0};
    if (!ready) {
        put_shard("a", "{\"w\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4);
        put_shard("b",
                  "{\"x\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]},\"y\":{\"dtype\":\"F16\",\"shape\":[1]"
                  ",\"data_offsets\":[1,3]}}",
                  3);
        ready = true;
    }
    fuzz_put("model.safetensors.index.json", data, size);
    char *path = pare_path_join(fuzz_folder(), "model.safetensors.index.json", NULL);
    pare_safetensors_open_index(&m, path, &err);
    pare_model_close(&m);
    free(path);
    return 0;
}
