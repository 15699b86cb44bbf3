/* Llama 3's RoPE scaling as one divisor a pair of elements. The arithmetic is float32 step by step, because the values
 * that stock's converter writes are; powers come from double precision, whose last bit a rounding to float hides.
 * Source: transformers modeling_rope_utils.py, llama3; llama.cpp conversion/llama.py. */
#include "model/hparams.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void pare_rope_llama3_factors(const pare_hparams *hp, float *out)
{
    const pare_rope_llama3 *s = &hp->rope_llama3;
    const float two_pi = 6.28318530717958647692f;
    const float longest = (float)(s->ctx_orig / s->low), shortest = (float)(s->ctx_orig / s->high);
    const float factor = (float)s->factor, low = (float)s->low, span = (float)(s->high - s->low);
    for (uint32_t i = 0; i < hp->n_rot / 2; i++) {
        float exponent = (float)(2 * i) / (float)hp->n_rot;
        float freq = 1.0f / (float)pow((double)hp->rope_base, (double)exponent);
        float wavelength = two_pi / freq;
        float smooth = ((float)s->ctx_orig / wavelength - low) / span;
        if (wavelength < shortest)
            out[i] = 1.0f;
        else if (wavelength > longest)
            out[i] = factor;
        else
            out[i] = 1.0f / ((1.0f - smooth) / factor + smooth);
    }
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
        found = memcmp(made, factors, n * sizeof *made) == 0;
    }
    *out = found ? try.rope_llama3 : (pare_rope_llama3){0};
    free(made);
    return found;
}
