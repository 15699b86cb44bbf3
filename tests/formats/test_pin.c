#include "check.h"
#include "formats/pin.h"

#include <stdio.h>
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_files_tensors_and_metadata),
        cmocka_unit_test(hashes_metadata_as_it_is_stored),
        cmocka_unit_test(moves_with_its_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
