/* The safetensors header parser on arbitrary bytes; every byte of every tensor that it accepts is then read. */
#include "formats/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pare_model m;
    pare_error err = {0};
    volatile uint8_t sum = 0;
    if (pare_safetensors_parse(&m, data, size, "fuzz.safetensors", &err) == PARE_OK)
        for (size_t i = 0; i < m.n_tensors; i++)
            for (uint64_t k = 0; k < m.tensors[i].n_bytes; k++)
                sum = (uint8_t)(sum + m.tensors[i].data[k]);
    pare_model_close(&m);
    return 0;
}
