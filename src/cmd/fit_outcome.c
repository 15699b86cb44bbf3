/* What was chosen and what it costs: the second half of cmd/fit_report.h. */
#include "cmd/console.h"
#include "cmd/fit_report.h"
#include "cmd/outputs.h"
#include "cmd/summary.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static const char *const header = "  %-12s %14s %7s %22s %12s %12s %10s\n";

static void print_figures(const char *name, uint64_t bytes, double bits, const pare_eval_result *r)
{
    char kld[48];
    snprintf(kld, sizeof kld, "%.6f +/- %.6f", r->kld_mean.value, r->kld_mean.stderr_);
    printf("  %-12s %14" PRIu64 " %7.3f %22s %12.6f %12.3f %10.2f\n", name, bytes, bits, kld,
           r->kld_quantile[PARE_QUANTILE_MEDIAN].value, r->perplexity.value, 100 * r->same_top1.value);
}

static double bits_of(const cmd_fit_job *j, uint64_t bytes)
{
    return 8.0 * (double)bytes / (double)pare_model_n_params(&j->model);
}

/* How many tensors, weights and bytes of each type. */
static void print_types(const pare_fit_result *r)
{
    for (int type = 0; type < PARE_TYPE_COUNT; type++) {
        size_t n = 0;
        uint64_t bytes = 0;
        for (size_t i = 0; i < r->n_rows; i++)
            if (r->rows[i].chosen && r->rows[i].type == (pare_type)type) {
                n++;
                bytes += r->rows[i].bytes;
            }
        if (n > 0)
            printf("  %-10s %6zu tensors %14" PRIu64 " bytes\n", pare_type_get((pare_type)type)->name, n, bytes);
    }
}

static void print_tensors(const pare_fit_result *r)
{
    printf("\n  %-42s %-8s %14s %12s\n", "tensor", "type", "bytes", "KLD, part");
    for (size_t i = 0; i < r->n_rows; i++)
        if (r->rows[i].chosen || r->rows[i].kept)
            printf("  %-42s %-8s %14" PRIu64 " %12.3e%s\n", cmd_safe(r->rows[i].name, strlen(r->rows[i].name)),
                   pare_type_get(r->rows[i].type)->name, r->rows[i].bytes, r->rows[i].kld,
                   r->rows[i].kept ? "  (kept)" : "");
}

static void print_text(const cmd_fit_job *j, const pare_eval_result *r)
{
    printf("measured on %" PRIu32 " windows of %" PRIu32 " tokens of %s, which played no part in the choice:\n",
           r->n_chunks, r->n_ctx, j->held_back ? "the end of the text" : "--test");
}

static void print_answers(const cmd_fit_job *j, const char *name, const cmd_drift *d)
{
    if (d->n > 0)
        printf("\nanswers of %s beside the original's:\n", name);
    cmd_drift_print(&j->tasks, d);
}

