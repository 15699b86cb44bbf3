/* Swaps: what single tensors cost, alone and within a plan. */
#include "fit/search_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SWAP_WINDOWS = 12, PLAN_WINDOWS = 32, LAST_WINDOWS = 64, N_ANCHORS = 1, N_PLANS = 4 };

/* Bits a weight of the type that every tensor is measured in: divergence is so nearly in proportion to the form that
 * one is enough. And of the plans that tell how far the sum is from the whole. */
static const double anchor_bits[N_ANCHORS] = {3.4}, plan_bits[N_PLANS] = {2.3, 3.1, 4.5, 6.3};

static uint32_t at_most(const pare_fit *f, uint32_t n)
{
    const uint32_t there = f->trial != NULL ? pare_trial_windows(f->trial) : n;
    return n < there ? n : there;
}

uint32_t pare_fit_swap_windows(const pare_fit *f)
{
    return at_most(f, f->o.n_swap_windows != 0 ? f->o.n_swap_windows : SWAP_WINDOWS);
}

uint32_t pare_fit_plan_windows(const pare_fit *f)
{
    return at_most(f, f->o.n_windows != 0 ? f->o.n_windows : PLAN_WINDOWS);
}

uint32_t pare_fit_last_windows(const pare_fit *f)
{
    const uint32_t wanted = f->o.n_last_windows != 0 ? f->o.n_last_windows : LAST_WINDOWS;
    const uint32_t plans = pare_fit_plan_windows(f);
    return at_most(f, wanted > plans ? wanted : plans);
}

/* The choice with an error whose bits are nearest; PARE_FIT_OWN: there is none with an error. */
static size_t anchor_of(const pare_fit_item *item, double bits)
{
    size_t best = PARE_FIT_OWN;
    double least = INFINITY;
    for (size_t k = 0; k < item->n; k++) {
        const double off = fabs(log(8 * (double)item->choices[k].bytes / (double)item->n_weights / bits));
        if (item->choices[k].known && item->choices[k].error > 0 && off < least) {
            least = off;
            best = k;
        }
    }
    return best;
}

/* What measured swaps say of the others. */
void pare_fit_take_costs(pare_fit_item *item)
{
    double least = INFINITY;
    item->n_efficient = 0;
    for (size_t k = 0; k < item->n; k++) {
        pare_fit_choice *c = &item->choices[k];
        if (!c->run)
            c->alone =
                c->error > 0 && item->n_swaps > 0 ? pare_sensitivity_cost(item->swaps, item->n_swaps, c->error) : 0;
        if (!c->known)
            continue;
        if (c->alone < least || item->n_efficient == 0) {
            least = c->alone;
            if (item->n_efficient > 0 && item->choices[item->efficient[item->n_efficient - 1]].bytes == c->bytes)
                item->n_efficient--;
            item->efficient[item->n_efficient++] = k;
        }
    }
}

size_t pare_fit_efficient_at(const pare_fit_item *item, size_t k)
{
    size_t e = 0;
    while (e + 1 < item->n_efficient && item->efficient[e + 1] <= k)
        e++;
    return e;
}

double pare_fit_sum(const pare_fit *f, const size_t *at)
{
    double sum = 0;
    for (size_t i = 0; i < f->n_items; i++)
        sum += f->items[i].choices[at[i]].alone;
    return sum;
}

void pare_fit_learn(pare_fit *f, const size_t *at, const pare_trial_score *score)
{
    pare_whole_learn(&f->whole, pare_fit_sum(f, at), score->all, score->second);
}

static void take_swap(pare_fit_item *item, size_t k, const pare_trial_score *score)
{
    item->swaps[item->n_swaps++] = (pare_swap){item->choices[k].error, score->all};
    item->choices[k].alone = fmax(score->all, 0);
    item->choices[k].run = true;
}

/* The embedding, and what reads the last state: few tensors with much of the divergence, which hangs on single rows. Of
 * these every type that is worth its bytes is run. */
static pare_status measure_ends(pare_fit *f, size_t *at, size_t i, pare_error *err)
{
    pare_fit_item *item = &f->items[i];
    const size_t measured = anchor_of(item, anchor_bits[0]), n = item->n_efficient;
    size_t efficient[PARE_TYPE_COUNT];
    pare_status st = PARE_OK;
    memcpy(efficient, item->efficient, n * sizeof *efficient);
    for (size_t e = 0; e < n && st == PARE_OK && item->n_swaps < PARE_MAX_SWAPS; e++) {
        const size_t k = efficient[e];
        pare_trial_score score;
        if (k == measured || !(item->choices[k].error > 0))
            continue;
        if ((st = pare_fit_swap(f, at, i, k, &score, err)) == PARE_OK)
            take_swap(item, k, &score);
    }
    pare_fit_take_costs(item);
    return st;
}

