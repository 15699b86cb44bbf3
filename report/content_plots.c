#include "report/content.h"

#include <math.h>
#include <string.h>

/* More lines than shapes cannot be told apart. */
enum { MAX_LINES = 8 };

static double bound(const json_t *figures, const char *key, size_t i)
{
    const json_t *value = json_array_get(json_object_get(figures, key), i);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* Entries that can be lines of one plot. */
static size_t n_lines(const pare_content *c)
{
    return c->n < MAX_LINES ? c->n : MAX_LINES;
}

/* One point a model: its size and a figure. */
static void add_sizes(const pare_content *c, pare_plot plot, const char *key, const char *interval_key, double power,
                      const char *caption)
{
    double unit = 1 << 20, largest = 0;
    const char *unit_name = "MiB";
    pare_point *points = pare_page_alloc(c->page, c->n * sizeof *points);
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++)
        largest = fmax(largest, isfinite(c->entries[i].bytes) ? c->entries[i].bytes : 0);
    if (largest > 4e9) {
        unit = 1 << 30;
        unit_name = "GiB";
    }
    for (size_t i = 0; i < c->n && points != NULL; i++) {
        const pare_entry *e = &c->entries[i];
        double lo = bound(e->figures, interval_key, 0), hi = bound(e->figures, interval_key, 1);
        double y = pare_content_number(e->figures, key);
        if (!isfinite(e->bytes) || !isfinite(y))
            continue;
        points[n++] = (pare_point){e->bytes / unit, y, power != 0 ? exp(lo) : lo, power != 0 ? exp(hi) : hi, e->key};
    }
    if (n < 2)
        return;
    pare_series *series = pare_page_alloc(c->page, sizeof *series);
    if (series == NULL)
        return;
    *series = (pare_series){"models", points, n, false};
    plot.series = series;
    plot.n_series = 1;
    plot.x = (pare_axis){.label = pare_page_text(c->page, "size of the files, %s", unit_name)};
    pare_table *t = pare_page_plot(c->page, &plot, caption, "Key|#Size|#Value|#95 % from|#95 % to");
    for (size_t i = 0; i < n; i++) {
        const char *cells[] = {points[i].label, pare_page_text(c->page, "%.4g %s", points[i].x, unit_name),
                               pare_content_value(c, points[i].y), pare_content_value(c, points[i].lo),
                               pare_content_value(c, points[i].hi)};
        pare_page_row(c->page, t, cells);
    }
}

/* The figures that a curve or quantiles come from: the first text's, as means over texts have none. */
static const json_t *first_figures(const pare_entry *e)
{
    const json_t *text = json_array_get(json_object_get(e->record != NULL ? e->record : e->compared, "texts"), 0);
    return e->record != NULL ? json_object_get(text, "figures") : text;
}

static bool has_one_text(const pare_content *c)
{
    for (size_t i = 0; i < c->n; i++) {
        const pare_entry *e = &c->entries[i];
        if (json_array_size(json_object_get(e->record != NULL ? e->record : e->compared, "texts")) > 1)
            return false;
    }
    return true;
}

/* Points of a curve: the middle of the positions, KL divergence, one and a nearly two standard errors around it. */
static size_t curve_points(const pare_content *c, const json_t *curve, pare_point **out)
{
    size_t n = 0;
    pare_point *points = *out = pare_page_alloc(c->page, json_array_size(curve) * sizeof *points);
    for (size_t i = 0; i < json_array_size(curve) && points != NULL; i++) {
        const json_t *p = json_array_get(curve, i);
        double y = pare_content_number(p, "kld"), error = 1.96 * pare_content_number(p, "kld_stderr");
        double x = (pare_content_number(p, "first") + pare_content_number(p, "end") - 1) / 2;
        if (isfinite(y) && isfinite(x))
            points[n++] = (pare_point){x, y, y - error, y + error, NULL};
    }
    return n;
}

/* The largest value over the smallest one above 0. */
static double spread(const pare_series *series, size_t n)
{
    double least = INFINITY, most = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < series[i].n; k++) {
            double y = series[i].points[k].y;
            most = fmax(most, y);
            least = y > 0 ? fmin(least, y) : least;
        }
    return most > 0 ? most / least : 1;
}

