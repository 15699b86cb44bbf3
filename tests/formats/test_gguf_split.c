/* Split sets: formats/gguf_set.c, and writing them. */
#include "check.h"
#include "formats/gguf.h"
#include "formats/open.h"
#include "gguf_bytes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N_PARTS = 3 };

/* What a part says; a test bends one of these. Tensor i of the set is "t<i>.weight", two a part. */
typedef struct part_text {
    uint16_t no, count;
    int32_t n_tensors;
    const char *arch, *model; /* NULL: the key is absent */
    const char *first;        /* name of its first tensor; NULL: as above */
} part_text;

static const char *part_path(uint32_t part, uint32_t n_parts)
{
    static char paths[4][4200];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/set-%05" PRIu32 "-of-%05" PRIu32 ".gguf", temp_dir(), part, n_parts);
    return path;
}

static void write_part(const char *path, const part_text *p, uint32_t first)
{
    pare_buf b = {0};
    gguf_header(&b, 3, 2, (uint64_t)3 + (p->arch != NULL) + (p->model != NULL));
    if (p->arch != NULL)
        gguf_pair_str(&b, "general.architecture", p->arch);
    if (p->model != NULL)
        gguf_pair_str(&b, "tokenizer.ggml.model", p->model);
    gguf_pair_u16(&b, "split.no", p->no);
    gguf_pair_u16(&b, "split.count", p->count);
    gguf_pair_i32(&b, "split.tensors.count", p->n_tensors);
    for (uint32_t i = 0; i < 2; i++) {
        char name[32];
        snprintf(name, sizeof name, "t%" PRIu32 ".weight", first + i);
        gguf_info(&b, i == 0 && p->first != NULL ? p->first : name, 1, (uint64_t[]){1}, 26, 32 * i);
    }
    gguf_pad(&b, 32);
    for (uint32_t i = 0; i < 2; i++) {
        gguf_u32(&b, first + i);
        gguf_pad(&b, 32);
    }
    check_write_file(path, b.data, b.len);
    pare_buf_close(&b);
}

static void right_set(part_text p[N_PARTS])
{
    for (uint16_t i = 0; i < N_PARTS; i++)
        p[i] = (part_text){.no = i, .count = N_PARTS, .n_tensors = 2 * N_PARTS};
    p[0].arch = "tiny";
    p[0].model = "none";
}

static void write_set(const part_text p[N_PARTS])
{
    for (uint32_t i = 0; i < N_PARTS; i++)
        write_part(part_path(i + 1, N_PARTS), &p[i], 2 * i);
}

static void any_part_opens_the_set(void **state)
{
    (void)state;
    part_text p[N_PARTS];
    right_set(p);
    write_set(p);
    for (uint32_t named = 1; named <= N_PARTS; named++) {
        pare_model m;
        pare_error err = {0};
        CHECK_OK(pare_gguf_open(&m, part_path(named, N_PARTS), PARE_OPEN_RAW, &err), &err);
        CHECK(m.n_files == N_PARTS && m.n_tensors == 2 * N_PARTS && m.meta.n == 2);
        CHECK(pare_meta_find(&m.meta, "split.count") == NULL);
        for (uint32_t i = 0; i < m.n_tensors; i++) {
            uint32_t stored = 99;
            CHECK_OK(pare_tensor_read(&m.tensors[i], 0, 1, &stored, &err), &err);
            CHECK(stored == i && m.tensors[i].file == i / 2);
            CHECK(strcmp(m.files[i / 2].path, part_path(i / 2 + 1, N_PARTS)) == 0);
        }
        pare_model_close(&m);
    }
}

static void expect_refused(uint32_t named, const char *text)
{
    pare_model m;
    pare_error err = {0};
    pare_status st = pare_gguf_open(&m, part_path(named, N_PARTS), PARE_OPEN_RAW, &err);
    if ((st != PARE_ERR_FORMAT && st != PARE_ERR_RANGE) || strstr(err.text, text) == NULL)
        printf("expected '%s', status %s: %s\n", text, pare_status_name(st), err.text);
    CHECK((st == PARE_ERR_FORMAT || st == PARE_ERR_RANGE) && strstr(err.text, text) != NULL);
    CHECK(m.files == NULL && m.tensors == NULL); /* closed */
}

