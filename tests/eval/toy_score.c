#include "toy_score.h"
#include "check.h"

#include <math.h>
#include <stdlib.h>

_Atomic int toy_score_calls;

static float *logits_of(pare_backend *b, const pare_score_side *s, uint32_t n)
{
    pare_error err = {0};
    size_t n_vocab = s->w->n_rows, all = n * n_vocab;
    float *y = check_malloc((all > 0 ? all : 1) * sizeof *y);
    CHECK_OK(b->matmul(b, s->w, 0, n_vocab, s->x, n, y, &err), &err);
    if (s->bias != NULL)
        CHECK_OK(b->add_row(b, y, s->bias, 0, n, (uint32_t)n_vocab, &err), &err);
    for (size_t i = 0; i < all; i++) {
        y[i] *= s->scale;
        y[i] = s->softcap != 0 ? s->softcap * tanhf(y[i] / s->softcap) : y[i];
    }
    return y;
}

static double lse_of(const float *x, size_t n_vocab, int32_t *top, int32_t *bad)
{
    double sum = 0;
    *top = 0;
    *bad = -1;
    for (size_t v = n_vocab; v-- > 0;) {
        *bad = isfinite(x[v]) ? *bad : (int32_t)v;
        *top = x[v] >= x[*top] ? (int32_t)v : *top;
    }
    for (size_t v = 0; v < n_vocab; v++)
        sum += exp((double)x[v] - (double)x[*top]);
    return (double)x[*top] + log(sum);
}

static pare_position_score score_row(const float *x, const float *r, size_t n_vocab, int32_t target)
{
    pare_position_score s = {.ref_bad = -1};
    double lse = lse_of(x, n_vocab, &s.top, &s.bad), ref_lse;
    s.nll = s.bad < 0 ? lse - (double)x[target] : (double)x[s.bad];
    if (r == NULL)
        return s;
    ref_lse = lse_of(r, n_vocab, &s.ref_top, &s.ref_bad);
    s.ref_nll = s.ref_bad < 0 ? ref_lse - (double)r[target] : (double)r[s.ref_bad];
    for (size_t v = 0; v < n_vocab; v++) {
        double p = (double)r[v] - ref_lse, q = (double)x[v] - lse;
        s.kld += exp(p) * (p - q);
        s.kld_reverse += exp(q) * (q - p);
    }
    return s;
}

pare_status toy_score(pare_backend *b, const pare_score_side *models, size_t n_models, const pare_score_side *reference,
                      const int32_t *targets, uint32_t n, pare_position_score *out, pare_error *err)
{
    (void)err;
    size_t n_vocab = models[0].w->n_rows;
    float *r = reference != NULL ? logits_of(b, reference, n) : NULL;
    toy_score_calls++;
    for (size_t k = 0; k < n_models; k++) {
        float *x = logits_of(b, &models[k], n);
        for (uint32_t i = 0; i < n; i++) {
            CHECK(targets[i] >= 0 && (size_t)targets[i] < n_vocab);
            out[k * n + i] = score_row(x + i * n_vocab, r != NULL ? r + i * n_vocab : NULL, n_vocab, targets[i]);
        }
        free(x);
    }
    free(r);
    return PARE_OK;
}
