#include "report/content.h"

#include <math.h>
#include <string.h>

enum { MAX_LINES = 8 };

static const char *percent(const pare_content *c, const json_t *object, const char *key)
{
    double value = pare_content_number(object, key);
    return isfinite(value) ? pare_page_text(c->page, "%.2f", 100 * value) : "";
}

static const char *text_or_empty(const char *text)
{
    return text != NULL ? text : "";
}

static double end_of(const json_t *drift, size_t i)
{
    const json_t *value = json_array_get(json_object_get(drift, "difference_t"), i);
    return json_is_number(value) ? 100 * json_number_value(value) : NAN;
}

/* What each record measured of tasks by itself. */
static void add_scores(const pare_content *c)
{
    static const char *const keys[] = {"acc",        "acc_norm",     "acc_token",     "mc2",
                                       "perplexity", "exact_strict", "exact_flexible"};
    enum { N = sizeof keys / sizeof keys[0] };
    pare_table *t = NULL;
    for (size_t i = 0; i < c->n; i++) {
        const json_t *tasks = json_object_get(c->entries[i].record, "tasks");
        for (size_t k = 0; k < json_array_size(tasks); k++) {
            const json_t *task = json_array_get(tasks, k), *f = json_object_get(task, "figures");
            const char *name = pare_content_string(task, "name");
            for (size_t j = 0; j < N; j++) {
                char error_key[48], clustered[64];
                snprintf(error_key, sizeof error_key, "%s_stderr", keys[j]);
                snprintf(clustered, sizeof clustered, "%s_clustered_stderr", keys[j]);
                bool plain = strcmp(keys[j], "perplexity") == 0;
                if (!isfinite(pare_content_number(f, keys[j])))
                    continue;
                if (t == NULL)
                    t = pare_page_table(c->page, "Tasks",
                                        "Key|Task|Figure|#Value|#Clustered error|#Items scored|#Too long|#Examples");
                const char *cells[] = {c->entries[i].key,
                                       name,
                                       plain ? keys[j] : pare_page_text(c->page, "%s, %%", keys[j]),
                                       pare_content_estimate(c, f, keys[j], error_key, plain ? 1 : 100),
                                       pare_content_value(c, (plain ? 1 : 100) * pare_content_number(f, clustered)),
                                       pare_content_value(c, pare_content_number(f, "n_scored")),
                                       pare_content_value(c, pare_content_number(f, "n_too_long")),
                                       pare_content_value(c, pare_content_number(task, "n_shot"))};
                pare_page_row(c->page, t, cells);
            }
        }
    }
}

typedef void (*drift_fn)(const pare_content *c, const char *key, const char *task, const char *rule, const json_t *d,
                         pare_table **t);

static void add_flips(const pare_content *c, const char *key, const char *task, const char *rule, const json_t *d,
                      pare_table **t)
{
    if (*t == NULL)
        *t = pare_page_table(c->page, "Answers, item by item, beside the reference's",
                             "Key|Task|Rule|#Items|#Reference, %|#Model, %|#Change, points|#95 %|#Lost|#Gained|"
                             "#Same answer, %|#McNemar p|#Detectable, points");
    const char *cells[] = {key,
                           task,
                           rule,
                           pare_content_value(c, pare_content_number(d, "n_items")),
                           percent(c, d, "reference_accuracy"),
                           percent(c, d, "accuracy"),
                           pare_content_estimate(c, d, "difference", "difference_stderr", 100),
                           isfinite(end_of(d, 0)) ? pare_page_text(c->page, "%.2f .. %.2f", end_of(d, 0), end_of(d, 1))
                                                  : "",
                           pare_content_value(c, pare_content_number(d, "lost")),
                           pare_content_value(c, pare_content_number(d, "gained")),
                           percent(c, d, "agreement"),
                           pare_content_value(c, pare_content_number(d, "mcnemar_p")),
                           percent(c, d, "detectable")};
    pare_page_row(c->page, *t, cells);
}

/* Sentences in a table of their own: beside so many columns there is no room for them. */
static void add_verdict(const pare_content *c, const char *key, const char *task, const char *rule, const json_t *d,
                        pare_table **t)
{
    const char *cells[] = {key, task, rule, pare_content_string(d, "sentence")};
    if (cells[3] == NULL)
        return;
    if (*t == NULL)
        *t = pare_page_table(c->page, "What these answers say", "Key|Task|Rule|Verdict");
    pare_page_row(c->page, *t, cells);
}

