/* tests/eval/toy_score.h - pare_backend.score as its contract says, on any backend with host memory: its products, and
 * everything behind them in double */
#ifndef PARE_TESTS_EVAL_TOY_SCORE_H
#define PARE_TESTS_EVAL_TOY_SCORE_H

#include "eval/backend.h"

extern _Atomic int toy_score_calls; /* so far */

pare_status toy_score(pare_backend *b, const pare_score_side *models, size_t n_models, const pare_score_side *reference,
                      const int32_t *targets, uint32_t n, pare_position_score *out, pare_error *err);

#endif
