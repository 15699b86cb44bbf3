/* gpu/cublaslt.h - the part of cuBLASLt that pare calls, in words of its own
 *
 * The same in CUDA 12 and 13 (https://docs.nvidia.com/cuda/cublas, "Using the cuBLASLt API"). Handles and descriptors
 * are opaque pointers, enumerations integers; where the toolkit's header is, gpu/blas.cu compares with it. So pare
 * builds with a toolkit that has no libraries, and gpu/emulate can be a cuBLASLt for tests. */
#ifndef PARE_GPU_CUBLASLT_H
#define PARE_GPU_CUBLASLT_H

#include "gpu/cuda.h"

#include <stddef.h>

enum {
    PARE_LT_SUCCESS = 0,
    PARE_LT_INVALID_VALUE = 7,
    PARE_LT_NOT_SUPPORTED = 15,
    PARE_LT_COMPUTE_32F = 68, /* sums in float; of float factors without TF32 */
    PARE_LT_R_32F = 0,
    PARE_LT_R_16BF = 14,
    PARE_LT_OP_T = 1,
    PARE_LT_DESC_TRANSA = 3,
    PARE_LT_PREF_MAX_WORKSPACE_BYTES = 1,
    PARE_LT_PREF_MIN_ALIGNMENT_A_BYTES = 5, /* then B, C, D */
};

/* cublasLtMatmulAlgo_t, cublasLtMatmulHeuristicResult_t */
typedef struct pare_lt_algorithm {
    uint64_t data[8];
} pare_lt_algorithm;
typedef struct pare_lt_found {
    pare_lt_algorithm algorithm;
    size_t workspace_bytes;
    int state;
    float waves;
    int reserved[4];
} pare_lt_found;

/* X(result, name, parameters) */
#define PARE_LT_FUNCTIONS(X)                                                                                           \
    X(size_t, cublasLtGetVersion, (void))                                                                              \
    X(const char *, cublasLtGetStatusString, (int status))                                                             \
    X(int, cublasLtCreate, (void **handle))                                                                            \
    X(int, cublasLtDestroy, (void *handle))                                                                            \
    X(int, cublasLtMatmulDescCreate, (void **desc, int compute, int scale_type))                                       \
    X(int, cublasLtMatmulDescDestroy, (void *desc))                                                                    \
    X(int, cublasLtMatmulDescSetAttribute, (void *desc, int attribute, const void *value, size_t bytes))               \
    X(int, cublasLtMatrixLayoutCreate, (void **layout, int type, uint64_t rows, uint64_t columns, int64_t ld))         \
    X(int, cublasLtMatrixLayoutDestroy, (void *layout))                                                                \
    X(int, cublasLtMatmulPreferenceCreate, (void **preference))                                                        \
    X(int, cublasLtMatmulPreferenceDestroy, (void *preference))                                                        \
    X(int, cublasLtMatmulPreferenceSetAttribute, (void *preference, int attribute, const void *value, size_t bytes))   \
    X(int, cublasLtMatmulAlgoGetHeuristic,                                                                             \
      (void *handle, void *desc, void *a, void *b, void *c, void *d, void *preference, int n, pare_lt_found *found,    \
       int *n_found))                                                                                                  \
    X(int, cublasLtMatmul,                                                                                             \
      (void *handle, void *desc, const void *alpha, const void *a, void *a_layout, const void *b, void *b_layout,      \
       const void *beta, const void *c, void *c_layout, void *d, void *d_layout, const pare_lt_algorithm *algorithm,   \
       void *workspace, size_t workspace_bytes, cudaStream_t stream))

#endif
