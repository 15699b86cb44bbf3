#include "fit/slowness.h"

/* Measured by scripts/type_speed.c: ggml 0.25.3, vec_dot of the CPU backend without repacking, one thread, x86-64 with
 * AVX-512, rows of 4,096 weights in cache, the least of 1,500 tries. */
static const float on_cpu[PARE_TYPE_COUNT] = {
    [PARE_TYPE_Q4_0] = 1.55f,    [PARE_TYPE_Q4_1] = 1.84f,   [PARE_TYPE_Q5_0] = 1.87f,    [PARE_TYPE_Q5_1] = 1.92f,
    [PARE_TYPE_Q8_0] = 1.41f,    [PARE_TYPE_Q2_K] = 0.91f,   [PARE_TYPE_Q3_K] = 1.45f,    [PARE_TYPE_Q4_K] = 1.00f,
    [PARE_TYPE_Q5_K] = 1.57f,    [PARE_TYPE_Q6_K] = 1.07f,   [PARE_TYPE_IQ2_XXS] = 2.81f, [PARE_TYPE_IQ2_XS] = 2.58f,
    [PARE_TYPE_IQ3_XXS] = 3.72f, [PARE_TYPE_IQ1_S] = 2.69f,  [PARE_TYPE_IQ4_NL] = 1.81f,  [PARE_TYPE_IQ3_S] = 4.31f,
    [PARE_TYPE_IQ2_S] = 2.66f,   [PARE_TYPE_IQ4_XS] = 1.60f, [PARE_TYPE_IQ1_M] = 2.50f,   [PARE_TYPE_TQ1_0] = 1.34f,
    [PARE_TYPE_TQ2_0] = 0.66f,   [PARE_TYPE_MXFP4] = 1.79f,  [PARE_TYPE_NVFP4] = 2.25f,   [PARE_TYPE_Q1_0] = 1.23f,
    [PARE_TYPE_Q2_0] = 21.48f, /* a plain loop there */
};

double pare_fit_slowness(pare_type type, pare_fit_target target)
{
    return target == PARE_FIT_CPU && on_cpu[type] > 0 ? (double)on_cpu[type] : 1;
}
