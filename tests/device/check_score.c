/* Scores of positions, against double precision on logits that the CPU computes with the device's factors. */
#include "device_check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct score_kind {
    const char *name;
    uint32_t n, width, n_vocab;
    size_t n_models;
    bool reference, bias;
    float scale, softcap;
    pare_type type;
} score_kind;

typedef struct side {
    pare_score_side device;
    double *logits; /* [n, n_vocab] */
} side;

static void make_side(check *c, const score_kind *k, side *out)
{
    size_t n = (size_t)k->n * k->width, n_logits = (size_t)k->n * k->n_vocab;
    const pare_tensor *w = check_weights(c, k->type, k->n_vocab, k->width), *factors = check_factors(c, w, true);
    float *x = check_noise(c, n, 0.5f), *y = check_host(c, n_logits * sizeof *y), *bias = NULL;
    out->device = (pare_score_side){
        .x = check_give(c, c->gpu, x, n * sizeof *x), .w = w, .scale = k->scale, .softcap = k->softcap};
    if (k->bias) {
        bias = check_kept(c, k->n_vocab * sizeof *bias);
        memcpy(bias, check_noise(c, k->n_vocab, 1), k->n_vocab * sizeof *bias);
        out->device.bias = check_tensor(c, PARE_TYPE_F32, bias, 0, k->n_vocab);
    }
    check_must(c, c->cpu->matmul(c->cpu, factors, 0, k->n_vocab, check_rounded(c, x, n), k->n, y, &c->err));
    out->logits = check_host(c, n_logits * sizeof *out->logits);
    for (size_t i = 0; i < n_logits; i++) {
        double l = (double)k->scale * ((double)y[i] + (bias != NULL ? (double)bias[i % k->n_vocab] : 0));
        out->logits[i] = k->softcap != 0 ? (double)k->softcap * tanh(l / (double)k->softcap) : l;
    }
}

static double log_sum(const double *logits, uint32_t n)
{
    double max = -INFINITY, sum = 0;
    for (uint32_t i = 0; i < n; i++)
        max = fmax(max, logits[i]);
    for (uint32_t i = 0; i < n; i++)
        sum += exp(logits[i] - max);
    return max + log(sum);
}

/* The device's choice must be as likely as the best one, but for rounding. */
static double top_error(const double *logits, uint32_t n, int32_t top)
{
    double max = -INFINITY;
    if (top < 0 || (uint32_t)top >= n)
        return INFINITY;
    for (uint32_t i = 0; i < n; i++)
        max = fmax(max, logits[i]);
    return max - logits[top];
}

static void compare_position(check *c, const score_kind *k, const double *q, const double *p, int32_t target,
                             const pare_position_score *got)
{
    double log_q = log_sum(q, k->n_vocab), kld = 0, reverse = 0, ref_nll = 0;
    if (p != NULL) {
        double log_p = log_sum(p, k->n_vocab);
        for (uint32_t i = 0; i < k->n_vocab; i++) {
            double difference = (p[i] - log_p) - (q[i] - log_q);
            kld += exp(p[i] - log_p) * difference;
            reverse -= exp(q[i] - log_q) * difference;
        }
        ref_nll = log_p - p[target];
        check_error(c, top_error(p, k->n_vocab, got->ref_top));
        check_error(c, got->ref_bad == -1 ? 0 : INFINITY);
    }
    check_error(c, fabs(got->nll - (log_q - q[target])));
    check_error(c, fabs(got->ref_nll - ref_nll));
    check_error(c, fabs(got->kld - kld));
    check_error(c, fabs(got->kld_reverse - reverse));
    check_error(c, top_error(q, k->n_vocab, got->top));
    check_error(c, got->bad == -1 ? 0 : INFINITY);
}

static void run_score(check *c, const void *arg)
{
    const score_kind *k = arg;
    side models[3], reference;
    pare_score_side sides[3];
    pare_position_score *out = check_host(c, k->n_models * k->n * sizeof *out);
    int32_t *targets = check_ids(c, k->n, k->n_vocab);
    check_shape(c, "%zu models, %u tokens, width %u, vocabulary %u", k->n_models, k->n, k->width, k->n_vocab);
    for (size_t m = 0; m < k->n_models; m++) {
        make_side(c, k, &models[m]);
        sides[m] = models[m].device;
    }
    if (k->reference)
        make_side(c, k, &reference);
    memset(out, 0xff, k->n_models * k->n * sizeof *out);
    check_must(c, c->gpu->score(c->gpu, sides, k->n_models, k->reference ? &reference.device : NULL, targets, k->n, out,
                                &c->err));
    for (size_t m = 0; m < k->n_models; m++)
        for (uint32_t i = 0; i < k->n; i++)
            compare_position(c, k, models[m].logits + (size_t)i * k->n_vocab,
                             k->reference ? reference.logits + (size_t)i * k->n_vocab : NULL, targets[i],
                             &out[m * k->n + i]);
}

/* A hidden state with an infinity: the first token is named, the other positions are as ever. */
static void run_bad(check *c, const void *arg)
{
    const score_kind *k = arg;
    side model;
    make_side(c, k, &model);
    size_t at = (size_t)2 * k->width + 5;
    float bad = INFINITY;
    check_must(c, c->gpu->upload(c->gpu, (float *)(uintptr_t)model.device.x + at, &bad, sizeof bad, &c->err));
    pare_position_score *out = check_host(c, k->n * sizeof *out);
    int32_t *targets = check_ids(c, k->n, k->n_vocab);
    check_shape(c, "an infinity at position 2");
    check_must(c, c->gpu->score(c->gpu, &model.device, 1, NULL, targets, k->n, out, &c->err));
    for (uint32_t i = 0; i < k->n; i++)
        if (i == 2)
            check_error(c, out[i].bad == 0 ? 0 : INFINITY);
        else
            compare_position(c, k, model.logits + (size_t)i * k->n_vocab, NULL, targets[i], &out[i]);
}

static const score_kind small_kinds[] = {
    {"score", 5, 96, 300, 1, false, false, 1, 0, PARE_TYPE_F32},
    {"score, one position", 1, 32, 1, 1, false, false, 1, 0, PARE_TYPE_F32},
    {"score beside a reference", 17, 96, 1030, 2, true, true, 0.5f, 4, PARE_TYPE_BF16},
    {"score, q8_0", 3, 64, 4100, 1, true, false, 1, 0, PARE_TYPE_Q8_0},
};
static const score_kind large_kinds[] = {
    {"score", 515, 4096, 128256, 1, false, false, 1, 0, PARE_TYPE_BF16},
    {"score, one position", 1, 32, 1, 1, false, false, 1, 0, PARE_TYPE_F32},
    {"score beside a reference", 70, 576, 49157, 3, true, true, 0.5f, 4, PARE_TYPE_BF16},
    {"score, q8_0", 200, 1024, 32001, 2, true, false, 1, 0, PARE_TYPE_Q8_0},
    {"score, q4_K", 200, 1024, 32001, 1, true, false, 1, 30, PARE_TYPE_Q4_K},
};

void check_score(check *c)
{
    static const score_kind bad = {"score, not finite", 5, 96, 300, 1, false, false, 1, 0, PARE_TYPE_F32};
    if (c->gpu->score == NULL)
        return;
    for (size_t i = 0; i < (c->small ? sizeof small_kinds : sizeof large_kinds) / sizeof *large_kinds; i++) {
        const score_kind *k = c->small ? &small_kinds[i] : &large_kinds[i];
        check_row(c, k->name, 2e-4, run_score, k);
    }
    check_row(c, bad.name, 2e-4, run_bad, &bad);
}
