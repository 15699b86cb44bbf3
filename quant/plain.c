#include "quant/plain.h"

void pare_f32_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst)
{
    (void)effort;
    (void)weight;
    pare_f32 *out = dst;
    for (size_t i = 0; i < row_len; i++)
        pare_store_f32le(out[i].d, src[i]);
}

void pare_f16_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst)
{
    (void)effort;
    (void)weight;
    pare_f16 *out = dst;
    for (size_t i = 0; i < row_len; i++)
        pare_store_u16le(out[i].d, pare_f32_to_f16(src[i]));
}

void pare_bf16_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst)
{
    (void)effort;
    (void)weight;
    pare_bf16 *out = dst;
    for (size_t i = 0; i < row_len; i++)
        pare_store_u16le(out[i].d, pare_f32_to_bf16(src[i]));
}
