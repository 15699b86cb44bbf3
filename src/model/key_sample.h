/* model/key_sample.h - what keys and queries of a layer look like behind RoPE: some keys, and how large queries are
 *
 * Collected by eval/key_collect.h on a text, or made up from the weights (recipe/kv_ready.h). */
#ifndef PARE_MODEL_KEY_SAMPLE_H
#define PARE_MODEL_KEY_SAMPLE_H

#include "core/error.h"

#include <stdint.h>

typedef struct pare_key_sample {
    uint32_t n, room, width; /* keys that are there, and that there is room for; elements of one: all key heads */
    float *k;                /* [room, width] */
    double *q2;              /* [width] sum of squares of the queries that read this key head, of all their heads */
} pare_key_sample;

/* Room for so many keys, none yet. Errors: PARE_ERR_MEMORY; to be closed then too. */
pare_status pare_key_sample_open(pare_key_sample *s, uint32_t room, uint32_t width, pare_error *err);
void pare_key_sample_close(pare_key_sample *s); /* zeroed is closed */

#endif
