/* Budgets of earlier runs: their plans were run, which says how far sums are from the whole. */
#include "fit/search_parts.h"

#include "core/bytes.h"

#include <stdlib.h>
#include <string.h>

/* What the n-th budget is known by among the measurements; no digest begins so. */
static pare_memo_key key_of(uint64_t n)
{
    static const char name[] = "budget";
    pare_memo_key key = {0};
    memcpy(key.xxh3_128, name, sizeof name);
    pare_store_u64le(key.xxh3_128 + sizeof key.xxh3_128 - sizeof n, n);
    return key;
}

/* Its bytes, all of which a double holds up to 2^53. */
static bool find(pare_fit *f, uint64_t n, uint64_t *bytes)
{
    const pare_memo_key key = key_of(n);
    pare_trial_score score;
    const bool found = pare_memo_find(&f->memo, &key, &score);
    *bytes = found ? (uint64_t)score.all : 0;
    return found;
}

pare_status pare_fit_note_budget(pare_fit *f, uint64_t budget, pare_error *err)
{
    const uint64_t most = UINT64_C(1) << 53;
    uint64_t n = 0, bytes;
    if (budget > most)
        return PARE_OK;
    for (; find(f, n, &bytes); n++)
        if (bytes == budget)
            return PARE_OK;
    const pare_memo_key key = key_of(n);
    const pare_trial_score score = {.all = (double)budget};
    return pare_memo_add(&f->memo, &key, &score, err);
}

pare_status pare_fit_recall_budgets(pare_fit *f, pare_error *err)
{
    size_t *at = malloc((f->n_items + 1) * sizeof *at);
    pare_status st = at != NULL ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a plan");
    uint64_t bytes, least, most;
    pare_fit_range(f, &least, &most);
    for (uint64_t n = 0; st == PARE_OK && find(f, n, &bytes); n++) {
        pare_allocation got;
        pare_trial_score score;
        bool found = false;
        if (bytes < least) /* of other types */
            continue;
        st = pare_fit_plan(f, bytes - f->overhead, at, &got, err);
        if (st == PARE_OK)
            st = pare_fit_look_up(f, at, &found, &score, err);
        if (st == PARE_OK && found)
            pare_fit_learn(f, at, &score);
    }
    free(at);
    return st;
}
