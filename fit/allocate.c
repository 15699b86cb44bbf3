#include "fit/allocate.h"

#include "core/checked.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TABLE_CELLS = 1 << 22, MAX_CHOICES = UINT16_MAX };

/* A choice that no other one of its item makes needless: bytes ascend and costs descend along a list of these. */
typedef struct option {
    uint64_t bytes; /* beyond those of the item's first option */
    double cost;
    size_t choice; /* in the caller's list */
} option;

typedef struct item {
    option *options;
    size_t n;
    size_t at; /* the option that is chosen */
} item;

/* A step along the lower convex hull of an item: from one option to a later one. */
typedef struct segment {
    size_t item, from, to;
    uint64_t bytes; /* more, > 0 */
    double cost;    /* less, < 0 */
} segment;

typedef struct solver {
    const pare_choices *given;
    size_t n;
    item *items;     /* [n] */
    option *options; /* of all of them */
    segment *segments;
    size_t n_segments;
    uint64_t base; /* bytes of all first options */
    uint64_t room; /* what the budget leaves beyond */
    double bound;
    bool exact;
} solver;

static int by_bytes(const void *a, const void *b)
{
    const option *x = a, *y = b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? -1 : 1;
    if (x->cost < y->cost || x->cost > y->cost)
        return x->cost < y->cost ? -1 : 1;
    return x->choice < y->choice ? -1 : 1;
}

/* Those options of a sorted list that cost less than all smaller ones. */
static size_t drop_dominated(option *o, size_t n)
{
    size_t kept = 1;
    for (size_t i = 1; i < n; i++)
        if (o[i].cost < o[kept - 1].cost)
            o[kept++] = o[i];
    return kept;
}

static pare_status read_item(solver *s, size_t i, option *o, pare_error *err)
{
    const pare_choices *given = &s->given[i];
    if (given->n == 0 || given->n > MAX_CHOICES)
        return pare_fail(err, PARE_ERR_RANGE, "item %zu has %zu choices; expected 1 to %d", i, given->n, MAX_CHOICES);
    for (size_t k = 0; k < given->n; k++) {
        if (!isfinite(given->list[k].cost))
            return pare_fail(err, PARE_ERR_NUMBER, "choice %zu of item %zu costs %g, expected a finite number", k, i,
                             given->list[k].cost);
        o[k] = (option){given->list[k].bytes, given->list[k].cost, k};
    }
    qsort(o, given->n, sizeof *o, by_bytes);
    s->items[i] = (item){.options = o, .n = drop_dominated(o, given->n)};
    const uint64_t first = o[0].bytes, most = o[s->items[i].n - 1].bytes;
    uint64_t all = 0;
    if (!pare_add_u64(s->base, first, &s->base) || !pare_add_u64(s->base, most, &all))
        return pare_fail(err, PARE_ERR_RANGE, "the bytes of %zu items are more than 2^64", i + 1);
    for (size_t k = 0; k < s->items[i].n; k++)
        o[k].bytes -= first;
    return PARE_OK;
}

