/* model/hparams_limits.h - what either source of hyperparameters is held to */
#ifndef PARE_MODEL_HPARAMS_LIMITS_H
#define PARE_MODEL_HPARAMS_LIMITS_H

#include "model/arch.h"
#include "model/vocab.h"

enum {
    PARE_MAX_LAYERS = 4096,
    PARE_MAX_EMBD = 1 << 20,
    PARE_MAX_FF = 1 << 24,
    PARE_MAX_HEADS = 1 << 14,
    PARE_MAX_HEAD_DIM = 1 << 16,
    PARE_MAX_EXPERTS = 1 << 14
};
#define PARE_MAX_CTX UINT32_C(0x7fffffff)

/* Fill what follows from other values (kv heads, head size, rotary size, when 0) and check how the values fit together:
 * divisors, even rotary size, finite and positive floats. The same rules for both sources.
 * Errors: PARE_ERR_RANGE. */
pare_status pare_hparams_settle(pare_hparams *hp, const char *path, pare_error *err);

/* True when v, out of a file, is finite and in (0, max]. */
bool pare_hparams_positive(double v, double max);

#endif
