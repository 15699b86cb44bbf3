#include "formats/logit_code.h"

#include "core/bytes.h"
#include "core/vector_math.h"

#include <math.h>
#include <stdlib.h>

/* e^y is the only function at hand that gives the same bits everywhere: Halley's iteration on e^y = x. The start, from
 * the exponent, is off by less than 0.1; each round cubes that. */
double pare_logit_ln(double x)
{
    int exponent;
    double m = frexp(x, &exponent); /* [0.5, 1) */
    double y = (exponent - 1) * 0.69314718055994530942 + (2 * m - 1) * 0.69314718055994530942;
    for (int i = 0; i < 3; i++) {
        double e = pare_exp_f64(y);
        y += 2 * (x - e) / (x + e);
    }
    return y;
}

void pare_logit_ladder(int j, uint32_t n_vocab, double *step, double *cap)
{
    static const double quarter[] = {1, 1.18920711500272106672, 1.41421356237309504880, 1.68179283050742908606};
    const double noise = 4e-7;                    /* nat: n * step^2 / 24, when no token reaches cap */
    uint32_t n = n_vocab > 8192 ? n_vocab : 8192; /* with few tokens single errors count more, and bits less */
    int whole = j >= 0 ? j / 4 : -((3 - j) / 4);
    double s = ldexp(sqrt(24 * noise / n) * quarter[j - 4 * whole], whole);
    s = s < 0x1p-20 ? 0x1p-20 : s;
    s = s > 0x1p-4 ? 0x1p-4 : s;
    double c = s * sqrt(1024.0 * n); /* reached at a probability of 1 / (1024 n) */
    *step = s;
    *cap = c < 1 ? c : 1;
}

pare_status pare_logit_code_open(pare_logit_code *c, double step, double cap, pare_error *err)
{
    *c = (pare_logit_code){.step = step, .cap = cap, .bottom = -4096};
    if (!(step >= 0x1p-20 && step <= 0x1p-4))
        return pare_fail(err, PARE_ERR_RANGE, "a step of %.9g; allowed is 2^-20 to 1/16", step);
    if (!(cap >= step && cap <= 1))
        return pare_fail(err, PARE_ERR_RANGE, "a largest step of %.9g; allowed is %.9g, the smallest, to 1", cap, step);
    c->offset = 2 / cap;
    c->y0 = 2 * pare_logit_ln(step / cap);
    c->top = (int32_t)(2 / step - c->offset) + 1;
    size_t n = (size_t)(c->top - c->bottom) + 1;
    if ((c->value = malloc(n * sizeof *c->value)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu log-probabilities", n);
    for (size_t i = 0; i < n; i++) {
        double k = (double)c->bottom + (double)i;
        c->value[i] = (float)(k >= 0 ? 2 * pare_logit_ln((k + c->offset) * 0.5 * step) : c->y0 + cap * k);
    }
    return PARE_OK;
}

void pare_logit_code_close(pare_logit_code *c)
{
    free(c->value);
    *c = (pare_logit_code){0};
}

/* p [n] = e^y and its number; straight-line code for vector instructions. */
static void number(const pare_logit_code *c, const float *y, uint32_t n, float *p, int32_t *k)
{
    const float scale = (float)(2 / c->step), offset = (float)c->offset, y0 = (float)c->y0,
                per_cap = (float)(1 / c->cap);
    const float lowest = -PARE_LOGIT_TAIL, highest = (float)c->top;
    const float rounder = 0x1.8p23f; /* adding it leaves the nearest whole number */
    for (uint32_t i = 0; i < n; i++) {
        float root = pare_exp_f32(0.5f * y[i]);
        float body = scale * root - offset, tail = (y[i] - y0) * per_cap;
        float v = y[i] > y0 ? body : tail;
        v = v < lowest ? lowest : v;
        v = v > highest ? highest : v;
        k[i] = (int32_t)(pare_f32_to_bits(v + rounder) - pare_f32_to_bits(rounder));
        p[i] = root * root;
    }
}

/* With d = ln p - ln p_store before the shift s: sum p e^(-d) over the shifted tokens becomes sum p again by
 * s = -ln(1 + x), x = sum p (e^(-d) - 1) / sum p. KL(p || p_store) is then sum p (e^(-d) - 1 + d) - sum p (x - ln(1 +
 * x)): terms that are all of second order, so nothing cancels. */
void pare_logit_encode(const pare_logit_code *c, const float *y, uint32_t n, float *p, int32_t *k, pare_logit_row *row)
{
    double mass = 0, first = 0, second = 0; /* sums of p, p d, p (e^(-d) - 1 + d) */
    number(c, y, n, p, k);
    p[row->target] = p[row->top] = 0;
    for (uint32_t i = 0; i < n; i++) {
        float d = y[i] - pare_logit_value(c, k[i]);
        d = d < -1 ? -1 : d; /* only below the tail's end */
        float bend = d * d * (0.5f - d * (1.0f / 6 - d * (1.0f / 24 - d * (1.0f / 120))));
        double weight = (double)p[i]; /* products in double: p may be as small as a float can be */
        mass += weight;
        first += weight * (double)d;
        second += weight * (double)bend;
    }
    double x = mass > 0 ? (second - first) / mass : 0, log1 = x != 0 ? pare_logit_ln(1 + x) : 0;
    row->target_logp = y[row->target];
    row->top_logp = y[row->top];
    row->shift = (float)-log1;
    row->noise = second - mass * (x - log1);
}

void pare_logit_correct(const pare_logit_row *row, uint32_t n, float *out)
{
    float below = nextafterf(row->top_logp, -INFINITY);
    for (uint32_t i = 0; i < n; i++)
        out[i] += row->shift;
    out[row->target] = row->target_logp;
    for (uint32_t i = 0; i < n; i++)
        out[i] = out[i] < below ? out[i] : below;
    out[row->top] = row->top_logp;
}
