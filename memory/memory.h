/* memory/memory.h - how much memory a model takes when it is run, part by part, before it exists or is loaded
 *
 * A model to run (numbers, family, tensors with the types that they will have) and how it is run go in; a list of parts
 * comes out, each with the memory that it lies in, its bytes, an interval, and what it depends on. Their sum is the
 * plan. What is known to take memory and is not in the sum is named.
 *
 *   weights    bytes of the tensors where the runtime puts them: exact
 *   cache      keys and values, or recurrent state, layer by layer as the runtime allocates them: exact
 *   output     the buffer that logits are copied to: exact
 *   compute    peak of the graph's intermediate results: the runtime's allocator simulated on the graph of the family
 *              (memory/graph.h). docs/methods/MEMORY.md says how close that comes to what the runtime reports
 *   the rest   contexts, workspaces, graphs of a driver: assumptions, with intervals and the words "not measured"
 *
 * The rules are those of llama.cpp's sources of the release that docs/methods/MEMORY.md names; nothing is read from a
 * file or asked of a driver here. Every sum is checked: PARE_ERR_RANGE where it does not fit into 64 bits. */
#ifndef PARE_MEMORY_MEMORY_H
#define PARE_MEMORY_MEMORY_H

#include "model/model.h"

enum { PARE_MEMORY_MAX_DEVICES = 16 };

/* Where something lies: the number of a device, or one of these. */
enum { PARE_MEMORY_HOST = -1, PARE_MEMORY_BY_RUNTIME = -2 /* of a tensor: as the runtime places it by default */ };

/* A tensor as it will be run. */
typedef struct pare_memory_tensor {
    const char *name; /* GGUF's */
    pare_type type;
    uint32_t n_dims;
    uint64_t dim[4]; /* slowest first, as pare_tensor.dim */
    uint64_t n_bytes;
    int32_t place; /* PARE_MEMORY_BY_RUNTIME, or an override (llama.cpp's -ot and --n-cpu-moe) */
} pare_memory_tensor;

/* A model as it will be run. Zeroed is closed. hp and arch are those of the pare_model, which must live as long. */
typedef struct pare_memory_model {
    const pare_arch *arch;
    const pare_hparams *hp;
    uint32_t n_tokens;           /* entries of the vocabulary: the length of a row of logits that a caller gets */
    uint32_t alignment;          /* of tensors in the file */
    pare_memory_tensor *tensors; /* [n_tensors], in the file's order */
    size_t n_tensors;
    pare_arena arena;
} pare_memory_model;

/* The tensors of a model as they are: of a GGUF file, of a Hub folder (as a conversion without a change of types), or
 * of one derived by a plan (pare_quantize with plan_only). Tensors without a number in GGUF count as what they are
 * stored in. Errors: PARE_ERR_UNSUPPORTED (an architecture without a description, more than 4 dimensions),
 * PARE_ERR_MEMORY. */
pare_status pare_memory_model_of(pare_memory_model *out, const pare_model *m, pare_error *err);

/* A model that there are only numbers of: the weights that the family must have, in GGUF's order of the description,
 * matrices in `type` where its block divides their rows, else in F32, as are vectors and routers. hp and arch must live
 * as long. Errors: PARE_ERR_RANGE (sizes), PARE_ERR_MEMORY. */
pare_status pare_memory_model_on_paper(pare_memory_model *out, const pare_arch *arch, const pare_hparams *hp,
                                       pare_type type, pare_error *err);

/* Another type for one tensor, as a plan's row {name, to} says; n_bytes follows. Errors: PARE_ERR_USAGE (no such
 * tensor), PARE_ERR_RANGE (rows are no multiple of the type's block). */
pare_status pare_memory_retype(pare_memory_model *m, const char *name, pare_type type, pare_error *err);

pare_memory_tensor *pare_memory_find(const pare_memory_model *m, const char *name); /* NULL: absent */

/* The layer that a tensor "blk.N..." belongs to, -1: none. */
int32_t pare_memory_layer_of(const pare_memory_tensor *t);
bool pare_memory_is_expert(const pare_memory_tensor *t); /* of the matrices that only chosen tokens go through */

void pare_memory_model_close(pare_memory_model *m);

/* How it is run. pare_memory_run_default fills in llama-server's defaults with one sequence; a 0 in the first six
 * numbers means the default too. */
typedef struct pare_memory_run {
    uint64_t n_ctx;     /* tokens of all sequences together; default: what the model was trained for */
    uint32_t n_seq;     /* sequences at once; default 1 */
    uint32_t n_batch;   /* default 2048 */
    uint32_t n_ubatch;  /* tokens a graph works on; default 512 */
    uint32_t n_outputs; /* tokens of a batch that logits are wanted of at most; default: n_batch, as all tools but
                         * the server say */
    uint32_t n_outputs_buffer; /* rows of the buffer for logits; default: n_seq, what is there before the first batch */
    bool per_sequence;         /* each sequence has n_ctx / n_seq cells of its own; else they share all (kv_unified) */
    bool swa_full;             /* layers with a window keep all tokens */
    bool no_flash_attn;
    bool no_mmap;               /* weights on the host are read into a buffer */
    bool embeddings;            /* states come out, not only logits */
    bool cache_on_host;         /* llama.cpp's --no-kv-offload */
    pare_type cache_k, cache_v; /* default F16 */

    uint32_t n_devices;
    /* llama.cpp's -ngl: the last layers, the output counting as one behind them, lie on the devices in this order; the
     * others on the host. Their sum is at most n_layer + 1. */
    uint32_t n_layers_on[PARE_MEMORY_MAX_DEVICES];
    uint64_t device_bytes[PARE_MEMORY_MAX_DEVICES]; /* what the driver says is there; for runtimes that fill a share */

    uint64_t projector_bytes, draft_bytes; /* files run beside it on the first device (no device: host); 0: none */
    uint64_t reserve; /* left free on each device, or on the host where there is none; default of commands: 1 GiB */
    double gpu_memory_utilization; /* of vLLM; 0: 0.9 */
} pare_memory_run;

