/* memory/compute_graph.h - a graph of operations with shapes and no data, and what ggml's allocator would need for it
 *
 * Shapes, views and what an operation may overwrite follow ggml (ggml/src/ggml.c); shapes are as ggml has them, fastest
 * dimension first. cg_reserve simulates ggml/src/ggml-alloc.c: leaves first, then nodes in order, best fit among free
 * blocks and the end of the buffer last, an operation that may work in place takes over a parent that nobody else
 * needs, a tensor is freed behind its last use, outputs never.
 *
 * Internal to the room. A graph is built, reserved and closed. Errors stick: once memory or a size is out of range all
 * calls give a placeholder, and cg_reserve says what was wrong. */
#ifndef PARE_MEMORY_COMPUTE_GRAPH_H
#define PARE_MEMORY_COMPUTE_GRAPH_H

#include "core/text.h"
#include "memory/memory.h"

enum { CG_ANYWHERE = -2, CG_DIMS = 4, CG_SOURCES = 6, CG_MAX_PLACES = PARE_MEMORY_MAX_DEVICES + 1 };

typedef struct cg_tensor cg_tensor;
struct cg_tensor {
    uint64_t ne[CG_DIMS], nb[CG_DIMS]; /* elements; bytes from one to the next */
    pare_type type;
    cg_tensor *src[CG_SOURCES];
    cg_tensor *view; /* the tensor whose memory it shows, never a view itself */
    bool leaf;       /* no operation makes it */
    bool stored;     /* lies elsewhere: a weight, a cache */
    bool weight;     /* stored, and operations go where it is */
    bool writes;     /* a view that an operation makes by writing */
    bool input, output;
    bool in_place;  /* the operation may overwrite a source of the same layout */
    bool turns;     /* RoPE: its factors decide nothing, nor do the sinks of attention */
    bool attention; /* devices give it room for keys and values in F16 too */
    uint64_t batch; /* rows that decide whether a device takes the operation over from the host */
    int32_t place;  /* device, PARE_MEMORY_HOST, or CG_ANYWHERE: the scheduler says */

    void *copies; /* of the splitting */

    /* of the simulation */
    bool seen, held;
    uint32_t n_children, n_views;
    uint32_t buffer;
    uint64_t offset;
};

typedef struct cg_list {
    cg_tensor **at;
    size_t n, cap;
} cg_list;

typedef struct cg_graph {
    pare_arena arena;
    cg_list nodes, leafs; /* in order of first use */
    cg_list split_leafs;  /* of the splitting */
    int32_t place;        /* of what is stored and made now */
    uint32_t n_devices;
    bool pipeline;      /* copies of inputs, so that devices can work on several batches at once */
    pare_status status; /* sticks */
    cg_tensor nothing;  /* what calls give behind an error */
} cg_graph;

void cg_close(cg_graph *g);
cg_tensor *cg_no_memory(cg_graph *g);                       /* says so, for others */
cg_tensor *cg_copy_layout(cg_graph *g, const cg_tensor *t); /* the same shape and strides, no sources */
bool cg_push(cg_graph *g, cg_list *list, cg_tensor *t);     /* false: no memory, which sticks */

/* ---- tensors: ne counts for as many dimensions as n_dims, the others are 1 ---- */

cg_tensor *cg_stored(cg_graph *g, pare_type type, uint32_t n_dims, const uint64_t *ne);
cg_tensor *cg_input(cg_graph *g, pare_type type, uint32_t n_dims, const uint64_t *ne);

/* A new tensor that an operation makes of these sources (NULL ones are left out). */
cg_tensor *cg_make(cg_graph *g, pare_type type, const uint64_t ne[CG_DIMS], bool in_place, cg_tensor *a, cg_tensor *b,
                   cg_tensor *c);
cg_tensor *cg_like(cg_graph *g, cg_tensor *a, bool in_place, cg_tensor *b, cg_tensor *c); /* shape and type of a */
static inline cg_tensor *cg_unary(cg_graph *g, cg_tensor *a)
{
    return cg_like(g, a, true, NULL, NULL);
}
static inline cg_tensor *cg_binary(cg_graph *g, cg_tensor *a, cg_tensor *b)
{
    return cg_like(g, a, true, b, NULL);
}

/* Views. cg_window: other shape and strides of a's memory; cg_shape: contiguous. */
cg_tensor *cg_window(cg_graph *g, cg_tensor *a, const uint64_t ne[CG_DIMS], const uint64_t nb[CG_DIMS]);
cg_tensor *cg_shape(cg_graph *g, cg_tensor *a, uint64_t n0, uint64_t n1, uint64_t n2, uint64_t n3);
cg_tensor *cg_permute(cg_graph *g, cg_tensor *a, int d0, int d1, int d2, int d3); /* dimension i of a becomes d_i */
cg_tensor *cg_transpose(cg_graph *g, cg_tensor *a);
cg_tensor *cg_write(cg_graph *g, cg_tensor *into, cg_tensor *what, cg_tensor *where); /* set_rows, or a copy */

cg_tensor *cg_contiguous(cg_graph *g, cg_tensor *a); /* a copy */
cg_tensor *cg_contiguous_as(cg_graph *g, cg_tensor *a, uint64_t n0, uint64_t n1, uint64_t n2, uint64_t n3);
cg_tensor *cg_cast(cg_graph *g, cg_tensor *a, pare_type type);
cg_tensor *cg_mul_mat(cg_graph *g, cg_tensor *a, cg_tensor *b);
cg_tensor *cg_mul_mat_id(cg_graph *g, cg_tensor *experts, cg_tensor *b, cg_tensor *ids);
cg_tensor *cg_get_rows(cg_graph *g, cg_tensor *a, cg_tensor *rows);
cg_tensor *cg_concat(cg_graph *g, cg_tensor *a, cg_tensor *b, int dim);
cg_tensor *cg_repeat(cg_graph *g, cg_tensor *a, uint64_t n0, uint64_t n1, uint64_t n2, uint64_t n3);
cg_tensor *cg_sum_rows(cg_graph *g, cg_tensor *a);
cg_tensor *cg_gated(cg_graph *g, cg_tensor *gate, cg_tensor *up); /* up NULL: gate is both halves */
cg_tensor *cg_top_k(cg_graph *g, cg_tensor *a, uint64_t k);

bool cg_is_contiguous(const cg_tensor *t);
uint64_t cg_n(const cg_tensor *t); /* elements; what overflows was refused when t was made */
uint64_t cg_bytes(const cg_tensor *t);
uint64_t cg_alloc_bytes(const cg_tensor *t);              /* in a buffer at its place */
uint64_t cg_row(cg_graph *g, pare_type type, uint64_t n); /* bytes of n elements */

/* Take up t, and before it what it is made of, in the order of sources, unless they are in the graph. */
void cg_expand(cg_graph *g, cg_tensor *t);

/* With devices, before cg_reserve: decide where operations run, and copy what they need from elsewhere
 * (compute_split.c).
 */
void cg_split(cg_graph *g);

/* Bytes of the buffer of each place, host first: out[0], device i: out[1 + i]. Errors: PARE_ERR_MEMORY, PARE_ERR_RANGE.
 */
pare_status cg_reserve(cg_graph *g, uint64_t out[CG_MAX_PLACES], pare_error *err);

#endif
