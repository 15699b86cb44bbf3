/* The reader of tokenizer.model (SentencePiece) on arbitrary bytes; what it accepts is run. */
#include "formats/tokenizer_files.h"
#include "vocab.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pare_vocab v;
    pare_error err = {0};
    if (pare_sentencepiece_parse(&v, data, size, "fuzz.model", &err) == PARE_OK)
        fuzz_use_vocab(&v);
    pare_vocab_close(&v);
    return 0;
}
