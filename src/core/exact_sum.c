#include "core/exact_sum.h"

#include <math.h>
#include <string.h>

enum { DIGIT_BITS = 32, SMALLEST = -1074 };

static void pass_carries(pare_exact_sum *sum)
{
    for (int i = 0; i + 1 < PARE_SUM_DIGITS; i++) {
        sum->digit[i + 1] += sum->digit[i] >> DIGIT_BITS;
        sum->digit[i] &= UINT32_MAX;
    }
    sum->n_added = 0;
}

void pare_exact_sum_add(pare_exact_sum *sum, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint64_t exponent = bits >> 52 & 0x7ff, fraction = bits & 0xfffffffffffffu;
    if (exponent > 0) { /* normal: the bit that is not stored; it counts 2^(exponent - 1) in units of SMALLEST */
        fraction |= 1ull << 52;
        exponent--;
    }
    uint64_t *digit = sum->digit + exponent / DIGIT_BITS, shift = exponent % DIGIT_BITS;
    uint64_t low = (fraction & UINT32_MAX) << shift, high = (fraction >> DIGIT_BITS) << shift;
    digit[0] += low & UINT32_MAX;
    digit[1] += (low >> DIGIT_BITS) + (high & UINT32_MAX);
    digit[2] += high >> DIGIT_BITS;
    if (++sum->n_added == 1u << 30) /* each addition adds less than 2^33 to a digit */
        pass_carries(sum);
}

double pare_exact_sum_value(pare_exact_sum *sum)
{
    double value = 0;
    pass_carries(sum);
    for (int i = 0; i < PARE_SUM_DIGITS; i++)
        value += ldexp((double)sum->digit[i], DIGIT_BITS * i + SMALLEST);
    return value;
}
