#include "gpu/blas.h"

#include "gpu/cublaslt.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(__CUDACC__) && __has_include(<cublasLt.h>)
#include <cublasLt.h>
static_assert((int)PARE_LT_SUCCESS == CUBLAS_STATUS_SUCCESS &&
                  (int)PARE_LT_NOT_SUPPORTED == CUBLAS_STATUS_NOT_SUPPORTED &&
                  (int)PARE_LT_INVALID_VALUE == CUBLAS_STATUS_INVALID_VALUE,
              "statuses");
static_assert((int)PARE_LT_COMPUTE_32F == CUBLAS_COMPUTE_32F && (int)PARE_LT_R_32F == CUDA_R_32F &&
                  (int)PARE_LT_R_16BF == CUDA_R_16BF && (int)PARE_LT_OP_T == CUBLAS_OP_T,
              "types");
static_assert((int)PARE_LT_DESC_TRANSA == CUBLASLT_MATMUL_DESC_TRANSA &&
                  (int)PARE_LT_PREF_MAX_WORKSPACE_BYTES == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES &&
                  (int)PARE_LT_PREF_MIN_ALIGNMENT_A_BYTES == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES &&
                  (int)PARE_LT_PREF_MIN_ALIGNMENT_A_BYTES + 3 == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
              "attributes");
static_assert(sizeof(pare_lt_found) == sizeof(cublasLtMatmulHeuristicResult_t) &&
                  sizeof(pare_lt_algorithm) == sizeof(cublasLtMatmulAlgo_t) &&
                  offsetof(pare_lt_found, state) == offsetof(cublasLtMatmulHeuristicResult_t, state),
              "results of the heuristic");
#endif

/* Plans are kept by shape: experts of a mixture see another number of tokens each time, and choosing takes longer than
 * computing such a product. */
enum { SETS = 512, WAYS = 8, LARGEST_ALIGNMENT = 256, FACTOR_W = 0, FACTOR_X = 1, RESULT = 2 };

/* What an algorithm was chosen for. */
typedef struct shape {
    uint64_t n, m, k, ldy;
    uint32_t alignment[3]; /* bytes; of w, x, y */
    uint32_t f32;
} shape;

/* Row-major y = x W^T is, column by column, y^T = W x^T: memory of W is a k x m matrix to be transposed, that of x k x
 * n, and y m x n with columns ldy apart. */
typedef struct plan {
    shape of;
    void *desc, *layout[3]; /* w, x, y */
    pare_lt_found found;
    bool usable; /* else the library knows no way */
} plan;

typedef struct functions {
#define MEMBER(result, name, parameters) result(*name) parameters;
    PARE_LT_FUNCTIONS(MEMBER)
#undef MEMBER
} functions;

struct pare_gpu_blas {
    functions call;
    void *handle;
    size_t workspace_bytes;
    plan plans[SETS][WAYS];
    uint8_t oldest[SETS]; /* the next one that makes room */
    char name[64];
};

/* ---- the library ---- */

#ifdef __CUDACC__
/* Never closed: CUDA's libraries leave things behind in the driver that point into them. */
static void *open_library(void)
{
    static const char *const names[] = {"libcublasLt.so.13", "libcublasLt.so.12",
                                        "/usr/local/cuda/lib64/libcublasLt.so.13",
                                        "/usr/local/cuda/lib64/libcublasLt.so.12"};
    const char *chosen = getenv("PARE_CUBLASLT");
    if (chosen != NULL)
        return dlopen(chosen, RTLD_NOW | RTLD_LOCAL);
    void *library = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && library == NULL; i++)
        library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    return library;
}

