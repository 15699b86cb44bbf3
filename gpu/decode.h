/* gpu/decode.h - stored blocks to floats or bfloat16 on the device, by the decoders that the CPU uses, bit for bit */
#ifndef PARE_GPU_DECODE_H
#define PARE_GPU_DECODE_H

#include "gpu/runtime.h"

/* dst[n] = the n weights in blocks at src (device memory, n a multiple of the block length). bf16: dst is uint16_t,
 * rounded to nearest even as core/half.h does (a NaN to any NaN); else float. Errors: PARE_ERR_UNSUPPORTED (a type
 * without decoder) */
pare_status pare_gpu_decode(pare_gpu *g, pare_type type, const void *src, uint64_t n, void *dst, bool bf16,
                            pare_error *err);

/* y[n, row_len] = rows ids[i] (device memory) of the matrix of rows of row_bytes bytes at src */
pare_status pare_gpu_decode_rows(pare_gpu *g, pare_type type, const void *src, uint64_t row_len, uint64_t row_bytes,
                                 const int32_t *ids, uint32_t n, float *y, pare_error *err);

/* Bytes of n stored weights; 0 when n is no multiple of the block length. */
uint64_t pare_gpu_stored_bytes(pare_type type, uint64_t n);

/* dst[n] = x[n] rounded to bfloat16 */
pare_status pare_gpu_round_bf16(pare_gpu *g, const float *x, uint64_t n, uint16_t *dst, pare_error *err);

#endif