static void add_curve(const pare_content *c)
{
    pare_series *series = pare_page_alloc(c->page, c->n * sizeof *series);
    size_t n = 0;
    for (size_t i = 0; i < n_lines(c) && series != NULL; i++) {
        pare_point *points;
        size_t n_points = curve_points(c, json_object_get(first_figures(&c->entries[i]), "curve"), &points);
        if (n_points > 1)
            series[n++] = (pare_series){pare_page_text(c->page, "%s %s", c->entries[i].key, c->entries[i].name), points,
                                        n_points, true};
    }
    const bool log = spread(series, n) > 20;
    const pare_plot plot = {.title = "KL divergence by position in the window",
                            .x = {.label = "position in the window, tokens"},
                            .y = {.label = "mean KL divergence, nat", .log = log, .from_zero = !log},
                            .series = series,
                            .n_series = n};
    pare_table *t =
        n == 0 ? NULL
               : pare_page_plot(c->page, &plot,
                                has_one_text(c) ? "Does the model drift away from the reference as the context grows? "
                                                  "Bars: 95 %."
                                                : "Does the model drift away from the reference as the context grows? "
                                                  "First text; bars: 95 %.",
                                "Model|#Position|#KL divergence|#95 % from|#95 % to");
    for (size_t i = 0; i < n && t != NULL; i++)
        for (size_t k = 0; k < series[i].n; k++) {
            const pare_point *p = &series[i].points[k];
            const char *cells[] = {series[i].name, pare_content_value(c, p->x), pare_content_value(c, p->y),
                                   pare_content_value(c, p->lo), pare_content_value(c, p->hi)};
            pare_page_row(c->page, t, cells);
        }
}

/* The upper quantiles: where the worst tokens are. */
static void add_quantiles(const pare_content *c)
{
    static const char *const keys[] = {"kld_median", "kld_p75", "kld_p90", "kld_p95", "kld_p99", "kld_p999", "kld_max"};
    static const char *const names[] = {"50 %", "75 %", "90 %", "95 %", "99 %", "99.9 %", "all"};
    static const double fractions[] = {0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1};
    enum { N = sizeof keys / sizeof keys[0] };
    pare_series *series = pare_page_alloc(c->page, c->n * sizeof *series);
    size_t n = 0;
    for (size_t i = 0; i < n_lines(c) && series != NULL; i++) {
        const json_t *list = json_object_get(first_figures(&c->entries[i]), "kld_quantiles");
        pare_point *points = pare_page_alloc(c->page, N * sizeof *points);
        size_t n_points = 0;
        for (size_t q = 0; q < json_array_size(list) && points != NULL; q++) {
            const json_t *row = json_array_get(list, q);
            double value = pare_content_number(row, "value"), error = pare_content_number(row, "stderr");
            for (size_t k = 0; k < N; k++)
                if (isfinite(value) && n_points < N && pare_content_number(row, "fraction") == fractions[k])
                    points[n_points++] =
                        (pare_point){(double)k, value, value - 1.96 * error, value + 1.96 * error, NULL};
        }
        if (n_points > 1)
            series[n++] = (pare_series){pare_page_text(c->page, "%s %s", c->entries[i].key, c->entries[i].name), points,
                                        n_points, true};
    }
    const pare_plot plot = {.title = "How far the tail of the divergence reaches",
                            .x = {.label = "share of positions below", .names = names, .n_names = N},
                            .y = {.label = "KL divergence, nat", .log = true},
                            .series = series,
                            .n_series = n};
    pare_table *t = n == 0 ? NULL
                           : pare_page_plot(c->page, &plot,
                                            "A small mean can hide a long tail. The value below which a share of all "
                                            "positions lies; bars: 95 %.",
                                            "Model|#Share|#KL divergence|#95 % from|#95 % to");
    for (size_t i = 0; i < n && t != NULL; i++)
        for (size_t k = 0; k < series[i].n; k++) {
            const pare_point *p = &series[i].points[k];
            const char *cells[] = {series[i].name, names[(size_t)p->x], pare_content_value(c, p->y),
                                   pare_content_value(c, p->lo), pare_content_value(c, p->hi)};
            pare_page_row(c->page, t, cells);
        }
}

void pare_content_plots(const pare_content *c)
{
    size_t before = c->page->n;
    pare_page_add(c->page, PARE_BLOCK_HEADING, "Plots");
    add_sizes(c, (pare_plot){.title = "Size and KL divergence", .y = {.label = "mean KL divergence, nat", .log = true}},
              "kld_mean", "kld_bootstrap", 0, "Lower left is better. Bars: 95 %, from windows. Keys: see the tables.");
    add_sizes(c,
              (pare_plot){.title = "Size and perplexity ratio",
                          .y = {.label = "perplexity / reference", .has_mark = true, .mark = 1}},
              "ratio", "ln_ratio_bootstrap", 1,
              "1 is the reference. Bars: 95 %, from windows. A ratio below 1 is no proof of a better model.");
    add_curve(c);
    add_quantiles(c);
    if (c->page->n == before + 1)
        c->page->n = before; /* nothing to show */
}
