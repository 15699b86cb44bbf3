/* recipe/fold.h - input channels of matrices times s, and what makes these inputs divided by s: the same model with
 * other weights to round
 *
 *     readers, their columns times s      divided by s
 *     q, k, v                             the norm before them, its gain and bias
 *     gate, up                            the norm before them
 *     attention output                    rows of v: those of a head of v as often as query heads read it
 *     down                                rows of up, which the activation does not touch; each expert's by itself
 *
 * Method: docs/methods/AWQ.md. */
#ifndef PARE_RECIPE_FOLD_H
#define PARE_RECIPE_FOLD_H

#include "model/model.h"
#include "quant/gram.h"

enum { PARE_FOLD_READERS = 3, PARE_FOLD_GIVERS = 2 };

/* Matrices that read the same inputs, and what makes these. */
typedef struct pare_fold_pair {
    const pare_tensor *reader[PARE_FOLD_READERS];
    struct {
        const pare_tensor *t; /* a vector (a norm's, a bias), or a matrix whose rows make the inputs */
        uint64_t first;       /* element or row that makes the first input */
    } giver[PARE_FOLD_GIVERS];
    size_t n_readers, n_givers;
    uint64_t n_experts, expert; /* more than 1: of that expert's part of the rows of all of them */
    bool norm;                  /* giver[0] is a norm's gain */
    uint64_t n;                 /* inputs */
    uint64_t width;             /* input c is made by element (c / (width * share)) * width + c % width of a giver: */
    uint64_t share; /* elements of a head, and how many query heads read it; both 1 where they are not shared */
    float *scale;   /* [n] s > 0; 1 until somebody knows better */
} pare_fold_pair;

/* Zeroed is empty. */
typedef struct pare_fold {
    pare_fold_pair *pairs;
    size_t n;
    char *left; /* what is not scaled, and why: a line; NULL: nothing is left out */
    pare_arena arena;
} pare_fold;

/* The pairs of m in which scaling is exact, by its architecture: none where something else reads what a norm or a
 * matrix makes, where a norm or a clamp comes in between. Those of a matrix' experts follow one another.
 * Errors: PARE_ERR_MEMORY */
pare_status pare_fold_find(pare_fold *f, const pare_model *m, pare_error *err);
void pare_fold_close(pare_fold *f);

/* The element of a giver, behind its first one, that makes input c. */
uint64_t pare_fold_made_by(const pare_fold_pair *p, uint64_t c);

/* Let m, which f was found for, show the scaled weights: its tensors are read through f's scales, in F32. A tensor that
 * no scale but 1 concerns stays as it is. f may be closed after it. Errors: PARE_ERR_MEMORY */
pare_status pare_fold_apply(pare_model *m, const pare_fold *f, pare_error *err);

/* What the inputs of this matrix of m are divided by, [columns], or of experts [experts, columns], in f's arena; NULL:
 * by nothing. */
const float *pare_fold_scale(const pare_fold *f, const char *matrix);

#endif
