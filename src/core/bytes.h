/* core/bytes.h - little-endian numbers at any address; C11 and CUDA C++ compile it */
#ifndef PARE_CORE_BYTES_H
#define PARE_CORE_BYTES_H

#include <stdint.h>
#include <string.h>

#ifndef PARE_HD
#ifdef __CUDACC__
#define PARE_HD static inline __host__ __device__
#else
#define PARE_HD static inline
#endif
#endif

PARE_HD uint16_t pare_load_u16le(const void *src)
{
    const uint8_t *p = (const uint8_t *)src;
    return (uint16_t)(p[0] | p[1] << 8);
}

PARE_HD uint32_t pare_load_u32le(const void *src)
{
    const uint8_t *p = (const uint8_t *)src;
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

PARE_HD uint64_t pare_load_u64le(const void *src)
{
    const uint8_t *p = (const uint8_t *)src;
    return (uint64_t)pare_load_u32le(p) | (uint64_t)pare_load_u32le(p + 4) << 32;
}

PARE_HD void pare_store_u16le(void *dst, uint16_t v)
{
    uint8_t *p = (uint8_t *)dst;
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

PARE_HD void pare_store_u32le(void *dst, uint32_t v)
{
    uint8_t *p = (uint8_t *)dst;
    pare_store_u16le(p, (uint16_t)v);
    pare_store_u16le(p + 2, (uint16_t)(v >> 16));
}

PARE_HD void pare_store_u64le(void *dst, uint64_t v)
{
    uint8_t *p = (uint8_t *)dst;
    pare_store_u32le(p, (uint32_t)v);
    pare_store_u32le(p + 4, (uint32_t)(v >> 32));
}

PARE_HD float pare_bits_to_f32(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

PARE_HD uint32_t pare_f32_to_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

PARE_HD float pare_load_f32le(const void *src)
{
    return pare_bits_to_f32(pare_load_u32le(src));
}

PARE_HD void pare_store_f32le(void *dst, float f)
{
    pare_store_u32le(dst, pare_f32_to_bits(f));
}

#endif