static pare_status print_one(const cmd_fit_job *j, const cmd_fit_outcome *o, pare_error *err)
{
    const pare_fit_result *f = &o->fit;
    pare_status st = PARE_OK;
    if (o->candidate.name != NULL && j->request->n_sizes == 0) {
        const cmd_fit_plan plan = {.model = &j->model,
                                   .request = j->request,
                                   .n_ctx =
                                       j->request->run.n_ctx > 0 ? j->request->run.n_ctx : j->model.hp.n_ctx_train};
        cmd_fit_print_head(&plan);
        st = cmd_fit_print_candidate(&plan, &o->candidate, err);
        putchar('\n');
    }
    printf("budget of the file %" PRIu64 " bytes, %" PRIu64 " taken (%.3f %% left), %.3f bits a weight\n", f->budget,
           f->bytes, f->budget > 0 ? 100.0 * (double)(f->budget - f->bytes) / (double)f->budget : 0, f->bits);
    print_types(f);
    if (cmd_has(j->args, OPT_VERBOSE))
        print_tensors(f);
    printf("\nmean divergence, predicted by running the plan on %" PRIu32 " windows of the choice: %.6f +/- %.6f\n",
           f->n_windows, f->predicted, f->error);
    printf("by single swaps: %.6f", f->by_swaps);
    if (isfinite(f->spread))
        printf(" (plans that were run were off by %.0f %%)", 100 * expm1(f->spread));
    printf(", no plan's sum below %.6f\n", f->bound);
    printf("%" PRIu32 " runs; %" PRIu32 " swaps around the plan", f->n_runs, f->n_swaps);
    if (f->n_swaps > 0)
        printf(", of %.6f made %.6f on the windows of plans", f->start, f->end);
    putchar('\n');
    if (o->n_sequential > 0)
        printf("%" PRIu32 " tensors of the result were then encoded in the order of a pass, those of the presets, too "
               "(--sequential)\n",
               o->n_sequential);
    print_text(j, &o->result);
    printf(header, "", "bytes", "bits", "KL divergence, mean", "median", "perplexity", "same top1");
    print_figures("chosen", f->bytes, bits_of(j, f->bytes), &o->result);
    if (o->plain.n_chunks > 0)
        print_figures("not in order", f->bytes, bits_of(j, f->bytes), &o->plain);
    for (size_t i = 0; i < j->n_rivals; i++)
        print_figures(j->rivals[i].name, j->rivals[i].bytes, bits_of(j, j->rivals[i].bytes), &j->rivals[i].result);
    if (j->n_passed_over > 0)
        printf("  not beside it: %zu presets%s, which have types that were no choice here\n", j->n_passed_over,
               j->n_rivals > 0 ? " nearer in size" : "");
    printf("  the original: perplexity %.3f, %.5f bits a byte of text; chosen %.5f\n",
           o->result.reference_perplexity.value, o->reference_bits_per_byte, o->bits_per_byte);
    print_answers(j, "chosen", &o->drift);
    for (size_t i = 0; i < j->n_rivals; i++)
        print_answers(j, j->rivals[i].name, &j->rivals[i].drift);
    return st;
}

/* What was asked for: bytes of the file, or of the cards. */
static const char *name_budget(const cmd_fit_outcome *o)
{
    uint64_t sum = 0;
    if (o->memory == NULL)
        return cmd_bytes(o->budget);
    if (o->memory->n_devices == 1 && o->memory->devices[0].name != NULL)
        return o->memory->devices[0].name;
    for (uint32_t i = 0; i < o->memory->n_devices; i++)
        sum += o->memory->devices[i].usable;
    return cmd_bytes(sum);
}

static void print_front(const cmd_fit_job *j)
{
    for (size_t i = 0, done = 0; i < j->n_outcomes; i++) {
        const cmd_fit_outcome *o = &j->outcomes[i];
        if (o->status != PARE_OK)
            continue;
        if (done++ == 0)
            print_text(j, &o->result);
    }
    printf(header, "budget", "bytes", "bits", "KL divergence, mean", "median", "perplexity", "same top1");
    for (size_t i = 0; i < j->n_outcomes; i++) {
        const cmd_fit_outcome *o = &j->outcomes[i];
        if (o->status == PARE_OK)
            print_figures(name_budget(o), o->fit.bytes, bits_of(j, o->fit.bytes), &o->result);
        else
            printf("  %-12s does not fit: %s\n", name_budget(o), o->why);
    }
    for (size_t i = 0; i < j->n_outcomes; i++)
        print_answers(j, name_budget(&j->outcomes[i]), &j->outcomes[i].drift);
}

pare_status cmd_fit_print_outcomes(const cmd_fit_job *j, pare_error *err)
{
    cmd_progress_clear();
    if (j->n_outcomes > 1) {
        print_front(j);
        return PARE_OK;
    }
    pare_status st = print_one(j, &j->outcomes[0], err);
    if (st == PARE_OK && j->output != NULL)
        printf("\n%s: written and measured; encodings and measurements for other budgets stay in %s\n",
               cmd_safe(j->output, strlen(j->output)), cmd_safe(j->state, strlen(j->state)));
    return st;
}

