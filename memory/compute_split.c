/* ggml/src/ggml-backend.cpp, ggml_backend_sched_split_graph, for devices that can do everything: operations go where
 * their weights are; large ones whose weight is on the host go to the first device; what has none goes with its
 * neighbours, devices first. Then the order is cut wherever the place changes, and what a piece needs from elsewhere is
 * copied at its beginning, once for each place. */
#include "memory/compute_graph.h"
#include "memory/memory_layout.h"

#include <stdlib.h>
#include <string.h>

enum { OFFLOAD_ROWS = 32 /* GGML_OP_OFFLOAD_MIN_BATCH */, PIPELINE_COPIES = 4 /* GGML_SCHED_MAX_COPIES */ };

/* View operations are no work. */
static bool is_work(const cg_tensor *t)
{
    return t->view == NULL || t->writes;
}

static int32_t place_of(const cg_tensor *t)
{
    return t->place == CG_ANYWHERE && t->view != NULL ? t->view->place : t->place;
}

static void place_by_weight(cg_tensor *t)
{
    if (t->place != CG_ANYWHERE)
        return;
    if (t->view != NULL && t->view->stored) {
        t->place = t->view->place;
        return;
    }
    for (size_t i = 0; i < CG_SOURCES && !t->attention && !t->turns; i++) {
        const cg_tensor *w = t->src[i];
        if (w == NULL || !w->weight)
            continue;
        t->place = w->place == PARE_MEMORY_HOST && t->batch >= OFFLOAD_ROWS ? 0 : w->place;
        return;
    }
}

/* Give work without a place that of the work before it (behind it: from the end); only_devices: not the host's. */
static void spread(const cg_list *nodes, bool from_end, bool only_devices)
{
    int32_t now = CG_ANYWHERE;
    for (size_t i = 0; i < nodes->n; i++) {
        cg_tensor *t = nodes->at[from_end ? nodes->n - 1 - i : i];
        if (!is_work(t))
            continue;
        if (t->place != CG_ANYWHERE)
            now = only_devices && t->place == PARE_MEMORY_HOST ? CG_ANYWHERE : t->place;
        else if (now != CG_ANYWHERE)
            t->place = now;
    }
}

static void place_rest(cg_tensor *t)
{
    if (t->place == CG_ANYWHERE)
        t->place = t->view != NULL ? place_of(t->view) : PARE_MEMORY_HOST;
    for (size_t i = 0; i < CG_SOURCES; i++)
        if (t->src[i] != NULL && t->src[i]->place == CG_ANYWHERE)
            t->src[i]->place = t->src[i]->view != NULL ? place_of(t->src[i]->view) : t->place;
}

/* ---- pieces ---- */

typedef struct copies {
    cg_tensor *of[CG_MAX_PLACES]; /* by place + 1 */
} copies;

typedef struct splitter {
    cg_graph *g;
    cg_list out;
    cg_list inputs;   /* of the piece: what is copied, */
    cg_list arrivals; /* and the copies */
    int32_t place;
    size_t begin;
} splitter;

static bool elsewhere(const splitter *s, const cg_tensor *t)
{
    return t != NULL && place_of(t) != s->place;
}

/* Memory of weights that were copied for one piece can be had again by the next. */
static bool wants_new_piece(const splitter *s, const cg_tensor *t)
{
    if (s->inputs.n == 0)
        return false;
    for (size_t i = 0; i < CG_SOURCES; i++)
        if (elsewhere(s, t->src[i]) && t->src[i]->weight)
            return true;
    return false;
}

