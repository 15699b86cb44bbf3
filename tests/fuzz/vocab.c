#include "vocab.h"
#include "eval/tokenizer.h"

#include <stdlib.h>

void fuzz_use_vocab(const pare_vocab *v)
{
    static const char text[] = "ab  \xc3\xa9 12 <s>a\n\xff the\xe2\x96\x81";
    pare_tokenizer *t = NULL;
    pare_ids ids = {0};
    pare_buf back = {0};
    pare_error err = {0};
    if (pare_tokenizer_open(&t, v, &err) == PARE_OK)
        (void)pare_tokenize(t, text, sizeof text - 1, PARE_TOKENIZE_SPECIAL | PARE_TOKENIZE_BOS, &ids, &err);
    for (size_t i = 0; i < ids.n; i++)
        (void)pare_detokenize(t, ids.ids[i], true, &back, &err);
    pare_buf_close(&back);
    free(ids.ids);
    pare_tokenizer_close(t);
}