static pare_status measure_anchors(pare_fit *f, size_t *at, pare_error *err)
{
    pare_status st = PARE_OK;
    size_t done = 0;
    bool more;
    const uint32_t n_stages = pare_trial_stages(f->trial);
    for (int a = 0; a < N_ANCHORS && st == PARE_OK; a++) { /* all that a type is needed for at once */
        for (size_t i = 0; i < f->n_items; i++)
            at[i] = anchor_of(&f->items[i], anchor_bits[a]);
        st = pare_fit_need(f, at, &more, err);
    }
    for (size_t i = 0; i < f->n_items; i++)
        at[i] = PARE_FIT_OWN;
    if (st == PARE_OK)
        st = pare_fit_begin_swaps(f, at, err);
    for (uint32_t stage = 0; stage < n_stages; stage++)
        for (size_t i = 0; i < f->n_items && st == PARE_OK; i++) {
            pare_fit_item *item = &f->items[i];
            if (item->stage != stage)
                continue;
            pare_fit_tell(f, PARE_FIT_SWAPS, (double)done++ / (double)f->n_items,
                          f->o.model->tensors[item->tensor].name, NAN);
            for (int a = 0; a < N_ANCHORS && st == PARE_OK; a++) {
                const size_t k = anchor_of(item, anchor_bits[a]);
                pare_trial_score score;
                if (k == PARE_FIT_OWN || (st = pare_fit_swap(f, at, i, k, &score, err)) != PARE_OK)
                    continue;
                take_swap(item, k, &score);
            }
            pare_fit_take_costs(item);
            if (st == PARE_OK && n_stages > 1 && (stage == 0 || stage + 1 == n_stages))
                st = measure_ends(f, at, i, err);
        }
    return st;
}

/* Plans that the knapsack makes of single swaps, at sizes from small to large: how far the sum is from the whole in
 * plans of this kind. (In plans of one type for all the embedding and the output have most of the divergence, and what
 * layers make of each other's errors does not show.) */
static pare_status measure_plans(pare_fit *f, size_t *at, pare_error *err)
{
    uint64_t least, most, weights = 0;
    pare_status st = PARE_OK;
    pare_fit_range(f, &least, &most);
    for (size_t i = 0; i < f->n_items; i++)
        weights += f->items[i].n_weights;
    for (int a = 0; a < N_PLANS && st == PARE_OK; a++) {
        pare_trial_score score;
        pare_allocation got;
        const uint64_t bytes = (uint64_t)((double)weights * plan_bits[a] / 8);
        if (bytes < least - f->overhead || bytes > most - f->overhead)
            continue;
        st = pare_fit_plan(f, bytes, at, &got, err);
        if (st == PARE_OK)
            st = pare_fit_run(f, at, 0, &score, err);
        if (st == PARE_OK)
            pare_fit_learn(f, at, &score);
    }
    return st;
}

pare_status pare_fit_measure_alone(pare_fit *f, pare_error *err)
{
    size_t *at = malloc((f->n_items + 1) * sizeof *at);
    if (at == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for a plan");
    pare_status st = measure_anchors(f, at, err);
    if (st == PARE_OK && f->sample.model.n_tensors == 0) /* else most of it would be encoded for these plans alone */
        st = measure_plans(f, at, err);
    free(at);
    return st;
}

static pare_status swap_to(pare_fit *f, size_t *at, size_t i, size_t e, double base, double *change, pare_error *err)
{
    pare_trial_score score;
    pare_status st = pare_fit_swap(f, at, i, f->items[i].efficient[e], &score, err);
    if (st == PARE_OK)
        *change = score.all - base;
    return st;
}

pare_status pare_fit_measure_around(pare_fit *f, const size_t *plan, double *down, double *up, pare_error *err)
{
    size_t *at = malloc((f->n_items + 1) * sizeof *at), done = 0;
    pare_trial_score base;
    if (at == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for a plan");
    memcpy(at, plan, f->n_items * sizeof *at);
    pare_status st = pare_fit_run(f, at, pare_fit_swap_windows(f), &base, err);
    if (st == PARE_OK)
        st = pare_fit_begin_swaps(f, at, err);
    for (uint32_t stage = 0; stage < pare_trial_stages(f->trial); stage++)
        for (size_t i = 0; i < f->n_items && st == PARE_OK; i++) {
            const pare_fit_item *item = &f->items[i];
            const size_t e = pare_fit_efficient_at(item, at[i]);
            if (item->stage != stage)
                continue;
            pare_fit_tell(f, PARE_FIT_SEARCH, (double)done++ / (double)f->n_items,
                          f->o.model->tensors[item->tensor].name, base.all);
            down[i] = up[i] = NAN;
            if (item->efficient[e] < at[i])
                st = swap_to(f, at, i, e, base.all, &down[i], err);
            else if (e > 0)
                st = swap_to(f, at, i, e - 1, base.all, &down[i], err);
            if (st == PARE_OK && e + 1 < item->n_efficient)
                st = swap_to(f, at, i, e + 1, base.all, &up[i], err);
        }
    free(at);
    return st;
}
