#include "eval/drift.h"
#include "eval/task_figures.h"
#include "eval/written.h"

#include "core/checked.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

pare_status pare_pairs_add(pare_pairs *p, const pare_pair *pair, pare_error *err)
{
    if (p->n == p->cap) {
        size_t cap = p->cap > 0 ? p->cap : 64, bytes = 0;
        pare_pair *grown = NULL;
        if (pare_mul_size(cap, 2 * sizeof *grown, &bytes))
            grown = realloc(p->pair, bytes);
        if (grown == NULL)
            return pare_fail(err, PARE_ERR_MEMORY, "no memory for more than %zu pairs of answers", p->n);
        p->pair = grown;
        p->cap = 2 * cap;
    }
    p->pair[p->n++] = *pair;
    if (pair->group == p->n_groups)
        p->n_groups++;
    return PARE_OK;
}

void pare_pairs_close(pare_pairs *p)
{
    free(p->pair);
    *p = (pare_pairs){0};
}

/* The same for the same text, and below 2^53, exact in JSON: FNV-1a. */
static uint64_t number_of(pare_str text)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < text.len; i++)
        h = (h ^ (uint8_t)text.data[i]) * 0x100000001b3u;
    return h >> 11;
}

static pare_answer answer_of(const pare_task *task, size_t i, const pare_item_score *score, pare_rule rule)
{
    if (task->kind == PARE_TASK_GENERATE)
        return (pare_answer){number_of(score->written->answer[PARE_EXTRACT_STRICT]),
                             score->written->right[PARE_EXTRACT_STRICT]};
    if (task->kind == PARE_TASK_LAST_WORD)
        return (pare_answer){score->choices[0].greedy, score->choices[0].greedy};
    const size_t choice = score->pick[task->kind == PARE_TASK_MASS ? PARE_BY_SUM : rule];
    return (pare_answer){choice, task->items[i].choices[choice].right};
}

/* The number of an item's group. */
static pare_status find_group(const pare_pairs *p, pare_index *names, pare_str name, size_t *group, pare_error *err)
{
    int64_t old = PARE_INDEX_NONE;
    pare_status st = PARE_OK;
    if (name.len > 0)
        st = pare_index_add(names, name, (int64_t)p->n_groups, &old, err);
    *group = old != PARE_INDEX_NONE ? (size_t)old : p->n_groups;
    return st;
}

pare_status pare_pairs_add_task(pare_pairs *p, const pare_task_scores *reference, const pare_task_scores *model,
                                pare_rule rule, pare_error *err)
{
    const pare_task *task = reference->task;
    if (model->task != task)
        return pare_fail(err, PARE_ERR_USAGE, "answers to '%s' and to '%s' cannot be paired", task->name,
                         model->task->name);
    pare_index groups = {0};
    pare_status st = PARE_OK;
    for (size_t i = 0; i < task->n_items && st == PARE_OK; i++) {
        const pare_item_score *left = &reference->items[i], *right = &model->items[i];
        if (isnan(pare_item_value(reference, i, rule)) || isnan(pare_item_value(model, i, rule))) {
            p->n_left_out++;
            continue;
        }
        pare_pair pair = {
            .item = i, .reference = answer_of(task, i, left, rule), .model = answer_of(task, i, right, rule)};
        st = find_group(p, &groups, task->items[i].group, &pair.group, err);
        if (st == PARE_OK)
            st = pare_pairs_add(p, &pair, err);
    }
    pare_index_close(&groups);
    return st;
}

/* None of n seen: with 95 % the rate is below 3 / n (Hanley and Lippman-Hand, JAMA 249, 1983, 1743). */
static double largest_rate(const pare_drift *d)
{
    return fmin(1, 3 / (double)d->n);
}

