/* The reader of tokenizer.json on arbitrary bytes. What it accepts is run: a text through the tokenizer and back. */
#include "eval/tokenizer.h"
#include "formats/tokenizer_files.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] = "ab  \xc3\xa9 12 <s>a\n\xff\xe2\x96\x81";
    pare_vocab v;
    pare_tokenizer *t = NULL;
    pare_ids ids = {0};
    pare_buf back = {0};
    pare_error err = {0};
    if (pare_tokenizer_json_parse(&v, data, size, "fuzz.json", &err) == PARE_OK) {
        if (pare_tokenizer_open(&t, &v, &err) == PARE_OK)
            (void)pare_tokenize(t, text, sizeof text - 1, PARE_TOKENIZE_SPECIAL | PARE_TOKENIZE_BOS, &ids, &err);
        for (size_t i = 0; i < ids.n; i++)
            (void)pare_detokenize(t, ids.ids[i], true, &back, &err);
    }
    pare_buf_close(&back);
    free(ids.ids);
    pare_tokenizer_close(t);
    pare_vocab_close(&v);
    return 0;
}
