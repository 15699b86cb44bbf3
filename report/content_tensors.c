#include "report/content.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_KINDS = 8, N_WORST = 12, MAX_KIND = 48 };

/* A tensor of a quantization: root of its relative squared error. */
typedef struct tensor {
    const char *name, *type;
    char kind[MAX_KIND]; /* of "blk.7.ffn_down.weight": "ffn_down" */
    double error;
    unsigned layer;
} tensor;

/* False for a tensor of no layer. */
static bool split_name(tensor *t)
{
    int at = 0;
    if (sscanf(t->name, "blk.%5u.%n", &t->layer, &at) != 1 || at == 0)
        return false;
    size_t n = strcspn(t->name + at, ".");
    if (n == 0 || n >= MAX_KIND)
        return false;
    memcpy(t->kind, t->name + at, n);
    t->kind[n] = '\0';
    return true;
}

static int larger_first(const void *a, const void *b)
{
    double x = (*(const tensor *const *)a)->error, y = (*(const tensor *const *)b)->error;
    return x < y ? 1 : x > y ? -1 : 0;
}

static size_t find_tensors(const pare_content *c, const json_t *list, tensor **out)
{
    size_t n = 0;
    *out = pare_page_alloc(c->page, json_array_size(list) * sizeof **out);
    for (size_t i = 0; i < json_array_size(list) && *out != NULL; i++) {
        const json_t *row = json_array_get(list, i);
        tensor t = {.name = pare_content_string(row, "name"),
                    .type = pare_content_string(row, "to"),
                    .error = sqrt(pare_content_number(row, "error"))};
        if (t.name != NULL && isfinite(t.error))
            (*out)[n++] = t;
    }
    return n;
}

/* The place of t's kind among the series, which it joins when there is room; n_series otherwise. */
static size_t find_kind(const pare_content *c, pare_series *series, size_t *n_series, const tensor *t, size_t n_tensors)
{
    size_t i = 0;
    while (i < *n_series && strcmp(series[i].name, t->kind) != 0)
        i++;
    if (i == *n_series && i < MAX_KINDS) {
        series[i] = (pare_series){.name = pare_page_text(c->page, "%s", t->kind),
                                  .points = pare_page_alloc(c->page, n_tensors * sizeof(pare_point)),
                                  .line = true};
        *n_series += series[i].points != NULL;
    }
    return i;
}

/* Error against layer, a line a kind of tensor. */
static void add_layers(const pare_content *c, tensor *tensors, size_t n, const char *name)
{
    pare_series *series = pare_page_alloc(c->page, MAX_KINDS * sizeof *series);
    size_t n_series = 0;
    for (size_t i = 0; i < n && series != NULL; i++) {
        if (!split_name(&tensors[i]) || tensors[i].error <= 0)
            continue;
        size_t k = find_kind(c, series, &n_series, &tensors[i], n);
        if (k < n_series)
            ((pare_point *)series[k].points)[series[k].n++] =
                (pare_point){tensors[i].layer, tensors[i].error, NAN, NAN, NULL};
    }
    const pare_plot plot = {.title = pare_page_text(c->page, "Error of the weights by layer: %s", name),
                            .x = {.label = "layer", .whole = true},
                            .y = {.label = "relative error, rms", .log = true},
                            .series = series,
                            .n_series = n_series};
    pare_table *t =
        n_series == 0
            ? NULL
            : pare_page_plot(c->page, &plot, "Root of the squared error of a tensor's weights over their squares.",
                             "Kind|#Layer|#Relative error");
    for (size_t i = 0; i < n_series && t != NULL; i++)
        for (size_t k = 0; k < series[i].n; k++) {
            const char *cells[] = {series[i].name, pare_content_value(c, series[i].points[k].x),
                                   pare_content_value(c, series[i].points[k].y)};
            pare_page_row(c->page, t, cells);
        }
}

static void add_worst(const pare_content *c, const tensor *tensors, size_t n)
{
    const tensor **sorted = pare_page_alloc(c->page, n * sizeof *sorted);
    if (sorted == NULL || n == 0)
        return;
    for (size_t i = 0; i < n; i++)
        sorted[i] = &tensors[i];
    qsort(sorted, n, sizeof *sorted, larger_first);
    pare_table *t = pare_page_table(c->page, "Tensors with the largest relative error", "Tensor|Type|#Relative error");
    for (size_t i = 0; i < n && i < N_WORST; i++) {
        const char *cells[] = {sorted[i]->name, sorted[i]->type, pare_content_value(c, sorted[i]->error)};
        pare_page_row(c->page, t, cells);
    }
}

static void add_quantization(const pare_content *c, const json_t *doc)
{
    tensor *tensors;
    const char *output = pare_content_base(pare_content_string(doc, "output"));
    size_t n = find_tensors(c, json_object_get(doc, "tensors"), &tensors);
    if (n == 0)
        return;
    add_layers(c, tensors, n, output != NULL ? output : "a quantized model");
    add_worst(c, tensors, n);
}

/* Weights that differ between two models of one architecture. */
static void add_weights(const pare_content *c, const pare_entry *e)
{
    const json_t *weights = json_object_get(e->compared, "weights"), *kinds = json_object_get(weights, "kinds");
    if (json_array_size(kinds) == 0)
        return;
    pare_table *t =
        pare_page_table(c->page, pare_page_text(c->page, "Weights of %s that are not the reference's", e->name),
                        "Kind of tensor|#Tensors|#Changed|#Weights changed|#Largest change|#Relative change");
    for (size_t i = 0; i < json_array_size(kinds); i++) {
        const json_t *row = json_array_get(kinds, i);
        const char *cells[] = {pare_content_string(row, "name"),
                               pare_content_value(c, pare_content_number(row, "n_tensors")),
                               pare_content_value(c, pare_content_number(row, "n_changed")),
                               pare_content_value(c, pare_content_number(row, "n_weights_changed")),
                               pare_content_value(c, pare_content_number(row, "max_abs")),
                               pare_content_value(c, pare_content_number(row, "relative"))};
        pare_page_row(c->page, t, cells);
    }
    const double n_nonfinite = pare_content_number(weights, "n_nonfinite");
    if (n_nonfinite > 0)
        pare_page_add(c->page, PARE_BLOCK_WARNING,
                      pare_page_text(c->page,
                                     "%.0f weights of %s or of its reference are infinite or NaN: the changes above "
                                     "say nothing of them.",
                                     n_nonfinite, e->name));
}

void pare_content_tensors(const pare_content *c)
{
    size_t before = c->page->n;
    pare_page_add(c->page, PARE_BLOCK_HEADING, "Tensors");
    for (size_t i = 0; i < c->in->n_quantize; i++)
        add_quantization(c, c->in->quantize[i]);
    for (size_t i = 0; i < c->n; i++)
        add_weights(c, &c->entries[i]);
    if (c->page->n == before + 1)
        c->page->n = before;
}
