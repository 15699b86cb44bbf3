/* modules.json and a pooling module's config.json with arbitrary content. */
#include "folder.h"
#include "formats/hf_pooling.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"modules.json", "1_Pooling/config.json"};
    pare_hparams hp = {0};
    pare_error err = {0};
    fuzz_put_sections(names, sizeof names / sizeof *names, data, size);
    (void)pare_hf_read_pooling(&hp, fuzz_folder(), &err);
    return 0;
}
