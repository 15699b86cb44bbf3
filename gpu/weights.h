/* gpu/weights.h - weights on the device, as they are stored: resident while there is room, streamed otherwise
 *
 * A tensor is copied when it is first needed, and stays if the memory budget allows. What does not stay is streamed
 * each time, through a ring that is filled by other threads and another stream while the device computes:
 *
 *   mapped file --read--> pinned slices --copy stream--> ring on the device --> kernels of the main stream
 *
 * The order in which weights will be needed is known (pare_backend.expect), so the ring is filled ahead; what comes
 * unexpected works too, and waits for its copy. docs/methods/CUDA.md has the arithmetic. */
#ifndef PARE_GPU_WEIGHTS_H
#define PARE_GPU_WEIGHTS_H

#include "gpu/runtime.h"

pare_status pare_gpu_weights_open(pare_gpu *g, pare_error *err);
void pare_gpu_weights_close(pare_gpu *g);

/* These weights of a model will be asked for, until they are dropped as often as they are held: then they are
 * forgotten, and the model may be closed. Knowing all of them before the first one is needed spreads those that stay
 * evenly. */
pare_status pare_gpu_weights_hold(pare_gpu *g, const pare_tensor *const *t, size_t n, pare_error *err);
void pare_gpu_weights_drop(pare_gpu *g, const pare_tensor *const *t, size_t n);

/* The stored bytes of rows [row, row + n_rows) of t, on the device, for kernels that are launched from now on and
 * before the next call of this function, of pare_gpu_weight_piece or of pare_gpu_weights_expect. Errors: those of
 * reading t; PARE_ERR_MEMORY (not even room to stream it) */
pare_status pare_gpu_weight(pare_gpu *g, const pare_tensor *t, uint64_t row, uint64_t n_rows, const void **out,
                            pare_error *err);

/* What was given out last is not needed by further kernels: its memory may be given to others, if it must. */
void pare_gpu_weight_done(pare_gpu *g);

/* How many rows from `row` on, n_rows at most, are had cheaply in one call of pare_gpu_weight: all of them for what is
 * resident, and for what is streamed as one piece; the rest of its piece for a tensor that passes through the ring in
 * several. More at once works too as long as they fit in the ring, but is not fetched ahead. At least 1. */
uint64_t pare_gpu_weight_piece(pare_gpu *g, const pare_tensor *t, uint64_t row, uint64_t n_rows);

/* For a table of which a few rows are needed: whether all of it is, or will be, on the device; and, where it is not,
 * its stored rows ids[i] (host memory) one behind the other on the device, for a megabyte or so at once. They are valid
 * as those of pare_gpu_push are. */
bool pare_gpu_weight_stays(pare_gpu *g, const pare_tensor *t);
pare_status pare_gpu_weight_gather(pare_gpu *g, const pare_tensor *t, const int32_t *ids, uint32_t n, const void **out,
                                   pare_error *err);

/* A small tensor (a norm, a bias, sinks) as floats on the device: kept until it is dropped. */
pare_status pare_gpu_vector(pare_gpu *g, const pare_tensor *t, const float **out, pare_error *err);

/* These will be needed soon, in this order. The list before this one is being used; what is only in older ones makes
 * room for it. */
pare_status pare_gpu_weights_expect(pare_gpu *g, const pare_tensor *const *t, size_t n, pare_error *err);

/* Free at least so many bytes of weights that stay, the last ones first, and stream these from now on; then the ring,
 * of which a smaller one is made when it is needed. Less, when there is no more: what pare_gpu_weight gave out last is
 * left where it is until pare_gpu_weight_done. */
void pare_gpu_weights_give_back(pare_gpu *g, uint64_t bytes);

typedef struct pare_gpu_traffic {
    uint64_t all_bytes;                      /* of the weights that were asked for or are held */
    uint64_t resident_bytes, streamed_bytes; /* of them that stay on the device; copied through the ring so far */
    double stream_seconds;                   /* that the latter took on the bus */
} pare_gpu_traffic;
void pare_gpu_weights_traffic(const pare_gpu *g, pare_gpu_traffic *out);

#endif
