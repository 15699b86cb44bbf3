/* A split set of two parts with arbitrary content: u32 length of the first, the first, the second. What opens is read
 * to its last byte. */
#include "core/bytes.h"
#include "folder.h"
#include "formats/gguf.h"
#include "formats/open.h"
#include "formats/safe_path.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_tensors(const pare_model *m)
{
    volatile uint8_t sum = 0;
    for (size_t i = 0; i < m->n_tensors; i++)
        for (uint64_t k = 0; k < m->tensors[i].n_bytes; k++)
            sum = (uint8_t)(sum + m->tensors[i].data[k]);
}

static void open_part(const char *name, unsigned flags)
{
    pare_model m;
    pare_error err = {0};
    char *path = pare_path_join(fuzz_folder(), name, NULL);
    if (path == NULL)
        abort();
    if (pare_gguf_open(&m, path, flags, &err) == PARE_OK)
        read_tensors(&m);
    pare_model_close(&m);
    free(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint32_t first = size >= 4 ? pare_load_u32le(data) : 0;
    if (size < 4 || first > size - 4)
        return 0;
    fuzz_put("m-00001-of-00002.gguf", data + 4, first);
    fuzz_put("m-00002-of-00002.gguf", data + 4 + first, size - 4 - first);
    open_part("m-00001-of-00002.gguf", 0);
    open_part("m-00002-of-00002.gguf", PARE_OPEN_RAW);
    return 0;
}