/* ---- JSON ------------------------------------------------------------------------------------------------------- */

static json_t *json_result(const pare_eval_result *r)
{
    json_t *doc = json_object();
    cmd_json_u64(doc, "n_chunks", r->n_chunks);
    cmd_json_u64(doc, "n_ctx", r->n_ctx);
    cmd_json_u64(doc, "n_tokens_scored", r->n_tokens_scored);
    cmd_json_real(doc, "kld_mean", r->kld_mean.value);
    cmd_json_real(doc, "kld_stderr", r->kld_mean.stderr_);
    cmd_json_real(doc, "perplexity", r->perplexity.value);
    cmd_json_real(doc, "reference_perplexity", r->reference_perplexity.value);
    cmd_json_real(doc, "same_top1", r->same_top1.value);
    return doc;
}

static json_t *json_rows(const pare_fit_result *r)
{
    json_t *list = json_array();
    for (size_t i = 0; i < r->n_rows; i++) {
        json_t *row = json_object();
        json_object_set_new(row, "name", cmd_json_text(r->rows[i].name, strlen(r->rows[i].name)));
        json_object_set_new(row, "to", json_string(pare_type_get(r->rows[i].type)->name));
        cmd_json_u64(row, "bytes", r->rows[i].bytes);
        cmd_json_real(row, "kld", r->rows[i].kld);
        json_object_set_new(row, "chosen", json_boolean(r->rows[i].chosen));
        json_object_set_new(row, "kept", json_boolean(r->rows[i].kept));
        json_array_append_new(list, row);
    }
    return list;
}

static pare_status json_outcome(json_t **out, const cmd_fit_job *j, const cmd_fit_outcome *o, pare_error *err)
{
    const pare_fit_result *f = &o->fit;
    json_t *doc = *out = json_object(), *memory = NULL;
    pare_status st = PARE_OK;
    if (o->budget > 0) /* memory that is too little leaves no budget for a file */
        cmd_json_u64(doc, "budget_bytes", o->budget);
    json_object_set_new(doc, "fits", json_boolean(o->status == PARE_OK));
    if (o->memory != NULL)
        json_object_set_new(doc, "devices", cmd_fit_json_devices(o->memory->devices, o->memory->n_devices));
    if (o->status != PARE_OK) {
        json_object_set_new(doc, "why", cmd_json_text(o->why, strlen(o->why)));
        return PARE_OK;
    }
    cmd_json_u64(doc, "bytes", f->bytes);
    cmd_json_real(doc, "bits_per_weight", f->bits);
    cmd_json_real(doc, "kld_predicted", f->predicted);
    cmd_json_real(doc, "kld_predicted_stderr", f->error);
    cmd_json_u64(doc, "n_predicted_windows", f->n_windows);
    cmd_json_real(doc, "kld_by_swaps", f->by_swaps);
    cmd_json_real(doc, "kld_by_swaps_spread", f->spread);
    cmd_json_real(doc, "kld_bound", f->bound);
    cmd_json_real(doc, "kld_before_swaps", f->start);
    cmd_json_real(doc, "kld_after_swaps", f->end);
    cmd_json_u64(doc, "n_runs", f->n_runs);
    cmd_json_u64(doc, "n_swaps", f->n_swaps);
    cmd_json_u64(doc, "n_sequential", o->n_sequential);
    if (o->plain.n_chunks > 0)
        json_object_set_new(doc, "measured_plain", json_result(&o->plain));
    json_object_set_new(doc, "measured", json_result(&o->result));
    cmd_json_real(doc, "bits_per_byte", o->bits_per_byte);
    cmd_json_real(doc, "reference_bits_per_byte", o->reference_bits_per_byte);
    json_object_set_new(doc, "tensors", json_rows(f));
    cmd_drift_json(doc, &j->tasks, &o->drift);
    if (j->request->n_sizes == 0) {
        cmd_fit_request request = *j->request;
        if (o->memory != NULL)
            request.n_devices = o->memory->n_devices;
        const cmd_fit_plan plan = {.model = &j->model, .request = &request};
        st = cmd_fit_json_candidate(&memory, &plan, &o->candidate, true, err);
        json_object_set_new(doc, "memory", memory);
    }
    return st;
}

