/* The GGUF header parser on arbitrary bytes. What it accepts is then used: every value is serialized and every byte of
 * every tensor is read, so that a view that leaves the file is found. */
#include "formats/gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const pare_model *m)
{
    pare_buf bytes = {0};
    for (size_t i = 0; i < m->meta.n; i++) {
        bytes.len = 0;
        if (pare_meta_serialize(&m->meta.values[i], &bytes, NULL) != PARE_OK)
            break;
    }
    pare_buf_close(&bytes);
    volatile uint8_t sum = 0;
    for (size_t i = 0; i < m->n_tensors; i++)
        for (uint64_t k = 0; k < m->tensors[i].n_bytes; k++)
            sum = (uint8_t)(sum + m->tensors[i].data[k]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pare_model m;
    pare_error err = {0};
    if (pare_gguf_parse(&m, data, size, "fuzz.gguf", &err) == PARE_OK)
        use(&m);
    pare_model_close(&m);
    return 0;
}
