/* ggml/src/ggml-alloc.c simulated: one buffer a place, of one chunk, since neither the CPU's nor CUDA's buffers have a
 * largest size. */
#include "core/checked.h"
#include "memory/compute_graph.h"
#include "memory/memory_layout.h"

#include <stdlib.h>
#include <string.h>

typedef struct free_block {
    uint64_t offset, size;
} free_block;

typedef struct pool {
    free_block *blocks; /* by offset; the last one is the end of the buffer */
    size_t n, cap;
    uint64_t most, align;
} pool;

static bool pool_open(pool *p, uint64_t align)
{
    *p = (pool){.align = align, .cap = 64, .n = 1};
    p->blocks = malloc(p->cap * sizeof *p->blocks);
    if (p->blocks != NULL)
        p->blocks[0] = (free_block){0, UINT64_MAX / 2};
    return p->blocks != NULL;
}

static void drop_block(pool *p, size_t i)
{
    memmove(&p->blocks[i], &p->blocks[i + 1], (p->n - i - 1) * sizeof *p->blocks);
    p->n--;
}

static bool insert_block(pool *p, size_t i, free_block b)
{
    if (p->n == p->cap) {
        free_block *more = realloc(p->blocks, 2 * p->cap * sizeof *more);
        if (more == NULL)
            return false;
        p->blocks = more;
        p->cap *= 2;
    }
    memmove(&p->blocks[i + 1], &p->blocks[i], (p->n - i) * sizeof *p->blocks);
    p->blocks[i] = b;
    p->n++;
    return true;
}

/* The last of the smallest blocks that hold it, else the end. */
static bool pool_take(pool *p, uint64_t size, uint64_t *offset)
{
    size_t best = p->n - 1;
    uint64_t best_size = UINT64_MAX;
    if (!pare_align_u64(size, p->align, &size))
        return false;
    for (size_t i = 0; i + 1 < p->n; i++) {
        if (p->blocks[i].size >= size && p->blocks[i].size <= best_size) {
            best = i;
            best_size = p->blocks[i].size;
        }
    }
    free_block *b = &p->blocks[best];
    if (b->size < size)
        return false;
    *offset = b->offset;
    b->offset += size;
    b->size -= size;
    if (b->size == 0)
        drop_block(p, best);
    if (*offset + size > p->most)
        p->most = *offset + size;
    return true;
}

static bool pool_give(pool *p, uint64_t offset, uint64_t size)
{
    size_t at = 0;
    size = (size + p->align - 1) & ~(p->align - 1);
    while (at < p->n && p->blocks[at].offset < offset)
        at++;
    free_block *before = at > 0 ? &p->blocks[at - 1] : NULL, *behind = at < p->n ? &p->blocks[at] : NULL;
    bool joins_before = before != NULL && before->offset + before->size == offset;
    bool joins_behind = behind != NULL && offset + size == behind->offset;
    if (joins_before) {
        before->size += size + (joins_behind ? behind->size : 0);
        if (joins_behind)
            drop_block(p, at);
    } else if (joins_behind) {
        behind->offset = offset;
        behind->size += size;
    } else {
        return insert_block(p, at, (free_block){offset, size});
    }
    return true;
}

/* ---- the graph ---- */

typedef struct reserve {
    pool pools[CG_MAX_PLACES];
    bool ok;
} reserve;

static uint32_t buffer_of(int32_t place)
{
    return place >= 0 ? (uint32_t)place + 1 : 0;
}

static bool same_layout(const cg_tensor *a, const cg_tensor *b)
{
    return a->type == b->type && memcmp(a->ne, b->ne, sizeof a->ne) == 0 && memcmp(a->nb, b->nb, sizeof a->nb) == 0;
}

/* The operation may have a parent's memory when it is the last that needs it. Not through a view: ggml-alloc.c has code
 * for that, but never marks a view as its own. */
static bool take_over(cg_tensor *t, cg_tensor *parent)
{
    if (parent->view != NULL || !parent->held || parent->output || !same_layout(t, parent) || parent->n_children != 1 ||
        parent->n_views != 0)
        return false;
    t->buffer = parent->buffer;
    t->offset = parent->offset;
    parent->held = false;
    return true;
}

static void hold(reserve *r, cg_tensor *t)
{
    if (t->stored || t->held || t->view != NULL)
        return;
    t->held = true;
    for (size_t i = 0; i < CG_SOURCES && t->in_place; i++)
        if (t->src[i] != NULL && take_over(t, t->src[i]))
            return;
    t->buffer = buffer_of(t->place);
    r->ok = pool_take(&r->pools[t->buffer], cg_alloc_bytes(t), &t->offset) && r->ok;
}

static void let_go(reserve *r, cg_tensor *t)
{
    if (t->output || !t->held)
        return;
    t->held = false;
    r->ok = pool_give(&r->pools[t->buffer], t->offset, cg_alloc_bytes(t)) && r->ok;
}

static void used(reserve *r, cg_tensor *t)
{
    t->n_children--;
    if (t->n_children > 0 || t->n_views > 0)
        return;
    if (t->view == NULL) {
        let_go(r, t);
        return;
    }
    t->view->n_views--;
    if (t->view->n_views == 0 && t->view->n_children == 0)
        let_go(r, t->view);
}

static void count_uses(reserve *r, const cg_list *nodes)
{
    for (size_t i = 0; i < nodes->n; i++) {
        cg_tensor *t = nodes->at[i];
        if (t->view != NULL && !t->leaf)
            t->view->n_views++;
        for (size_t j = 0; j < CG_SOURCES; j++) {
            if (t->src[j] == NULL)
                continue;
            t->src[j]->n_children++;
            if (t->src[j]->input)
                hold(r, t->src[j]);
        }
    }
}

static void run(reserve *r, const cg_graph *g)
{
    for (size_t i = 0; i < g->leafs.n; i++)
        hold(r, g->leafs.at[i]);
    count_uses(r, &g->nodes);
    for (size_t i = 0; i < g->nodes.n && r->ok; i++) {
        cg_tensor *t = g->nodes.at[i];
        for (size_t j = 0; j < CG_SOURCES; j++)
            if (t->src[j] != NULL)
                hold(r, t->src[j]);
        hold(r, t);
        for (size_t j = 0; j < CG_SOURCES; j++)
            if (t->src[j] != NULL)
                used(r, t->src[j]);
    }
}

pare_status cg_reserve(cg_graph *g, uint64_t out[CG_MAX_PLACES], pare_error *err)
{
    reserve r = {.ok = true};
    if (g->status == PARE_ERR_RANGE)
        return memory_overflow("compute graph", err);
    for (size_t i = 0; i < CG_MAX_PLACES && r.ok; i++)
        r.ok = pool_open(&r.pools[i], i == 0 ? MEMORY_ALIGN_HOST : MEMORY_ALIGN_DEVICE);
    bool opened = r.ok && g->status == PARE_OK;
    if (opened)
        run(&r, g);
    for (size_t i = 0; i < CG_MAX_PLACES; i++) {
        out[i] = r.pools[i].most;
        free(r.pools[i].blocks);
    }
    if (!opened)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for a graph of %zu operations", g->nodes.n);
    return r.ok ? PARE_OK : memory_overflow("compute graph", err);
}
