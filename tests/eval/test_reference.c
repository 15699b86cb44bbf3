/* The figures of the stock programs on the reference model (models/ref/stock.tsv of the reference data, 160 windows of
 * wikitext-2 test at n_ctx 512), held against pare's own: one run of the Q4_K_M file beside the original. */
#include "check.h"

#include "eval/measure.h"
#include "eval/tokenizer.h"
#include "formats/gguf.h"
#include "formats/open.h"
#include "recipe/recipe.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define STOCK_PERPLEXITY 178.931479 /* row f32, column ppl: the direct run */
#define STOCK_Q4_K_M_KLD 0.002988   /* row q4_k_m without imatrix, column kld_mean */
#define STOCK_Q4_K_M_PPL 179.118273
#define STOCK_Q4_K_M_BYTES 17183168

static void quantize(const pare_model *in, const char *path)
{
    pare_error err = {0};
    pare_model q;
    pare_plan plan;
    pare_quantize_options o = {.preset = pare_preset_find("q4_k_m"),
                               .pure_type = PARE_TYPE_NONE,
                               .output_type = PARE_TYPE_NONE,
                               .embedding_type = PARE_TYPE_NONE};
    CHECK_OK(pare_quantize(&q, in, &o, &plan, &err), &err);
    CHECK_OK(pare_gguf_write(&q, path, &(pare_write_options){0}, NULL, &err), &err);
    pare_model_close(&q);
}

static void agrees_with_stock_and_diverges_no_more(void **state)
{
    (void)state;
    pare_error err = {0};
    pare_model original, quantized;
    pare_tokenizer *tokenizer = NULL;
    pare_backend *cpu = NULL;
    pare_ids ids = {0};
    pare_eval_result r;
    struct stat info;
    char path[4096];
    size_t n = 0;
    CHECK_OK(pare_model_open(&original, shared_path("models/ref"), 0, &err), &err);
    snprintf(path, sizeof path, "%s/q4_k_m.gguf", temp_dir());
    quantize(&original, path);
    CHECK(stat(path, &info) == 0 &&
          info.st_size < STOCK_Q4_K_M_BYTES + 1024); /* stock's file has fewer metadata keys */
    CHECK_OK(pare_model_open(&quantized, path, 0, &err), &err);

    uint8_t *text = check_read_file(shared_path("text/wikitext2-test.txt"), &n);
    CHECK_OK(pare_tokenizer_open(&tokenizer, &quantized.vocab, &err), &err);
    CHECK_OK(pare_tokenize(tokenizer, (const char *)text, n, PARE_TOKENIZE_BOS | PARE_TOKENIZE_SPECIAL, &ids, &err),
             &err);
    CHECK_OK(pare_backend_cpu(&cpu, &err), &err);
    const pare_measure_options o = {.windows.n_chunks = 160};
    CHECK_OK(pare_measure(&quantized, &original, cpu, ids.ids, ids.n, quantized.vocab.bos, &o, &r, &err), &err);
    printf("perplexity %.6f (stock %.6f), q4_k_m %.6f (stock %.6f), KLD %.6f +/- %.6f (stock %.6f)\n",
           r.reference_perplexity.value, STOCK_PERPLEXITY, r.perplexity.value, STOCK_Q4_K_M_PPL, r.kld_mean.value,
           r.kld_mean.stderr_, STOCK_Q4_K_M_KLD);
    CHECK(r.n_tokens_scored == 160 * 255);
    CHECK(fabs(r.reference_perplexity.value / STOCK_PERPLEXITY - 1) < 2e-4);
    CHECK(fabs(r.perplexity.value / STOCK_Q4_K_M_PPL - 1) < 3e-3);
    CHECK(r.kld_mean.value <= STOCK_Q4_K_M_KLD);

    cpu->close(cpu);
    free(ids.ids);
    free(text);
    pare_tokenizer_close(tokenizer);
    pare_model_close(&quantized);
    pare_model_close(&original);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(agrees_with_stock_and_diverges_no_more)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
