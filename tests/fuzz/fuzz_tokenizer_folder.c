/* The tokenizer files of a Hub folder together, each with arbitrary content: special tokens, templates, ids. What is
 * accepted is run. */
#include "core/json.h"
#include "folder.h"
#include "formats/tokenizer_files.h"
#include "vocab.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {
        "config.json",         "tokenizer_config.json",  "special_tokens_map.json", "added_tokens.json",
        "chat_template.jinja", "generation_config.json", "tokenizer.json",          "vocab.json",
        "merges.txt",          "chat_templates/x.jinja"};
    pare_vocab v;
    pare_error err = {0};
    json_t *config = NULL;
    bool found = false;
    fuzz_put_sections(names, sizeof names / sizeof *names, data, size);
    size_t n = 0;
    while (n < size && data[n] != 0)
        n++;
    if (pare_json_parse(&config, "config.json", data, n, PARE_JSON_BIG_AS_REAL, &err) == PARE_OK &&
        json_is_object(config)) {
        if (pare_tokenizer_files_read(&v, fuzz_folder(), config, 40, &found, &err) == PARE_OK && found)
            fuzz_use_vocab(&v);
        pare_vocab_close(&v);
    }
    json_decref(config);
    return 0;
}
