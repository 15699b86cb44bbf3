#include "memory/compute_graph.h"

#include "core/checked.h"
#include "memory/memory_layout.h"

#include <stdlib.h>
#include <string.h>

void cg_close(cg_graph *g)
{
    pare_arena_close(&g->arena);
    free(g->nodes.at);
    free(g->leafs.at);
    free(g->split_leafs.at);
    *g = (cg_graph){0};
}

static cg_tensor *fail(cg_graph *g, pare_status status)
{
    if (g->status == PARE_OK)
        g->status = status;
    g->nothing =
        (cg_tensor){.ne = {1, 1, 1, 1}, .nb = {4, 4, 4, 4}, .type = PARE_TYPE_F32, .leaf = true, .stored = true};
    return &g->nothing;
}

cg_tensor *cg_no_memory(cg_graph *g)
{
    return fail(g, PARE_ERR_MEMORY);
}

uint64_t cg_row(cg_graph *g, pare_type type, uint64_t n)
{
    uint64_t bytes;
    if (pare_row_bytes(type, n, &bytes))
        return bytes;
    (void)fail(g, PARE_ERR_RANGE);
    return 0;
}

bool cg_push(cg_graph *g, cg_list *list, cg_tensor *t)
{
    if (list->n == list->cap) {
        size_t cap = list->cap > 0 ? 2 * list->cap : 1024;
        cg_tensor **at = realloc(list->at, cap * sizeof *at);
        if (at == NULL) {
            (void)fail(g, PARE_ERR_MEMORY);
            return false;
        }
        list->at = at;
        list->cap = cap;
    }
    list->at[list->n++] = t;
    return true;
}

/* ---- tensors ---- */

static cg_tensor *new_tensor(cg_graph *g, pare_type type, const uint64_t ne[CG_DIMS])
{
    cg_tensor *t = g->status == PARE_OK ? pare_arena_alloc(&g->arena, sizeof *t, NULL) : NULL;
    uint64_t bytes;
    if (t == NULL)
        return fail(g, PARE_ERR_MEMORY);
    if (!pare_row_bytes(type, ne[0], &bytes))
        return fail(g, PARE_ERR_RANGE);
    memcpy(t->ne, ne, sizeof t->ne);
    t->type = type;
    t->place = CG_ANYWHERE;
    t->batch = ne[1] * ne[2] * ne[3];
    t->nb[0] = pare_type_get(type)->block_bytes;
    for (int i = 1; i < CG_DIMS; i++) {
        t->nb[i] = bytes;
        if (!pare_mul_u64(bytes, ne[i], &bytes))
            return fail(g, PARE_ERR_RANGE);
    }
    return t;
}

static void fill_dims(uint64_t out[CG_DIMS], uint32_t n_dims, const uint64_t *ne)
{
    for (uint32_t i = 0; i < CG_DIMS; i++)
        out[i] = i < n_dims ? ne[i] : 1;
}

cg_tensor *cg_stored(cg_graph *g, pare_type type, uint32_t n_dims, const uint64_t *ne)
{
    uint64_t dims[CG_DIMS];
    fill_dims(dims, n_dims, ne);
    cg_tensor *t = new_tensor(g, type, dims);
    t->leaf = t->stored = true;
    t->place = g->place;
    return t;
}

cg_tensor *cg_input(cg_graph *g, pare_type type, uint32_t n_dims, const uint64_t *ne)
{
    uint64_t dims[CG_DIMS];
    fill_dims(dims, n_dims, ne);
    cg_tensor *t = new_tensor(g, type, dims);
    t->leaf = t->input = true;
    t->place = PARE_MEMORY_HOST;
    return t;
}

cg_tensor *cg_make(cg_graph *g, pare_type type, const uint64_t ne[CG_DIMS], bool in_place, cg_tensor *a, cg_tensor *b,
                   cg_tensor *c)
{
    cg_tensor *t = new_tensor(g, type, ne), *all[] = {a, b, c};
    size_t n = 0;
    t->in_place = in_place;
    for (size_t i = 0; i < 3; i++)
        if (all[i] != NULL)
            t->src[n++] = all[i];
    return t;
}

cg_tensor *cg_like(cg_graph *g, cg_tensor *a, bool in_place, cg_tensor *b, cg_tensor *c)
{
    return cg_make(g, a->type, a->ne, in_place, a, b, c);
}

/* ---- views ---- */

