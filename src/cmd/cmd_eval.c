#include "cmd/console.h"
#include "cmd/input.h"
#include "cmd/summary.h"
#include "core/progress.h"
#include "eval/perplexity.h"
#include "formats/open.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct job {
    const cmd_args *args;
    pare_model model, reference;
    bool has_reference;
    pare_backend *backend;
    pare_tokenizer *tokenizer;
    int64_t bos;               /* PARE_TOKEN_NONE: windows start with their own token */
    pare_eval_result *results; /* [n_texts] */
    size_t n_texts;
} job;

/* One row a figure: keys in JSON, label, place in the result. `scale` and `unit` are for people only. */
static const struct {
    const char *key, *stderr_key, *label;
    size_t offset;
    bool needs_reference;
    double scale;
    const char *unit;
} figures[] = {
#define FIGURE(key, field, label, reference, scale, unit)                                                              \
    {                                                                                                                  \
        key, key "_stderr", label, offsetof(pare_eval_result, field), reference, scale, unit                           \
    }
    FIGURE("perplexity", perplexity, "perplexity", false, 1, ""),
    FIGURE("reference_perplexity", reference_perplexity, "perplexity of the reference", true, 1, ""),
    FIGURE("ln_ratio", ln_ratio, "ln(perplexity / reference)", true, 1, ""),
    {"kld_mean", "kld_stderr", "KL divergence, mean", offsetof(pare_eval_result, kld_mean), true, 1, " nat"},
    FIGURE("kld_median", kld_median, "KL divergence, median", true, 1, " nat"),
    FIGURE("kld_p99", kld_p99, "KL divergence, 99 %", true, 1, " nat"),
    FIGURE("kld_p999", kld_p999, "KL divergence, 99.9 %", true, 1, " nat"),
    FIGURE("kld_max", kld_max, "KL divergence, largest", true, 1, " nat"),
    FIGURE("same_top1", same_top1, "same most likely token", true, 100, " %"),
    FIGURE("delta_p_mean", delta_p_mean, "change of probability, mean", true, 100, " %"),
    FIGURE("delta_p_rms", delta_p_rms, "change of probability, rms", true, 100, " %"),
#undef FIGURE
};

enum { N_FIGURES = sizeof figures / sizeof figures[0] };

static pare_estimate *figure(const pare_eval_result *r, size_t i)
{
    return (pare_estimate *)((char *)r + figures[i].offset);
}

/* The mean over texts, each with the same weight; errors of independent texts add in squares. */
static pare_eval_result average(const pare_eval_result *results, size_t n)
{
    pare_eval_result mean = results[0];
    mean.n_chunks = 0;
    mean.n_tokens_scored = 0;
    mean.seconds = 0;
    double passes = 0;
    for (size_t k = 0; k < n; k++) {
        mean.n_chunks += results[k].n_chunks;
        mean.n_tokens_scored += results[k].n_tokens_scored;
        mean.seconds += results[k].seconds;
        passes += results[k].tokens_per_second * results[k].seconds;
    }
    mean.tokens_per_second = mean.seconds > 0 ? passes / mean.seconds : 0;
    for (size_t i = 0; i < N_FIGURES; i++) {
        double sum = 0, squares = 0;
        for (size_t k = 0; k < n; k++) {
            sum += figure(&results[k], i)->value;
            squares += figure(&results[k], i)->stderr_ * figure(&results[k], i)->stderr_;
        }
        *figure(&mean, i) = (pare_estimate){sum / (double)n, sqrt(squares) / (double)n};
    }
    mean.kld_max = results[0].kld_max; /* the largest of all, no mean */
    for (size_t k = 1; k < n; k++)
        if (results[k].kld_max.value > mean.kld_max.value)
            mean.kld_max = results[k].kld_max;
    return mean;
}

static void put_result(json_t *doc, const pare_eval_result *r)
{
    for (size_t i = 0; i < N_FIGURES; i++) {
        if (figures[i].needs_reference && !r->has_reference)
            continue;
        cmd_json_real(doc, figures[i].key, figure(r, i)->value);
        cmd_json_real(doc, figures[i].stderr_key, figure(r, i)->stderr_);
    }
    cmd_json_u64(doc, "n_ctx", r->n_ctx);
    cmd_json_u64(doc, "n_chunks", r->n_chunks);
    cmd_json_u64(doc, "n_tokens_scored", r->n_tokens_scored);
    cmd_json_real(doc, "tokens_per_second", r->tokens_per_second);
}

static void print_result(const char *title, const pare_eval_result *r)
{
    printf("%s: %" PRIu32 " windows of %" PRIu32 " tokens, %" PRIu64 " scored\n", title, r->n_chunks, r->n_ctx,
           r->n_tokens_scored);
    for (size_t i = 0; i < N_FIGURES; i++) {
        const pare_estimate *e = figure(r, i);
        if (figures[i].needs_reference && !r->has_reference)
            continue;
        printf("  %-28s %12.6g", figures[i].label, figures[i].scale * e->value);
        if (isfinite(e->stderr_))
            printf(" +/- %.3g", figures[i].scale * e->stderr_);
        printf("%s\n", figures[i].unit);
    }
}

