#include "check.h"
#include "core/threads.h"
#include "formats/pin_scan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pare_tensor tensor(const char *name, uint64_t rows)
{
    return (pare_tensor){.name = name, .type = PARE_TYPE_F32, .n_dims = 2, .dim = {rows, 3}};
}

static void records_files_tensors_and_metadata(void **state)
{
    (void)state;
    enum { N = 100 };
    pare_pin p = {0};
    pare_pin_file *f;
    pare_error err = {0};
    char name[16];
    for (int k = 0; k < 3; k++) {
        CHECK_OK(pare_pin_add_file(&p, k == 1 ? "dir/b" : "a", &f, &err), &err);
        for (uint64_t i = 0; i < N; i++) {
            pare_digest digest = {.n_bytes = i, .sha256 = {(uint8_t)i}};
            snprintf(name, sizeof name, "t%d", (int)i);
            pare_tensor t = tensor(name, i);
            CHECK_OK(pare_pin_add_tensor(f, &t, 32 * i, &digest, &err), &err);
        }
    }
    CHECK(p.n_files == 3 && strcmp(p.files[1].path, "dir/b") == 0 && p.files[1].name == NULL);
    for (uint64_t i = 0; i < N; i++) {
        const pare_pin_tensor *t = &p.files[2].tensors[i];
        snprintf(name, sizeof name, "t%d", (int)i);
        CHECK(strcmp(t->name, name) == 0 && t->offset == 32 * i && t->dim[0] == i && t->dim[1] == 3);
        CHECK(t->digest.n_bytes == i && t->digest.sha256[0] == i && t->type == PARE_TYPE_F32);
    }
    pare_pin_close(&p);
    CHECK(p.files == NULL && p.n_files == 0);
    pare_pin_close(&p);
}

/* sha256sum of the bytes that stand in a GGUF file: type 8, length 2, "hi"; and of "hi" alone */
static void hashes_metadata_as_it_is_stored(void **state)
{
    (void)state;
    pare_pin p = {0};
    pare_pin_file *f;
    pare_error err = {0};
    pare_digest stored, text;
    CHECK_OK(pare_hash_bytes("\x08\0\0\0\x02\0\0\0\0\0\0\0hi", 14, PARE_HASH_BOTH, &stored, &err), &err);
    CHECK_OK(pare_hash_bytes("hi", 2, PARE_HASH_BOTH, &text, &err), &err);
    CHECK_OK(pare_pin_add_file(&p, "m.gguf", &f, &err), &err);
    pare_meta_value v = {.key = {"general.name", 12}, .type = PARE_META_STRING, .n = 1, .v.s = {"hi", 2}};
    CHECK_OK(pare_pin_add_meta(f, &v, &err), &err);
    CHECK(f->n_meta == 1 && strcmp(f->meta[0].key, "general.name") == 0 && !f->has_chat_template);
    CHECK(memcmp(&f->meta[0].digest, &stored, sizeof stored) == 0);
    v.key = (pare_str){"tokenizer.chat_template", 23};
    CHECK_OK(pare_pin_add_meta(f, &v, &err), &err);
    CHECK(f->has_chat_template && memcmp(&f->chat_template, &text, sizeof text) == 0);
    pare_pin_close(&p);
}

static void moves_with_its_folder(void **state)
{
    (void)state;
    pare_pin p = {0};
    pare_pin_file *f;
    pare_error err = {0};
    static const char *const before[] = {"out.part.1/a", "out.part.1/sub/b", "out.part.12/c", "x/out.part.1/d"};
    static const char *const after[] = {"out/a", "out/sub/b", "out.part.12/c", "x/out.part.1/d"};
    for (int i = 0; i < 4; i++)
        CHECK_OK(pare_pin_add_file(&p, before[i], &f, &err), &err);
    CHECK_OK(pare_pin_add_folder(&p, "out.part.1", &err), &err);
    CHECK_OK(pare_pin_move(&p, "out.part.1", "out", &err), &err);
    for (int i = 0; i < 4; i++)
        CHECK(strcmp(p.files[i].path, after[i]) == 0);
    CHECK(p.n_folders == 1 && strcmp(p.folders[0], "out") == 0);
    pare_pin_close(&p);
}

enum { N_BYTES = 3 << 20, N_PARTS = 6 };

/* Tensors of bytes, where they lie, in the order in which the file lists them. The first row is in order, the second is
 * not; the third has two that share bytes. */
static const uint64_t places[3][N_PARTS][2] = {
    {{7, 0}, {7, 64}, {100, 1 << 20}, {100 + (1 << 20), 33}, {2 << 20, 1 << 20}, {3 << 20, 0}},
    {{2 << 20, 1000000}, {5, 1}, {6, 700000}, {1000000, 0}, {1000000, 4096}, {0, 5}},
    {{100, 1000}, {50, 60}, {2000000, 5}, {2000000, 5}, {2 << 20, 700000}, {0, 10}},
};

static void same(const pare_digest *is, const uint8_t *bytes, size_t n, pare_hash_kind kind)
{
    pare_digest expected;
    pare_error err = {0};
    CHECK_OK(pare_hash_bytes(bytes, n, kind, &expected, &err), &err);
    CHECK(memcmp(is, &expected, sizeof expected) == 0);
}

