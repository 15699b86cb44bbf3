/* The forward pass against reference logits, and its wiring against a double-precision pass over a toy model. */
#include "check.h"
#include "toy.h"

#include "core/threads.h"
#include "eval/forward.h"
#include "formats/gguf.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ORACLE_SEQ = 3, ORACLE_LEN = 48 };

/* Largest and mean difference of logits, and nll of each sequence, against the files of one oracle folder. */
static void check_oracle(const pare_model *m, const char *folder)
{
    char relative[256];
    size_t n_ids_bytes, n_logit_bytes, n_nll_bytes;
    snprintf(relative, sizeof relative, "oracle/models/%s/tokens.i32", folder);
    int32_t *ids = (int32_t *)(void *)check_read_file(shared_path(relative), &n_ids_bytes);
    snprintf(relative, sizeof relative, "oracle/models/%s/logits.f32", folder);
    float *want = (float *)(void *)check_read_file(shared_path(relative), &n_logit_bytes);
    snprintf(relative, sizeof relative, "oracle/models/%s/nll.txt", folder);
    char *nll_file = (char *)check_read_file(shared_path(relative), &n_nll_bytes), nll_text[256], *rest = nll_text;
    CHECK(n_nll_bytes < sizeof nll_text);
    memcpy(nll_text, nll_file, n_nll_bytes);
    nll_text[n_nll_bytes] = 0;
    uint32_t n_vocab = m->hp.n_vocab;
    CHECK(n_ids_bytes == ORACLE_SEQ * ORACLE_LEN * sizeof *ids);
    CHECK(n_logit_bytes == ORACLE_SEQ * ORACLE_LEN * sizeof *want * n_vocab);
    pare_backend *b = NULL;
    pare_forward *f = NULL;
    pare_error err = {0};
    CHECK_OK(pare_backend_cpu(&b, &err), &err);
    CHECK_OK(pare_forward_open(&f, m, b, ORACLE_LEN, ORACLE_SEQ, &err), &err);
    CHECK_OK(pare_forward_run(f, ids, ORACLE_SEQ, ORACLE_LEN, &err), &err);
    float *got = check_malloc(ORACLE_LEN * sizeof *got * n_vocab);
    double largest = 0, sum = 0;
    for (uint32_t s = 0; s < ORACLE_SEQ; s++) {
        CHECK_OK(pare_forward_logits(f, s, 0, ORACLE_LEN, got, &err), &err);
        double nll = 0;
        for (uint32_t t = 0; t < ORACLE_LEN; t++) {
            const float *row = got + (size_t)t * n_vocab, *expected = want + ((size_t)s * ORACLE_LEN + t) * n_vocab;
            double z = 0;
            for (uint32_t v = 0; v < n_vocab; v++) {
                double d = fabs((double)row[v] - (double)expected[v]);
                largest = d > largest ? d : largest;
                sum += d;
                z += exp((double)row[v]);
            }
            CHECK(isfinite(z));
            if (t + 1 < ORACLE_LEN)
                nll += log(z) - (double)row[ids[s * ORACLE_LEN + t + 1]];
        }
        CHECK(fabs(nll / (ORACLE_LEN - 1) - strtod(rest, &rest)) < 5e-5);
    }
    printf("%s: largest difference %.2g, mean %.2g\n", folder, largest, sum / (ORACLE_SEQ * ORACLE_LEN * n_vocab));
    CHECK(largest < 5e-4);
    CHECK(sum / (ORACLE_SEQ * ORACLE_LEN * n_vocab) < 5e-5);
    pare_forward_close(f);
    b->close(b);
    free(ids);
    free(want);
    free(nll_file);
    free(got);
}

static void check_oracle_gguf(const char *folder, const char *file)
{
    char relative[256];
    pare_model m = {0};
    pare_error err = {0};
    snprintf(relative, sizeof relative, "oracle/models/%s/%s", folder, file);
    CHECK_OK(pare_gguf_open(&m, shared_path(relative), 0, &err), &err);
    check_oracle(&m, folder);
    pare_model_close(&m);
}

static void llama_with_llama3_scaling(void **state)
{
    (void)state;
    check_oracle_gguf("llama_rope", "stock-f32.gguf");
}

static void qwen3_in_bf16(void **state)
{
    (void)state;
    check_oracle_gguf("qwen3_tiny", "stock-bf16.gguf");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama_with_llama3_scaling),
        cmocka_unit_test(qwen3_in_bf16),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
