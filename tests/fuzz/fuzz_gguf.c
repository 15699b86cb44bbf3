/* The GGUF header parser on arbitrary bytes. What it accepts is then used: every value is serialized and every byte of
 * every tensor is read, so that a view that leaves the file is found; and hyperparameters, vocabulary and weights are
 * checked, as opening the file would. */
#include "formats/gguf.h"

#include <string.h>

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

static void interpret(pare_model *m)
{
    char name[65] = {0};
    pare_str arch = {0};
    pare_error err = {0};
    if (pare_meta_name(&m->meta, "fuzz.gguf", "general.architecture", &arch, NULL, &err) == PARE_OK &&
        arch.len < sizeof name) {
        memcpy(name, arch.data, arch.len);
        m->arch = pare_arch_find(name);
    }
    if (m->arch != NULL && pare_hparams_from_meta(&m->hp, m->arch, &m->meta, "fuzz.gguf", &err) != PARE_OK)
        m->arch = NULL;
    if (pare_vocab_from_meta(&m->vocab, &m->meta, "fuzz.gguf", &m->has_vocab, &err) == PARE_OK && m->arch != NULL)
        pare_arch_check(m, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pare_model m;
    pare_error err = {0};
    if (pare_gguf_parse(&m, data, size, "fuzz.gguf", &err) == PARE_OK) {
        use(&m);
        interpret(&m);
    }
    pare_model_close(&m);
    return 0;
}