static bool find_functions(functions *f)
{
    void *library = open_library();
    if (library == NULL)
        return false;
#define FIND(result, name, parameters)                                                                                 \
    if ((*(void **)&f->name = dlsym(library, #name)) == NULL)                                                          \
        return false;
    PARE_LT_FUNCTIONS(FIND)
#undef FIND
    return true;
}
#else
extern "C" {
#define DECLARE(result, name, parameters) result name parameters;
PARE_LT_FUNCTIONS(DECLARE)
#undef DECLARE
}

static bool find_functions(functions *f)
{
#define ASSIGN(result, name, parameters) f->name = name;
    PARE_LT_FUNCTIONS(ASSIGN)
#undef ASSIGN
    return getenv("PARE_EMULATE_CUBLASLT") != NULL;
}
#endif

void pare_gpu_blas_open(pare_gpu *g)
{
    struct pare_gpu_blas *b = (struct pare_gpu_blas *)calloc(1, sizeof *b);
    if (b == NULL || !find_functions(&b->call) || b->call.cublasLtCreate(&b->handle) != PARE_LT_SUCCESS) {
        free(b);
        return;
    }
    unsigned version = (unsigned)b->call.cublasLtGetVersion(); /* 130002: 13.0.2 */
    snprintf(b->name, sizeof b->name, "cuBLASLt %u.%u.%u", version / 10000, version / 100 % 100, version % 100);
    b->workspace_bytes = (size_t)(g->properties.major >= 9 ? 64 : 32) << 20;
    g->blas = b;
}

static void drop_plan(const functions *f, plan *p)
{
    for (int i = 0; i < 3; i++)
        if (p->layout[i] != NULL)
            f->cublasLtMatrixLayoutDestroy(p->layout[i]);
    if (p->desc != NULL)
        f->cublasLtMatmulDescDestroy(p->desc);
    memset(p, 0, sizeof *p);
}

void pare_gpu_blas_close(pare_gpu *g)
{
    struct pare_gpu_blas *b = g->blas;
    if (b == NULL)
        return;
    for (unsigned i = 0; i < SETS * WAYS; i++)
        drop_plan(&b->call, &b->plans[i / WAYS][i % WAYS]);
    b->call.cublasLtDestroy(b->handle);
    free(b);
    g->blas = NULL;
}

const char *pare_gpu_blas_name(const pare_gpu *g)
{
    return g->blas != NULL ? g->blas->name : "own kernels";
}

/* ---- plans ---- */

static uint32_t alignment_of(const void *p)
{
    uint64_t address = (uint64_t)(uintptr_t)p | LARGEST_ALIGNMENT;
    return (uint32_t)(address & (~address + 1));
}

static shape shape_of(const pare_gpu_product *p, bool f32)
{
    shape s;
    memset(&s, 0, sizeof s); /* compared by memcmp */
    s.n = p->n;
    s.m = p->m;
    s.k = p->k;
    s.ldy = p->ldy;
    s.alignment[FACTOR_W] = alignment_of(p->w);
    s.alignment[FACTOR_X] = alignment_of(p->x);
    s.alignment[RESULT] = alignment_of(p->y);
    s.f32 = f32;
    return s;
}

/* The best algorithm for a plan whose descriptors are there. */
static int choose(struct pare_gpu_blas *b, plan *p)
{
    const functions *f = &b->call;
    void *preference = NULL;
    int n_found = 0, status = f->cublasLtMatmulPreferenceCreate(&preference);
    if (status != PARE_LT_SUCCESS)
        return status;
    status = f->cublasLtMatmulPreferenceSetAttribute(preference, PARE_LT_PREF_MAX_WORKSPACE_BYTES, &b->workspace_bytes,
                                                     sizeof b->workspace_bytes);
    static const int matrix[4] = {FACTOR_W, FACTOR_X, RESULT, RESULT}; /* A, B, C, D */
    for (int i = 0; i < 4 && status == PARE_LT_SUCCESS; i++)
        status = f->cublasLtMatmulPreferenceSetAttribute(preference, PARE_LT_PREF_MIN_ALIGNMENT_A_BYTES + i,
                                                         &p->of.alignment[matrix[i]], sizeof(uint32_t));
    if (status == PARE_LT_SUCCESS)
        status =
            f->cublasLtMatmulAlgoGetHeuristic(b->handle, p->desc, p->layout[FACTOR_W], p->layout[FACTOR_X],
                                              p->layout[RESULT], p->layout[RESULT], preference, 1, &p->found, &n_found);
    f->cublasLtMatmulPreferenceDestroy(preference);
    p->usable = status == PARE_LT_SUCCESS && n_found > 0 && p->found.state == PARE_LT_SUCCESS;
    return status == PARE_LT_NOT_SUPPORTED ? PARE_LT_SUCCESS : status;
}

static int make_plan(struct pare_gpu_blas *b, plan *p, const shape *s)
{
    const functions *f = &b->call;
    int type = s->f32 ? PARE_LT_R_32F : PARE_LT_R_16BF, transposed = PARE_LT_OP_T;
    p->of = *s;
    int status = f->cublasLtMatmulDescCreate(&p->desc, PARE_LT_COMPUTE_32F, PARE_LT_R_32F);
    if (status == PARE_LT_SUCCESS)
        status = f->cublasLtMatmulDescSetAttribute(p->desc, PARE_LT_DESC_TRANSA, &transposed, sizeof transposed);
    if (status == PARE_LT_SUCCESS)
        status = f->cublasLtMatrixLayoutCreate(&p->layout[FACTOR_W], type, s->k, s->m, (int64_t)s->k);
    if (status == PARE_LT_SUCCESS)
        status = f->cublasLtMatrixLayoutCreate(&p->layout[FACTOR_X], type, s->k, s->n, (int64_t)s->k);
    if (status == PARE_LT_SUCCESS)
        status = f->cublasLtMatrixLayoutCreate(&p->layout[RESULT], PARE_LT_R_32F, s->m, s->n, (int64_t)s->ldy);
    return status == PARE_LT_SUCCESS ? choose(b, p) : status;
}

static unsigned set_of(const shape *s)
{
    uint64_t words[sizeof *s / sizeof(uint64_t)], hash = 0;
    memcpy(words, s, sizeof words);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        hash = (hash ^ words[i]) * 0x9e3779b97f4a7c15u;
    return (unsigned)(hash >> 32) % SETS;
}

/* The plan for a shape, made if it is new, in the place of the oldest one of its set. NULL: *status. */
static const plan *plan_of(struct pare_gpu_blas *b, const shape *s, int *status)
{
    unsigned set = set_of(s);
    for (unsigned i = 0; i < WAYS; i++)
        if (memcmp(&b->plans[set][i].of, s, sizeof *s) == 0)
            return &b->plans[set][i];
    plan *place = &b->plans[set][b->oldest[set]];
    drop_plan(&b->call, place);
    if ((*status = make_plan(b, place, s)) != PARE_LT_SUCCESS) {
        drop_plan(&b->call, place);
        return NULL;
    }
    b->oldest[set] = (uint8_t)((b->oldest[set] + 1) % WAYS);
    return place;
}

static pare_status failed(pare_gpu *g, const pare_gpu_product *p, bool f32, int status, const char *what,
                          pare_error *err)
{
    return pare_gpu_calls->fail(err, PARE_ERR_DEVICE,
                                "device %d (%s): %s: %s of %s factors, %" PRIu32 " x %" PRIu64 " by %" PRIu64
                                " x %" PRIu64 ", rows of the result %" PRIu64 " apart: %s (status %d)",
                                g->device, g->properties.name, g->blas->name, what, f32 ? "float" : "bfloat16", p->n,
                                p->k, p->m, p->k, p->ldy, g->blas->call.cublasLtGetStatusString(status), status);
}

pare_status pare_gpu_blas_gemm(pare_gpu *g, const pare_gpu_product *p, bool f32, pare_error *err)
{
    if (p->n == 0 || p->m == 0)
        return PARE_OK;
    struct pare_gpu_blas *b = g->blas;
    shape s = shape_of(p, f32);
    int status = PARE_LT_SUCCESS;
    const plan *l = p->k > 0 && p->ldy >= p->m ? plan_of(b, &s, &status) : NULL;
    if (status != PARE_LT_SUCCESS)
        return failed(g, p, f32, status, "choosing a product", err);
    if (l == NULL || !l->usable)
        return f32 ? pare_gpu_gemm_f32_own(g, p, err) : pare_gpu_gemm_bf16_own(g, p, err);
    void *workspace = pare_gpu_scratch_of(g, PARE_GPU_BLAS, b->workspace_bytes, err);
    if (workspace == NULL)
        return PARE_ERR_MEMORY;
    const float one = 1;
    status = b->call.cublasLtMatmul(b->handle, l->desc, &one, p->w, l->layout[FACTOR_W], p->x, l->layout[FACTOR_X],
                                    &p->beta, p->y, l->layout[RESULT], p->y, l->layout[RESULT], &l->found.algorithm,
                                    workspace, b->workspace_bytes, g->stream);
    if (status != PARE_LT_SUCCESS)
        return failed(g, p, f32, status, "a product", err);
    return pare_gpu_launched(g, "product by cuBLASLt", err);
}
