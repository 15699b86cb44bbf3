/* eval/similarity.h - how embeddings drift: cosines between two models' vectors of the same texts, and whether pairs of
 * texts keep their order
 *
 * Method and limits: docs/methods/EMBEDDING.md. */
#ifndef PARE_EVAL_SIMILARITY_H
#define PARE_EVAL_SIMILARITY_H

#include "eval/stats.h"

/* Two texts, by their numbers, and how alike somebody found them; NAN: nobody was asked. */
typedef struct pare_text_pair {
    size_t a, b;
    double score;
} pare_text_pair;

/* Vectors of n texts. */
typedef struct pare_vectors {
    const float *x; /* [n, width] */
    size_t n, width;
} pare_vectors;

/* NAN where there is nothing to say it from. Similarity: the cosine of the vectors of a pair's texts. */
typedef struct pare_embedding_drift {
    size_t n_texts, n_pairs, n_scored; /* n_scored: pairs with a score */
    bool same_width;                   /* else the vectors of the two models have no angle between them */
    pare_estimate cosine;              /* of a text's vectors by the two models: the mean */
    double cosine_median, cosine_p01, cosine_min;
    size_t worst_text;    /* with cosine_min */
    pare_estimate change; /* of a pair's similarity, without sign: the mean */
    double change_max;
    size_t worst_pair;                               /* with change_max */
    double spearman, pearson;                        /* of the pairs' similarities by the two models */
    double reference_score_spearman, score_spearman; /* of similarities with the scores */
} pare_embedding_drift;

/* Errors: PARE_ERR_NUMBER (a vector of zeros has no direction; its text is named), PARE_ERR_MEMORY */
pare_status pare_embedding_drift_measure(const pare_vectors *reference, const pare_vectors *model,
                                         const pare_text_pair *pairs, size_t n_pairs, pare_embedding_drift *out,
                                         pare_error *err);

/* Sums in double; NAN for a vector of zeros. */
double pare_cosine(const float *x, const float *y, size_t n);

/* Pearson's correlation of n pairs of numbers; NAN for fewer than two, or where one side does not vary. */
double pare_pearson(const double *x, const double *y, size_t n);

/* Spearman's: Pearson's of the ranks, equal values sharing the mean of theirs. Errors: PARE_ERR_MEMORY */
pare_status pare_spearman(const double *x, const double *y, size_t n, double *out, pare_error *err);

#endif
