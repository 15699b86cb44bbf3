/* fit/search_parts.h - what the parts of the search share */
#ifndef PARE_FIT_SEARCH_PARTS_H
#define PARE_FIT_SEARCH_PARTS_H

#include "fit/allocate.h"
#include "fit/encodings.h"
#include "fit/memo.h"
#include "fit/probe.h"
#include "fit/row_sample.h"
#include "fit/search.h"
#include "fit/sensitivity.h"
#include "fit/trial.h"
#include "fit/whole.h"

/* A type that a tensor may have. */
typedef struct pare_fit_choice {
    pare_type type;
    uint64_t bytes;            /* in the file, padding included */
    const pare_encoding *made; /* NULL: the source's own values, or not encoded yet */
    pare_memo_key digest;      /* of the bytes; zeros: the source's own, or not encoded yet */
    double error;              /* 0: the source's own values */
    bool run;                  /* alone was measured in this type, not read off the curve */
    bool known;                /* the source's own values, or encoded, be it on a sample of rows */
    double alone;              /* divergence that it costs with all other tensors as they are */
} pare_fit_choice;

typedef struct pare_fit_item {
    size_t tensor;
    uint64_t n_weights;
    uint32_t stage;
    bool first; /* the embedding, or what reads it first: the first norm's gains depend on it (recipe/refit.h) */
    bool kept;  /* by a pattern */
    pare_fit_choice *choices; /* [n] bytes ascend */
    size_t n;
    size_t *efficient; /* [n_efficient] choices that cost less than all smaller ones */
    size_t n_efficient;
    pare_swap swaps[PARE_MAX_SWAPS];
    size_t n_swaps;
} pare_fit_item;

/* Gains that were fitted for some plan (recipe/refit.h). */
typedef struct pare_fit_norm {
    size_t *at;     /* [n_items] that plan, of which the first items count */
    uint8_t *bytes; /* NULL: nothing was fitted */
} pare_fit_norm;

struct pare_fit {
    pare_fit_options o;
    pare_type types[PARE_TYPE_COUNT]; /* that may be encoded */
    size_t n_types;
    bool *allowed;                  /* [n_tensors, PARE_TYPE_COUNT] they can be encoded */
    bool needless[PARE_TYPE_COUNT]; /* fit/probe.h; encoded only if somebody tries them */
    pare_buf about;
    pare_encodings_options encoding;
    pare_fit_item *items;
    size_t n_items, n_unwanted; /* unwanted: that no wanted type fits */
    uint64_t overhead;          /* bytes of the file besides the choices' */
    pare_encodings encodings;
    pare_row_sample sample; /* of large matrices, */
    pare_encodings samples; /* these rows of theirs in all types, */
    pare_encodings_options sampling;
    bool *sample_allowed; /* [sample.model.n_tensors, PARE_TYPE_COUNT] */
    char *sample_folder;
    pare_trial *trial;
    pare_memo memo;
    bool measured;
    pare_fit_norm *norms; /* [n_norms] */
    size_t n_norms, cap_norms;
    pare_whole whole; /* plans that were run */
    uint32_t n_runs;
};

/* A plan is an array at [n_items]: the number of each item's choice, or that, in a run, the source's own values. */
#define PARE_FIT_OWN SIZE_MAX

void pare_fit_tell(const pare_fit *f, pare_fit_stage stage, double part, const char *what, double kld);

/* The model of a plan: derived, with nothing encoded. */
pare_status pare_fit_compose_bare(pare_fit *f, const size_t *at, pare_model *out, pare_plan *plan, pare_error *err);

/* Tensors of such a model that nobody encoded yet get what was encoded for the plan. */
void pare_fit_place(const pare_fit *f, const size_t *at, pare_model *out, pare_plan *plan);

/* Both. */
pare_status pare_fit_compose(pare_fit *f, const size_t *at, pare_model *out, pare_plan *plan, pare_error *err);

/* Of the plan's choice for the item there are no bytes. */
bool pare_fit_is_lacking(const pare_fit *f, const pare_fit_item *item, size_t at);

/* All of the plan is encoded from now on. *more: something was not, so that whatever is placed lies elsewhere now. */
pare_status pare_fit_need(pare_fit *f, const size_t *at, bool *more, pare_error *err);

/* A whole plan over the first n_windows windows (0: those of plans). */
pare_status pare_fit_run(pare_fit *f, const size_t *at, uint32_t n_windows, pare_trial_score *out, pare_error *err);

/* The same if it was run before and all of it is encoded, *found. */
pare_status pare_fit_look_up(pare_fit *f, const size_t *at, bool *found, pare_trial_score *out, pare_error *err);

/* Budgets whose first plan was run are kept with the measurements; a later run learns from all of them. */
pare_status pare_fit_note_budget(pare_fit *f, uint64_t budget, pare_error *err);
pare_status pare_fit_recall_budgets(pare_fit *f, pare_error *err);

/* Swaps of single items in a plan, in the order of their stages: begin, then each, with item i in its choice k over the
 * windows of swaps. */
pare_status pare_fit_begin_swaps(pare_fit *f, const size_t *at, pare_error *err);
pare_status pare_fit_swap(pare_fit *f, size_t *at, size_t i, size_t k, pare_trial_score *out, pare_error *err);

/* Every item's anchors alone, and plans made of them: fills swaps, alone, efficient and whole. */
pare_status pare_fit_measure_alone(pare_fit *f, pare_error *err);

/* What the plan's items cost more or less in their next smaller and next larger efficient choice, with all others as in
 * the plan: down, up [n_items], NAN: there is none. */
pare_status pare_fit_measure_around(pare_fit *f, const size_t *at, double *down, double *up, pare_error *err);

/* What measured swaps say of all choices of the item: alone, efficient. */
void pare_fit_take_costs(pare_fit_item *item);

/* Which of the item's efficient choices is choice k, or the last one before it. */
size_t pare_fit_efficient_at(const pare_fit_item *item, size_t k);

/* Windows of single swaps, of plans, and of the plan that comes out. */
uint32_t pare_fit_swap_windows(const pare_fit *f);
uint32_t pare_fit_plan_windows(const pare_fit *f);
uint32_t pare_fit_last_windows(const pare_fit *f);

/* The plan of the least sum in so many bytes, overhead left out. */
pare_status pare_fit_plan(pare_fit *f, uint64_t bytes, size_t *at, pare_allocation *got, pare_error *err);

/* Sum of what single swaps say. */
double pare_fit_sum(const pare_fit *f, const size_t *at);

/* The plan was run over the windows of plans. */
void pare_fit_learn(pare_fit *f, const size_t *at, const pare_trial_score *score);

#endif
