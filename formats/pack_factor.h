/* formats/pack_factor.h - the factor of all weights of an NVFP4 matrix on its way out
 *
 * Runtimes unite some matrices of a layer into one (Q, K and V; gate and up) and keep the factor of one of them for
 * all, so these get one factor: https://github.com/vllm-project/vllm, compressed_tensors_w4a4_nvfp4.py, and
 * llm-compressor's helpers, which unite the same. Matrices that are NVFP4 already keep theirs. */
#ifndef PARE_FORMATS_PACK_FACTOR_H
#define PARE_FORMATS_PACK_FACTOR_H

#include "model/model.h"

#include <pthread.h>

typedef struct pare_pack_factor {
    const pare_tensor *weight;
    uint64_t united;                       /* the same for those that have one factor; 0: alone */
    struct pare_pack_factor *first, *next; /* of those; first NULL: alone */
    pthread_mutex_t lock;                  /* of the two below, which are those of the first */
    bool known;
    float factor;
} pare_pack_factor;

/* Give those of one number one factor. Reorders all. Not to be called when one has been found. */
void pare_pack_factor_unite(pare_pack_factor **all, size_t n);

/* The factor that leaves the largest weight room in its blocks. Reads the weights when first asked for. */
pare_status pare_pack_factor_find(pare_pack_factor *f, float *factor, pare_error *err);

/* A float whose reciprocal, rounded, is v, where there is one. */
float pare_pack_reciprocal(float v);

#endif
