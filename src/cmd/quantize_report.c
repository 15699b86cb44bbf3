#include "cmd/quantize_report.h"
#include "cmd/console.h"
#include "cmd/summary.h"

#include <math.h>
#include <string.h>

enum { N_WORST = 5 };

/* "20 q4_K, 6 q6_K" */
static void list_types(const pare_requantized *sum, char *out, size_t size)
{
    size_t at = 0;
    out[0] = '\0';
    for (int type = 0; type < PARE_TYPE_COUNT; type++)
        if (sum->n_from[type] > 0 && at < size)
            at += (size_t)snprintf(out + at, size - at, "%s%u %s", at > 0 ? ", " : "", (unsigned)sum->n_from[type],
                                   pare_type_get((pare_type)type)->name);
}

pare_status cmd_quantize_warn(const cmd_quantize_run *run, pare_error *err)
{
    pare_requantized sum;
    char types[512];
    pare_status st = pare_plan_requantized(run->plan, run->out, &sum, err);
    if (st != PARE_OK)
        return st;
    list_types(&sum, types, sizeof types);
    if (sum.n_tensors > 0)
        cmd_warning(
            "%u tensors are quantized already (%s): what that lost (typically %.2g of their squares) stays lost, "
            "and the new types add their own (typically %.2g); the errors reported are relative to the "
            "quantized source",
            (unsigned)sum.n_tensors, types, sum.source_error, sum.expected_error);
    if (run->plan->n_needing > 0)
        cmd_warning("%u tensors get types that need importances: without --imatrix only a dry run goes through",
                    (unsigned)run->plan->n_needing);
    return PARE_OK;
}

static json_t *worst_json(const pare_plan *plan)
{
    const pare_plan_row *worst[N_WORST];
    size_t n = pare_plan_worst(plan, worst, N_WORST);
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *item = json_object();
        json_object_set_new(item, "name", cmd_json_text(worst[i]->name, strlen(worst[i]->name)));
        json_object_set_new(item, "to", json_string(pare_type_get(worst[i]->to)->name));
        cmd_json_real(item, "error", worst[i]->error);
        cmd_json_real(item, "weighted_error", worst[i]->weighted_error);
        json_array_append_new(list, item);
    }
    return list;
}

static json_t *requantized_json(const pare_requantized *sum)
{
    json_t *doc = json_object(), *types = json_object();
    for (int type = 0; type < PARE_TYPE_COUNT; type++)
        if (sum->n_from[type] > 0)
            cmd_json_u64(types, pare_type_get((pare_type)type)->name, sum->n_from[type]);
    cmd_json_u64(doc, "n_tensors", sum->n_tensors);
    json_object_set_new(doc, "types", types);
    cmd_json_real(doc, "source_error", sum->source_error);
    cmd_json_real(doc, "expected_error", sum->expected_error);
    cmd_json_real(doc, "added_error", sum->added_error);
    return doc;
}

static pare_status report_json(const cmd_quantize_run *run, const pare_requantized *sum, pare_error *err)
{
    json_t *doc = json_object();
    json_object_set_new(doc, "output", cmd_json_text(run->output, strlen(run->output)));
    cmd_json_u64(doc, "bytes", run->planned);
    cmd_json_real(doc, "bits_per_weight", cmd_bits_per_weight(run->out));
    json_object_set_new(doc, "dry_run", json_boolean(run->dry));
    json_object_set_new(doc, "method", json_string(cmd_text(run->args, OPT_METHOD)));
    json_object_set_new(doc, "effort", json_string(cmd_text(run->args, OPT_EFFORT)));
    cmd_json_u64(doc, "n_fallback", run->plan->n_fallback);
    cmd_json_u64(doc, "n_unweighted", run->plan->n_unweighted);
    cmd_json_u64(doc, "n_without_mean", run->plan->n_meanless);
    cmd_json_u64(doc, "n_feedback", run->refined->n_tensors);
    cmd_json_u64(doc, "n_resumed", run->refined->n_resumed);
    cmd_json_u64(doc, "n_sequential", run->refined->n_aimed);
    json_object_set_new(doc, "refitted", json_boolean(run->refitted));
    cmd_kv_ready_json(doc, run->kv_ready);
    cmd_json_u64(doc, "n_without_feedback", run->refined->n_without);
    cmd_json_real(doc, "feedback_ratio", run->refined->mean_ratio);
    json_object_set_new(doc, "tensors", cmd_json_plan(run->plan));
    if (sum->n_tensors > 0)
        json_object_set_new(doc, "requantized", requantized_json(sum));
    if (run->dry) {
        cmd_json_u64(doc, "n_needing_imatrix", run->plan->n_needing);
        cmd_json_u64(doc, "free_bytes", cmd_free_bytes(run->output));
    } else {
        cmd_json_u64(doc, "n_lossless", pare_plan_count_lossless(run->plan));
        json_object_set_new(doc, "worst", worst_json(run->plan));
        cmd_json_files(doc, run->pin);
        cmd_signing_json(doc, &run->pinning->signing);
    }
    cmd_json_resources(doc);
    return cmd_print_json(run->args, doc, err);
}

