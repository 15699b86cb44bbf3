/* What an unfinished imatrix --full left (eval/collect_state.h) with arbitrary content, and what is taken out of it. */
#include "eval/collect_state.h"
#include "folder.h"
#include "formats/safe_path.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const parts[] = {"in_sum2", "counts"};
    pare_model s;
    pare_collect_point at, now = {0};
    pare_error err = {0};
    double sums[4];
    uint64_t counts[4];
    fuzz_put("out.unfinished-1.gguf", data, size);
    char *path = pare_path_join(fuzz_folder(), "out.unfinished-1.gguf", NULL);
    if (path == NULL)
        abort();
    if (pare_collect_state_open(&s, path, &at, &err) == PARE_OK) {
        (void)pare_collect_state_check(path, &at, &now, &err);
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
            for (uint64_t n = 1; n <= 4; n++) {
                (void)pare_collect_state_has(&s, "w", parts[i]);
                (void)pare_collect_state_get(&s, "w", parts[i], sums, n, &err);
                (void)pare_collect_state_count(&s, "w", parts[i], counts, n, &err);
            }
    }
    pare_model_close(&s);
    free(path);
    return 0;
}
