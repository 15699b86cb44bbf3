/* The page of `pare fit`: the front of size and divergence beside presets, and which type each tensor got. */
#include "report/content.h"

#include <math.h>
#include <string.h>

/* One point a file: size in MiB or GiB, and the divergence measured. */
static size_t add_points(const pare_content *c, const json_t *list, const char *inner, double unit, pare_point **out)
{
    const size_t n_all = json_array_size(list);
    pare_point *points = *out = pare_page_alloc(c->page, (n_all + 1) * sizeof *points);
    size_t n = 0;
    for (size_t i = 0; i < n_all && points != NULL; i++) {
        const json_t *file = json_array_get(list, i), *figures = inner != NULL ? json_object_get(file, inner) : file;
        const double bytes = pare_content_number(file, "bytes"), kld = pare_content_number(figures, "kld_mean"),
                     error = 1.96 * pare_content_number(figures, "kld_stderr");
        if (isfinite(bytes) && isfinite(kld))
            points[n++] = (pare_point){bytes / unit, kld, kld - error, kld + error, pare_content_string(file, "name")};
    }
    return n;
}

/* A budget that nothing fits into has its reason in place of a file. */
static bool is_met(const json_t *budget)
{
    return !json_is_false(json_object_get(budget, "fits"));
}

/* The budgets that are met, for the page. */
static size_t list_met(const pare_content *c, const json_t ***out)
{
    const json_t *budgets = json_object_get(c->in->fit, "budgets");
    const size_t n_all = json_array_size(budgets);
    const json_t **met = *out = pare_page_alloc(c->page, (n_all + 1) * sizeof *met);
    size_t n = 0;
    for (size_t i = 0; i < n_all && met != NULL; i++)
        if (is_met(json_array_get(budgets, i)))
            met[n++] = json_array_get(budgets, i);
    return n;
}

static void add_front(const pare_content *c)
{
    const json_t *budgets = json_object_get(c->in->fit, "budgets"), *presets = json_object_get(c->in->fit, "presets");
    pare_series *series = pare_page_alloc(c->page, 2 * sizeof *series);
    pare_point *chosen = NULL, *beside = NULL;
    double unit = 1 << 20;
    const char *unit_name = "MiB";
    if (pare_content_number(json_array_get(budgets, json_array_size(budgets) - 1), "bytes") > 4e9) {
        unit = 1 << 30;
        unit_name = "GiB";
    }
    const size_t n = add_points(c, budgets, "measured", unit, &chosen),
                 n_beside = add_points(c, presets, NULL, unit, &beside);
    if (series == NULL || n + n_beside < 2)
        return;
    series[0] = (pare_series){"chosen", chosen, n, true};
    series[1] = (pare_series){"presets", beside, n_beside, false};
    const pare_plot plot = {.title = "Divergence by size",
                            .x = {.label = pare_page_text(c->page, "size of the file, %s", unit_name)},
                            .y = {.label = "mean KL divergence, nat a token", .log = true},
                            .series = series,
                            .n_series = n_beside > 0 ? 2 : 1};
    pare_table *t =
        pare_page_plot(c->page, &plot, "Each file against the original, on text that played no part in the choice.",
                       "File|#Size|#KL divergence|#95 % from|#95 % to");
    for (size_t s = 0; s < plot.n_series; s++)
        for (size_t i = 0; i < series[s].n; i++) {
            const pare_point *p = &series[s].points[i];
            const char *cells[] = {p->label != NULL ? p->label : "chosen",
                                   pare_page_text(c->page, "%.5g %s", p->x, unit_name), pare_content_value(c, p->y),
                                   pare_content_value(c, p->lo), pare_content_value(c, p->hi)};
            pare_page_row(c->page, t, cells);
        }
}

static void add_budgets(const pare_content *c)
{
    const json_t *budgets = json_object_get(c->in->fit, "budgets");
    pare_table *t = pare_page_table(
        c->page, "Files under their budgets",
        "#Budget, bytes|#Bytes|#Bits a weight|#KL divergence|#Predicted by a run|#By single swaps|#Perplexity");
    for (size_t i = 0; i < json_array_size(budgets); i++) {
        const json_t *b = json_array_get(budgets, i), *m = json_object_get(b, "measured");
        if (!is_met(b))
            continue;
        const char *cells[] = {pare_page_text(c->page, "%.0f", pare_content_number(b, "budget_bytes")),
                               pare_page_text(c->page, "%.0f", pare_content_number(b, "bytes")),
                               pare_content_value(c, pare_content_number(b, "bits_per_weight")),
                               pare_content_estimate(c, m, "kld_mean", "kld_stderr", 1),
                               pare_content_estimate(c, b, "kld_predicted", "kld_predicted_stderr", 1),
                               pare_content_value(c, pare_content_number(b, "kld_by_swaps")),
                               pare_content_value(c, pare_content_number(m, "perplexity"))};
        pare_page_row(c->page, t, cells);
    }
}

