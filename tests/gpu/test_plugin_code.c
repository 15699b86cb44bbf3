/* pare-cuda.so has code for every architecture that it says: the fat binaries that nvcc puts into it list theirs. Their
 * layout, from the bytes that nvcc 13 writes (fatbinary.h of the toolkit has the header): magic number, version, bytes
 * of the header (16), bytes behind it; then entries with kind (1 PTX, 2 ELF), bytes of their header, bytes behind it,
 * and at 28 the architecture. */
#include "check.h"

#include "core/bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAGIC = 0xba55ed50, HEADER = 16, ENTRY = 32, KIND_PTX = 1, KIND_ELF = 2, MOST = 1024 };

typedef struct found {
    size_t n_binaries, n[3][MOST]; /* by kind and architecture */
} found;

/* One fat binary at p, `left` bytes before the file's end; returns its bytes. */
static size_t read_binary(const uint8_t *p, size_t left, found *f)
{
    size_t end = HEADER + (size_t)pare_load_u64le(p + 8), at = HEADER;
    CHECK(end <= left);
    f->n_binaries++;
    while (at + ENTRY <= end) {
        unsigned kind = p[at] | (unsigned)p[at + 1] << 8, arch = pare_load_u32le(p + at + 28);
        CHECK(kind < 3 && arch < MOST);
        f->n[kind][arch]++;
        at += pare_load_u32le(p + at + 4) + (size_t)pare_load_u64le(p + at + 8);
    }
    CHECK(at == end);
    return end;
}

static void has_code_for_all_architectures(void **state)
{
    static found f;
    size_t size = 0;
    uint8_t *file = check_read_file(PARE_PLUGIN, &size);
    char wanted[] = PARE_GPU_ARCHITECTURES;
    (void)state;
    for (size_t at = 0; at + HEADER <= size; at += 8) /* they are aligned to 8 */
        if (pare_load_u32le(file + at) == MAGIC && file[at + 6] == HEADER)
            at += (read_binary(file + at, size - at, &f) + 7) / 8 * 8 - 8;
    CHECK(f.n_binaries > 0);
    for (char *word = strtok(wanted, " "); word != NULL; word = strtok(NULL, " ")) {
        int kind = strncmp(word, "ptx", 3) == 0 ? KIND_PTX : KIND_ELF, arch = atoi(kind == KIND_PTX ? word + 3 : word);
        printf("%s: %zu of %zu fat binaries\n", word, f.n[kind][arch], f.n_binaries);
        CHECK(f.n[kind][arch] == f.n_binaries);
    }
    free(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(has_code_for_all_architectures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
