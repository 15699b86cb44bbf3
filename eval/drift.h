/* eval/drift.h - two models' answers to the same items, paired: which ones changed, and is the change more than chance?
 *
 * Method and limits: docs/methods/DRIFT.md. */
#ifndef PARE_EVAL_DRIFT_H
#define PARE_EVAL_DRIFT_H

#include "eval/likelihood.h"
#include "eval/stats.h"

/* What one model answered to an item. */
typedef struct pare_answer {
    uint64_t choice; /* any number that is the same for the same answer */
    bool right;
} pare_answer;

typedef struct pare_pair {
    size_t item; /* its number in its task */
    pare_answer reference, model;
    size_t group; /* items of one group go together; numbers from 0 without a gap, see n_groups */
} pare_pair;

/* Pairs of one task, or of several behind one another. Zeroed is empty. */
typedef struct pare_pairs {
    pare_pair *pair; /* [n] */
    size_t n, cap;
    size_t n_groups;
    uint64_t n_left_out; /* items that one of the models could not be asked: too long */
} pare_pairs;

/* Append a pair; its group is at most p->n_groups, which begins a new one. Errors: PARE_ERR_MEMORY */
pare_status pare_pairs_add(pare_pairs *p, const pare_pair *pair, pare_error *err);

/* Append the items of a task that both models were asked. Items whose text of group is the same are one group; an item
 * without such a text is a group of its own. Of PARE_TASK_GENERATE the answer is the one of the strict rule, and items
 * without a target are left out. Of PARE_TASK_LAST_WORD the answer is whether the word came, by any rule;
 * of PARE_TASK_MASS, which has no answers of its own, the most likely choice. Errors: PARE_ERR_USAGE (scores of
 * different tasks), PARE_ERR_MEMORY */
pare_status pare_pairs_add_task(pare_pairs *p, const pare_task_scores *reference, const pare_task_scores *model,
                                pare_rule rule, pare_error *err);
void pare_pairs_close(pare_pairs *p);

typedef enum pare_drift_verdict {
    PARE_DRIFT_NO_ITEMS,
    PARE_DRIFT_NOT_RESOLVED, /* which is not "no change": the items cannot tell */
    PARE_DRIFT_LOSS,
    PARE_DRIFT_GAIN
} pare_drift_verdict;

typedef struct pare_drift {
    uint64_t n, n_left_out, n_groups;
    uint64_t both_right, both_wrong;
    uint64_t lost, gained; /* right only with the reference; only with the model */
    uint64_t moved;        /* another answer, as right or as wrong as before */
    double reference_accuracy, accuracy;
    double agreement;         /* share of items with the same answer */
    double flip_rate;         /* (lost + gained) / n */
    double p;                 /* exact McNemar test of lost against gained */
    pare_estimate difference; /* accuracy - reference_accuracy, of pairs; error clustered by group */
    bool clustered;           /* false: all items are one group, or each is its own; the error is then that of
                                 independent items */
    pare_interval interval; /* 95 % of the difference: +- Student's t with n_groups - 1 (n - 1 when not clustered) times
                               the error, and not less than 3 / n, the largest rate of flips that n items without one
                               leave possible */
    double detectable;      /* pare_detectable of n and flip_rate; without a flip, of the rate 3 / n */
    pare_drift_verdict verdict;
} pare_drift;

/* Errors: PARE_ERR_MEMORY */
pare_status pare_drift_measure(const pare_pairs *p, pare_drift *out, pare_error *err);

/* The verdict as a sentence without a full stop, e.g. "not resolved: a change below 2.8 points cannot be told with 1000
 * items". Returns dst. */
char *pare_drift_sentence(const pare_drift *d, char *dst, size_t size);

#endif
