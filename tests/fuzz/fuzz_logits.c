/* Logit stores, both formats, on arbitrary bytes. Header and index of pare's own are under hashes that no search would
 * hit, so they are made right first. What is accepted is read: some rows of each of some windows. */
#include "core/bytes.h"
#include "formats/logit_store_impl.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void seal(uint8_t *bytes, size_t from, size_t end)
{
    pare_digest check;
    if (pare_hash_bytes(bytes + from, end - from, PARE_HASH_XXH3, &check, NULL) == PARE_OK)
        memcpy(bytes + end, check.xxh3_128, PARE_LOGIT_CHECK);
}

static void use(pare_logit_store *s)
{
    const pare_logit_info *info = pare_logit_store_info(s);
    static const int32_t ids[8];
    uint64_t index;
    float *out = malloc(2 * (size_t)info->n_vocab * sizeof *out);
    for (uint32_t k = 0; out != NULL && k < info->n_windows && k < 8; k++) {
        uint32_t first = s->windows[k].first, last = first + s->windows[k].n - 1;
        pare_logit_store_rows(s, k, first, 1, out, NULL);
        if (last > first)
            pare_logit_store_rows(s, k, last - 1, 2, out, NULL);
    }
    pare_logit_store_find(s, ids, 3, 4, &index, NULL);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pare_logit_store *s = NULL;
    uint8_t *bytes = malloc(size + 1);
    if (bytes == NULL)
        return 0;
    memcpy(bytes, data, size);
    if (size > PARE_LOGIT_HEAD + PARE_LOGIT_TRAILER && memcmp(bytes, PARE_LOGIT_MAGIC, PARE_LOGIT_MAGIC_BYTES) == 0) {
        size_t head = pare_load_u32le(bytes + 12), end = size - PARE_LOGIT_TRAILER + 16;
        uint64_t index = pare_load_u64le(bytes + size - PARE_LOGIT_TRAILER);
        if (head > PARE_LOGIT_CHECK && head <= size)
            seal(bytes, 0, head - PARE_LOGIT_CHECK);
        if (index < end)
            seal(bytes, (size_t)index, end);
    }
    if (pare_logit_store_parse(&s, bytes, size, "fuzz.lgt", NULL) == PARE_OK)
        use(s);
    pare_logit_store_close(s);
    free(bytes);
    return 0;
}
