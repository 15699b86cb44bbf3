/* fake_runtime.h - a runtime whose sums a test can do by hand, and models for it: all sizes are multiples of 1 MiB
 *
 *   a layer     100 of attention, and 80 and 220 of an FFN, or three matrices of experts of 100, 200 and 400
 *   the output  300, the embedding 200, which stays on the host
 *   the cache   1 for 256 tokens in each layer, where the layer lies
 *   a device    20 of a driver, assumed: 10 to 60; and 50 of compute + 1 for 1024 tokens
 *   the host    30 of compute */
#ifndef PARE_TESTS_FAKE_RUNTIME_H
#define PARE_TESTS_FAKE_RUNTIME_H

#include "memory/placement.h"

#define FAKE_MIB (UINT64_C(1) << 20)

enum { FAKE_MAX_LAYERS = 48, FAKE_MAX_TENSORS = 5 * FAKE_MAX_LAYERS + 2 };

typedef struct fake_model {
    pare_memory_model m;
    pare_hparams hp;
    pare_memory_tensor tensors[FAKE_MAX_TENSORS];
    char names[FAKE_MAX_TENSORS][48];
} fake_model;

/* 8 experts, of which 2 are used; trained for 32768 tokens. f->m is closed by nobody: it owns nothing. */
void fake_model_init(fake_model *f, uint32_t n_layer, bool experts);

extern const pare_memory_runtime fake_runtime;

/* A query of the model with one device of so many MiB for each that is not 0, and no limit on the host; n_ctx 1024. */
pare_place_query fake_query(const fake_model *f, uint64_t mib0, uint64_t mib1, uint64_t mib2);

#endif
