/* gpu/weights.h - weights on the device, as they are stored: resident while there is room, streamed otherwise
 *
 * A tensor is copied when it is first needed, and stays while the memory budget lasts. What finds no room is streamed
 * each time, through a ring that is filled by another thread and another stream while the device computes:
 *
 *   mapped file ──read──> pinned slices ──copy stream──> ring on the device ──> kernels of the main stream
 *
 * The order in which weights will be needed is known (pare_backend.expect), so the ring is filled ahead. */
#ifndef PARE_GPU_WEIGHTS_H
#define PARE_GPU_WEIGHTS_H

#include "gpu/runtime.h"

pare_status pare_gpu_weights_open(pare_gpu *g, pare_error *err);
void pare_gpu_weights_close(pare_gpu *g);

/* The stored bytes of rows [row, row + n_rows) of t, on the device, for kernels that are launched from now on and
 * before the next call of this function, for whatever tensor: what is streamed may move then. Errors: those of reading
 * t; PARE_ERR_MEMORY (not even room to stream it) */
pare_status pare_gpu_weight(pare_gpu *g, const pare_tensor *t, uint64_t row, uint64_t n_rows, const void **out,
                            pare_error *err);

/* How many rows from `row` on, n_rows at most, are had cheaply in one call of pare_gpu_weight: all of them for what is
 * resident, and for what is streamed as one piece; the rest of its piece for a tensor that passes through the ring in
 * several. More at once works too as long as they fit in the ring, but is not fetched ahead. At least 1. */
uint64_t pare_gpu_weight_piece(pare_gpu *g, const pare_tensor *t, uint64_t row, uint64_t n_rows);

/* A small tensor (a norm, a bias, sinks) as floats on the device: kept for good. */
pare_status pare_gpu_vector(pare_gpu *g, const pare_tensor *t, const float **out, pare_error *err);

/* These will be needed soon, in this order. */
pare_status pare_gpu_weights_expect(pare_gpu *g, const pare_tensor *const *t, size_t n, pare_error *err);

typedef struct pare_gpu_traffic {
    uint64_t resident_bytes, streamed_bytes; /* of weights on the device; copied more than once so far */
    double stream_seconds;                   /* that copies of streamed weights took */
} pare_gpu_traffic;
void pare_gpu_weights_traffic(const pare_gpu *g, pare_gpu_traffic *out);

#endif
