/* model/factor.h - the factors that the matrices of a tensor get when they become NVFP4
 *
 *   weight = factor * scale * level        scale: an E4M3 for 16 weights, level: E2M1
 *
 * The factor puts a matrix where its scales have all their bits. It is a power of two, so it changes no code and no
 * reader rounds by it; method and measurements: docs/methods/FP4.md.
 *
 * Runtimes unite some matrices of a layer into one (Q, K and V; gate and up) and keep the factor of one of them for
 * all, so these get one factor: https://github.com/vllm-project/vllm, compressed_tensors_w4a4_nvfp4.py, and
 * llm-compressor's helpers, which unite the same. Tensors that are NVFP4 already keep theirs. */
#ifndef PARE_MODEL_FACTOR_H
#define PARE_MODEL_FACTOR_H

#include "model/model.h"

#include <pthread.h>

typedef struct pare_factor {
    const pare_tensor *weight;
    float *value;                     /* [matrices] known when pare_factor_find has been called for this one */
    uint64_t united;                  /* the same for those that share, which have as many matrices; 0: alone */
    struct pare_factor *first, *next; /* of those; first NULL: alone, or the first */
    pthread_mutex_t lock;             /* of the values of all of them: the one of the first */
    bool known;
} pare_factor;

/* Let those of one number share: matrix i of each gets the same factor. Reorders all. Not to be called when one has
 * been found. */
void pare_factors_unite(pare_factor **all, size_t n);

/* Find f->value: the factors that leave the largest weight room in its blocks. Reads the weights when first asked for,
 * whatever the thread. Errors: as reading, PARE_ERR_MEMORY, PARE_ERR_INTERRUPTED. */
pare_status pare_factor_find(pare_factor *f, pare_error *err);

/* A float whose reciprocal, rounded, is v, where there is one. */
float pare_factor_reciprocal(float v);

#endif