static void count_pairs(const pare_pairs *p, pare_drift *d)
{
    uint64_t same = 0;
    for (size_t i = 0; i < p->n; i++) {
        const pare_answer *left = &p->pair[i].reference, *right = &p->pair[i].model;
        const bool equal = left->choice == right->choice;
        d->both_right += left->right && right->right;
        d->both_wrong += !left->right && !right->right;
        d->lost += left->right && !right->right;
        d->gained += !left->right && right->right;
        d->moved += left->right == right->right && !equal;
        same += equal;
    }
    const double n = (double)p->n;
    d->reference_accuracy = (double)(d->both_right + d->lost) / n;
    d->accuracy = (double)(d->both_right + d->gained) / n;
    d->agreement = (double)same / n;
    d->flip_rate = (double)(d->lost + d->gained) / n;
    d->p = pare_mcnemar(d->lost, d->gained);
    d->detectable = pare_detectable(d->n, d->flip_rate > 0 ? d->flip_rate : largest_rate(d));
}

/* The mean of the differences +1, 0, -1 with its error. */
static pare_status measure_difference(const pare_pairs *p, pare_drift *d, pare_error *err)
{
    double *x = malloc(p->n * sizeof *x);
    size_t *group = malloc(p->n * sizeof *group);
    pare_status st = PARE_OK;
    d->clustered = p->n_groups > 1 && p->n_groups < p->n;
    if (x == NULL || group == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu pairs of answers", p->n);
    for (size_t i = 0; i < p->n && st == PARE_OK; i++) {
        x[i] = (double)p->pair[i].model.right - (double)p->pair[i].reference.right;
        group[i] = d->clustered ? p->pair[i].group : i;
    }
    if (st == PARE_OK)
        st = pare_mean_clustered(x, group, p->n, &d->difference, err);
    free(x);
    free(group);
    if (st != PARE_OK)
        return st;
    d->interval = (pare_interval){NAN, NAN};
    if (p->n > 1) {
        const double t = pare_t_quantile((d->clustered ? p->n_groups : p->n) - 1);
        const double half =
            fmax(t * d->difference.stderr_, largest_rate(d)); /* one or two flips say little of their rate */
        d->interval = (pare_interval){fmax(-1, d->difference.value - half), fmin(1, d->difference.value + half)};
    }
    return PARE_OK;
}

pare_status pare_drift_measure(const pare_pairs *p, pare_drift *out, pare_error *err)
{
    *out =
        (pare_drift){.n = p->n, .n_left_out = p->n_left_out, .n_groups = p->n_groups, .verdict = PARE_DRIFT_NO_ITEMS};
    if (p->n == 0) {
        out->reference_accuracy = out->accuracy = out->agreement = out->flip_rate = out->p = out->detectable = NAN;
        out->difference = (pare_estimate){NAN, NAN};
        out->interval = (pare_interval){NAN, NAN};
        return PARE_OK;
    }
    count_pairs(p, out);
    pare_status st = measure_difference(p, out, err);
    if (st != PARE_OK)
        return st;
    const bool apart = out->interval.lo > 0 || out->interval.hi < 0; /* 0 is outside of the interval */
    out->verdict = PARE_DRIFT_NOT_RESOLVED;
    if (fabs(out->difference.value) >= out->detectable && out->p < 0.05 && apart)
        out->verdict = out->difference.value < 0 ? PARE_DRIFT_LOSS : PARE_DRIFT_GAIN;
    return PARE_OK;
}

char *pare_drift_sentence(const pare_drift *d, char *dst, size_t size)
{
    const double points = 100 * d->difference.value, bound = 100 * d->detectable;
    if (d->verdict == PARE_DRIFT_NO_ITEMS)
        snprintf(dst, size, "not resolved: no item was asked");
    else if (d->verdict != PARE_DRIFT_NOT_RESOLVED)
        snprintf(dst, size,
                 "%s of %.2f points: more than the %.2f points that %" PRIu64
                 " items with these flips can tell, p = %.2g",
                 d->verdict == PARE_DRIFT_LOSS ? "a loss" : "a gain", fabs(points), bound, d->n, d->p);
    else if (bound > 100)
        snprintf(dst, size, "not resolved: %" PRIu64 " items with these flips can tell no change, however large", d->n);
    else if (fabs(points) < bound)
        snprintf(dst, size, "not resolved: a change below %.2f points cannot be told with %" PRIu64 " items", bound,
                 d->n);
    else
        snprintf(dst, size,
                 "not resolved: %+.2f points, but answers change together within %" PRIu64
                 " groups and the interval %+.2f to %+.2f contains 0",
                 points, d->n_groups, 100 * d->interval.lo, 100 * d->interval.hi);
    return dst;
}
