/* libFuzzer's door to fuzz_mutate_gguf for an input of fuzz_gguf_set: u32 length of the first part, two parts */
#include "core/bytes.h"
#include "mutate.h"

#include <stdlib.h>
#include <string.h>

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

/* One of the two parts. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    uint32_t first = size >= 4 ? pare_load_u32le(data) : 0;
    if (size < 4 || first > size - 4 || max < size + 64 || seed % 16 == 0)
        return LLVMFuzzerMutate(data, size, max);
    size_t n[2] = {first, size - 4 - first}, room = max - size, which = seed / 16 % 2;
    uint8_t *part = malloc(n[which] + room), *other = malloc(n[1 - which] + 1);
    if (part == NULL || other == NULL)
        abort();
    memcpy(part, data + 4 + (which == 0 ? 0 : first), n[which]);
    memcpy(other, data + 4 + (which == 0 ? first : 0), n[1 - which]);
    n[which] = fuzz_mutate_gguf(part, n[which], n[which] + room, seed / 32);
    pare_store_u32le(data, (uint32_t)n[0]);
    memcpy(data + 4 + (which == 0 ? 0 : n[0]), part, n[which]);
    memcpy(data + 4 + (which == 0 ? n[0] : 0), other, n[1 - which]);
    free(part);
    free(other);
    return 4 + n[0] + n[1];
}