static void print_errors(const cmd_quantize_run *run, const pare_requantized *sum)
{
    const pare_plan_row *worst[N_WORST];
    size_t n = pare_plan_worst(run->plan, worst, N_WORST), n_lossless = pare_plan_count_lossless(run->plan);
    if (n > 0)
        printf("\nlargest errors (squared, relative%s):\n",
               cmd_has(run->args, OPT_IMATRIX) ? "; by the weighted one where there is one" : "");
    for (size_t i = 0; i < n; i++) {
        printf("  %-42s %-8s error %.3e", cmd_safe(worst[i]->name, strlen(worst[i]->name)),
               pare_type_get(worst[i]->to)->name, worst[i]->error);
        if (isfinite(worst[i]->weighted_error))
            printf("  weighted %.3e", worst[i]->weighted_error);
        putchar('\n');
    }
    if (run->refined->n_tensors > 0)
        printf("%u tensors were encoded with feedback, which left %.3f of the error of their products\n",
               (unsigned)run->refined->n_tensors, run->refined->mean_ratio);
    if (run->refitted)
        printf("the gains of the first norm were fitted to the encoded weights\n");
    if (n_lossless > 0)
        printf("%zu tensors lie on the grid of their new type: encoded without loss\n", n_lossless);
    if (run->plan->n_meanless > 0)
        printf("importances of %u tensors come without mean inputs (in_sum); with those of pare imatrix less is lost\n",
               (unsigned)run->plan->n_meanless);
    if (sum->n_tensors > 0)
        printf("%u tensors were quantized before: this run added an error of %.2e to the typical %.2e of their types\n",
               (unsigned)sum->n_tensors, sum->added_error, sum->source_error);
}

static void print_pins(const cmd_quantize_run *run)
{
    for (size_t i = 0; run->pinning->wanted && i < run->pin->n_files; i++) {
        char hex[PARE_SHA256_HEX];
        pare_hex(hex, run->pin->files[i].digest.sha256, sizeof run->pin->files[i].digest.sha256);
        printf("sha256 %s  %s\n", hex, cmd_safe(run->pin->files[i].path, strlen(run->pin->files[i].path)));
    }
    if (run->pinning->wanted)
        printf("pinned in %s and %s\n", run->pinning->lock, run->pinning->sums);
    cmd_signing_print(&run->pinning->signing);
}

static void report_text(const cmd_quantize_run *run, const pare_requantized *sum)
{
    cmd_progress_clear();
    cmd_kv_ready_print(run->kv_ready);
    if (run->dry || cmd_has(run->args, OPT_VERBOSE)) {
        cmd_print_plan(run->plan);
        putchar('\n');
    }
    cmd_print_types(run->out);
    cmd_print_fallbacks(run->plan);
    if (!run->dry)
        print_errors(run, sum);
    printf("\n%s: %s (%llu bytes), %.2f bits per weight\n", cmd_safe(run->output, strlen(run->output)),
           cmd_bytes(run->planned), (unsigned long long)run->planned, cmd_bits_per_weight(run->out));
    if (run->dry) {
        printf("free disk: %s; nothing was written (--dry-run)\n", cmd_bytes(cmd_free_bytes(run->output)));
        return;
    }
    print_pins(run);
    printf("%.1f s, peak memory %s\n", cmd_seconds(), cmd_bytes(cmd_peak_rss_bytes()));
}

pare_status cmd_quantize_report(const cmd_quantize_run *run, pare_error *err)
{
    pare_requantized sum;
    pare_status st = pare_plan_requantized(run->plan, run->out, &sum, err);
    if (st != PARE_OK)
        return st;
    if (cmd_has(run->args, OPT_JSON))
        return report_json(run, &sum, err);
    report_text(run, &sum);
    return PARE_OK;
}
