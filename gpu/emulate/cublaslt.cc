/* A cuBLASLt for the emulated device: matrices lie column by column, as there, and what was promised (alignment,
 * workspace, the shape that an algorithm was chosen for) is checked. It is there with PARE_EMULATE_CUBLASLT=good, and
 * knows no algorithm for factors whose columns are not multiples of 16 bytes apart; with =broken products fail. */
#include "gpu/cublaslt.h"

#include <atomic>
#include <cstdlib>

extern "C" {
#define DECLARE(result, name, parameters) result name parameters;
PARE_LT_FUNCTIONS(DECLARE)
#undef DECLARE
unsigned pare_emulate_heuristics; /* asked so far */
}

namespace
{

struct layout {
    int type;
    uint64_t rows, columns;
    int64_t ld;
};

struct desc {
    int transposed_a;
};

struct preference {
    size_t workspace;
    uint32_t alignment[4];
};

std::atomic<int> handles, live; /* live: descriptors, layouts and preferences too */

template <typename T> int make(void **out, const T &value)
{
    *out = new T(value);
    live++;
    return PARE_LT_SUCCESS;
}

template <typename T> int drop(void *p)
{
    delete (T *)p;
    live--;
    return PARE_LT_SUCCESS;
}

double element(const void *p, int type, uint64_t i)
{
    if (type == PARE_LT_R_32F)
        return ((const float *)p)[i];
    uint32_t bits = (uint32_t)((const uint16_t *)p)[i] << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* D = A^T B + beta C; C is not read with beta 0 */
void multiply(const layout &la, const layout &lb, const layout &ld, const void *a, const void *b, float beta, float *d)
{
    for (uint64_t j = 0; j < lb.columns; j++)
        for (uint64_t i = 0; i < la.columns; i++) {
            double sum = 0;
            for (uint64_t k = 0; k < la.rows; k++)
                sum += element(a, la.type, i * (uint64_t)la.ld + k) * element(b, lb.type, j * (uint64_t)lb.ld + k);
            float *at = d + j * (uint64_t)ld.ld + i;
            *at = beta != 0 ? (float)((double)*at * (double)beta + sum) : (float)sum;
        }
}

bool is_aligned(const void *p, uint64_t alignment)
{
    return (uint64_t)(uintptr_t)p % alignment == 0;
}

} /* namespace */

size_t cublasLtGetVersion(void)
{
    return 130299;
}

const char *cublasLtGetStatusString(int status)
{
    return status == PARE_LT_INVALID_VALUE ? "an invalid value" : "another status";
}

int cublasLtCreate(void **handle)
{
    handles++;
    return make(handle, 0);
}

int cublasLtDestroy(void *handle)
{
    drop<int>(handle);
    if (--handles == 0 && live != 0)
        abort(); /* something was not destroyed */
    return PARE_LT_SUCCESS;
}

int cublasLtMatmulDescCreate(void **out, int compute, int scale_type)
{
    if (compute != PARE_LT_COMPUTE_32F || scale_type != PARE_LT_R_32F)
        return PARE_LT_INVALID_VALUE;
    return make(out, desc{0});
}

int cublasLtMatmulDescDestroy(void *p)
{
    return drop<desc>(p);
}

int cublasLtMatmulDescSetAttribute(void *p, int attribute, const void *value, size_t bytes)
{
    if (attribute != PARE_LT_DESC_TRANSA || bytes != sizeof(int))
        return PARE_LT_INVALID_VALUE;
    memcpy(&((desc *)p)->transposed_a, value, bytes);
    return PARE_LT_SUCCESS;
}

int cublasLtMatrixLayoutCreate(void **out, int type, uint64_t rows, uint64_t columns, int64_t ld)
{
    if (ld < (int64_t)rows)
        return PARE_LT_INVALID_VALUE;
    return make(out, layout{type, rows, columns, ld});
}

int cublasLtMatrixLayoutDestroy(void *p)
{
    return drop<layout>(p);
}

int cublasLtMatmulPreferenceCreate(void **out)
{
    return make(out, preference{0, {256, 256, 256, 256}});
}

int cublasLtMatmulPreferenceDestroy(void *p)
{
    return drop<preference>(p);
}

int cublasLtMatmulPreferenceSetAttribute(void *p, int attribute, const void *value, size_t bytes)
{
    preference *f = (preference *)p;
    int i = attribute - PARE_LT_PREF_MIN_ALIGNMENT_A_BYTES;
    if (attribute == PARE_LT_PREF_MAX_WORKSPACE_BYTES && bytes == sizeof f->workspace)
        memcpy(&f->workspace, value, bytes);
    else if (i >= 0 && i < 4 && bytes == sizeof f->alignment[i])
        memcpy(&f->alignment[i], value, bytes);
    else
        return PARE_LT_INVALID_VALUE;
    return PARE_LT_SUCCESS;
}

int cublasLtMatmulAlgoGetHeuristic(void *, void *op, void *a, void *b, void *, void *d, void *wish, int n,
                                   pare_lt_found *found, int *n_found)
{
    const layout *la = (const layout *)a, *lb = (const layout *)b, *ld = (const layout *)d;
    const preference *f = (const preference *)wish;
    pare_emulate_heuristics++;
    *n_found = 0;
    if (n < 1 || ((const desc *)op)->transposed_a != PARE_LT_OP_T || la->rows != lb->rows || ld->rows != la->columns ||
        ld->columns != lb->columns || ld->type != PARE_LT_R_32F)
        return PARE_LT_INVALID_VALUE;
    if (la->ld * (la->type == PARE_LT_R_32F ? 4 : 2) % 16 != 0)
        return PARE_LT_NOT_SUPPORTED;
    *found = {};
    uint64_t chosen_for[] = {la->columns,     lb->columns,     la->rows,        (uint64_t)ld->ld,
                             f->alignment[0], f->alignment[1], f->alignment[3], f->workspace};
    memcpy(found->algorithm.data, chosen_for, sizeof chosen_for);
    found->workspace_bytes = f->workspace;
    *n_found = 1;
    return PARE_LT_SUCCESS;
}

int cublasLtMatmul(void *, void *, const void *alpha, const void *a, void *a_layout, const void *b, void *b_layout,
                   const void *beta, const void *c, void *c_layout, void *d, void *d_layout,
                   const pare_lt_algorithm *algorithm, void *workspace, size_t workspace_bytes, cudaStream_t stream)
{
    const layout la = *(const layout *)a_layout, lb = *(const layout *)b_layout, ld = *(const layout *)d_layout;
    const uint64_t *f = algorithm->data;
    float factor = *(const float *)beta;
    const char *kind = getenv("PARE_EMULATE_CUBLASLT");
    if (kind != NULL && strcmp(kind, "broken") == 0)
        return PARE_LT_INVALID_VALUE;
    if (*(const float *)alpha != 1 || c != d || c_layout != d_layout || f[0] != la.columns || f[1] != lb.columns ||
        f[2] != la.rows || f[3] != (uint64_t)ld.ld || !is_aligned(a, f[4]) || !is_aligned(b, f[5]) ||
        !is_aligned(d, f[6]) || workspace == NULL || workspace_bytes < f[7])
        return PARE_LT_INVALID_VALUE;
    pare_emulate_launch(dim3(1), dim3(1), 0, stream, (const void *)&multiply, "cublasLtMatmul", [=]() {
        memset(workspace, 0xff, workspace_bytes < 4096 ? workspace_bytes : 4096);
        multiply(la, lb, ld, a, b, factor, (float *)d);
    });
    return PARE_LT_SUCCESS;
}
