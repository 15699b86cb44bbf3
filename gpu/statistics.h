/* gpu/statistics.h - hidden states to scores of positions, vocabulary tile by vocabulary tile: pare_backend.score */
#ifndef PARE_GPU_STATISTICS_H
#define PARE_GPU_STATISTICS_H

#include "gpu/runtime.h"

pare_status pare_gpu_score(pare_gpu *g, const pare_score_side *models, size_t n_models,
                           const pare_score_side *reference, const int32_t *targets, uint32_t n,
                           pare_position_score *out, pare_error *err);

#endif