/* The memory that was asked about, or else the file. */
static const char *unmet_bytes(const pare_content *c, const json_t *budget)
{
    const json_t *devices = json_object_get(budget, "devices");
    double sum = devices == NULL ? pare_content_number(budget, "budget_bytes") : 0;
    for (size_t i = 0; i < json_array_size(devices); i++)
        sum += pare_content_number(json_array_get(devices, i), "bytes");
    return isfinite(sum) ? pare_page_text(c->page, "%.0f", sum) : "";
}

/* Budgets that nothing fits into, and why. */
static void add_unmet(const pare_content *c)
{
    const json_t *budgets = json_object_get(c->in->fit, "budgets");
    pare_table *t = NULL;
    for (size_t i = 0; i < json_array_size(budgets); i++) {
        const json_t *b = json_array_get(budgets, i);
        const char *why = pare_content_string(b, "why"), *cells[] = {unmet_bytes(c, b), why != NULL ? why : ""};
        if (is_met(b))
            continue;
        if (t == NULL)
            t = pare_page_table(c->page, "Budgets that nothing fits into", "#Budget, bytes|Why");
        pare_page_row(c->page, t, cells);
    }
}

/* Which type a tensor got under each budget. */
static void add_tensors(const pare_content *c)
{
    enum { MOST = 12, HEADINGS = 512 };
    const json_t **budgets;
    const size_t n_met = list_met(c, &budgets), n = n_met < MOST ? n_met : MOST;
    const json_t *rows = n > 0 ? json_object_get(budgets[0], "tensors") : NULL;
    char headings[HEADINGS] = "Tensor";
    for (size_t i = 0, at = strlen(headings); i < n && at < HEADINGS; i++)
        at += (size_t)snprintf(headings + at, HEADINGS - at, "|%.4g bits",
                               pare_content_number(budgets[i], "bits_per_weight"));
    pare_table *t = pare_page_table(c->page, "Type of each tensor", pare_page_text(c->page, "%s", headings));
    for (size_t k = 0; k < json_array_size(rows); k++) {
        const char *cells[MOST + 1] = {pare_content_string(json_array_get(rows, k), "name")};
        if (!json_is_true(json_object_get(json_array_get(rows, k), "chosen")))
            continue;
        for (size_t i = 0; i < n; i++)
            cells[i + 1] = pare_content_string(json_array_get(json_object_get(budgets[i], "tensors"), k), "to");
        pare_page_row(c->page, t, cells);
    }
}

/* Answers to tasks: of each budget, then of the presets beside it. */
static void add_tasks(const pare_content *c)
{
    const json_t *lists[] = {json_object_get(c->in->fit, "budgets"), json_object_get(c->in->fit, "presets")};
    pare_content answers = {.in = c->in, .page = c->page};
    answers.entries =
        pare_page_alloc(c->page, (json_array_size(lists[0]) + json_array_size(lists[1]) + 1) * sizeof *answers.entries);
    for (size_t l = 0; l < 2 && answers.entries != NULL; l++)
        for (size_t i = 0; i < json_array_size(lists[l]); i++) {
            const json_t *file = json_array_get(lists[l], i);
            const char *name = pare_content_string(file, "name");
            if (json_object_get(file, "tasks") == NULL)
                continue;
            if (name == NULL)
                name = json_array_size(lists[0]) == 1
                           ? "chosen"
                           : pare_page_text(c->page, "%.4g bits", pare_content_number(file, "bits_per_weight"));
            answers.entries[answers.n++] = (pare_entry){.key = name, .name = "", .compared = file};
        }
    if (answers.n > 0)
        pare_content_tasks(&answers);
}

const char *pare_content_fit_title(const pare_content *c)
{
    const char *model = pare_content_string(c->in->fit, "model");
    return pare_page_text(c->page, "%s under a budget", model != NULL ? pare_content_base(model) : "A model");
}

void pare_content_fit(const pare_content *c)
{
    if (c->in->fit == NULL)
        return;
    add_front(c);
    add_budgets(c);
    add_unmet(c);
    add_tasks(c);
    add_tensors(c);
}
