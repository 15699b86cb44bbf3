/* RoPE by rope_freqs.weight: the part of pairs that turns, and Llama 3's RoPE scaling as one divisor a pair of
 * elements. The arithmetic is float32 step by step, because the values that stock's converter writes are; powers come
 * from double precision and are right to the last bit of a float, which PyTorch's are but for a few (2 % of random
 * settings have one such value; none with a published base and context). Source: transformers modeling_rope_utils.py,
 * llama3; llama.cpp conversion/llama.py. */
#include "model/hparams.h"

#include <math.h>
#include <stdlib.h>

void pare_rope_llama3_factors(const pare_hparams *hp, float *out)
{
    const pare_rope_llama3 *s = &hp->rope_llama3;
    const float two_pi = 6.28318530717958647692f;
    const float longest = (float)(s->ctx_orig / s->low), shortest = (float)(s->ctx_orig / s->high);
    const float factor = (float)s->factor, low = (float)s->low, span = (float)(s->high - s->low);
    for (uint32_t i = 0; i < hp->n_rot / 2; i++) {
        float exponent = (float)(2 * i) / (float)hp->n_rot;
        float freq = 1.0f / (float)pow((double)hp->rope_base, (double)exponent);
        float wavelength = 1.0f / freq * two_pi; /* a number over a tensor is the reciprocal times the number there */
        float smooth = (1.0f / wavelength * (float)s->ctx_orig - low) / span;
        if (wavelength < shortest)
            out[i] = 1.0f;
        else if (wavelength > longest)
            out[i] = factor;
        else
            out[i] = 1.0f / ((1.0f - smooth) / factor + smooth);
    }
}

/* The same divisors, as far as programs agree on the last bits. */
static bool same_factors(const float *a, const float *b, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (!(fabsf(a[i] - b[i]) <= 4e-7f * fabsf(b[i])))
            return false;
    return true;
}

bool pare_rope_llama3_find(const pare_hparams *hp, const float *factors, pare_rope_llama3 *out)
{
    uint32_t n = hp->n_rot / 2;
    float *made = malloc(n * sizeof *made);
    bool found = false;
    if (made == NULL || n == 0) {
        free(made);
        return false;
    }
    pare_hparams try = *hp;
    for (unsigned bits = 5; bits <= 24 && !found; bits++) {
        try.rope_llama3 = (pare_rope_llama3){.factor = factors[n - 1], .low = 1, .high = 4, .ctx_orig = 1u << bits};
        pare_rope_llama3_factors(&try, made);
        found = same_factors(made, factors, n);
    }
    *out = found ? try.rope_llama3 : (pare_rope_llama3){0};
    free(made);
    return found;
}

static const float still = 1e30f; /* as stock's converter writes it */

void pare_rope_part_factors(const pare_hparams *hp, float *out)
{
    uint32_t n = hp->n_rot / 2, n_turn = (uint32_t)((double)hp->rope_part * hp->n_rot / 2);
    for (uint32_t i = 0; i < n; i++)
        out[i] = i < n_turn ? 1 : still;
}

bool pare_rope_part_find(const pare_hparams *hp, const float *factors, float *out)
{
    uint32_t n = hp->n_rot / 2, n_turn = 0;
    while (n_turn < n && factors[n_turn] == 1)
        n_turn++;
    for (uint32_t i = n_turn; i < n; i++)
        if (factors[i] < still)
            return false;
    *out = n > 0 ? (float)n_turn / (float)n : 0;
    return n_turn > 0 && n_turn < n;
}