void pare_memory_run_default(pare_memory_run *run);

typedef enum pare_memory_kind {
    PARE_MEMORY_WEIGHTS,
    PARE_MEMORY_CACHE,
    PARE_MEMORY_OUTPUT,
    PARE_MEMORY_COMPUTE,
    PARE_MEMORY_DRIVER, /* context, workspaces, graphs of a driver */
    PARE_MEMORY_BESIDE, /* projector, draft model */
    PARE_MEMORY_RESERVE,
    PARE_MEMORY_KINDS
} pare_memory_kind;

const char *pare_memory_kind_name(pare_memory_kind kind); /* "weights" */

typedef struct pare_memory_part {
    pare_memory_kind kind;
    int32_t place;             /* device, or PARE_MEMORY_HOST */
    bool assumed;              /* stands on an assumption, not on the runtime's rules: low and high say how wide */
    char name[64];             /* "KV cache (window)" */
    char depends[160];         /* "26 layers, 8192 cells, K f16, V f16" */
    uint64_t bytes, low, high; /* low <= bytes <= high; equal where it is exact */
} pare_memory_part;

typedef struct pare_memory_sum {
    uint64_t bytes, low, high;
} pare_memory_sum;

enum { PARE_MEMORY_MAX_PARTS = 160, PARE_MEMORY_MAX_MISSING = 12 };

/* A plan owns nothing: no close. */
typedef struct pare_memory_plan {
    pare_memory_part parts[PARE_MEMORY_MAX_PARTS];
    size_t n_parts;
    const char *missing[PARE_MEMORY_MAX_MISSING]; /* what takes memory and was not counted; text that lives forever */
    size_t n_missing;
    pare_memory_sum host, device[PARE_MEMORY_MAX_DEVICES];

    /* What the runtime makes of the request. */
    uint64_t n_ctx;     /* cells of all sequences together, after rounding */
    uint64_t n_ctx_seq; /* tokens that one sequence may have */
    uint32_t n_batch, n_ubatch;
} pare_memory_plan;

/* Bytes of one kind in one place; 0 where the plan has none. */
uint64_t pare_memory_of_kind(const pare_memory_plan *plan, pare_memory_kind kind, int32_t place);

/* A runtime: how one program lays a model out. */
typedef struct pare_memory_runtime {
    const char *name;
    const char *what; /* one line */
    /* Errors: PARE_ERR_USAGE (options that contradict each other or that the runtime refuses: the message says which),
     * PARE_ERR_UNSUPPORTED (what it cannot run), PARE_ERR_RANGE (a sum overflows), PARE_ERR_MEMORY. */
    pare_status (*plan)(pare_memory_plan *out, const pare_memory_model *m, const pare_memory_run *run, pare_error *err);
} pare_memory_runtime;

const pare_memory_runtime *pare_memory_runtime_at(size_t i); /* the first is llama.cpp; NULL behind the last */
const pare_memory_runtime *pare_memory_runtime_find(const char *name); /* NULL: unknown */

/* Bytes that the cache grows by with a token of one sequence, far from the start: layers with a window and recurrent
 * ones add nothing. The figure of guides, 2 x layers x heads x head size x bytes, is this times 1024 for 1K tokens.
 * Errors: PARE_ERR_USAGE (a row is no multiple of the type's block), PARE_ERR_RANGE. */
pare_status pare_memory_cache_per_token(const pare_memory_model *m, pare_type cache_k, pare_type cache_v, uint64_t *out,
                                        pare_error *err);

/* Tokens of n that layers with a window keep of one sequence in llama.cpp, its micro-batches being the usual ones of 512
 * tokens: n where its graph of the family has no windows. For n in steps of 256, which it rounds contexts to, what plans
 * have. Of m only arch and hp are asked. */
uint64_t pare_memory_window_tokens(const pare_memory_model *m, uint64_t n);

/* Bytes of weights that a token reads when it is generated: all but the embedding's other rows and the experts that it
 * does not go through. */
pare_status pare_memory_read_per_token(const pare_memory_model *m, uint64_t *out, pare_error *err);

/* Bytes of the cache that a token reads at a depth of so many tokens before it, windows taken into account. */
pare_status pare_memory_cache_read(const pare_memory_model *m, pare_type cache_k, pare_type cache_v, uint64_t depth,
                                   uint64_t *out, pare_error *err);

#endif