static void parts_must_fit_together(void **state)
{
    (void)state;
    part_text p[N_PARTS];
    right_set(p), p[1].count = 4;
    write_set(p), expect_refused(1, "'split.count' is 4, in ");
    right_set(p), p[2].no = 1;
    write_set(p), expect_refused(1, "'split.no' is 1, by the name of the file it must be 2");
    right_set(p), p[2].n_tensors = 5;
    write_set(p), expect_refused(1, "'split.tensors.count' is 5, in ");
    right_set(p), p[0].n_tensors = p[1].n_tensors = p[2].n_tensors = 7;
    write_set(p), expect_refused(1, "'split.tensors.count' is 7, the parts have 6 tensors");
    right_set(p), p[1].arch = "other";
    write_set(p), expect_refused(1, "key 'general.architecture' at offset 24 differs from that of ");
    right_set(p), p[2].model = "gpt2";
    write_set(p), expect_refused(3, "key 'tokenizer.ggml.model' at offset 24 differs from that of ");
    right_set(p), p[2].first = "t1.weight";
    write_set(p), expect_refused(2, "tensor 't1.weight' at offset 192 is in ");
    right_set(p), p[1].no = 7;
    write_set(p), expect_refused(2, "key 'split.no'");
    right_set(p), p[2].n_tensors = -1;
    write_set(p), expect_refused(3, "key 'split.tensors.count'");
}

static void agreeing_repetition_is_fine(void **state)
{
    (void)state;
    part_text p[N_PARTS];
    pare_model m;
    pare_error err = {0};
    right_set(p);
    p[1].arch = p[2].arch = "tiny";
    p[2].model = "none";
    write_set(p);
    CHECK_OK(pare_gguf_open(&m, part_path(2, N_PARTS), PARE_OPEN_RAW, &err), &err);
    pare_model_close(&m);
}

static void all_missing_parts_are_named(void **state)
{
    (void)state;
    part_text p[N_PARTS];
    right_set(p);
    write_set(p);
    unlink(part_path(1, N_PARTS));
    unlink(part_path(3, N_PARTS));
    expect_refused(2, "2 of 3 parts missing: ");
    expect_refused(2, "set-00001-of-00003.gguf, ");
    expect_refused(2, "set-00003-of-00003.gguf");
}

/* A part under another name: its neighbours cannot be found, so the message says what it must be called. */
static void a_renamed_part_is_refused(void **state)
{
    (void)state;
    part_text p[N_PARTS];
    pare_model m;
    pare_error err = {0};
    char path[4200];
    right_set(p);
    write_set(p);
    snprintf(path, sizeof path, "%s/other.gguf", temp_dir());
    write_part(path, &p[1], 2);
    CHECK(pare_gguf_open(&m, path, PARE_OPEN_RAW, &err) == PARE_ERR_FORMAT);
    CHECK(strstr(err.text, "is part 2 of 3 by its key split.no, so its name must be ") != NULL);
    CHECK(strstr(err.text, "other-00002-of-00003.gguf") != NULL);
    write_part(part_path(2, N_PARTS), &p[2], 4); /* part 3 under the name of part 2 */
    expect_refused(2, "is part 3 of 3 by its key split.no, so its name must be ");
}

/* The tensors of a set, as one file, and as sets of other sizes: always the same model. */
static void set_and_file_become_each_other(void **state)
{
    (void)state;
    part_text p[N_PARTS];
    pare_model m;
    pare_error err = {0};
    char whole[4200], again[4200], first[4300];
    size_t n = 0, n_again = 0;
    right_set(p);
    write_set(p);
    snprintf(whole, sizeof whole, "%s/whole.gguf", temp_dir());
    snprintf(again, sizeof again, "%s/again.gguf", temp_dir());
    CHECK_OK(pare_gguf_open(&m, part_path(1, N_PARTS), PARE_OPEN_RAW, &err), &err);
    CHECK_OK(pare_gguf_write(&m, whole, NULL, NULL, &err), &err);
    pare_model_close(&m);
    uint8_t *bytes = check_read_file(whole, &n);
    for (uint64_t split_bytes = 1; split_bytes <= 256; split_bytes += 51) {
        uint64_t per_part = split_bytes < 64 ? 1 : split_bytes / 32, n_parts = (6 + per_part - 1) / per_part;
        pare_write_options options = {.force = true, .split_bytes = split_bytes};
        CHECK_OK(pare_gguf_open(&m, whole, PARE_OPEN_RAW, &err), &err);
        CHECK_OK(pare_gguf_write(&m, again, &options, NULL, &err), &err);
        pare_model_close(&m);
        snprintf(first, sizeof first, "%s/again-00001-of-%05" PRIu64 ".gguf", temp_dir(), n_parts);
        CHECK_OK(pare_gguf_open(&m, first, PARE_OPEN_RAW, &err), &err);
        CHECK(m.n_tensors == 6 && m.n_files == n_parts);
        CHECK_OK(pare_gguf_write(&m, again, &(pare_write_options){.force = true}, NULL, &err), &err);
        pare_model_close(&m);
        uint8_t *copy = check_read_file(again, &n_again);
        CHECK(n == n_again && memcmp(bytes, copy, n) == 0);
        free(copy);
    }
    free(bytes);
}