static void walk_rules(const pare_content *c, const pare_entry *e, const char *task, const json_t *rules, drift_fn each,
                       pare_table **t)
{
    const char *rule;
    json_t *d;
    json_object_foreach((json_t *)rules, rule, d) each(c, e->key, task, rule, d, t);
}

/* Each rule of each task of each model. False: there is none. */
static bool walk_drift(const pare_content *c, drift_fn each)
{
    pare_table *t = NULL;
    for (size_t i = 0; i < c->n; i++) {
        const pare_entry *e = &c->entries[i];
        const json_t *tasks = json_object_get(e->compared, "tasks");
        for (size_t k = 0; k < json_array_size(tasks); k++) {
            const json_t *task = json_array_get(tasks, k);
            walk_rules(c, e, pare_content_string(task, "name"), json_object_get(task, "rules"), each, &t);
        }
        walk_rules(c, e, "all together", json_object_get(e->compared, "all_tasks"), each, &t);
    }
    return t != NULL;
}

/* The first rule of each task: the owner's. */
static size_t change_points(const pare_content *c, const json_t *tasks, pare_point **out)
{
    size_t n = 0;
    *out = pare_page_alloc(c->page, json_array_size(tasks) * sizeof **out);
    for (size_t k = 0; k < json_array_size(tasks) && *out != NULL; k++) {
        const json_t *d = json_object_get(json_object_get(json_array_get(tasks, k), "rules"), "acc");
        double y = 100 * pare_content_number(d, "difference");
        if (isfinite(y))
            (*out)[n++] = (pare_point){(double)k, y, end_of(d, 0), end_of(d, 1), NULL};
    }
    return n;
}

/* Change of accuracy by task, a series a model. */
static void add_changes(const pare_content *c)
{
    pare_series *series = pare_page_alloc(c->page, c->n * sizeof *series);
    size_t n = 0, n_names = 0;
    const char **names = NULL;
    for (size_t i = 0; i < c->n && n < MAX_LINES && series != NULL; i++) {
        pare_point *points;
        const json_t *tasks = json_object_get(c->entries[i].compared, "tasks");
        size_t n_points = change_points(c, tasks, &points);
        if (n_points == 0)
            continue;
        if (names == NULL && (names = pare_page_alloc(c->page, json_array_size(tasks) * sizeof *names)) != NULL)
            for (; n_names < json_array_size(tasks); n_names++)
                names[n_names] = text_or_empty(pare_content_string(json_array_get(tasks, n_names), "name"));
        for (size_t k = 0; k < n_points; k++)
            points[k].x += 0.06 * (double)i; /* beside one another */
        series[n++] = (pare_series){pare_page_text(c->page, "%s %s", c->entries[i].key, c->entries[i].name), points,
                                    n_points, false};
    }
    const pare_plot plot = {.title = "Change of accuracy by task",
                            .x = {.label = "task", .names = names, .n_names = n_names},
                            .y = {.label = "change of accuracy, points", .has_mark = true, .mark = 0},
                            .series = series,
                            .n_series = n};
    pare_table *t = n == 0 || n_names < 2
                        ? NULL
                        : pare_page_plot(c->page, &plot, "0 is the reference. Bars: 95 % of paired differences.",
                                         "Model|Task|#Change, points|#95 % from|#95 % to");
    for (size_t i = 0; i < n && t != NULL; i++)
        for (size_t k = 0; k < series[i].n; k++) {
            const pare_point *p = &series[i].points[k];
            size_t task = (size_t)p->x;
            const char *cells[] = {series[i].name, task < n_names ? names[task] : "", pare_content_value(c, p->y),
                                   pare_content_value(c, p->lo), pare_content_value(c, p->hi)};
            pare_page_row(c->page, t, cells);
        }
}

void pare_content_tasks(const pare_content *c)
{
    size_t before = c->page->n;
    pare_page_add(c->page, PARE_BLOCK_HEADING, "Tasks");
    add_scores(c);
    if (walk_drift(c, add_flips)) {
        walk_drift(c, add_verdict);
        pare_page_add(
            c->page, PARE_BLOCK_TEXT,
            "Equal accuracy can hide answers that changed both ways: lost were right with the reference only, "
            "gained with the model only. A change below the detectable one cannot be told from chance with so "
            "many items.");
    }
    add_changes(c);
    if (c->page->n == before + 1)
        c->page->n = before;
}
