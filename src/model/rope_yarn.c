/* YaRN (Peng et al., arXiv 2309.00071): pairs that turn more than beta_fast times within the original context keep
 * their frequency, those that turn less than beta_slow times are slowed down by the factor, between them it blends.
 *
 *   pair(n) = n_rot ln(ctx / (2 pi n)) / (2 ln base)      the pair that turns n times
 *   low = floor(pair(beta_fast)), high = ceil(pair(beta_slow)), or without rounding (yarn_exact)
 *   share_i = clamp((i - low) / (high - low), 0, 1)
 *   turn_i = base^(-2i / n_rot) (1 - share_i + share_i / factor)
 *
 * Queries and keys grow by 1 + 0.1 ln(factor), unless the model says another magnitude. DeepSeek's scores grow by
 * (1 + 0.1 mscale_all_dim ln(factor))^2. Sources: the paper, sections 3.2 to 3.4; transformers modeling_rope_utils.py;
 * llama.cpp ggml.c, llama-context.cpp. */
#include "model/hparams.h"

#include <math.h>

static const double pi = 3.14159265358979323846;

static double yarn_pair(const pare_hparams *hp, double turns)
{
    uint32_t ctx = hp->rope_ctx_orig != 0 ? hp->rope_ctx_orig : hp->n_ctx_train;
    return (double)hp->n_rot * log((double)ctx / (turns * 2 * pi)) / (2 * log((double)hp->rope_base));
}

/* What a base near one makes infinite or no number falls on the ends. */
static void yarn_band(const pare_hparams *hp, double *low, double *high)
{
    double fast = hp->yarn_beta_fast != 0 ? (double)hp->yarn_beta_fast : 32;
    double slow = hp->yarn_beta_slow != 0 ? (double)hp->yarn_beta_slow : 1, last = (double)hp->n_rot - 1;
    *low = yarn_pair(hp, fast);
    *high = yarn_pair(hp, slow);
    if (!hp->yarn_exact) {
        *low = floor(*low);
        *high = ceil(*high);
    }
    *low = *low > 0 ? *low : 0;
    *high = *high < last ? *high : last;
}

void pare_rope_turns(const pare_hparams *hp, double *out)
{
    double low = 0, high = 0, factor = hp->rope_factor != 0 ? (double)hp->rope_factor : 1;
    bool yarn = hp->rope_scaling == PARE_ROPE_YARN, linear = hp->rope_scaling == PARE_ROPE_LINEAR;
    if (yarn)
        yarn_band(hp, &low, &high);
    double width = high - low > 0.001 ? high - low : 0.001;
    for (uint32_t i = 0; i < hp->n_rot / 2; i++) {
        double share = linear ? 1 : yarn ? ((double)i - low) / width : 0;
        share = share < 0 ? 0 : share > 1 ? 1 : share;
        out[i] = pow((double)hp->rope_base, -2.0 * (double)i / (double)hp->n_rot) * (1 - share + share / factor);
    }
}

/* 1 + 0.1 mul ln(factor) */
static double yarn_growth(const pare_hparams *hp, double mul)
{
    return hp->rope_factor > 1 ? 1 + 0.1 * mul * log((double)hp->rope_factor) : 1;
}

double pare_yarn_magnitude(const pare_hparams *hp, double mscale, double mscale_all_dim)
{
    bool both = mscale != 0 && mscale_all_dim != 0;
    return both ? yarn_growth(hp, mscale) / yarn_growth(hp, mscale_all_dim) : yarn_growth(hp, 1);
}

double pare_rope_magnitude(const pare_hparams *hp)
{
    if (hp->rope_attn_factor != 0)
        return (double)hp->rope_attn_factor;
    return hp->rope_scaling == PARE_ROPE_YARN ? yarn_growth(hp, 1) : 1;
}

double pare_rope_score_scale(const pare_hparams *hp)
{
    double growth = hp->rope_scaling == PARE_ROPE_YARN ? yarn_growth(hp, hp->yarn_log_mul) : 1;
    return growth * growth;
}

/* Stock's runtime, with A = attn_factor, L = ten times yarn_log_multiplier and g(x) = 1 + 0.1 x ln(factor):
 *
 *   magnitude = A, and scores grow by (A g(L))^2, where the key with L is there
 *   magnitude = A g(1) where it is not, and scores of latent attention then grow by its square */
void pare_yarn_to_stock(const pare_hparams *hp, double *attn_factor, double *log_mul)
{
    double magnitude = pare_rope_magnitude(hp), usual = yarn_growth(hp, 1);
    *attn_factor = magnitude;
    *log_mul = hp->yarn_log_mul;
    if (fabs(magnitude - 1) > 1e-6 && usual > 1)
        *log_mul = (yarn_growth(hp, hp->yarn_log_mul) / magnitude - 1) / (usual - 1);
    if (*log_mul == 0 && usual > 1) /* without the key */
        *attn_factor = magnitude / usual;
}

void pare_yarn_from_stock(pare_hparams *hp, double attn_factor, double log_mul)
{
    double usual = yarn_growth(hp, 1), growth = attn_factor * (log_mul != 0 ? yarn_growth(hp, log_mul) : usual);
    hp->rope_attn_factor = (float)(log_mul != 0 ? attn_factor : attn_factor * usual);
    hp->yarn_log_mul = usual > 1 ? (growth - 1) / (usual - 1) : 0;
    if (fabs(hp->yarn_log_mul) < 1e-6) /* what rounding leaves of none */
        hp->yarn_log_mul = 0;
    if (attn_factor == 1)
        hp->yarn_log_mul = log_mul != 0 ? log_mul : 1;
}