static pare_status read_items(solver *s, pare_error *err)
{
    size_t n_options = 0;
    for (size_t i = 0; i < s->n; i++)
        if (!pare_add_size(n_options, s->given[i].n, &n_options))
            return pare_fail(err, PARE_ERR_RANGE, "too many choices");
    s->items = calloc(s->n + 1, sizeof *s->items);
    s->options = calloc(n_options + 1, sizeof *s->options);
    s->segments = calloc(n_options + 1, sizeof *s->segments);
    if (s->items == NULL || s->options == NULL || s->segments == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu choices", n_options);
    pare_status st = PARE_OK;
    option *o = s->options;
    for (size_t i = 0; i < s->n && st == PARE_OK; i++) {
        st = read_item(s, i, o, err);
        o += s->given[i].n;
    }
    return st;
}

/* ---- the relaxation ---- */

static double slope(const segment *s)
{
    return s->cost / (double)s->bytes;
}

static int by_slope(const void *a, const void *b)
{
    const segment *x = a, *y = b;
    const double u = slope(x), v = slope(y);
    if (u < v || u > v)
        return u < v ? -1 : 1;
    if (x->item != y->item)
        return x->item < y->item ? -1 : 1;
    return x->from < y->from ? -1 : 1;
}

/* From each corner of the hull the next one is the option of the steepest descent. */
static void add_hull(solver *s, size_t i)
{
    const item *it = &s->items[i];
    for (size_t from = 0; from + 1 < it->n;) {
        segment best = {0};
        for (size_t to = from + 1; to < it->n; to++) {
            const option *a = &it->options[from], *b = &it->options[to];
            const segment seg = {i, from, to, b->bytes - a->bytes, b->cost - a->cost};
            if (best.bytes == 0 || slope(&seg) <= slope(&best))
                best = seg;
        }
        s->segments[s->n_segments++] = best;
        from = best.to;
    }
}

/* Segments in the order of what a byte of them brings: as long as they fit they are the relaxation's solution, and the
 * part of the next one that fits gives its value. Later ones that fit make it a whole choice. */
static void relax(solver *s)
{
    uint64_t left = s->room;
    double cost = 0;
    bool whole = true;
    for (size_t i = 0; i < s->n; i++) {
        add_hull(s, i);
        cost += s->items[i].options[0].cost;
    }
    qsort(s->segments, s->n_segments, sizeof *s->segments, by_slope);
    for (size_t k = 0; k < s->n_segments; k++) {
        const segment *g = &s->segments[k];
        if (g->bytes > left) {
            cost += whole ? g->cost * ((double)left / (double)g->bytes) : 0;
            whole = false;
            continue;
        }
        if (s->items[g->item].at != g->from)
            continue;
        s->items[g->item].at = g->to;
        left -= g->bytes;
        cost += whole ? g->cost : 0;
    }
    s->bound = cost;
}

/* ---- the table ---- */

/* The best way to spend between cell and cell + 1 times the width on the items so far. */
typedef struct cell {
    double cost; /* INFINITY: there is none */
    uint64_t bytes;
} cell;

typedef struct table {
    uint64_t width; /* bytes of a cell */
    size_t n_cells;
    cell *before, *after; /* [n_cells] */
    uint16_t *option;     /* [n, n_cells] that led to the cell */
} table;

static uint64_t common_divisor(uint64_t a, uint64_t b)
{
    while (b > 0) {
        const uint64_t c = a % b;
        a = b;
        b = c;
    }
    return a;
}

static pare_status open_table(table *t, solver *s, pare_error *err)
{
    uint64_t unit = 0, most = 0;
    for (size_t i = 0; i < s->n; i++) {
        for (size_t k = 1; k < s->items[i].n; k++)
            unit = common_divisor(s->items[i].options[k].bytes, unit);
        most += s->items[i].options[s->items[i].n - 1].bytes;
    }
    if (s->room > most)
        s->room = most;
    unit = unit > 0 ? unit : 1;
    const uint64_t limit = TABLE_CELLS / (s->n > 0 ? s->n : 1) + 1;
    const uint64_t units = s->room / unit + 1, in_cell = (units + limit - 1) / limit;
    s->exact = in_cell == 1;
    t->width = unit * in_cell;
    t->n_cells = (size_t)(s->room / t->width + 1);
    t->before = malloc(t->n_cells * sizeof *t->before);
    t->after = malloc(t->n_cells * sizeof *t->after);
    t->option = malloc((s->n + 1) * t->n_cells * sizeof *t->option);
    if (t->before == NULL || t->after == NULL || t->option == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for a table of %zu cells", t->n_cells);
    return PARE_OK;
}

static void close_table(table *t)
{
    free(t->before);
    free(t->after);
    free(t->option);
}

static void clear(cell *cells, size_t n)
{
    for (size_t c = 0; c < n; c++)
        cells[c] = (cell){INFINITY, 0};
}

static bool better(double cost, uint64_t bytes, const cell *than)
{
    return cost < than->cost || (!(cost > than->cost) && bytes < than->bytes);
}

static void add_item(table *t, const solver *s, size_t i)
{
    const item *it = &s->items[i];
    uint16_t *option_of = t->option + i * t->n_cells;
    clear(t->after, t->n_cells);
    for (size_t c = 0; c < t->n_cells; c++) {
        const cell from = t->before[c];
        if (!isfinite(from.cost))
            continue;
        for (size_t k = 0; k < it->n && it->options[k].bytes <= s->room - from.bytes; k++) {
            const uint64_t bytes = from.bytes + it->options[k].bytes;
            const double cost = from.cost + it->options[k].cost;
            const size_t to = (size_t)(bytes / t->width);
            if (!better(cost, bytes, &t->after[to]))
                continue;
            t->after[to] = (cell){cost, bytes};
            option_of[to] = (uint16_t)k;
        }
    }
    cell *swap = t->before;
    t->before = t->after;
    t->after = swap;
}

/* What the table says into at [n]; its cost. A cell holds one sum of bytes, so the way back is that of the way there.
 */
static double fill_table(table *t, const solver *s, size_t *at)
{
    clear(t->before, t->n_cells);
    t->before[0] = (cell){0, 0};
    for (size_t i = 0; i < s->n; i++)
        add_item(t, s, i);
    size_t best = 0;
    for (size_t c = 1; c < t->n_cells; c++)
        if (better(t->before[c].cost, t->before[c].bytes, &t->before[best]))
            best = c;
    if (!isfinite(t->before[best].cost))
        return INFINITY;
    uint64_t bytes = t->before[best].bytes;
    for (size_t i = s->n; i-- > 0;) {
        at[i] = t->option[i * t->n_cells + (size_t)(bytes / t->width)];
        bytes -= s->items[i].options[at[i]].bytes;
    }
    return t->before[best].cost;
}

/* ---- both ---- */

static uint64_t bytes_of(const solver *s, const size_t *at)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < s->n; i++)
        bytes += s->items[i].options[at[i]].bytes;
    return bytes;
}

