/* gpu/feeder.h - rows of tensors to device memory by threads that read them, through pinned memory and a stream of its
 * own
 *
 * A delivery is cut into slices. Each thread takes the next slice of the oldest delivery, reads it into one of its two
 * pinned buffers and asks for the copy, while its other buffer may still be on its way: so neither one core's memcpy
 * nor the decoding of derived tensors limits the bus.
 *
 *   delivery   [ slice | slice | slice | slice | .. ]
 *                 |       |       |       |
 *   reader 0   buffer 0   |    buffer 1   |              two pinned buffers a reader
 *   reader 1           buffer 0        buffer 1
 *                 |       |       |       |
 *   stream     -> copy -> copy -> copy -> copy -> .. -> event `ready`
 *
 * Deliveries are asked for, waited for and withdrawn by one thread, which owns them. */
#ifndef PARE_GPU_FEEDER_H
#define PARE_GPU_FEEDER_H

#include "gpu/runtime.h"

typedef struct pare_gpu_feeder pare_gpu_feeder;

typedef struct pare_gpu_delivery {
    const pare_tensor *t;
    uint64_t row, n_rows; /* n_rows > 0 */
    char *dst;            /* device memory for n_rows * t->row_bytes bytes */
    bool release;         /* tell the system that the rows will not be read again soon */
    cudaEvent_t ready;    /* the owner's; behind the copies, once pare_gpu_feeder_wait has returned */
    /* the feeder's, under its lock: */
    struct pare_gpu_delivery *next;
    uint64_t n_taken, n_reading; /* rows that a reader has begun with; slices being read */
    bool under_way;              /* asked for, and neither in the stream as a whole nor failed */
    pare_status status;
    cudaError_t code;
    pare_error err;
} pare_gpu_delivery;

typedef struct pare_gpu_feeder_traffic {
    uint64_t bytes, timed_bytes; /* copied so far; of these, those whose time is known */
    double seconds;              /* that the copies of timed_bytes took on the bus */
} pare_gpu_feeder_traffic;

/* slice_bytes: of a pinned buffer, which grows where a row is longer. Threads and buffers come with the first delivery.
 */
pare_status pare_gpu_feeder_open(pare_gpu_feeder **out, pare_gpu *g, size_t slice_bytes, pare_error *err);
void pare_gpu_feeder_close(pare_gpu_feeder *f); /* NULL is allowed; what is under way is given up */

/* Ask for d, whose first six members are filled; it must stay where it is until it has been waited for or withdrawn.
 * urgent: before all others that are not read yet. */
pare_status pare_gpu_feeder_ask(pare_gpu_feeder *f, pare_gpu_delivery *d, bool urgent, pare_error *err);

/* Until all copies of d are in the stream. Errors: those of reading */
pare_status pare_gpu_feeder_wait(pare_gpu_feeder *f, pare_gpu_delivery *d, pare_error *err);

/* d is not wanted any more: behind this, nothing of it will be read, and no further copy enters the stream. */
void pare_gpu_feeder_withdraw(pare_gpu_feeder *f, pare_gpu_delivery *d);

/* Copies of deliveries that are asked for from now on begin when e has happened. */
cudaError_t pare_gpu_feeder_behind(pare_gpu_feeder *f, cudaEvent_t e);

/* Until everything in the stream is done. */
cudaError_t pare_gpu_feeder_drain(pare_gpu_feeder *f);

void pare_gpu_feeder_traffic_of(pare_gpu_feeder *f, pare_gpu_feeder_traffic *out);

#endif
