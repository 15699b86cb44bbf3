/* core/checked.h - arithmetic on numbers out of a file: false means overflow, and *out is then unspecified */
#ifndef PARE_CORE_CHECKED_H
#define PARE_CORE_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool pare_add_size(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

static inline bool pare_mul_size(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

static inline bool pare_add_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

static inline bool pare_mul_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

/* Round a up to a multiple of step, step a power of two. */
static inline bool pare_align_u64(uint64_t a, uint64_t step, uint64_t *out)
{
    if (!pare_add_u64(a, step - 1, out))
        return false;
    *out &= ~(step - 1);
    return true;
}

/* True when [offset, offset + len) lies inside [0, size). */
static inline bool pare_in_range(uint64_t offset, uint64_t len, uint64_t size)
{
    return offset <= size && len <= size - offset;
}

#endif
