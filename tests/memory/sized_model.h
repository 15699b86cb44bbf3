/* sized_model.h - a model of a real size without its weights, in the types of a preset */
#ifndef PARE_TESTS_SIZED_MODEL_H
#define PARE_TESTS_SIZED_MODEL_H

#include "memory/memory.h"

typedef struct sized_model {
    pare_memory_model m;
    pare_hparams hp;
    uint64_t n_bytes; /* of all tensors */
    double n_weights;
} sized_model;

/* config: the name of a file in tests/data/memory, or the text of a config.json. preset: "q4_k_m", as stock would
 * choose with importances, or NULL: matrices in F16. Close s->m. */
void sized_model_init(sized_model *s, const char *config, const char *preset);

#endif
