/* gpu/kv.h - keys and values in codecs (quant/kv_codec.h), and rotations of heads, on a device
 *
 * The bytes of the units, what comes back out of them and rotated vectors are the CPU's, bit for bit. Arguments are
 * those of the operations of pare_backend (eval/backend.h). */
#ifndef PARE_GPU_KV_H
#define PARE_GPU_KV_H

#include "gpu/runtime.h"

/* Waits for the device: only then is it known whether all values can be encoded. Errors: PARE_ERR_NUMBER, in the CPU's
 * words; PARE_ERR_RANGE (2^32 units and more) */
pare_status pare_gpu_kv_encode(pare_gpu *g, const pare_kv_codec *c, const float *x, uint64_t n, uint32_t n_head,
                               uint32_t dim, void *dst, pare_error *err);
pare_status pare_gpu_kv_decode(pare_gpu *g, const pare_kv_codec *c, const void *src, uint64_t n, uint32_t n_head,
                               uint32_t dim, float *x, pare_error *err);
pare_status pare_gpu_turn(pare_gpu *g, const pare_turn *t, pare_error *err);

/* ---- for the files gpu/kv*.cu ---- */

/* n_units units one behind the other, bytes long each. */
typedef struct pare_gpu_kv_units {
    pare_kv_unit unit;
    uint32_t bytes, n_head, group;
    uint64_t n_units;
} pare_gpu_kv_units;

/* Families GAUSS and PRODUCT. bad: the least number of a unit that cannot be encoded goes there. */
pare_status pare_gpu_gauss_encode(pare_gpu *g, const pare_gpu_kv_units *units, const float *x, uint8_t *dst,
                                  unsigned *bad, pare_error *err);
pare_status pare_gpu_gauss_decode(pare_gpu *g, const pare_gpu_kv_units *units, const uint8_t *src, float *x,
                                  pare_error *err);

/* Family TRANSFORM, the same way; the basis is in device memory. */
pare_status pare_gpu_transform_encode(pare_gpu *g, const pare_gpu_kv_units *units, const float *x, uint8_t *dst,
                                      unsigned *bad, pare_error *err);
pare_status pare_gpu_transform_decode(pare_gpu *g, const pare_gpu_kv_units *units, const uint8_t *src, float *x,
                                      pare_error *err);

#endif
