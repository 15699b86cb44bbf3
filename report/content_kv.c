/* The page of `pare kv`: what each cache of keys and values costs, where it goes wrong, and which one to take. */
#include "report/content.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

/* More lines than shapes cannot be told apart; more maps nobody reads; below so many positions a tail of 99.9 % is
 * nearly the largest. */
enum { MAX_LINES = 8, MAX_MAPS = 6, TAIL = 1000 };

static const json_t *caches(const pare_content *c)
{
    return json_object_get(c->in->kv, "caches");
}

static const json_t *cache_at(const pare_content *c, size_t i)
{
    return json_array_get(caches(c), i);
}

/* In every plot and table: what no known program keeps says so. */
static const char *name_of(const pare_content *c, size_t i)
{
    const char *name = pare_content_string(cache_at(c, i), "name");
    if (name == NULL)
        return "a cache";
    return json_is_true(json_object_get(cache_at(c, i), "research")) ? pare_page_text(c->page, "%s (research)", name)
                                                                     : name;
}

static const json_t *length_at(const pare_content *c, size_t cache, size_t i)
{
    return json_array_get(json_object_get(cache_at(c, cache), "lengths"), i);
}

static double bound(const json_t *figures, size_t i)
{
    const json_t *value = json_array_get(json_object_get(figures, "kld_bootstrap"), i);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* Divergence against bytes, a series a length. */
static void add_sizes(const pare_content *c, size_t n_lengths)
{
    const size_t n_all = json_array_size(caches(c)), n = n_lengths < MAX_LINES ? n_lengths : MAX_LINES;
    pare_series *series = pare_page_alloc(c->page, (n + 1) * sizeof *series);
    for (size_t l = 0; l < n && series != NULL; l++) {
        pare_point *points = pare_page_alloc(c->page, (n_all + 1) * sizeof *points);
        series[l] = (pare_series){
            .name = pare_page_text(c->page, "%.0f tokens", pare_content_number(length_at(c, 0, l), "n_ctx")),
            .points = points};
        for (size_t i = 0; i < n_all && points != NULL; i++) {
            const json_t *f = length_at(c, i, l);
            points[series[l].n++] = (pare_point){pare_content_number(cache_at(c, i), "bytes_1024_tokens") / 1024,
                                                 pare_content_number(f, "kld_mean"), bound(f, 0), bound(f, 1),
                                                 l == 0 ? name_of(c, i) : NULL};
        }
    }
    if (series == NULL)
        return;
    const double limit = pare_content_number(c->in->kv, "limit");
    const pare_plot plot = {
        .title = "Divergence by bytes",
        .x = {.label = "bytes a token"},
        .y = {.label = "mean KL divergence, nat a token", .log = true, .has_mark = limit > 0, .mark = limit},
        .series = series,
        .n_series = n};
    pare_table *t = pare_page_plot(c->page, &plot, "Each cache beside floats; the line is the limit.",
                                   "Cache|#Length|#Bytes a token|#KL divergence|#95 % from|#95 % to");
    for (size_t l = 0; l < n; l++)
        for (size_t i = 0; i < series[l].n; i++) {
            const pare_point *p = &series[l].points[i];
            const char *cells[] = {name_of(c, i),
                                   series[l].name,
                                   pare_content_value(c, p->x),
                                   pare_content_value(c, p->y),
                                   pare_content_value(c, p->lo),
                                   pare_content_value(c, p->hi)};
            pare_page_row(c->page, t, cells);
        }
}

static void add_table(const pare_content *c, size_t l)
{
    const json_t *first = length_at(c, 0, l);
    pare_table *t =
        pare_page_table(c->page,
                        pare_page_text(c->page, "%.0f windows of %.0f tokens", pare_content_number(first, "n_chunks"),
                                       pare_content_number(first, "n_ctx")),
                        "Cache|#1,024 tokens|#KL divergence|#99.9 %|#Same top, %|#Perplexity ratio|#Heads that "
                        "break|#Context|Programs");
    for (size_t i = 0; i < json_array_size(caches(c)); i++) {
        const json_t *cache = cache_at(c, i), *f = length_at(c, i, l);
        const char *programs = pare_content_string(cache, "programs");
        const char *cells[] = {name_of(c, i),
                               pare_content_bytes(c, pare_content_number(cache, "bytes_1024_tokens")),
                               pare_content_estimate(c, f, "kld_mean", "kld_stderr", 1),
                               pare_content_value(c, pare_content_number(f, "kld_p999")),
                               pare_content_estimate(c, f, "same_top1", "same_top1_stderr", 100),
                               pare_content_estimate(c, f, "ratio", "ratio_stderr", 1),
                               pare_content_value(c, pare_content_number(json_object_get(cache, "heads"), "n_broken")),
                               pare_content_value(c, pare_content_number(cache, "largest_context")),
                               programs != NULL ? programs : "research"};
        pare_page_row(c->page, t, cells);
    }
}

/* A figure of the divergence by position in windows of one length, of the caches with the fewest bytes: where errors
 * add up, if at all. */
static void add_curve(const pare_content *c, size_t l, const char *key, const char *error_key, const char *title,
                      const char *label, const char *caption)
{
    const size_t n_all = json_array_size(caches(c)), n = n_all < MAX_LINES ? n_all : MAX_LINES;
    const double n_ctx = pare_content_number(length_at(c, 0, l), "n_ctx");
    pare_series *series = pare_page_alloc(c->page, (n + 1) * sizeof *series);
    for (size_t s = 0; s < n && series != NULL; s++) {
        const json_t *curve = json_object_get(length_at(c, n_all - n + s, l), "curve");
        pare_point *points = pare_page_alloc(c->page, (json_array_size(curve) + 1) * sizeof *points);
        series[s] = (pare_series){.name = name_of(c, n_all - n + s), .points = points, .line = true};
        for (size_t i = 0; i < json_array_size(curve) && points != NULL; i++) {
            const json_t *p = json_array_get(curve, i);
            const double y = pare_content_number(p, key), error = 1.96 * pare_content_number(p, error_key);
            points[series[s].n++] = (pare_point){pare_content_number(p, "first"), y, y - error, y + error, NULL};
        }
    }
    if (series == NULL)
        return;
    const pare_plot plot = {.title = pare_page_text(c->page, "%s, windows of %.0f tokens", title, n_ctx),
                            .x = {.label = "position in the window"},
                            .y = {.label = label, .log = true},
                            .series = series,
                            .n_series = n};
    pare_table *t = pare_page_plot(c->page, &plot, caption, "Cache|#From position|#KL divergence|#95 % from|#95 % to");
    for (size_t s = 0; s < n; s++)
        for (size_t i = 0; i < series[s].n; i++) {
            const pare_point *p = &series[s].points[i];
            const char *cells[] = {series[s].name, pare_content_value(c, p->x), pare_content_value(c, p->y),
                                   pare_content_value(c, p->lo), pare_content_value(c, p->hi)};
            pare_page_row(c->page, t, cells);
        }
}

static void add_curves(const pare_content *c, size_t l)
{
    const json_t *curve = json_object_get(length_at(c, 0, l), "curve");
    double least = INFINITY;
    for (size_t i = 0; i < json_array_size(curve); i++)
        least = fmin(least, pare_content_number(json_array_get(curve, i), "n"));
    add_curve(c, l, "kld", "kld_stderr", "Divergence by position", "mean KL divergence, nat a token",
              "Of the smallest caches; from the position where a band begins.");
    add_curve(c, l, "kld_p999", "kld_p999_stderr", "99.9 % of the divergence by position",
              "99.9 % of KL divergence, nat",
              !isfinite(least) ? "What 99.9 % of the positions of a band stay below."
              : least < TAIL
                  ? pare_page_text(c->page,
                                   "What 99.9 %% of the positions of a band stay below. Bands of %.0f positions: of "
                                   "fewer than %d this is nearly the largest.",
                                   least, TAIL)
                  : pare_page_text(c->page, "What 99.9 %% of the %.0f positions of a band stay below.", least));
}

static const json_t *errors_of(const pare_content *c, size_t i)
{
    return json_object_get(json_object_get(cache_at(c, i), "heads"), "errors");
}

/* Layers and heads of a map; the cells of its heads that break; how far the errors reach. */
static bool head_map(const pare_content *c, size_t i, pare_grid *g)
{
    const json_t *layers = errors_of(c, i), *broken = json_object_get(cache_at(c, i), "broken");
    size_t n_heads = 0;
    for (size_t l = 0; l < json_array_size(layers); l++)
        if (json_array_size(json_array_get(layers, l)) > n_heads)
            n_heads = json_array_size(json_array_get(layers, l));
    const size_t n = json_array_size(layers) * n_heads;
    double *values = pare_page_alloc(c->page, n * sizeof *values);
    bool *marked = pare_page_alloc(c->page, n * sizeof *marked);
    if (n == 0 || values == NULL || marked == NULL)
        return false;
    for (size_t k = 0; k < n; k++) {
        const json_t *value = json_array_get(json_array_get(layers, k / n_heads), k % n_heads);
        values[k] = json_is_number(value) ? json_number_value(value) : NAN;
    }
    for (size_t k = 0; k < json_array_size(broken); k++) {
        const double l = pare_content_number(json_array_get(broken, k), "layer"),
                     h = pare_content_number(json_array_get(broken, k), "head");
        if (l >= 0 && l < (double)json_array_size(layers) && h >= 0 && h < (double)n_heads)
            marked[(size_t)l * n_heads + (size_t)h] = true;
    }
    *g = (pare_grid){.title = pare_page_text(c->page, "Error of attention, %s", name_of(c, i)),
                     .x_label = "head",
                     .y_label = "Layer",
                     .unit = "error",
                     .n_rows = json_array_size(layers),
                     .n_columns = n_heads,
                     .values = values,
                     .marked = marked,
                     .mark_name = "breaks",
                     .log = true};
    return true;
}

/* The cache that is recommended, or else came closest; SIZE_MAX: neither. */
static size_t chosen_cache(const pare_content *c)
{
    const json_t *r = json_object_get(c->in->kv, "recommendation");
    const char *name = pare_content_string(r, "name");
    if (name == NULL)
        name = pare_content_string(r, "closest");
    for (size_t i = 0; i < json_array_size(caches(c)) && name != NULL; i++) {
        const char *of = pare_content_string(cache_at(c, i), "name");
        if (of != NULL && strcmp(of, name) == 0)
            return i;
    }
    return SIZE_MAX;
}

/* One scale for all maps: from the least to the largest error, four decades at most. */
static void scale_maps(pare_grid *maps, size_t n)
{
    double lo = INFINITY, hi = 0;
    for (size_t m = 0; m < n; m++)
        for (size_t i = 0; i < maps[m].n_rows * maps[m].n_columns; i++) {
            const double v = maps[m].values[i];
            hi = isfinite(v) ? fmax(hi, v) : hi;
            lo = v > 0 ? fmin(lo, v) : lo; /* false for NAN */
        }
    if (hi == 0)
        hi = 1;
    lo = fmin(fmax(lo, hi / 1e4), hi / 10);
    for (size_t m = 0; m < n; m++) {
        maps[m].lo = lo;
        maps[m].hi = hi;
    }
}

/* Errors of all heads, of the chosen cache and then of the smallest ones. */
static void add_heads(const pare_content *c)
{
    const size_t n_all = json_array_size(caches(c)), chosen = chosen_cache(c);
    pare_grid maps[MAX_MAPS];
    size_t n = 0;
    if (chosen != SIZE_MAX && head_map(c, chosen, &maps[n]))
        n++;
    for (size_t i = n_all; i > 0 && n < MAX_MAPS; i--)
        if (i - 1 != chosen && head_map(c, i - 1, &maps[n]))
            n++;
    scale_maps(maps, n);
    for (size_t m = 0; m < n; m++)
        pare_page_grid(
            c->page, &maps[m],
            n < n_all ? pare_page_text(
                            c->page,
                            "|o' - o|^2 / |o|^2, each layer by itself. Maps are of the chosen cache and the smallest "
                            "ones, %zu of %zu, in one scale.",
                            n, n_all)
                      : "|o' - o|^2 / |o|^2, each layer by itself; all maps in one scale.");
}

static void add_broken(const pare_content *c)
{
    pare_table *t = NULL;
    for (size_t i = 0; i < json_array_size(caches(c)); i++) {
        const json_t *list = json_object_get(cache_at(c, i), "broken");
        for (size_t k = 0; k < json_array_size(list); k++) {
            const char *text = pare_content_string(json_array_get(list, k), "text"),
                       *cells[] = {name_of(c, i), text != NULL ? text : ""};
            if (t == NULL)
                t = pare_page_table(c->page, "Heads that break", "Cache|Where and why");
            pare_page_row(c->page, t, cells);
        }
    }
}

/* Floats and all caches by length and depth: `key` of each cell. */
static bool needle_map(const pare_content *c, const char *key, pare_grid *g)
{
    const json_t *floats = json_object_get(c->in->kv, "needle"), *depths = json_object_get(floats, "depths");
    const json_t *lengths = json_object_get(floats, "lengths");
    const size_t n_lengths = json_array_size(lengths), n_depths = json_array_size(depths),
                 n_rows = n_lengths * (1 + json_array_size(caches(c)));
    double *values = pare_page_alloc(c->page, n_rows * n_depths * sizeof *values);
    const char **rows = pare_page_alloc(c->page, n_rows * sizeof *rows),
               **columns = pare_page_alloc(c->page, n_depths * sizeof *columns);
    if (n_rows * n_depths == 0 || values == NULL || rows == NULL || columns == NULL)
        return false;
    for (size_t r = 0; r < n_rows; r++) {
        const size_t i = r / n_lengths;
        const json_t *needle = i == 0 ? floats : json_object_get(cache_at(c, i - 1), "needle"),
                     *length = json_array_get(json_object_get(needle, "lengths"), r % n_lengths);
        rows[r] =
            pare_page_text(c->page, "%.0f, %s", pare_content_number(json_array_get(lengths, r % n_lengths), "n_ctx"),
                           i == 0 ? "floats" : name_of(c, i - 1));
        for (size_t d = 0; d < n_depths; d++) {
            const json_t *value = json_array_get(json_object_get(length, key), d);
            values[r * n_depths + d] = json_is_number(value) ? json_number_value(value) : NAN;
        }
    }
    for (size_t d = 0; d < n_depths; d++)
        columns[d] = pare_page_text(c->page, "%.0f %%", 100 * json_number_value(json_array_get(depths, d)));
    *g = (pare_grid){.x_label = "depth of the key in the text",
                     .y_label = "Tokens, cache",
                     .n_rows = n_rows,
                     .n_columns = n_depths,
                     .values = values,
                     .row_names = rows,
                     .column_names = columns};
    return true;
}

static void add_needles(const pare_content *c)
{
    const double n_keys = pare_content_number(json_object_get(c->in->kv, "needle"), "n_keys");
    pare_grid g;
    if (needle_map(c, "found", &g)) {
        g.title = "Pass keys found";
        g.unit = "keys found";
        g.hi = n_keys;
        pare_page_grid(
            c->page, &g,
            pare_page_text(c->page, "Of %.0f keys of five digits at each depth, in so many tokens.", n_keys));
    }
    if (needle_map(c, "ln_p", &g)) {
        g.title = "ln p of the pass key";
        g.unit = "ln p";
        for (size_t i = 0; i < g.n_rows * g.n_columns; i++)
            g.lo = fmin(g.lo, g.values[i]); /* the other one for NAN */
        pare_page_grid(c->page, &g, "Of a whole key, the mean over the keys: 0 is certain.");
    }
}

const char *pare_content_kv_title(const pare_content *c)
{
    const char *model = pare_content_string(c->in->kv, "model");
    return pare_page_text(c->page, "Caches of keys and values of %s",
                          model != NULL ? pare_content_base(model) : "a model");
}

void pare_content_kv(const pare_content *c)
{
    const char *text = pare_content_string(json_object_get(c->in->kv, "recommendation"), "text");
    const size_t n = json_array_size(json_object_get(cache_at(c, 0), "lengths"));
    if (text != NULL)
        pare_page_add(c->page, PARE_BLOCK_TEXT, pare_page_text(c->page, "Recommended: %s.", text));
    add_sizes(c, n);
    for (size_t l = 0; l < n; l++)
        add_curves(c, l);
    add_heads(c);
    add_needles(c);
    for (size_t l = 0; l < n; l++)
        add_table(c, l);
    add_broken(c);
}