static pare_status report(const job *j, pare_error *err)
{
    const cmd_args *args = j->args;
    pare_eval_result mean = average(j->results, j->n_texts);
    if (cmd_has(args, OPT_JSON)) {
        json_t *doc = json_object(), *texts = json_array();
        put_result(doc, &mean);
        for (size_t i = 0; i < j->n_texts; i++) {
            json_t *row = json_object();
            const char *name = cmd_nth(args, OPT_FILE, i);
            put_result(row, &j->results[i]);
            json_object_set_new(row, "name", cmd_json_text(name, strlen(name)));
            json_array_append_new(texts, row);
        }
        json_object_set_new(doc, "texts", texts);
        json_object_set_new(doc, "device", json_string(j->backend->name));
        cmd_json_resources(doc);
        return cmd_print_json(args, doc, err);
    }
    cmd_progress_clear();
    for (size_t i = 0; i < j->n_texts; i++) {
        const char *name = cmd_nth(args, OPT_FILE, i);
        print_result(cmd_safe(name, strlen(name)), &j->results[i]);
    }
    if (j->n_texts > 1)
        print_result("mean of the texts", &mean);
    printf("%.1f tokens/s on %s, %.1f s, peak memory %s\n", mean.tokens_per_second, j->backend->name, cmd_seconds(),
           cmd_bytes(cmd_peak_rss_bytes()));
    return PARE_OK;
}

static void after_window(const pare_eval_result *so_far, uint32_t chunk, uint32_t n_chunks, void *user)
{
    char text[96];
    uint32_t done = chunk + 1;
    (void)user;
    snprintf(text, sizeof text, "perplexity %.4f +/- %.4f", so_far->perplexity.value, so_far->perplexity.stderr_);
    if (cmd_shows_progress())
        pare_progress("windows", done, n_chunks, text);
    else if (so_far->has_reference)
        cmd_note("window %" PRIu32 " of %" PRIu32 ": %s, KL divergence %.6f +/- %.6f", done, n_chunks, text,
                 so_far->kld_mean.value, so_far->kld_mean.stderr_);
    else
        cmd_note("window %" PRIu32 " of %" PRIu32 ": %s", done, n_chunks, text);
}

static pare_status one_text(const job *j, const char *name, pare_eval_result *result, pare_error *err)
{
    const pare_eval_options options = {(uint32_t)cmd_number(j->args, OPT_CONTEXT),
                                       (uint32_t)cmd_number(j->args, OPT_CHUNKS)};
    pare_ids ids = {0};
    pare_status st = cmd_read_tokens(name, j->tokenizer, &ids, err);
    if (st == PARE_OK)
        st = pare_evaluate(&j->model, j->has_reference ? &j->reference : NULL, j->backend, ids.ids, ids.n, j->bos,
                           &options, after_window, NULL, result, err);
    free(ids.ids);
    return st;
}

static pare_status open_all(job *j, pare_error *err)
{
    const char *reference = cmd_text(j->args, OPT_REFERENCE);
    pare_status st = cmd_open_backend(&j->backend, j->args, err);
    if (st == PARE_OK)
        st = pare_model_open(&j->model, j->args->operands[0], 0, err);
    if (st == PARE_OK)
        st = cmd_open_tokenizer(&j->tokenizer, &j->model, &j->bos, err);
    if (st == PARE_OK && reference != NULL)
        st = pare_model_open(&j->reference, reference, PARE_OPEN_NO_VOCAB, err);
    j->has_reference = reference != NULL;
    return st;
}

static pare_status run(job *j, pare_error *err)
{
    pare_status st = open_all(j, err);
    j->n_texts = cmd_count(j->args, OPT_FILE);
    if (st == PARE_OK && (j->results = calloc(j->n_texts, sizeof *j->results)) == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu results", j->n_texts);
    for (size_t i = 0; i < j->n_texts && st == PARE_OK; i++)
        st = one_text(j, cmd_nth(j->args, OPT_FILE, i), &j->results[i], err);
    if (st == PARE_OK)
        st = report(j, err);
    if (st != PARE_OK || !cmd_has(j->args, OPT_FAIL_OVER))
        return st;
    double kld = average(j->results, j->n_texts).kld_mean.value, limit = cmd_real(j->args, OPT_FAIL_OVER);
    if (kld <= limit)
        return PARE_OK;
    cmd_hint("mean KL divergence %.6g is above the limit %.6g", kld, limit);
    return PARE_ERR_DIFFERENCE;
}

pare_status cmd_eval(const cmd_args *args, pare_error *err)
{
    job j = {.args = args};
    if (cmd_has(args, OPT_FAIL_OVER) && !cmd_has(args, OPT_REFERENCE))
        return pare_fail(err, PARE_ERR_USAGE, "eval: --fail-over needs --reference");
    pare_status st = run(&j, err);
    pare_tokenizer_close(j.tokenizer);
    pare_model_close(&j.model);
    pare_model_close(&j.reference);
    cmd_close_backend(j.backend);
    free(j.results);
    return st;
}
