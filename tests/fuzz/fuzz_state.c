/* What an unfinished quantize left (OUTPUT.pare-state), with arbitrary content: opened to go on with, every tensor
 * taken. The digests of head and records are set right first: bytes changed at random never are. */
#include "core/bytes.h"
#include "folder.h"
#include "formats/safe_path.h"
#include "recipe/state.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEAD = 32, TENSORS = 2, RECORD = 88, CHECK = 16 };
static const char text[] = "fuzz\na 64\nb 100\n";
static const uint64_t sizes[TENSORS] = {64, 100};

static void set_checks(uint8_t *bytes, size_t n)
{
    size_t at = (HEAD + sizeof text - 1 + 7) / 8 * 8;
    const uint64_t len = n >= HEAD ? pare_load_u64le(bytes + 8) : 0;
    pare_digest head;
    if (n >= HEAD && len <= n - HEAD) {
        if (pare_hash_bytes(bytes + HEAD, (size_t)len, PARE_HASH_XXH3, &head, NULL) != PARE_OK)
            abort();
        memcpy(bytes + 16, head.xxh3_128, CHECK);
    }
    for (size_t i = 0; i < TENSORS && at + RECORD <= n; i++, at += RECORD) {
        pare_digest d;
        if (pare_hash_bytes(bytes + at, RECORD - CHECK, PARE_HASH_XXH3, &d, NULL) != PARE_OK)
            abort();
        memcpy(bytes + at + RECORD - CHECK, d.xxh3_128, CHECK);
    }
}

static void take_all(pare_state *s)
{
    for (size_t i = 0; i < TENSORS; i++) {
        const pare_state_key key = {{0}};
        pare_plan_row row = {0};
        pare_error err = {0};
        bool found;
        (void)pare_state_take(s, i, &key, "t", &row, &found, &err);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pare_state s;
    pare_error err = {0};
    uint8_t *bytes = calloc(1, size + 1);
    char *output = NULL;
    fuzz_folder();
    if (bytes == NULL || (output = pare_path_join(fuzz_folder(), "out.gguf", NULL)) == NULL)
        abort();
    if (size > 0)
        memcpy(bytes, data, size);
    if (size > 0 && data[0] != 'Q') /* with a Q the digests stay */
        set_checks(bytes, size);
    fuzz_put("out.gguf.pare-state", bytes, size);
    if (pare_state_open(&s, output, text, TENSORS, sizes, true, &err) == PARE_OK)
        take_all(&s);
    pare_state_close(&s);
    free(output);
    free(bytes);
    return 0;
}