/* Rows of a view need be no multiple of a block, as the size of heads of a cache. */
cg_tensor *cg_window(cg_graph *g, cg_tensor *a, const uint64_t ne[CG_DIMS], const uint64_t nb[CG_DIMS])
{
    cg_tensor *t = new_tensor(g, PARE_TYPE_I8, ne);
    memcpy(t->nb, nb, sizeof t->nb);
    t->type = a->type;
    t->view = a->view != NULL ? a->view : a;
    t->src[0] = a;
    return t;
}

cg_tensor *cg_shape(cg_graph *g, cg_tensor *a, uint64_t n0, uint64_t n1, uint64_t n2, uint64_t n3)
{
    cg_tensor *t = new_tensor(g, a->type, (const uint64_t[]){n0, n1, n2, n3});
    t->view = a->view != NULL ? a->view : a;
    t->src[0] = a;
    return t;
}

cg_tensor *cg_permute(cg_graph *g, cg_tensor *a, int d0, int d1, int d2, int d3)
{
    const int to[CG_DIMS] = {d0, d1, d2, d3};
    uint64_t ne[CG_DIMS], nb[CG_DIMS];
    for (int i = 0; i < CG_DIMS; i++) {
        ne[to[i]] = a->ne[i];
        nb[to[i]] = a->nb[i];
    }
    return cg_window(g, a, ne, nb);
}

cg_tensor *cg_transpose(cg_graph *g, cg_tensor *a)
{
    return cg_permute(g, a, 1, 0, 2, 3);
}

cg_tensor *cg_write(cg_graph *g, cg_tensor *into, cg_tensor *what, cg_tensor *where)
{
    cg_tensor *t = cg_window(g, into, into->ne, into->nb);
    t->src[0] = what;
    t->src[1] = where != NULL ? where : into;
    t->src[2] = where != NULL ? into : NULL;
    t->writes = true;
    return t;
}

/* ---- operations ---- */

cg_tensor *cg_contiguous(cg_graph *g, cg_tensor *a)
{
    return cg_like(g, a, false, NULL, NULL);
}

cg_tensor *cg_contiguous_as(cg_graph *g, cg_tensor *a, uint64_t n0, uint64_t n1, uint64_t n2, uint64_t n3)
{
    return cg_make(g, a->type, (const uint64_t[]){n0, n1, n2, n3}, false, a, NULL, NULL);
}

cg_tensor *cg_cast(cg_graph *g, cg_tensor *a, pare_type type)
{
    cg_tensor *t = cg_make(g, type, a->ne, false, a, NULL, NULL);
    t->src[1] = t; /* as ggml_cast has it */
    return t;
}

cg_tensor *cg_mul_mat(cg_graph *g, cg_tensor *a, cg_tensor *b)
{
    cg_tensor *t =
        cg_make(g, PARE_TYPE_F32, (const uint64_t[]){a->ne[1], b->ne[1], b->ne[2], b->ne[3]}, false, a, b, NULL);
    t->batch = t->ne[1];
    return t;
}

cg_tensor *cg_mul_mat_id(cg_graph *g, cg_tensor *experts, cg_tensor *b, cg_tensor *ids)
{
    cg_tensor *t =
        cg_make(g, PARE_TYPE_F32, (const uint64_t[]){experts->ne[1], ids->ne[0], b->ne[2], 1}, false, experts, b, ids);
    t->batch = t->ne[2];
    return t;
}

cg_tensor *cg_get_rows(cg_graph *g, cg_tensor *a, cg_tensor *rows)
{
    pare_type type = a->type == PARE_TYPE_I32 ? PARE_TYPE_I32 : PARE_TYPE_F32;
    cg_tensor *t =
        cg_make(g, type, (const uint64_t[]){a->ne[0], rows->ne[0], rows->ne[1], rows->ne[2]}, false, a, rows, NULL);
    t->batch = 0; /* stays with its table */
    return t;
}

cg_tensor *cg_concat(cg_graph *g, cg_tensor *a, cg_tensor *b, int dim)
{
    uint64_t ne[CG_DIMS];
    memcpy(ne, a->ne, sizeof ne);
    ne[dim] += b->ne[dim];
    return cg_make(g, a->type, ne, false, a, b, NULL);
}

cg_tensor *cg_repeat(cg_graph *g, cg_tensor *a, uint64_t n0, uint64_t n1, uint64_t n2, uint64_t n3)
{
    return cg_make(g, a->type, (const uint64_t[]){n0, n1, n2, n3}, false, a, NULL, NULL);
}