pare_status cmd_fit_json_outcomes(json_t **out, const cmd_fit_job *j, pare_error *err)
{
    json_t *doc = *out = json_object(), *list = json_array(), *rivals = json_array();
    pare_status st = PARE_OK;
    json_object_set_new(doc, "model", cmd_json_text(j->model.path, strlen(j->model.path)));
    if (j->output != NULL)
        json_object_set_new(doc, "output", cmd_json_text(j->output, strlen(j->output)));
    json_object_set_new(doc, "state", cmd_json_text(j->state, strlen(j->state)));
    json_object_set_new(doc, "held_back", json_boolean(j->held_back));
    json_object_set_new(doc, "budgets", list);
    json_object_set_new(doc, "presets", rivals);
    cmd_json_u64(doc, "n_presets_passed_over", j->n_passed_over);
    for (size_t i = 0; i < j->n_outcomes && st == PARE_OK; i++) {
        json_t *item = NULL;
        st = json_outcome(&item, j, &j->outcomes[i], err);
        json_array_append_new(list, item);
    }
    for (size_t i = 0; i < j->n_rivals; i++) {
        json_t *item = json_result(&j->rivals[i].result);
        json_object_set_new(item, "name", json_string(j->rivals[i].name));
        cmd_json_u64(item, "bytes", j->rivals[i].bytes);
        cmd_drift_json(item, &j->tasks, &j->rivals[i].drift);
        json_array_append_new(rivals, item);
    }
    if (j->output != NULL && j->n_outcomes == 1) { /* as quantize has them */
        cmd_json_u64(doc, "bytes", j->outcomes[0].fit.bytes);
        cmd_json_real(doc, "bits_per_weight", j->outcomes[0].fit.bits);
        cmd_json_files(doc, &j->pin);
        cmd_signing_json(doc, &j->pinning.signing);
    }
    return st;
}

/* ---- several models --------------------------------------------------------------------------------------------- */

size_t cmd_fit_best_model(const cmd_fit_job *jobs, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (jobs[i].n_outcomes > 0 &&
            (jobs[best].n_outcomes == 0 || jobs[i].outcomes[0].bits_per_byte < jobs[best].outcomes[0].bits_per_byte))
            best = i;
    return best;
}

void cmd_fit_print_models(const cmd_fit_job *jobs, size_t n)
{
    const size_t best = cmd_fit_best_model(jobs, n);
    cmd_progress_clear();
    printf("%14s %14s %7s %14s %14s %12s\n", "weights", "bytes", "bits", "bits a byte", "of the original", "KLD");
    for (size_t i = 0; i < n; i++) {
        const char *path = cmd_safe(jobs[i].path, strlen(jobs[i].path));
        if (jobs[i].n_outcomes == 0) {
            printf("%14s %14s %7s %14s %14s %12s  %s: does not fit\n", "-", "-", "-", "-", "-", "-", path);
            continue;
        }
        const cmd_fit_outcome *o = &jobs[i].outcomes[0];
        printf("%14" PRIu64 " %14" PRIu64 " %7.3f %14.5f %14.5f %12.6f  %s%s\n", pare_model_n_params(&jobs[i].model),
               o->fit.bytes, o->fit.bits, o->bits_per_byte, o->reference_bits_per_byte, o->result.kld_mean.value, path,
               i == best ? "  <- the best" : "");
    }
    printf("bits a byte of the same text, which is comparable between vocabularies: less is better\n");
    for (size_t i = 0; i < n; i++)
        if (jobs[i].n_outcomes > 0)
            print_answers(&jobs[i], cmd_safe(jobs[i].path, strlen(jobs[i].path)), &jobs[i].outcomes[0].drift);
}