/* The keys of a part, byte for byte as stock's gguf-split leaves them: no, tensors, count. */
static void parts_look_like_those_of_stock(void **state)
{
    (void)state;
    part_text p[N_PARTS];
    pare_model m;
    pare_error err = {0};
    char path[4200];
    pare_buf want = {0};
    size_t n = 0;
    right_set(p);
    write_set(p);
    snprintf(path, sizeof path, "%s/like.gguf", temp_dir());
    CHECK_OK(pare_gguf_open(&m, part_path(1, N_PARTS), PARE_OPEN_RAW, &err), &err);
    CHECK_OK(pare_gguf_write(&m, path, &(pare_write_options){.split_bytes = 128}, NULL, &err), &err);
    pare_model_close(&m);
    gguf_header(&want, 3, 2, 3);
    gguf_pair_u16(&want, "split.no", 1);
    gguf_pair_i32(&want, "split.tensors.count", 6);
    gguf_pair_u16(&want, "split.count", 2);
    gguf_info(&want, "t4.weight", 1, (uint64_t[]){1}, 26, 0);
    gguf_info(&want, "t5.weight", 1, (uint64_t[]){1}, 26, 32);
    gguf_pad(&want, 32);
    gguf_u32(&want, 4);
    gguf_pad(&want, 32);
    gguf_u32(&want, 5);
    gguf_pad(&want, 32);
    snprintf(path, sizeof path, "%s/like-00002-of-00002.gguf", temp_dir());
    uint8_t *bytes = check_read_file(path, &n);
    CHECK(n == want.len && memcmp(bytes, want.data, n) == 0);
    free(bytes);
    pare_buf_close(&want);
}

/* Parts as in the source: the same files but for the order of the keys, also with a first part of metadata alone. */
static void parts_can_stay_as_they_were(void **state)
{
    (void)state;
    part_text p[N_PARTS];
    pare_model m, again;
    pare_error err = {0};
    char path[4200], part[4300];
    uint64_t planned = 0;
    const pare_write_options options = {.keep_split = true};
    right_set(p);
    write_set(p);
    for (uint32_t shift = 0; shift < 2; shift++) {
        CHECK_OK(pare_gguf_open(&m, part_path(1, N_PARTS), PARE_OPEN_RAW, &err), &err);
        for (size_t i = 0; i < m.n_tensors; i++)
            m.tensors[i].file += shift;
        snprintf(path, sizeof path, "%s/kept.gguf", temp_dir());
        CHECK_OK(pare_gguf_size(&m, &options, &planned, &err), &err);
        CHECK_OK(pare_gguf_write(&m, path, &options, NULL, &err), &err);
        snprintf(part, sizeof part, "%s/kept-00001-of-%05" PRIu32 ".gguf", temp_dir(), N_PARTS + shift);
        CHECK_OK(pare_gguf_open(&again, part, PARE_OPEN_RAW, &err), &err);
        CHECK(again.n_files == N_PARTS + shift && again.n_tensors == m.n_tensors && again.meta.n == m.meta.n);
        for (size_t i = 0; i < m.n_tensors; i++)
            CHECK(again.tensors[i].file == m.tensors[i].file);
        for (size_t i = 0; i < again.n_files; i++)
            planned -= again.files[i].size;
        CHECK(planned == 0);
        pare_model_close(&again);
        pare_model_close(&m);
    }
    snprintf(path, sizeof path, "%s/whole.gguf", temp_dir()); /* of an earlier test: one file */
    CHECK_OK(pare_gguf_open(&m, path, PARE_OPEN_RAW, &err), &err);
    snprintf(path, sizeof path, "%s/one.gguf", temp_dir());
    CHECK_OK(pare_gguf_write(&m, path, &options, NULL, &err), &err);
    CHECK(access(path, F_OK) == 0);
    pare_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_part_opens_the_set),         cmocka_unit_test(parts_must_fit_together),
        cmocka_unit_test(agreeing_repetition_is_fine),    cmocka_unit_test(all_missing_parts_are_named),
        cmocka_unit_test(a_renamed_part_is_refused),      cmocka_unit_test(set_and_file_become_each_other),
        cmocka_unit_test(parts_look_like_those_of_stock), cmocka_unit_test(parts_can_stay_as_they_were),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
