/* gpu/attention.h - attention by tiles of keys with a running softmax: memory grows with the tokens, not their square
 *
 * Method: T. Dao et al., FlashAttention, arXiv 2205.14135; online softmax: M. Milakov, N. Gimelshein, arXiv 1805.02867.
 * docs/methods/CUDA.md says how factors are rounded. */
#ifndef PARE_GPU_ATTENTION_H
#define PARE_GPU_ATTENTION_H

#include "gpu/runtime.h"

pare_status pare_gpu_attention(pare_gpu *g, const pare_attention *a, pare_error *err);

#endif
