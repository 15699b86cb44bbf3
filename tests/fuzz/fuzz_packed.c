/* A folder of packed weights in one input: config.json, a byte 0, the header of model.safetensors, a byte 0, its data.
 * What the packed tensors stand for is read, from memory of exactly their size; then the folder is opened as a model,
 * and all of it is read. */
#include "folder.h"
#include "core/bytes.h"
#include "core/json.h"
#include "formats/hf.h"
#include "formats/open.h"
#include "formats/packed.h"
#include "formats/safetensors.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every tensor as floats: in order, row by row, then the last rows at once. */
static void read_all(const pare_model *m)
{
    for (size_t i = 0; i < m->n_tensors; i++) {
        const pare_tensor *t = &m->tensors[i];
        pare_error err = {0};
        uint64_t last = t->n_rows < 7 ? t->n_rows : 7;
        if (t->row_len > 1 << 20 || t->n_rows > 1 << 16)
            continue;
        float *x = malloc((size_t)(t->row_len * last + 1) * sizeof *x);
        if (x == NULL)
            abort();
        for (uint64_t row = 0; row < t->n_rows; row++)
            if (pare_tensor_read_f32(t, row, 1, x, &err) != PARE_OK)
                break;
        if (t->n_rows > 0)
            pare_tensor_read_f32(t, t->n_rows - last, last, x, &err);
        pare_tensor_release(t, 0, t->n_rows);
        free(x);
    }
}

static void read_memory(const uint8_t *config, size_t n_config, const uint8_t *file, size_t n_file)
{
    pare_model raw = {0};
    pare_arena arena = {0};
    pare_error err = {0};
    json_t *doc = NULL;
    if (pare_json_parse(&doc, "config.json", config, n_config, PARE_JSON_BIG_AS_REAL, &err) == PARE_OK &&
        json_is_object(doc) && pare_safetensors_parse(&raw, file, n_file, "model.safetensors", &err) == PARE_OK &&
        pare_packed_open(&raw, &arena, fuzz_folder(), doc, "config.json", &err) == PARE_OK)
        read_all(&raw);
    pare_model_close(&raw);
    pare_arena_close(&arena);
    json_decref(doc);
}

static void read_folder(const uint8_t *config, size_t n_config, const uint8_t *file, size_t n_file)
{
    pare_model m;
    pare_error err = {0};
    fuzz_put("config.json", config, n_config);
    fuzz_put("model.safetensors", file, n_file);
    if (pare_hf_open(&m, fuzz_folder(), PARE_OPEN_NO_VOCAB, &err) == PARE_OK)
        read_all(&m);
    pare_model_close(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = memchr(data, 0, size), *header = end != NULL ? end + 1 : NULL;
    const uint8_t *body = header != NULL ? memchr(header, 0, (size_t)(data + size - header)) : NULL;
    if (body == NULL)
        return 0;
    size_t n_header = (size_t)(body - header), n_data = (size_t)(data + size - body) - 1;
    uint8_t *file = malloc(8 + n_header + n_data);
    if (file == NULL)
        abort();
    pare_store_u64le(file, n_header);
    memcpy(file + 8, header, n_header);
    memcpy(file + 8 + n_header, body + 1, n_data);
    read_memory(data, (size_t)(end - data), file, 8 + n_header + n_data);
    read_folder(data, (size_t)(end - data), file, 8 + n_header + n_data);
    free(file);
    return 0;
}