cg_tensor *cg_sum_rows(cg_graph *g, cg_tensor *a)
{
    return cg_make(g, a->type, (const uint64_t[]){1, a->ne[1], a->ne[2], a->ne[3]}, false, a, NULL, NULL);
}

cg_tensor *cg_gated(cg_graph *g, cg_tensor *gate, cg_tensor *up)
{
    uint64_t n0 = up != NULL ? gate->ne[0] : gate->ne[0] / 2;
    return cg_make(g, gate->type, (const uint64_t[]){n0, gate->ne[1], gate->ne[2], gate->ne[3]}, false, gate, up, NULL);
}

cg_tensor *cg_top_k(cg_graph *g, cg_tensor *a, uint64_t k)
{
    cg_tensor *order = cg_make(g, PARE_TYPE_I32, a->ne, false, a, NULL, NULL);
    return cg_window(g, order, (const uint64_t[]){k, order->ne[1], order->ne[2], order->ne[3]}, order->nb);
}

/* ---- properties ---- */

bool cg_is_contiguous(const cg_tensor *t)
{
    const pare_type_info *type = pare_type_get(t->type);
    uint64_t next = type->block_bytes;
    if (t->ne[0] != type->block_len && t->nb[0] != next)
        return false;
    next *= t->ne[0] / type->block_len;
    for (int i = 1; i < CG_DIMS; i++) {
        if (t->ne[i] == 1)
            continue;
        if (t->nb[i] != next)
            return false;
        next *= t->ne[i];
    }
    return true;
}

uint64_t cg_n(const cg_tensor *t)
{
    return t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];
}

uint64_t cg_bytes(const cg_tensor *t)
{
    const pare_type_info *type = pare_type_get(t->type);
    uint64_t bytes = type->block_len == 1 ? type->block_bytes : t->ne[0] / type->block_len * t->nb[0];
    for (int i = type->block_len == 1 ? 0 : 1; i < CG_DIMS; i++) {
        if (t->ne[i] == 0)
            return 0;
        bytes += (t->ne[i] - 1) * t->nb[i];
    }
    return bytes;
}

cg_tensor *cg_copy_layout(cg_graph *g, const cg_tensor *t)
{
    cg_tensor *copy = g->status == PARE_OK ? pare_arena_alloc(&g->arena, sizeof *copy, NULL) : NULL;
    if (copy == NULL)
        return fail(g, PARE_ERR_MEMORY);
    memcpy(copy->ne, t->ne, sizeof copy->ne);
    memcpy(copy->nb, t->nb, sizeof copy->nb);
    copy->type = t->type;
    copy->place = CG_ANYWHERE;
    return copy;
}

/* Keys or values as devices turn them before they attend. */
static uint64_t half_bytes(const cg_tensor *t)
{
    return t->type == PARE_TYPE_F16 ? 0 : 2 * cg_n(t);
}

/* ggml-cuda.cu, ggml_backend_cuda_buffer_type_get_alloc_size. */
uint64_t cg_alloc_bytes(const cg_tensor *t)
{
    const pare_type_info *type = pare_type_get(t->type);
    uint64_t bytes = cg_bytes(t), align = MEMORY_ALIGN_DEVICE - 1;
    if (t->place < 0)
        return bytes;
    if (t->attention) {
        const cg_tensor *k = t->src[1], *v = t->src[2];
        bool same = v->view != NULL && v->view == k->view;
        if (half_bytes(k) > 0)
            bytes = ((bytes + align) & ~align) + half_bytes(k);
        if (half_bytes(v) > 0 && !same)
            bytes = ((bytes + align) & ~align) + half_bytes(v);
    }
    if (type->block_len > 1 && t->ne[0] % MEMORY_DEVICE_ROW != 0)
        bytes += (MEMORY_DEVICE_ROW - t->ne[0] % MEMORY_DEVICE_ROW) * type->block_bytes / type->block_len;
    return bytes;
}

/* ---- order ---- */

/* As deep as a graph is between two calls: a layer. */
void cg_expand(cg_graph *g, cg_tensor *t)
{
    if (t->seen || g->status != PARE_OK)
        return;
    t->seen = true;
    for (size_t i = 0; i < CG_SOURCES; i++)
        if (t->src[i] != NULL)
            cg_expand(g, t->src[i]);
    (void)cg_push(g, t->leaf ? &g->leafs : &g->nodes, t);
}
