#include "cmd/summary.h"
#include "core/clock.h"
#include "cmd/console.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

double cmd_bits_per_weight(const pare_model *m)
{
    uint64_t n = pare_model_n_params(m);
    return n > 0 ? 8.0 * (double)pare_model_n_bytes(m) / (double)n : 0;
}

typedef struct type_sum {
    uint64_t n_tensors, n_params, n_bytes;
} type_sum;

static void sum_types(const pare_model *m, type_sum sums[PARE_TYPE_COUNT])
{
    memset(sums, 0, PARE_TYPE_COUNT * sizeof *sums);
    for (size_t i = 0; i < m->n_tensors; i++) {
        const pare_tensor *t = &m->tensors[i];
        sums[t->type].n_tensors++;
        sums[t->type].n_params += t->row_len * t->n_rows;
        sums[t->type].n_bytes += t->n_bytes;
    }
}

void cmd_print_types(const pare_model *m)
{
    type_sum sums[PARE_TYPE_COUNT];
    sum_types(m, sums);
    printf("%-10s %8s %16s %16s\n", "type", "tensors", "weights", "bytes");
    for (int type = 0; type < PARE_TYPE_COUNT; type++)
        if (sums[type].n_tensors > 0)
            printf("%-10s %8" PRIu64 " %16" PRIu64 " %16" PRIu64 "\n", pare_type_get(type)->name, sums[type].n_tensors,
                   sums[type].n_params, sums[type].n_bytes);
}

json_t *cmd_json_types(const pare_model *m)
{
    type_sum sums[PARE_TYPE_COUNT];
    json_t *doc = json_object();
    sum_types(m, sums);
    for (int type = 0; type < PARE_TYPE_COUNT; type++) {
        if (sums[type].n_tensors == 0)
            continue;
        json_t *row = json_object();
        cmd_json_u64(row, "n_tensors", sums[type].n_tensors);
        cmd_json_u64(row, "n_params", sums[type].n_params);
        cmd_json_u64(row, "bytes", sums[type].n_bytes);
        json_object_set_new(doc, pare_type_get(type)->name, row);
    }
    return doc;
}

json_t *cmd_json_shape(const pare_tensor *t)
{
    json_t *shape = json_array();
    for (uint32_t i = 0; i < t->n_dims; i++)
        json_array_append_new(shape, json_integer((json_int_t)t->dim[i]));
    return shape;
}

void cmd_shape_text(char *dst, size_t size, const pare_tensor *t)
{
    size_t at = (size_t)snprintf(dst, size, "[");
    for (uint32_t i = 0; i < t->n_dims && at < size; i++)
        at += (size_t)snprintf(dst + at, size - at, i > 0 ? ", %" PRIu64 : "%" PRIu64, t->dim[i]);
    if (at < size)
        snprintf(dst + at, size - at, "]");
}

json_t *cmd_json_plan(const pare_plan *plan)
{
    json_t *list = json_array();
    for (size_t i = 0; i < plan->n; i++) {
        const pare_plan_row *row = &plan->rows[i];
        json_t *item = json_object();
        json_object_set_new(item, "name", cmd_json_text(row->name, strlen(row->name)));
        json_object_set_new(item, "from", json_string(pare_type_get(row->from)->name));
        json_object_set_new(item, "to", json_string(pare_type_get(row->to)->name));
        if (row->wanted != row->to && row->wanted < PARE_TYPE_COUNT)
            json_object_set_new(item, "wanted", json_string(pare_type_get(row->wanted)->name));
        cmd_json_u64(item, "bytes", row->bytes);
        cmd_json_real(item, "error", row->error);
        cmd_json_real(item, "weighted_error", row->weighted_error);
        cmd_json_real(item, "feedback", row->feedback);
        json_array_append_new(list, item);
    }
    return list;
}

void cmd_print_plan(const pare_plan *plan)
{
    for (size_t i = 0; i < plan->n; i++) {
        const pare_plan_row *row = &plan->rows[i];
        printf("%-44s %8s -> %-8s %14" PRIu64 " bytes", cmd_safe(row->name, strlen(row->name)),
               pare_type_get(row->from)->name, pare_type_get(row->to)->name, row->bytes);
        if (isfinite(row->error))
            printf("  error %.3e", row->error);
        if (isfinite(row->weighted_error))
            printf("  weighted %.3e", row->weighted_error);
        if (row->wanted != row->to && row->wanted < PARE_TYPE_COUNT)
            printf("  in place of %s", pare_type_get(row->wanted)->name);
        putchar('\n');
    }
}

void cmd_print_fallbacks(const pare_plan *plan)
{
    if (plan->n_fallback > 0)
        printf("%" PRIu32
               " tensors have another type than the preset or --pure wants, because its block does not divide "
               "their rows\n",
               plan->n_fallback);
}

double cmd_seconds(void)
{
    static double start;
    if (start == 0)
        start = pare_clock();
    return pare_clock() - start;
}

/* The system's peak of this program. What getrusage tells may be the peak of the one that started it. */
uint64_t cmd_peak_rss_bytes(void)
{
    char line[128];
    unsigned long long kib = 0;
    FILE *status = fopen("/proc/self/status", "re");
    while (status != NULL && kib == 0 && fgets(line, sizeof line, status) != NULL)
        if (sscanf(line, "VmHWM: %llu kB", &kib) != 1)
            kib = 0;
    if (status != NULL)
        fclose(status);
    struct rusage usage;
    if (kib == 0 && getrusage(RUSAGE_SELF, &usage) == 0)
        kib = (unsigned long long)usage.ru_maxrss; /* Linux counts KiB */
    return (uint64_t)kib * 1024;
}

void cmd_json_resources(json_t *doc)
{
    cmd_json_real(doc, "seconds", cmd_seconds());
    cmd_json_u64(doc, "peak_rss_bytes", cmd_peak_rss_bytes());
}
