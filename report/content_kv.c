/* The page of `pare kv`: what each cache of keys and values costs, where it goes wrong, and which one to take. */
#include "report/content.h"

#include <math.h>

/* More lines than shapes cannot be told apart. */
enum { MAX_LINES = 8 };

static const json_t *caches(const pare_content *c)
{
    return json_object_get(c->in->kv, "caches");
}

static const json_t *cache_at(const pare_content *c, size_t i)
{
    return json_array_get(caches(c), i);
}

static const char *name_of(const pare_content *c, size_t i)
{
    const char *name = pare_content_string(cache_at(c, i), "name");
    return name != NULL ? name : "a cache";
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

/* Divergence by position in the longest windows, of the caches with the fewest bytes: where errors add up, if at all.
 */
static void add_curves(const pare_content *c, size_t l)
{
    const size_t n_all = json_array_size(caches(c)), n = n_all < MAX_LINES ? n_all : MAX_LINES;
    pare_series *series = pare_page_alloc(c->page, (n + 1) * sizeof *series);
    for (size_t s = 0; s < n && series != NULL; s++) {
        const json_t *curve = json_object_get(length_at(c, n_all - n + s, l), "curve");
        pare_point *points = pare_page_alloc(c->page, (json_array_size(curve) + 1) * sizeof *points);
        series[s] = (pare_series){.name = name_of(c, n_all - n + s), .points = points, .line = true};
        for (size_t i = 0; i < json_array_size(curve) && points != NULL; i++) {
            const json_t *p = json_array_get(curve, i);
            const double kld = pare_content_number(p, "kld"), error = 1.96 * pare_content_number(p, "kld_stderr");
            points[series[s].n++] = (pare_point){pare_content_number(p, "first"), kld, kld - error, kld + error, NULL};
        }
    }
    if (series == NULL)
        return;
    const pare_plot plot = {.title = "Divergence by position",
                            .x = {.label = "position in the window"},
                            .y = {.label = "mean KL divergence, nat a token", .log = true},
                            .series = series,
                            .n_series = n};
    pare_table *t = pare_page_plot(c->page, &plot, "In the longest windows, of the smallest caches.",
                                   "Cache|#From position|#KL divergence|#95 % from|#95 % to");
    for (size_t s = 0; s < n; s++)
        for (size_t i = 0; i < series[s].n; i++) {
            const pare_point *p = &series[s].points[i];
            const char *cells[] = {series[s].name, pare_content_value(c, p->x), pare_content_value(c, p->y),
                                   pare_content_value(c, p->lo), pare_content_value(c, p->hi)};
            pare_page_row(c->page, t, cells);
        }
}

/* The head with the largest error of each layer, of the smallest caches. */
static void add_heads(const pare_content *c)
{
    const size_t n_all = json_array_size(caches(c)), n = n_all < MAX_LINES ? n_all : MAX_LINES;
    pare_series *series = pare_page_alloc(c->page, (n + 1) * sizeof *series);
    for (size_t s = 0; s < n && series != NULL; s++) {
        const json_t *layers = json_object_get(json_object_get(cache_at(c, n_all - n + s), "heads"), "errors");
        pare_point *points = pare_page_alloc(c->page, (json_array_size(layers) + 1) * sizeof *points);
        series[s] = (pare_series){.name = name_of(c, n_all - n + s), .points = points, .line = true};
        for (size_t l = 0; l < json_array_size(layers) && points != NULL; l++) {
            const json_t *row = json_array_get(layers, l);
            double most = NAN;
            size_t at = 0;
            for (size_t h = 0; h < json_array_size(row); h++)
                if (json_is_number(json_array_get(row, h)) && !(json_number_value(json_array_get(row, h)) <= most)) {
                    most = json_number_value(json_array_get(row, h));
                    at = h;
                }
            if (isfinite(most))
                points[series[s].n++] = (pare_point){(double)l, most, NAN, NAN, pare_page_text(c->page, "%zu", at)};
        }
    }
    if (series == NULL)
        return;
    const pare_plot plot = {.title = "Error of attention by layer",
                            .x = {.label = "layer", .whole = true},
                            .y = {.label = "largest error of a head, |o' - o|^2 / |o|^2", .log = true},
                            .series = series,
                            .n_series = n};
    pare_table *t = pare_page_plot(c->page, &plot, "The worst head of each layer, of the smallest caches.",
                                   "Cache|#Layer|#Worst head|#Error");
    for (size_t s = 0; s < n; s++)
        for (size_t i = 0; i < series[s].n; i++) {
            const pare_point *p = &series[s].points[i];
            const char *cells[] = {series[s].name, pare_content_value(c, p->x), p->label, pare_content_value(c, p->y)};
            pare_page_row(c->page, t, cells);
        }
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

static double found_at(const json_t *needle, size_t i)
{
    const json_t *n = json_array_get(json_object_get(needle, "found"), i);
    return json_is_number(n) ? json_number_value(n) : NAN;
}

/* Floats, then the smallest caches: keys found by depth. */
static void add_needles(const pare_content *c)
{
    const json_t *floats = json_object_get(c->in->kv, "needle"), *depths = json_object_get(floats, "depths");
    const double n_keys = pare_content_number(floats, "n_keys");
    const size_t n_all = json_array_size(caches(c)), n = n_all + 1 < MAX_LINES ? n_all + 1 : MAX_LINES;
    pare_series *series = pare_page_alloc(c->page, (n + 1) * sizeof *series);
    if (json_array_size(depths) == 0 || series == NULL)
        return;
    for (size_t s = 0; s < n; s++) {
        const size_t i = n_all - n + s; /* behind the floats */
        const json_t *needle = s == 0 ? floats : json_object_get(cache_at(c, i), "needle");
        pare_point *points = pare_page_alloc(c->page, json_array_size(depths) * sizeof *points);
        series[s] = (pare_series){.name = s == 0 ? "floats" : name_of(c, i), .points = points, .line = true};
        for (size_t d = 0; d < json_array_size(depths) && points != NULL; d++)
            points[series[s].n++] = (pare_point){100 * json_number_value(json_array_get(depths, d)),
                                                 100 * found_at(needle, d) / n_keys, NAN, NAN, NULL};
    }
    const pare_plot plot = {.title = "Pass keys found",
                            .x = {.label = "depth of the key in the text, %", .from_zero = true},
                            .y = {.label = "keys found, %", .from_zero = true},
                            .series = series,
                            .n_series = n};
    pare_table *t = pare_page_plot(c->page, &plot,
                                   pare_page_text(c->page, "%.0f keys of five digits at each depth, in %.0f tokens.",
                                                  n_keys, pare_content_number(floats, "n_ctx")),
                                   "Cache|#0 %|#10 %|#20 %|#30 %|#40 %|#50 %|#60 %|#70 %|#80 %|#90 %|#100 %");
    for (size_t i = 0; i <= n_all; i++) {
        enum { DEPTHS = 11 };
        const json_t *needle = i == 0 ? floats : json_object_get(cache_at(c, i - 1), "needle");
        const char *cells[DEPTHS + 1] = {i == 0 ? "floats" : name_of(c, i - 1)};
        for (size_t d = 0; d < DEPTHS; d++)
            cells[d + 1] = pare_content_value(c, found_at(needle, d));
        pare_page_row(c->page, t, cells);
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
    if (n > 0)
        add_curves(c, n - 1);
    add_heads(c);
    add_needles(c);
    for (size_t l = 0; l < n; l++)
        add_table(c, l);
    add_broken(c);
}
