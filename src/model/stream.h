/* model/stream.h - the stored bytes of many tensors, made on all threads ahead of those who take them */
#ifndef PARE_MODEL_STREAM_H
#define PARE_MODEL_STREAM_H

#include "model/model.h"

/* Some whole blocks of a tensor. A tensor without bytes is one empty slice. */
typedef struct pare_slice {
    const pare_tensor *t;
    uint64_t offset; /* of its bytes */
    const void *data;
    size_t n;
    bool last; /* of its tensor */
} pare_slice;

typedef pare_status (*pare_take_fn)(const pare_slice *slice, void *user, pare_error *err);

/* Deliver all tensors, one after the other, each from its first byte to its last, to each of n_takers (1 to
 * PARE_PIPELINE_LANES, core/pipeline.h) functions. A taker gets one slice at a time, from any thread; different takers
 * run at once, those behind the first on threads beside the others. The error is that of the first row, in this order, that fails, whatever the threads do. Memory: a
 * bounded number of bytes, whatever the sizes and the number of threads; no less than a row needs. */
pare_status pare_stream(const pare_tensor *tensors, size_t n_tensors, const pare_take_fn *takers, size_t n_takers,
                        void *user, pare_error *err);

/* The same to one taker, but neighbours that are read from the same memory (pare_tensor.shared) come in turn, slice by
 * slice: it is read once for all of them. The slices of each tensor are in order. */
pare_status pare_stream_in_turn(const pare_tensor *tensors, size_t n_tensors, pare_take_fn taker, void *user,
                                pare_error *err);

/* One tensor's bytes to one taker. */
typedef pare_status (*pare_sink_fn)(const void *data, size_t n, void *user, pare_error *err);
pare_status pare_tensor_stream(const pare_tensor *t, pare_sink_fn sink, void *user, pare_error *err);

#endif
