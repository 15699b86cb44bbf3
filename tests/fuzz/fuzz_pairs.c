/* Sentence pairs and token ids in files with arbitrary content. */
#include "cmd/pair_file.h"
#include "folder.h"
#include "formats/safe_path.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cmd_pair_file f = {0};
    pare_error err = {0};
    volatile char sum = 0;
    fuzz_put("pairs.tsv", data, size);
    char *path = pare_path_join(fuzz_folder(), "pairs.tsv", NULL);
    if (path == NULL)
        abort();
    if (cmd_pair_file_open(&f, path, &err) == PARE_OK) {
        for (size_t i = 0; i < f.n_texts; i++)
            for (size_t k = 0; k < f.texts[i].len; k++)
                sum = (char)(sum + f.texts[i].data[k]);
        for (size_t i = 0; i < f.n_pairs; i++)
            if (f.pairs[i].a >= f.n_texts || f.pairs[i].b >= f.n_texts)
                abort();
    }
    cmd_pair_file_close(&f);
    free(path);
    return 0;
}