static void check_hashes(const pare_pin_file *f, const uint8_t *bytes, unsigned what, pare_hash_kind kind)
{
    uint8_t *rest = check_malloc(N_BYTES), *used = check_malloc(N_BYTES);
    size_t n_rest = 0;
    memset(used, 0, N_BYTES);
    for (size_t i = 0; i < f->n_tensors; i++) {
        const pare_pin_tensor *t = &f->tensors[i];
        memset(used + t->offset, 1, (size_t)t->digest.n_bytes);
        if (what & PARE_PIN_PARTS)
            same(&t->digest, bytes + t->offset, (size_t)t->digest.n_bytes, kind);
    }
    for (size_t i = 0; i < N_BYTES; i++)
        if (!used[i])
            rest[n_rest++] = bytes[i];
    CHECK(f->has_rest == ((what & PARE_PIN_PARTS) != 0));
    if (what & PARE_PIN_PARTS)
        same(&f->rest, rest, n_rest, kind);
    if (what & PARE_PIN_WHOLE)
        same(&f->digest, bytes, N_BYTES, kind);
    free(rest);
    free(used);
}

/* Two such files, hashed in every way, give what hashing the ranges one by one gives. */
static void ranges_are_hashed_as_if_alone(void **state)
{
    (void)state;
    static const pare_hash_kind kinds[] = {PARE_HASH_SHA256, PARE_HASH_XXH3, PARE_HASH_BOTH};
    static const uint8_t whats[] = {PARE_PIN_WHOLE, PARE_PIN_PARTS, PARE_PIN_WHOLE | PARE_PIN_PARTS};
    uint8_t *bytes = check_malloc(N_BYTES);
    char path[4200];
    pare_error err = {0};
    for (size_t i = 0; i < N_BYTES; i++)
        bytes[i] = (uint8_t)(i * 2654435761u >> 13);
    snprintf(path, sizeof path, "%s/ranges", temp_dir());
    check_write_file(path, bytes, N_BYTES);
    for (size_t run = 0; run < 27; run++) {
        pare_pin p = {0};
        pare_pin_file *f;
        const uint8_t what = whats[run / 3 % 3], both[2] = {what, what};
        pare_set_threads(run % 2 == 0 ? 1 : 3);
        for (size_t k = 0; k < 2; k++) {
            CHECK_OK(pare_pin_add_file(&p, path, &f, &err), &err);
            f->digest.n_bytes = N_BYTES;
            for (size_t i = 0; i < N_PARTS; i++) {
                const uint64_t *at = places[(run + k) % 3][i];
                const pare_tensor t = {.name = "t", .type = PARE_TYPE_Q2_K, .n_dims = 1, .dim = {1}};
                CHECK_OK(pare_pin_add_tensor(f, &t, at[0], &(pare_digest){.n_bytes = at[1]}, &err), &err);
            }
        }
        CHECK_OK(pare_pin_hash(p.files, 2, both, kinds[run / 9], &err), &err);
        for (size_t k = 0; k < 2; k++)
            check_hashes(&p.files[k], bytes, what, kinds[run / 9]);
        pare_pin_close(&p);
    }
    pare_set_threads(0);
    free(bytes);
}

/* Blocks of 84 bytes, which no read ends at by itself: the one of tensor t that is not finite is told. */
static void numbers_are_looked_at_on_the_way(void **state)
{
    (void)state;
    enum { BLOCK = 84, AT = 1000, N_BLOCKS = 20000, BAD = 12345, SIZE = AT + BLOCK * N_BLOCKS + 3 };
    uint8_t *bytes = check_malloc(SIZE);
    char path[4200];
    pare_error err = {0};
    CHECK(pare_type_get(PARE_TYPE_Q2_K)->block_bytes == BLOCK);
    for (int bad = 0; bad < 2; bad++) {
        memset(bytes, 0, SIZE);
        if (bad) /* the block's scale, the last but one of its halves: infinity; and, outside of tensors, anything */
            memcpy(bytes + AT + BAD * BLOCK + BLOCK - 4, "\x00\x7c", 2);
        memset(bytes, 0xff, AT);
        snprintf(path, sizeof path, "%s/numbers", temp_dir());
        check_write_file(path, bytes, SIZE);
        for (uint8_t what = PARE_PIN_WHOLE; what <= (PARE_PIN_WHOLE | PARE_PIN_PARTS); what++) {
            pare_pin p = {0};
            pare_pin_file *f;
            const uint8_t asked = what | PARE_PIN_NUMBERS;
            const pare_tensor t = {.name = "t", .type = PARE_TYPE_Q2_K, .n_dims = 1, .dim = {256 * N_BLOCKS}};
            CHECK_OK(pare_pin_add_file(&p, path, &f, &err), &err);
            f->digest.n_bytes = SIZE;
            CHECK_OK(pare_pin_add_tensor(f, &t, AT, &(pare_digest){.n_bytes = BLOCK * N_BLOCKS}, &err), &err);
            CHECK(f->tensors[0].bad_block == PARE_PIN_NOT_LOOKED_AT);
            CHECK_OK(pare_pin_hash(f, 1, &asked, PARE_HASH_SHA256, &err), &err);
            CHECK(f->tensors[0].bad_block == (bad ? BAD : PARE_PIN_ALL_FINITE));
            pare_pin_close(&p);
        }
    }
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_files_tensors_and_metadata),
        cmocka_unit_test(hashes_metadata_as_it_is_stored),
        cmocka_unit_test(moves_with_its_folder),
        cmocka_unit_test(ranges_are_hashed_as_if_alone),
        cmocka_unit_test(numbers_are_looked_at_on_the_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
