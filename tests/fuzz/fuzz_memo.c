/* What an earlier fit measured (fit/memo.h) with arbitrary content: as it is, and with the sum of each line set right.
 * What was read is there afterwards. */
#include "core/hash.h"
#include "fit/memo.h"
#include "folder.h"
#include "formats/safe_path.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SUM = 8, HEX = 33 };

static void read_memo(const uint8_t *bytes, size_t n)
{
    const pare_memo_key key = {{0}};
    pare_memo m = {0};
    pare_trial_score score;
    pare_error err = {0};
    fuzz_put("out.pare-fit", bytes, n);
    char *path = pare_path_join(fuzz_folder(), "out.pare-fit", NULL);
    if (path == NULL)
        abort();
    if (pare_memo_open(&m, path, &key, &err) == PARE_OK)
        (void)pare_memo_find(&m, &key, &score);
    pare_memo_close(&m);
    free(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *bytes = calloc(1, size + 1);
    if (bytes == NULL)
        abort();
    if (size > 0)
        memcpy(bytes, data, size);
    read_memo(bytes, size);
    for (size_t at = 0; at < size;) {
        uint8_t *end = memchr(bytes + at, '\n', size - at);
        size_t n = end != NULL ? (size_t)(end - bytes) - at : 0;
        char hex[HEX];
        pare_digest d;
        if (end == NULL)
            break;
        if (n > SUM && pare_hash_bytes(bytes + at, n - SUM, PARE_HASH_XXH3, &d, NULL) == PARE_OK) {
            pare_hex(hex, d.xxh3_128, sizeof d.xxh3_128);
            memcpy(bytes + at + n - SUM, hex, SUM);
        }
        at += n + 1;
    }
    read_memo(bytes, size);
    free(bytes);
    return 0;
}
