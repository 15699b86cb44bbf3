/* formats/logit_code.h - log-probabilities as whole numbers, with a step that suits what a divergence feels
 *
 * An error d of ln p costs p d^2 / 2 of KL divergence. The step that spreads a given cost with the fewest bits grows as
 * 1/sqrt(p): it is a uniform step of sqrt(p). So the number of a log-probability y = ln p is
 *
 *     k = round(2/step * e^(y/2) - 2/cap)   where the step of y, step * e^(-y/2), is below cap
 *     k = round((y - y0) / cap)             below y0, where it reaches cap: k <= 0, and no end of the tail
 *
 * Derivation and what else was tried: docs/formats/LOGITS.md, docs/benchmarks/logits.md. */
#ifndef PARE_FORMATS_LOGIT_CODE_H
#define PARE_FORMATS_LOGIT_CODE_H

#include "core/error.h"

#include <stdint.h>

enum { PARE_LOGIT_TAIL = 1 << 21 }; /* numbers are at least -PARE_LOGIT_TAIL: what lies lower is stored as that */

/* Zeroed is closed. */
typedef struct pare_logit_code {
    double step, cap;
    double y0, offset; /* 2 ln(step / cap), 2 / cap */
    int32_t top;       /* the largest number: of probability 1 */
    int32_t bottom;    /* values below are computed, not looked up */
    float *value;      /* ln p of numbers bottom .. top */
} pare_logit_code;

/* Errors: PARE_ERR_RANGE (step not in [2^-20, 1/16], cap not in [step, 1]), PARE_ERR_MEMORY */
pare_status pare_logit_code_open(pare_logit_code *c, double step, double cap, pare_error *err);
void pare_logit_code_close(pare_logit_code *c);

/* Step number j of a ladder of four steps to a doubling; 0 is the default precision: KL(p || p of the store) of 4e-7
 * nat or less with any vocabulary. */
enum { PARE_LOGIT_LADDER_MIN = -48, PARE_LOGIT_LADDER_MAX = 40 };
void pare_logit_ladder(int j, uint32_t n_vocab, double *step, double *cap);

static inline float pare_logit_value(const pare_logit_code *c, int32_t k)
{
    return k >= c->bottom ? c->value[k - c->bottom] : (float)(c->y0 + c->cap * (double)k);
}

/* What a row keeps beside its numbers. */
typedef struct pare_logit_row {
    uint32_t target, top; /* the token that follows, the most likely one: their values are kept as they are */
    float target_logp, top_logp;
    float shift;  /* added to the others' values, so that the row's probabilities sum to 1 */
    double noise; /* KL(p || p of the store) */
} pare_logit_row;

/* Numbers k [n] of log-probabilities y [n]; row->target and row->top are given, the rest is filled in. p: scratch [n].
 */
void pare_logit_encode(const pare_logit_code *c, const float *y, uint32_t n, float *p, int32_t *k, pare_logit_row *row);

/* Values with the row's corrections, in place: out [n] holds pare_logit_value of every number. */
void pare_logit_correct(const pare_logit_row *row, uint32_t n, float *out);

/* ln x for finite x > 0, the same bits with any C library; relative error below 1e-14 where ln x is not near 0 */
double pare_logit_ln(double x);

#endif