static double cost_of(const solver *s, const size_t *at)
{
    double cost = 0;
    for (size_t i = 0; i < s->n; i++)
        cost += s->items[i].options[at[i]].cost;
    return cost;
}

/* Spend what is left: the option that brings most, as long as one fits. */
static void spend(const solver *s, size_t *at)
{
    for (;;) {
        const uint64_t left = s->room - bytes_of(s, at);
        size_t which = s->n, to = 0;
        double most = 0;
        for (size_t i = 0; i < s->n; i++)
            for (size_t k = at[i] + 1; k < s->items[i].n; k++) {
                const option *o = s->items[i].options;
                if (o[k].bytes - o[at[i]].bytes <= left && o[at[i]].cost - o[k].cost > most) {
                    most = o[at[i]].cost - o[k].cost;
                    which = i;
                    to = k;
                }
            }
        if (which == s->n)
            return;
        at[which] = to;
    }
}

static pare_status solve(solver *s, size_t *at, pare_error *err)
{
    table t = {0};
    relax(s);
    pare_status st = open_table(&t, s, err);
    const double cost = st == PARE_OK ? fill_table(&t, s, at) : INFINITY;
    size_t *rounded = st == PARE_OK ? malloc((s->n + 1) * sizeof *rounded) : NULL;
    if (st == PARE_OK && rounded == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu items", s->n);
    if (st == PARE_OK) {
        for (size_t i = 0; i < s->n; i++)
            rounded[i] = s->items[i].at;
        if (!isfinite(cost)) /* a wide cell may have lost every way to the end */
            memcpy(at, rounded, s->n * sizeof *at);
        spend(s, at);
        spend(s, rounded);
        if (!s->exact && cost_of(s, rounded) < cost_of(s, at))
            memcpy(at, rounded, s->n * sizeof *at);
    }
    free(rounded);
    close_table(&t);
    return st;
}

pare_status pare_allocate(const pare_choices *items, size_t n, uint64_t budget, size_t *chosen, pare_allocation *out,
                          pare_error *err)
{
    solver s = {.given = items, .n = n};
    *out = (pare_allocation){0};
    pare_status st = read_items(&s, err);
    out->bytes = s.base;
    if (st == PARE_OK && s.base > budget)
        st = pare_fail(err, PARE_ERR_DIFFERENCE,
                       "the smallest choices take %" PRIu64 " bytes, more than the %" PRIu64 " there are", s.base,
                       budget);
    if (st == PARE_OK) {
        s.room = budget - s.base;
        st = solve(&s, chosen, err);
    }
    if (st == PARE_OK)
        *out = (pare_allocation){
            .bytes = s.base + bytes_of(&s, chosen), .cost = cost_of(&s, chosen), .bound = s.bound, .exact = s.exact};
    for (size_t i = 0; st == PARE_OK && i < n; i++)
        chosen[i] = s.items[i].options[chosen[i]].choice;
    free(s.items);
    free(s.options);
    free(s.segments);
    return st;
}