static cg_tensor *copy_here(splitter *s, cg_tensor *t)
{
    cg_graph *g = s->g;
    copies *all = t->copies;
    if (all == NULL && (all = t->copies = pare_arena_alloc(&g->arena, sizeof *all, NULL)) == NULL)
        return cg_no_memory(g);
    cg_tensor **copy = &all->of[s->place + 1];
    if (*copy != NULL)
        return *copy;
    for (int i = 0; i < (g->pipeline ? PIPELINE_COPIES : 1); i++) {
        cg_tensor *one = cg_copy_layout(g, t);
        one->place = s->place;
        one->leaf = true;
        one->input = one->output = g->pipeline;
        if (g->pipeline)
            (void)cg_push(g, &g->split_leafs, one);
        if (i == 0)
            *copy = one;
    }
    (void)cg_push(g, &s->inputs, t);
    (void)cg_push(g, &s->arrivals, *copy);
    return *copy;
}

/* What was found of the piece: first its inputs, each kept until here, and their copies. */
static void end_piece(splitter *s, const cg_list *nodes, size_t end)
{
    for (size_t i = 0; i < s->inputs.n; i++) {
        cg_tensor *kept = cg_copy_layout(s->g, s->inputs.at[i]);
        kept->view = s->inputs.at[i]->view != NULL ? s->inputs.at[i]->view : s->inputs.at[i];
        kept->src[0] = s->inputs.at[i];
        kept->leaf = true; /* a view without an operation */
        (void)cg_push(s->g, &s->out, kept);
        (void)cg_push(s->g, &s->out, s->arrivals.at[i]);
    }
    for (size_t i = s->begin; i < end; i++)
        (void)cg_push(s->g, &s->out, nodes->at[i]);
    s->inputs.n = s->arrivals.n = 0;
    s->begin = end;
}

static void cut(splitter *s, const cg_list *nodes)
{
    size_t first = 0;
    while (first < nodes->n && !is_work(nodes->at[first]))
        first++;
    s->place = first < nodes->n ? nodes->at[first]->place : PARE_MEMORY_HOST;
    for (size_t i = first; i < nodes->n; i++) {
        cg_tensor *t = nodes->at[i];
        if (!is_work(t))
            continue;
        if (t->place != s->place || wants_new_piece(s, t)) {
            end_piece(s, nodes, i);
            s->place = t->place;
        }
        for (size_t j = 0; j < CG_SOURCES; j++)
            if (elsewhere(s, t->src[j]))
                t->src[j] = copy_here(s, t->src[j]);
    }
    end_piece(s, nodes, nodes->n);
}

/* Pipelines have each input four times, and none is ever overwritten. */
static void multiply_inputs(cg_graph *g)
{
    for (size_t i = 0; i < g->leafs.n; i++) {
        cg_tensor *t = g->leafs.at[i];
        if (!t->input)
            continue;
        t->output = true;
        for (int c = 1; c < PIPELINE_COPIES; c++) {
            cg_tensor *one = cg_copy_layout(g, t);
            one->place = t->place;
            one->leaf = one->input = one->output = true;
            (void)cg_push(g, &g->split_leafs, one);
        }
    }
}

void cg_split(cg_graph *g)
{
    splitter s = {.g = g};
    if (g->n_devices == 0 || g->status != PARE_OK)
        return;
    for (size_t i = 0; i < g->nodes.n; i++)
        place_by_weight(g->nodes.at[i]);
    spread(&g->nodes, false, true);
    spread(&g->nodes, true, true);
    spread(&g->nodes, false, false);
    spread(&g->nodes, true, false);
    for (size_t i = 0; i < g->nodes.n; i++)
        place_rest(g->nodes.at[i]);
    cut(&s, &g->nodes);
    if (g->pipeline)
        multiply_inputs(g);
    for (size_t i = 0; i < g->leafs.n; i++)
        (void)cg_push(g, &g->split_leafs, g->leafs.at[i]);
    cg_list old_nodes = g->nodes, old_leafs = g->leafs;
    g->nodes = s.out;
    g->leafs = g->split_leafs;
    g->split_leafs = (cg_list){0};
    free(old_nodes.at);
    free(old_leafs.at);
    free(s.inputs.at);
    free(s.arrivals.at);
}
