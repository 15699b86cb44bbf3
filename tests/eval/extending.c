#include "extending.h"

#include "check.h"
#include "eval/cache.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

void check_extending(const pare_model *m, const int32_t *ids, uint32_t n_seq, uint32_t len)
{
    static const uint32_t steps[] = {3, 1, 1, 5, 1, 2};
    size_t n_vocab = m->hp.n_vocab;
    pare_backend *b = NULL;
    pare_forward *whole = NULL, *f = NULL;
    pare_cache c = {0};
    pare_error err = {0};
    double largest = 0, size = 0;
    float *want = check_malloc((size_t)len * n_vocab * sizeof *want * n_seq),
          *got = check_malloc(n_vocab * n_seq * sizeof *got);
    CHECK_OK(pare_backend_cpu(&b, &err), &err);
    CHECK_OK(pare_forward_open(&whole, m, b, len, n_seq, &err), &err);
    CHECK_OK(pare_forward_run(whole, ids, n_seq, len, &err), &err);
    for (uint32_t s = 0; s < n_seq; s++)
        CHECK_OK(pare_forward_logits(whole, s, 0, len, want + s * len * n_vocab, &err), &err);
    CHECK_OK(pare_forward_open_tokens(&f, m, b, len, 5 * n_seq, &err), &err);
    CHECK_OK(pare_cache_open(&c, f, n_seq + 1, &err), &err);
    for (int i = 0; c.n[0] < len || c.n[n_seq - 1] < len; i++) {
        pare_extension list[8];
        uint32_t n = 0;
        for (uint32_t s = n_seq; s-- > 0;) {
            uint32_t step = steps[(i + s) % 6], left = len - c.n[s];
            if (left > 0)
                list[n++] = (pare_extension){s, step < left ? step : left, ids + s * len + c.n[s]};
        }
        CHECK_OK(pare_cache_extend(&c, list, n, &err), &err);
        CHECK_OK(pare_cache_logits(&c, got, &err), &err);
        for (uint32_t k = 0; k < n; k++)
            for (size_t v = 0; v < n_vocab; v++) {
                double expected = (double)want[((size_t)list[k].seq * len + c.n[list[k].seq] - 1) * n_vocab + v];
                largest = fmax(largest, fabs((double)got[k * n_vocab + v] - expected));
                size = fmax(size, fabs(expected));
            }
    }
    if (pare_cache_keeps_states(&c)) {
        CHECK(pare_cache_copy(&c, 0, n_seq, len - 2, &err) == PARE_ERR_USAGE);
        CHECK(pare_cache_cut(&c, 0, len - 4, &err) == PARE_ERR_UNSUPPORTED);
        CHECK_OK(pare_cache_cut(&c, 0, 0, &err), &err);
        for (uint32_t at = 0, step; at < len - 4; at += step) {
            step = len - 4 - at < 5 ? len - 4 - at : 5;
            CHECK_OK(pare_cache_extend(&c, &(pare_extension){0, step, ids + at}, 1, &err), &err);
        }
        CHECK_OK(pare_cache_copy(&c, 0, n_seq, len - 4, &err), &err);
        CHECK_OK(pare_cache_cut(&c, 0, 0, &err), &err);
    } else {
        CHECK_OK(pare_cache_copy(&c, 0, n_seq, len - 2, &err), &err);
        CHECK_OK(pare_cache_cut(&c, n_seq, len - 4, &err), &err);
    }
    CHECK_OK(pare_cache_extend(&c, &(pare_extension){n_seq, 4, ids + len - 4}, 1, &err), &err);
    CHECK_OK(pare_cache_logits(&c, got, &err), &err);
    for (size_t v = 0; v < n_vocab; v++)
        largest = fmax(largest, fabs((double)got[v] - (double)want[(len - 1) * n_vocab + v]));
    if (!(largest <= 1e-5 * fmax(1, size))) {
        printf("%s: extending differs by %g of %g\n", m->path, largest, size);
        CHECK(largest <= 1e-5 * fmax(1, size));
    }
    pare_cache_close(&c);
    pare_forward_close(f);
    pare_forward_close(whole);
    b->close(b);
    free(want);
    free(got);
}
