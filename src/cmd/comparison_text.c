#include "cmd/comparison.h"
#include "cmd/console.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MOST_CHANGED = 5, MOST_UNLIKE = 10, NAME_WIDTH = 24, VALUE_WIDTH = 30 };

static const char *safe(const char *text)
{
    return cmd_safe(text, strlen(text));
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return safe(slash != NULL && slash[1] != '\0' ? slash + 1 : path);
}

/* "0.0123 (0.0119 .. 0.0127)", with the standard error where there is no interval. */
static void print_value(double scale, pare_estimate e, pare_interval i, int digits)
{
    char text[96];
    if (isfinite(i.lo) && isfinite(i.hi))
        snprintf(text, sizeof text, "%.*g (%.*g .. %.*g)", digits, scale * e.value, digits, scale * i.lo, digits,
                 scale * i.hi);
    else if (isfinite(e.stderr_))
        snprintf(text, sizeof text, "%.*g +/- %.2g", digits, scale * e.value, scale * e.stderr_);
    else
        snprintf(text, sizeof text, "%.*g", digits, scale * e.value);
    printf("  %-*s", VALUE_WIDTH, text);
}

static void print_text_row(const char *name, const pare_eval_result *r, pare_estimate first)
{
    const pare_interval ln = r->ln_ratio_blocks.bootstrap, ratio = {exp(ln.lo), exp(ln.hi)};
    const pare_interval none = {NAN, NAN};
    printf("  %-*s", NAME_WIDTH, name);
    print_value(1, r->kld_mean, r->kld_blocks.bootstrap, 4);
    print_value(1, r->ratio, ratio, 5);
    print_value(100, r->same_top1, r->same_top1_blocks.bootstrap, 4);
    print_value(1, first, none, 3);
    putchar('\n');
}

static pare_status print_texts(const cmd_comparison *c, size_t k, pare_error *err)
{
    const pare_estimate unknown = {NAN, NAN};
    pare_eval_result mean;
    pare_status st = PARE_OK;
    if (c->n_texts == 0)
        return st;
    printf("  %-*s  %-*s  %-*s  %-*s  %s\n", NAME_WIDTH, "text (95 %)", VALUE_WIDTH, "KL divergence, nat", VALUE_WIDTH,
           "perplexity ratio", VALUE_WIDTH, "same top token, %", "first token, nat");
    for (size_t i = 0; i < c->n_texts; i++)
        print_text_row(base_name(cmd_nth(c->args, OPT_FILE, i)), &c->results[i * c->n + k],
                       pare_mean(&c->candidates[k].first[i]));
    if (c->n_texts > 1 && (st = cmd_comparison_mean(c, k, &mean, err)) == PARE_OK)
        print_text_row("mean of the texts", &mean, unknown);
    return st;
}

/* Tensors that have no counterpart; returns how many there are. */
static size_t print_unlike(const pare_weight_drift *w)
{
    static const char *const why[] = {[PARE_WEIGHT_SHAPE] = "another shape",
                                      [PARE_WEIGHT_REMOVED] = "only in the reference",
                                      [PARE_WEIGHT_ADDED] = "not in the reference"};
    size_t n = 0;
    for (size_t i = 0; i < w->n_rows; i++) {
        const pare_weight_row *row = &w->rows[i];
        if (row->state == PARE_WEIGHT_SAME || row->state == PARE_WEIGHT_CHANGED)
            continue;
        if (n++ < MOST_UNLIKE)
            printf("    %s: %s\n", safe(row->name), why[row->state]);
    }
    if (n > MOST_UNLIKE)
        printf("    and %zu more that cannot be compared (--json lists all)\n", n - MOST_UNLIKE);
    return n;
}

/* They are in no norm, which says nothing of them. */
static void print_nonfinite(const pare_weight_drift *w)
{
    size_t i = 0;
    if (w->total.n_nonfinite == 0)
        return;
    while (w->rows[i].change.n_nonfinite == 0)
        i++;
    printf("    infinite or NaN in one of the models, and so in no norm: %" PRIu64 " values, the first in %s\n",
           w->total.n_nonfinite, safe(w->rows[i].name));
}

static void print_weights(const pare_weight_drift *w)
{
    const double changed = w->total.n_weights > 0 ? (double)w->total.n_changed / (double)w->total.n_weights : 0;
    const size_t n_unlike = print_unlike(w), n = w->n_rows - n_unlike;
    if (n == 0) {
        printf("  weights: no tensor can be compared\n");
        return;
    }
    if (w->n_most == 0) {
        printf("  weights: every value%s is the same%s\n", n_unlike > 0 ? " that can be compared" : "",
               w->total.same_bytes ? ", byte for byte" : "");
        return;
    }
    printf("  weights: %zu of %zu tensors changed, %.4g %% of their %" PRIu64
           " values; norm of the change %.4g of the whole, largest %.4g\n",
           w->n_most, n, 100 * changed, w->total.n_weights, pare_weight_relative(&w->total), w->total.max_abs);
    print_nonfinite(w);
    printf("    %-*s  %9s %9s  %10s %10s\n", NAME_WIDTH, "kind", "tensors", "changed", "relative", "largest");
    for (size_t i = 0; i < w->n_kinds; i++) {
        const pare_weight_kind *kind = &w->kinds[i];
        printf("    %-*s  %9zu %9zu  %10.4g %10.4g\n", NAME_WIDTH, safe(kind->name), kind->n_tensors, kind->n_changed,
               pare_weight_relative(&kind->change), kind->change.max_abs);
    }
    printf("    most changed:");
    for (size_t i = 0; i < w->n_most && i < MOST_CHANGED; i++)
        printf("%s %s %.4g", i > 0 ? "," : "", safe(w->most[i]->name), pare_weight_relative(&w->most[i]->change));
    putchar('\n');
}

pare_status cmd_print_comparison(const cmd_comparison *c, pare_error *err)
{
    pare_status st = PARE_OK;
    cmd_progress_clear();
    printf("reference %s\n", safe(c->reference.path));
    for (size_t k = 0; k < c->n && st == PARE_OK; k++) {
        const cmd_candidate *candidate = &c->candidates[k];
        printf("\nmodel %s\n", safe(candidate->model.path));
        st = print_texts(c, k, err);
        cmd_print_embeddings(c, k);
        cmd_drift_print(&c->tasks, &candidate->drift);
        if (candidate->has_weights)
            print_weights(&candidate->weights);
        else if (candidate->why_not[0] != '\0')
            printf("  %s\n", candidate->why_not);
    }
    if (c->run.self_checked)
        printf("\nself-check: the reference against itself differs by exactly 0\n");
    return st;
}
