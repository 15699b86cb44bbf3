#include "check.h"

#include "core/half.h"
#include "core/hash.h"
#include "quant/registry.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static pare_error err;

/* Reference data: 64 rows of 1024 weights, importances of the 1024 columns. */
enum { N_ROWS = 64, ROW_LEN = 1024 };

static void check_pair(const char *folder, const char *name, pare_type type)
{
    char path[256];
    const pare_type_info *info = pare_type_get(type);
    size_t n_blocks_bytes, n_float_bytes;
    snprintf(path, sizeof path, "oracle/blocks/%s/%s.blocks", folder, name);
    uint8_t *blocks = check_read_file(shared_path(path), &n_blocks_bytes);
    snprintf(path, sizeof path, "oracle/blocks/%s/%s.f32", folder, name);
    uint8_t *want = check_read_file(shared_path(path), &n_float_bytes);
    size_t n_floats = n_float_bytes / sizeof(float), n_blocks = n_blocks_bytes / info->block_bytes;
    CHECK(n_blocks * info->block_bytes == n_blocks_bytes);
    CHECK(n_blocks * info->block_len == n_floats);

    /* every alignment of the source */
    uint8_t *moved = check_malloc(n_blocks_bytes + 8);
    float *got = check_malloc(n_float_bytes);
    for (size_t shift = 0; shift < 8; shift++) {
        memcpy(moved + shift, blocks, n_blocks_bytes);
        memset(got, 0xa5, n_float_bytes);
        CHECK_OK(pare_decode_rows(type, moved + shift, 1, n_floats, got, &err), &err);
        if (memcmp(got, want, n_float_bytes) != 0)
            fail_msg("%s/%s: decoded weights differ from the reference (shift %zu)", folder, name, shift);
    }
    free(got);
    free(moved);
    free(want);
    free(blocks);
}

static void decodes_the_reference_vectors(void **state)
{
    (void)state;
    size_t n;
    char *index = (char *)check_read_file(shared_path("oracle/blocks/decode/index.tsv"), &n);
    index = realloc(index, n + 1);
    index[n] = '\0';
    int n_types = 0;
    char *save = NULL;
    for (char *line = strtok_r(index, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
        char name[32];
        unsigned number, len, bytes;
        if (sscanf(line, "%31s %u %u %u", name, &number, &len, &bytes) != 4)
            continue; /* the title */
        pare_type type = pare_type_from_gguf(number);
        CHECK(type != PARE_TYPE_NONE && type == pare_type_from_name(name));
        CHECK(pare_type_get(type)->block_len == len && pare_type_get(type)->block_bytes == bytes);
        check_pair("decode", name, type);
        n_types++;
    }
    assert_int_equal(n_types, 28);
    free(index);
}

static void decodes_the_sweeps(void **state)
{
    (void)state;
    static const char *const names[] = {"MXFP4_scales", "NVFP4_scales", "IQ2_XXS_grid", "IQ2_XS_grid", "IQ2_S_grid",
                                        "IQ3_XXS_grid", "IQ3_S_grid",   "IQ1_S_grid",   "IQ1_M_grid"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char type[32];
        snprintf(type, sizeof type, "%.*s", (int)(strrchr(names[i], '_') - names[i]), names[i]);
        check_pair("decode/extra", names[i], pare_type_from_name(type));
    }
}

static void encodes_the_reference_bytes(void **state)
{
    (void)state;
    static const char *const names[] = {"F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"};
    size_t n;
    float *input = (float *)check_read_file(shared_path("oracle/blocks/encode/input.f32"), &n);
    assert_int_equal(n, N_ROWS * ROW_LEN * sizeof(float));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[256];
        snprintf(path, sizeof path, "oracle/blocks/encode/%s.bytes", names[i]);
        uint8_t *want = check_read_file(shared_path(path), &n), *got = check_malloc(n);
        uint64_t row_bytes;
        CHECK(pare_row_bytes(pare_type_from_name(names[i]), ROW_LEN, &row_bytes) && row_bytes * N_ROWS == n);
        CHECK_OK(pare_encode_rows(pare_type_from_name(names[i]), input, N_ROWS, ROW_LEN, NULL, got, &err), &err);
        if (memcmp(got, want, n) != 0)
            fail_msg("%s: encoded bytes differ from the reference", names[i]);
        free(got);
        free(want);
    }
    free(input);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_the_reference_vectors),
        cmocka_unit_test(decodes_the_sweeps),
        cmocka_unit_test(encodes_the_reference_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
