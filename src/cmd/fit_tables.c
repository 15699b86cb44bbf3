/* Tables over cards, caches and models: a part of cmd/fit_report.h. */
#include "cmd/console.h"
#include "cmd/fit_report.h"
#include "cmd/summary.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const pare_cache_types table_types[] = {
    {PARE_TYPE_F16, PARE_TYPE_F16}, {PARE_TYPE_Q8_0, PARE_TYPE_Q8_0}, {PARE_TYPE_Q4_0, PARE_TYPE_Q4_0}};
enum { N_TYPES = sizeof table_types / sizeof *table_types, MAX_SIZES = 64 };

/* The model as the candidate has it; m borrows from out. Errors: those of pare_quantize */
static pare_status typed_model(const cmd_fit_plan *p, const cmd_fit_candidate *c, pare_model *out, pare_memory_model *m,
                               pare_error *err)
{
    const pare_quantize_options options = {.preset = c->preset,
                                           .pure_type = PARE_TYPE_NONE,
                                           .output_type = PARE_TYPE_NONE,
                                           .embedding_type = PARE_TYPE_NONE,
                                           .overrides = p->request->keep,
                                           .n_overrides = p->request->n_keep,
                                           .override_option = "--keep",
                                           .allow_requantize = true,
                                           .plan_only = true};
    pare_plan plan = {0};
    if (c->preset == NULL)
        return pare_memory_model_of(m, p->model, err);
    pare_status st = pare_quantize(out, p->model, &options, &plan, err);
    return st == PARE_OK ? pare_memory_model_of(m, out, err) : st;
}

static pare_status print_contexts(const cmd_args *args, const cmd_fit_candidate *c, const uint64_t *sizes, size_t n,
                                  const uint64_t *cells, pare_error *err)
{
    json_t *doc = cmd_has(args, OPT_JSON) ? json_object() : NULL, *list = json_array();
    if (doc == NULL)
        printf("%s: tokens of context by memory of the card and type of the cache\n%8s", c->name, "GiB");
    for (size_t t = 0; t < N_TYPES && doc == NULL; t++)
        printf(" %11s", pare_type_get(table_types[t].k)->name);
    for (size_t s = 0; s < n; s++) {
        json_t *row = json_object();
        cmd_json_u64(row, "bytes", sizes[s]);
        if (doc == NULL)
            printf("\n%8.0f", (double)sizes[s] / (1 << 30));
        for (size_t t = 0; t < N_TYPES; t++) {
            cmd_json_u64(row, pare_type_get(table_types[t].k)->name, cells[s * N_TYPES + t]);
            if (doc == NULL && cells[s * N_TYPES + t] > 0)
                printf(" %11" PRIu64, cells[s * N_TYPES + t]);
            else if (doc == NULL)
                printf(" %11s", "-");
        }
        json_array_append_new(list, row);
    }
    if (doc == NULL) {
        json_decref(list);
        putchar('\n');
        return PARE_OK;
    }
    json_object_set_new(doc, "name", json_string(c->name));
    json_object_set_new(doc, "contexts", list);
    cmd_json_resources(doc);
    return cmd_print_json(args, doc, err);
}

pare_status cmd_fit_print_table(const cmd_args *args, const cmd_fit_plan *p, pare_error *err)
{
    const cmd_fit_candidate *c = p->best != NULL ? p->best : cmd_fit_smallest(p);
    pare_model out = {0};
    pare_memory_model m = {0};
    pare_place_query query;
    uint64_t sizes[MAX_SIZES], cells[MAX_SIZES * N_TYPES];
    size_t n = 0;
    if (c == NULL)
        return pare_fail(err, PARE_ERR_DIFFERENCE, "%s: no type can be planned for", p->model->path);
    for (; n < MAX_SIZES && pare_common_card_sizes[n] > 0; n++)
        sizes[n] = (uint64_t)pare_common_card_sizes[n] << 30;
    pare_status st = typed_model(p, c, &out, &m, err);
    if (st == PARE_OK) {
        cmd_fit_query(&query, p->request, &m);
        query.devices_only = true;
        st = pare_context_table(&query, false, sizes, n, table_types, N_TYPES, cells, err);
    }
    if (st == PARE_OK)
        st = print_contexts(args, c, sizes, n, cells, err);
    pare_memory_model_close(&m);
    pare_model_close(&out);
    return st == PARE_OK && !cmd_has(args, OPT_JSON) ? cmd_fit_print_cache(p->model, err) : st;
}

static pare_status largest_json(const cmd_args *args, const cmd_fit_plan *plans, size_t n, size_t best,
                                const pare_error *failed, pare_error *err)
{
    json_t *doc = cmd_fit_json_request(&plans[0]), *list = json_array();
    pare_status st = PARE_OK;
    json_object_set_new(doc, "models", list);
    for (size_t i = 0; i < n && st == PARE_OK; i++) {
        json_t *row = json_object(), *item = NULL;
        json_object_set_new(row, "model", cmd_json_text(plans[i].model->path, strlen(plans[i].model->path)));
        cmd_json_u64(row, "n_params", pare_model_n_params(plans[i].model));
        if (plans[i].best != NULL) {
            st = cmd_fit_json_candidate(&item, &plans[i], plans[i].best, true, err);
            json_object_set_new(row, "best", item);
        } else {
            pare_error why = {0};
            cmd_fit_refuse(&plans[i], &why);
            json_object_set_new(row, "why", cmd_json_text(why.text, strlen(why.text)));
        }
        json_array_append_new(list, row);
    }
    if (best < n)
        cmd_json_u64(doc, "largest", best);
    else
        json_object_set_new(doc, "error", cmd_json_error(failed));
    if (st != PARE_OK) {
        json_decref(doc);
        return st;
    }
    cmd_json_resources(doc);
    return cmd_print_json(args, doc, err);
}

pare_status cmd_fit_print_largest(const cmd_args *args, const cmd_fit_plan *plans, size_t n, size_t best,
                                  const pare_error *failed, pare_error *err)
{
    if (cmd_has(args, OPT_JSON))
        return largest_json(args, plans, n, best, failed, err);
    printf("%14s %-12s %10s %6s %18s\n", "weights", "in", "file, GB", "bits", "context at most");
    for (size_t i = 0; i < n; i++) {
        const cmd_fit_candidate *c = plans[i].best;
        const char *path = cmd_safe(plans[i].model->path, strlen(plans[i].model->path));
        if (c == NULL)
            printf("%14" PRIu64 " %-12s %10s %6s %18s  %s: does not fit\n", pare_model_n_params(plans[i].model), "-",
                   "-", "-", "-", path);
        else
            printf("%14" PRIu64 " %-12s %10.3f %6.2f %18" PRIu64 "  %s%s\n", pare_model_n_params(plans[i].model),
                   c->name, (double)c->file_bytes / 1e9, c->bits, c->largest, path,
                   i == best ? "  <- the largest" : "");
    }
    printf("with -f TEXT they are compared by what they say of a text\n");
    return PARE_OK;
}
