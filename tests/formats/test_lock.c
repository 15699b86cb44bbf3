#include "check.h"
#include "core/json.h"
#include "core/threads.h"
#include "formats/gguf.h"
#include "formats/lock.h"
#include "formats/pin_scan.h"
#include "formats/safe_path.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { N_TENSORS = 3, TENSOR_BYTES = 256 };

/* A model of three tensors of 64 floats, tensor i filled with i + 1, and five keys. */
typedef struct fixture {
    pare_model m;
    float data[N_TENSORS][TENSOR_BYTES / 4];
    char dir[4096], model[4200], lock[4200];
} fixture;

static const char *const tensor_names[N_TENSORS] = {"blk.0.a", "blk.0.b", "blk.1.a"};

static void make_model(fixture *f)
{
    pare_error err = {0};
    f->m = (pare_model){.alignment = 32};
    CHECK_OK(pare_model_reserve(&f->m, N_TENSORS, &err), &err);
    for (int i = 0; i < N_TENSORS; i++) {
        for (int k = 0; k < TENSOR_BYTES / 4; k++)
            f->data[i][k] = (float)(i + 1);
        pare_tensor t = {.name = tensor_names[i],
                         .type = PARE_TYPE_F32,
                         .n_dims = 2,
                         .dim = {4, 16},
                         .data = (const uint8_t *)f->data[i]};
        CHECK_OK(pare_tensor_set_shape(&t, "test", &err), &err);
        CHECK_OK(pare_model_add(&f->m, &t, NULL, &err), &err);
    }
    CHECK_OK(pare_meta_set_str(&f->m.meta, "general.architecture", (pare_str){"unheard-of", 10}, &err), &err);
    CHECK_OK(pare_meta_set_u32(&f->m.meta, "general.alignment", 32, &err), &err);
    CHECK_OK(pare_meta_set_str(&f->m.meta, "general.name", (pare_str){"test", 4}, &err), &err);
    CHECK_OK(pare_meta_set_str(&f->m.meta, "tokenizer.ggml.pre", (pare_str){"default", 7}, &err), &err);
    CHECK_OK(pare_meta_set_str(&f->m.meta, "tokenizer.chat_template", (pare_str){"hello", 5}, &err), &err);
}

static void write_model(fixture *f, pare_pin *pin)
{
    pare_error err = {0};
    const pare_write_options options = {.force = true};
    CHECK_OK(pare_gguf_write(&f->m, f->model, &options, pin, &err), &err);
}

/* A folder of its own with the model. */
static void set_up(fixture *f, const char *name)
{
    snprintf(f->dir, sizeof f->dir, "%s/%s", temp_dir(), name);
    CHECK(mkdir(f->dir, 0777) == 0);
    snprintf(f->model, sizeof f->model, "%s/m.gguf", f->dir);
    snprintf(f->lock, sizeof f->lock, "%s/pare.lock", f->dir);
    make_model(f);
    write_model(f, NULL);
}

static void tear_down(fixture *f)
{
    pare_model_close(&f->m);
}

static void pin(const fixture *f, const char *path)
{
    pare_pin p = {0};
    pare_error err = {0};
    CHECK_OK(pare_pin_scan(&p, path, &err), &err);
    CHECK_OK(pare_lock_write(&p, f->lock, NULL, true, &err), &err);
    pare_pin_close(&p);
}

static char *in_dir(const fixture *f, const char *name)
{
    return pare_path_join(f->dir, name, NULL);
}

static void put(const fixture *f, const char *name, const char *text)
{
    char *path = in_dir(f, name);
    check_write_file(path, text, strlen(text));
    free(path);
}

static void flip(const char *path, size_t offset)
{
    size_t n = 0;
    uint8_t *bytes = check_read_file(path, &n);
    CHECK(offset < n);
    bytes[offset] ^= 1;
    check_write_file(path, bytes, n);
    free(bytes);
}

static uint64_t offset_of(const fixture *f, const char *tensor)
{
    pare_model m;
    pare_error err = {0};
    CHECK_OK(pare_gguf_open(&m, f->model, 1, &err), &err);
    uint64_t offset = pare_model_find(&m, tensor)->offset;
    pare_model_close(&m);
    return offset;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static void verify(const char *path, pare_verify_options options, pare_verify_report *r)
{
    pare_error err = {0};
    CHECK_OK(pare_verify(path, &options, r, &err), &err);
}

static bool has(const pare_verify_report *r, const char *kind, const char *file, const char *item, const char *text)
{
    for (size_t i = 0; i < r->n_findings; i++) {
        const pare_finding *f = &r->findings[i];
        if (strcmp(f->kind, kind) == 0 && strcmp(f->file, file) == 0 && strcmp(f->item, item) == 0 &&
            strstr(f->text, text) != NULL)
            return true;
    }
    for (size_t i = 0; i < r->n_findings; i++)
        print_message("  found: %s | %s | %s | %s\n", r->findings[i].kind, r->findings[i].file, r->findings[i].item,
                      r->findings[i].text);
    return false;
}

/* The lock's text as an older program would have written it, without a seal. */
static void unseal(char *text)
{
    char *member = strstr(text, "\n \"seal\": "), *end = member != NULL ? strchr(member + 1, '\n') : NULL;
    CHECK(end != NULL);
    memmove(member, end, strlen(end) + 1);
}

/* Replace the first `from` in the lock by `to`, of the same length, behind the first `behind`; then seal it anew, or
 * take the seal away, or leave it as it is. */
typedef enum seal_after { SEAL_AGAIN, SEAL_AWAY, SEAL_KEPT } seal_after;

static void edit_lock(const fixture *f, const char *behind, const char *from, const char *to, seal_after after)
{
    size_t n = 0;
    pare_error err = {0};
    char *text = (char *)check_read_file(f->lock, &n), *copy = check_malloc(n + 1), *at, *seal;
    memcpy(copy, text, n);
    copy[n] = '\0';
    CHECK((at = strstr(copy, behind)) != NULL && (at = strstr(at, from)) != NULL && strlen(from) == strlen(to));
    memcpy(at, to, strlen(to));
    CHECK((seal = strstr(copy, "\n \"seal\": \"")) != NULL);
    if (after == SEAL_AGAIN) {
        char hex[PARE_SHA256_HEX];
        pare_digest d;
        memset(seal += 11, '0', 64);
        CHECK_OK(pare_hash_bytes(copy, n, PARE_HASH_SHA256, &d, &err), &err);
        pare_hex(hex, d.sha256, 32);
        memcpy(seal, hex, 64);
    } else if (after == SEAL_AWAY)
        unseal(copy);
    check_write_file(f->lock, copy, strlen(copy));
    free(copy);
    free(text);
}

static void expect_ok(const char *path)
{
    pare_verify_report r;
    verify(path, (pare_verify_options){0}, &r);
    CHECK(r.n_findings == 0 || has(&r, "", "", "", ""));
    CHECK(r.bytes == PARE_VERDICT_OK && r.structure == PARE_VERDICT_OK && r.signature == PARE_VERDICT_ABSENT);
    pare_verify_report_close(&r);
    verify(path, (pare_verify_options){.fast = true}, &r);
    CHECK(r.n_findings == 0 && r.bytes == PARE_VERDICT_OK);
    pare_verify_report_close(&r);
}

static void a_scan_gives_the_lock_of_the_writer(void **state)
{
    (void)state;
    fixture f;
    pare_pin p = {0};
    pare_error err = {0};
    size_t n = 0, m = 0;
    set_up(&f, "same-pass");
    write_model(&f, &p);
    CHECK_OK(pare_lock_write(&p, f.lock, NULL, true, &err), &err);
    uint8_t *written = check_read_file(f.lock, &n);
    pin(&f, f.model);
    uint8_t *scanned = check_read_file(f.lock, &m);
    CHECK(n == m && memcmp(written, scanned, n) == 0);
    pare_pin_close(&p);
    free(written);
    free(scanned);
    expect_ok(f.lock);
    tear_down(&f);
}

/* One part stands for its set; the writer records all parts in the same pass. */
static void a_split_set_is_pinned_by_any_part(void **state)
{
    (void)state;
    fixture f;
    pare_pin p = {0};
    pare_verify_report r;
    pare_error err = {0};
    size_t n = 0, m = 0;
    set_up(&f, "split");
    const pare_write_options options = {.force = true, .split_bytes = TENSOR_BYTES};
    CHECK_OK(pare_gguf_write(&f.m, f.model, &options, &p, &err), &err);
    CHECK_OK(pare_lock_write(&p, f.lock, NULL, true, &err), &err);
    CHECK(p.n_files == N_TENSORS);
    pare_pin_close(&p);
    uint8_t *written = check_read_file(f.lock, &n);
    char *part = in_dir(&f, "m-00002-of-00003.gguf");
    pin(&f, part);
    uint8_t *scanned = check_read_file(f.lock, &m);
    CHECK(n == m && memcmp(written, scanned, n) == 0);
    expect_ok(f.lock);
    CHECK(unlink(part) == 0);
    verify(f.lock, (pare_verify_options){0}, &r);
    CHECK(has(&r, "missing", "m-00002-of-00003.gguf", "", "not there") && r.structure == PARE_VERDICT_DIFFERENT);
    CHECK(r.n_findings == 2); /* the set is checked once, not part by part */
    pare_verify_report_close(&r);
    free(part);
    free(written);
    free(scanned);
    tear_down(&f);
}

/* The hashes are those of sha256sum, xxhsum -H128 and git hash-object for these bytes. */
static void the_lock_says_what_is_in_the_files(void **state)
{
    (void)state;
    fixture f;
    json_t *doc = NULL;
    pare_error err = {0};
    set_up(&f, "content");
    CHECK(unlink(f.model) == 0);
    put(&f, "note.txt", "hello\n");
    f.data[1][5] = 7;
    write_model(&f, NULL);
    setenv("SOURCE_DATE_EPOCH", "86400", 1);
    pin(&f, f.dir);
    unsetenv("SOURCE_DATE_EPOCH");
    CHECK_OK(pare_json_load(&doc, f.lock, 1 << 20, 0, &err), &err);
    const json_t *files = json_object_get(doc, "files"), *model = json_array_get(files, 0),
                 *note = json_array_get(files, 1);
    CHECK(json_integer_value(json_object_get(doc, "schema")) == 1 &&
          strcmp(text_of(doc, "created"), "1970-01-02T00:00:00Z") == 0);
    CHECK(strcmp(text_of(json_object_get(doc, "tool"), "name"), "pare") == 0);
    CHECK(json_array_size(files) == 2 && strcmp(text_of(model, "name"), "m.gguf") == 0);
    CHECK(strcmp(text_of(note, "sha256"), "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03") == 0);
    CHECK(strcmp(text_of(note, "xxh3_128"), "6bba86c7e069f56d5a10b435f1c8e49c") == 0);
    CHECK(strcmp(text_of(note, "git_sha1"), "ce013625030ba8dba906f756967f9e9ca394464a") == 0);
    const json_t *tensors = json_object_get(model, "tensors"), *t = json_array_get(tensors, 1);
    CHECK(json_array_size(tensors) == N_TENSORS && strcmp(text_of(t, "name"), "blk.0.b") == 0 &&
          strcmp(text_of(t, "type"), "f32") == 0);
    CHECK(json_integer_value(json_array_get(json_object_get(t, "shape"), 0)) == 4 &&
          json_integer_value(json_object_get(t, "size")) == TENSOR_BYTES);
    CHECK((uint64_t)json_integer_value(json_object_get(t, "offset")) == offset_of(&f, "blk.0.b"));
    pare_digest digest;
    char hex[PARE_SHA256_HEX];
    CHECK_OK(pare_hash_bytes(f.data[1], TENSOR_BYTES, PARE_HASH_BOTH, &digest, &err), &err);
    pare_hex(hex, digest.sha256, 32);
    CHECK(strcmp(text_of(t, "sha256"), hex) == 0);
    const json_t *keys = json_object_get(json_object_get(model, "metadata"), "keys");
    CHECK(json_object_size(keys) == 5 && strlen(text_of(keys, "general.name")) == 64 &&
          strlen(text_of(model, "tokenizer_sha256")) == 64);
    /* sha256 of "hello", the template's text */
    CHECK(strcmp(text_of(model, "chat_template_sha256"),
                 "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824") == 0);
    CHECK(strcmp(json_string_value(json_array_get(json_object_get(doc, "complete_folders"), 0)), ".") == 0);
    json_decref(doc);
    expect_ok(f.lock);
    tear_down(&f);
}

static void a_flipped_bit_is_told_with_tensor_and_offsets(void **state)
{
    (void)state;
    fixture f;
    pare_verify_report r;
    char text[128];
    set_up(&f, "flip");
    pin(&f, f.model);
    uint64_t offset = offset_of(&f, "blk.0.b");
    flip(f.model, (size_t)offset + 17);
    snprintf(text, sizeof text, "offsets %" PRIu64 " to %" PRIu64, offset, offset + TENSOR_BYTES);
    for (int fast = 0; fast < 2; fast++) {
        verify(f.lock, (pare_verify_options){.fast = fast == 1}, &r);
        CHECK(r.bytes == PARE_VERDICT_DIFFERENT && r.structure == PARE_VERDICT_OK && r.n_findings == 2);
        CHECK(has(&r, "tensor", "m.gguf", "blk.0.b", text));
        CHECK(has(&r, fast ? "xxh3_128" : "sha256", "m.gguf", "", "1 of 3 tensors"));
        pare_verify_report_close(&r);
    }
    tear_down(&f);
}

/* Every byte of the file: whatever is flipped is found, and something says where. With a seal the tensors and the rest
 * stand for the file, as for a large one; without, it is hashed as a whole, too. */
static void flip_every_byte(const char *name, seal_after seal)
{
    fixture f;
    size_t n = 0;
    set_up(&f, name);
    pin(&f, f.model);
    edit_lock(&f, "{", "{", "{", seal);
    uint8_t *bytes = check_read_file(f.model, &n);
    size_t data_start = (size_t)offset_of(&f, "blk.0.a");
    pare_set_threads(1); /* hundreds of tiny runs */
    for (size_t i = 0; i < n; i += i < data_start ? 1 : 61) {
        pare_verify_report r;
        bytes[i] ^= 0x20;
        check_write_file(f.model, bytes, n);
        bytes[i] ^= 0x20;
        verify(f.lock, (pare_verify_options){.fast = i % 2 == 1, .whole = PARE_WHOLE_NEVER}, &r);
        CHECK(r.bytes == PARE_VERDICT_DIFFERENT && r.n_findings >= 1);
        CHECK(has(&r, i % 2 == 1 ? "xxh3_128" : "sha256", "m.gguf", "", "differs"));
        pare_verify_report_close(&r);
    }
    pare_set_threads(0);
    check_write_file(f.model, bytes, n);
    expect_ok(f.lock);
    free(bytes);
    tear_down(&f);
}

static void every_flipped_byte_is_found(void **state)
{
    (void)state;
    flip_every_byte("every", SEAL_KEPT);
    flip_every_byte("every-unsealed", SEAL_AWAY);
}

static void an_edited_lock_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *behind, *from, *to;
    } edits[] = {{"\"tool\"", "pare", "pair"}, {"\"seal\": \"", "\"\n", "\" "}, {"recipe", "q8_0", "q4_0"}};
    fixture f;
    pare_pin p = {0};
    pare_verify_report r;
    pare_error err = {0};
    set_up(&f, "edited");
    json_t *recipe = json_pack("{s:s, s:s}", "seal", "\n \"seal\": \"", "type", "q8_0"); /* not the one that counts */
    const pare_lock_extra extra = {.recipe = recipe};
    CHECK_OK(pare_pin_scan(&p, f.model, &err), &err);
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        CHECK_OK(pare_lock_write(&p, f.lock, &extra, true, &err), &err);
        expect_ok(f.lock);
        edit_lock(&f, edits[i].behind, edits[i].from, edits[i].to, SEAL_KEPT);
        verify(f.lock, (pare_verify_options){0}, &r);
        CHECK(r.bytes == PARE_VERDICT_DIFFERENT && r.n_findings == 1);
        CHECK(has(&r, "lock", "pare.lock", "", "edited after it was written"));
        pare_verify_report_close(&r);
    }
    CHECK_OK(pare_lock_write(&p, f.lock, &extra, true, &err), &err);
    edit_lock(&f, "recipe", "q8_0", "q4_0", SEAL_AWAY); /* an older lock has none: nothing is known */
    expect_ok(f.lock);
    json_decref(recipe);
    pare_pin_close(&p);
    tear_down(&f);
}

/* The bytes before, between and behind the tensors, in order. */
static void the_rest_is_what_lies_in_no_tensor(void **state)
{
    (void)state;
    fixture f;
    json_t *doc = NULL;
    pare_buf rest = {0};
    pare_digest d;
    pare_error err = {0};
    char sha256[PARE_SHA256_HEX], xxh3[PARE_XXH3_HEX];
    size_t n = 0, at = 0;
    set_up(&f, "rest");
    pin(&f, f.model);
    uint8_t *bytes = check_read_file(f.model, &n);
    for (int i = 0; i < N_TENSORS; i++) {
        size_t to = (size_t)offset_of(&f, tensor_names[i]);
        CHECK_OK(pare_buf_put(&rest, bytes + at, to - at, &err), &err);
        at = to + TENSOR_BYTES;
    }
    CHECK_OK(pare_buf_put(&rest, bytes + at, n - at, &err), &err);
    CHECK_OK(pare_hash_bytes(rest.data, rest.len, PARE_HASH_BOTH, &d, &err), &err);
    pare_hex(sha256, d.sha256, 32);
    pare_hex(xxh3, d.xxh3_128, 16);
    CHECK_OK(pare_json_load(&doc, f.lock, 1 << 20, 0, &err), &err);
    const json_t *object = json_object_get(json_array_get(json_object_get(doc, "files"), 0), "rest");
    CHECK(strcmp(text_of(object, "sha256"), sha256) == 0 && strcmp(text_of(object, "xxh3_128"), xxh3) == 0);
    CHECK((size_t)json_integer_value(json_object_get(object, "size")) == rest.len);
    json_decref(doc);
    pare_buf_close(&rest);
    free(bytes);
    tear_down(&f);
}

/* Verified by its parts alone, a file has the hash that the lock says; a forged one is seen from the Git name, if it
 * was not forged, too. Computed, it is told as what it is. A file without tensors is always hashed. */
static void what_is_hashed_follows_from_the_lock(void **state)
{
    (void)state;
    fixture f;
    pare_verify_report r;
    set_up(&f, "once");
    put(&f, "n", "hello");
    pin(&f, f.dir);
    char sha256[] = "\"sha256\": \"????????????????", other[sizeof sha256];
    json_t *doc = NULL;
    pare_error err = {0};
    CHECK_OK(pare_json_load(&doc, f.lock, 1 << 20, 0, &err), &err);
    memcpy(strchr(sha256, '?'), text_of(json_array_get(json_object_get(doc, "files"), 0), "sha256"), 16);
    json_decref(doc);
    memcpy(other, sha256, sizeof other);
    other[11] = other[11] == '0' ? '1' : '0';
    edit_lock(&f, "{", sha256, other, SEAL_AGAIN);
    verify(f.lock, (pare_verify_options){.whole = PARE_WHOLE_NEVER}, &r);
    CHECK(r.n_by_parts == 1 && r.n_findings == 1 && has(&r, "git_sha1", "m.gguf", "", "not the lock's"));
    pare_verify_report_close(&r);
    for (pare_verify_whole whole = PARE_WHOLE_SMALL; whole <= PARE_WHOLE_ALWAYS; whole++) {
        verify(f.lock, (pare_verify_options){.whole = whole}, &r);
        CHECK(r.n_by_parts == 0 && r.n_findings == 1 && has(&r, "sha256", "m.gguf", "", "contradicts itself"));
        pare_verify_report_close(&r);
    }
    edit_lock(&f, "{", "{", "{", SEAL_AWAY);
    verify(f.lock, (pare_verify_options){0}, &r);
    CHECK(r.n_findings == 1 && has(&r, "sha256", "m.gguf", "", "differs"));
    pare_verify_report_close(&r);
    pin(&f, f.dir);
    edit_lock(&f, "\"name\": \"n\"", "\"2cf24dba", "\"2cf24dbb", SEAL_AGAIN);
    verify(f.lock, (pare_verify_options){0}, &r);
    CHECK(r.n_findings == 1 && has(&r, "sha256", "n", "", "differs"));
    pare_verify_report_close(&r);
    pin(&f, f.dir);
    edit_lock(&f, "{", "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0", "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b1",
              SEAL_AGAIN); /* of "hello" */
    verify(f.lock, (pare_verify_options){0}, &r);
    CHECK(r.n_findings == 1 && has(&r, "git_sha1", "n", "", "not the lock's"));
    pare_verify_report_close(&r);
    tear_down(&f);
}

/* They are looked at while the bytes are hashed. */
static void infinite_numbers_are_told_by_a_lock_too(void **state)
{
    (void)state;
    fixture f;
    pare_pin p = {0};
    pare_error err = {0};
    pare_verify_report r;
    set_up(&f, "infinite");
    f.data[1][20] = 1e38f * 1e10f;
    write_model(&f, NULL);
    char *sums = in_dir(&f, "SHA256SUMS");
    const char *const paths[] = {f.lock, sums};
    CHECK_OK(pare_pin_scan(&p, f.model, &err), &err);
    CHECK_OK(pare_lock_write(&p, f.lock, NULL, true, &err), &err);
    CHECK_OK(pare_sums_write(&p, sums, true, &err), &err);
    for (int i = 0; i < 4; i++) {
        verify(paths[i / 2], (pare_verify_options){.fast = i % 2 == 1, .allow_extra = true}, &r);
        CHECK(r.bytes == PARE_VERDICT_OK && r.structure == PARE_VERDICT_DIFFERENT && r.n_findings == 1);
        CHECK(has(&r, "structure", "m.gguf", "blk.0.b", "block 20 (weights 20 to 20) is not finite"));
        pare_verify_report_close(&r);
    }
    pare_pin_close(&p);
    free(sums);
    tear_down(&f);
}

static void a_damaged_header_leaves_the_tensors_told_as_whole(void **state)
{
    (void)state;
    fixture f;
    pare_verify_report r;
    set_up(&f, "header");
    pin(&f, f.model);
    flip(f.model, 5); /* the version: 259 */
    verify(f.lock, (pare_verify_options){0}, &r);
    CHECK(r.bytes == PARE_VERDICT_DIFFERENT && r.structure == PARE_VERDICT_DIFFERENT);
    CHECK(has(&r, "structure", "m.gguf", "", "ersion"));
    CHECK(has(&r, "sha256", "m.gguf", "", "the tensors are as pinned, the header is damaged"));
    pare_verify_report_close(&r);
    tear_down(&f);
}

static void a_truncated_file_fails_by_its_size(void **state)
{
    (void)state;
    fixture f;
    pare_verify_report r;
    struct stat info;
    set_up(&f, "truncated");
    put(&f, "note", "hello");
    pin(&f, f.dir);
    CHECK(stat(f.model, &info) == 0 && truncate(f.model, info.st_size - 1) == 0);
    put(&f, "note", "hell");
    verify(f.lock, (pare_verify_options){0}, &r);
    CHECK(has(&r, "size", "m.gguf", "", "truncated") &&
          has(&r, "size", "note", "", "4 bytes, the lock says 5: truncated"));
    CHECK(has(&r, "structure", "m.gguf", "", "blk.1.a"));
    CHECK(r.n_findings == 3 && r.n_tensors == 0); /* nothing was hashed */
    pare_verify_report_close(&r);
    tear_down(&f);
}

static void an_extra_file_fails_unless_allowed(void **state)
{
    (void)state;
    fixture f;
    pare_verify_report r;
    set_up(&f, "extra");
    pin(&f, f.dir);
    put(&f, "evil.py", "import os");
    put(&f, "m.gguf.pare.set.12", "");
    put(&f, "SHA256SUMS", ""); /* a pin's own files are no extras */
    char *fifo = in_dir(&f, "pipe");
    CHECK(mkfifo(fifo, 0666) == 0);
    verify(f.lock, (pare_verify_options){0}, &r);
    CHECK(r.bytes == PARE_VERDICT_DIFFERENT && r.n_findings == 3);
    CHECK(has(&r, "extra", "m.gguf.pare.set.12", "", "broke off"));
    CHECK(has(&r, "extra", "evil.py", "", "not in the lock") && has(&r, "extra", "pipe", "", "is a FIFO"));
    pare_verify_report_close(&r);
    verify(f.lock, (pare_verify_options){.allow_extra = true}, &r);
    CHECK(r.bytes == PARE_VERDICT_OK && r.n_findings == 0);
    pare_verify_report_close(&r);
    CHECK(unlink(fifo) == 0);
    free(fifo);
    pin(&f, f.model); /* of one file: its neighbours do not matter */
    expect_ok(f.lock);
    tear_down(&f);
}

static void a_renamed_file_is_recognised(void **state)
{
    (void)state;
    fixture f;
    pare_verify_report r;
    set_up(&f, "renamed");
    char *other = in_dir(&f, "other.gguf");
    for (int whole = 0; whole < 2; whole++) {
        pin(&f, whole ? f.dir : f.model);
        CHECK(rename(f.model, other) == 0);
        verify(f.lock, (pare_verify_options){.allow_extra = true}, &r);
        CHECK(r.bytes == PARE_VERDICT_DIFFERENT && r.n_findings == 1);
        CHECK(has(&r, "renamed", "m.gguf", "", "same content as 'other.gguf'"));
        pare_verify_report_close(&r);
        CHECK(rename(other, f.model) == 0);
    }
    CHECK(unlink(f.model) == 0);
    verify(f.lock, (pare_verify_options){0}, &r);
    CHECK(r.n_findings == 1 && has(&r, "missing", "m.gguf", "", "not there"));
    pare_verify_report_close(&r);
    free(other);
    tear_down(&f);
}

static void exchanged_tensors_are_recognised(void **state)
{
    (void)state;
    fixture f;
    pare_verify_report r;
    set_up(&f, "exchanged");
    pin(&f, f.model);
    for (int k = 0; k < TENSOR_BYTES / 4; k++) {
        f.data[0][k] = 3;
        f.data[2][k] = 1;
    }
    write_model(&f, NULL);
    verify(f.lock, (pare_verify_options){0}, &r);
    CHECK(r.n_findings == 2 && has(&r, "tensors exchanged", "m.gguf", "blk.0.a, blk.1.a", "contents exchanged"));
    CHECK(has(&r, "sha256", "m.gguf", "", "2 of 3 tensors"));
    pare_verify_report_close(&r);
    for (int k = 0; k < TENSOR_BYTES / 4; k++) { /* turned in a ring: each has another's content */
        f.data[0][k] = 2;
        f.data[1][k] = 3;
        f.data[2][k] = 1;
    }
    write_model(&f, NULL);
    verify(f.lock, (pare_verify_options){0}, &r);
    CHECK(has(&r, "tensor", "m.gguf", "blk.0.a", "are those of tensor 'blk.0.b'"));
    CHECK(has(&r, "tensor", "m.gguf", "blk.1.a", "are those of tensor 'blk.0.a'"));
    pare_verify_report_close(&r);
    tear_down(&f);
}

static void renamed_and_reshaped_tensors_are_told(void **state)
{
    (void)state;
    fixture f;
    pare_verify_report r;
    set_up(&f, "reshaped");
    pin(&f, f.model);
    f.m.tensors[0].name = "blk.0.z";
    f.m.tensors[1].dim[0] = 8;
    f.m.tensors[1].dim[1] = 8;
    f.m.tensors[2].type = PARE_TYPE_I32; /* of the same size */
    pare_error err = {0};
    CHECK_OK(pare_tensor_set_shape(&f.m.tensors[1], "test", &err), &err);
    write_model(&f, NULL);
    verify(f.lock, (pare_verify_options){0}, &r);
    CHECK(has(&r, "tensor", "m.gguf", "blk.0.a", "is missing; tensor 'blk.0.z' has its content"));
    CHECK(has(&r, "tensor", "m.gguf", "blk.0.z", "is not in the lock"));
    CHECK(has(&r, "tensor", "m.gguf", "blk.0.b", "is f32 [8, 8], the lock says f32 [4, 16]"));
    CHECK(has(&r, "tensor", "m.gguf", "blk.1.a", "is i32 [4, 16], the lock says f32 [4, 16]"));
    pare_verify_report_close(&r);
    tear_down(&f);
}

static void edited_metadata_is_told_by_key(void **state)
{
    (void)state;
    fixture f;
    pare_verify_report r;
    pare_error err = {0};
    set_up(&f, "metadata");
    pin(&f, f.model);
    CHECK(pare_meta_remove(&f.m.meta, "general.name"));
    CHECK_OK(pare_meta_set_str(&f.m.meta, "tokenizer.chat_template", (pare_str){"evil!", 5}, &err), &err);
    CHECK_OK(pare_meta_set_u32(&f.m.meta, "general.file_type", 0, &err), &err);
    write_model(&f, NULL);
    verify(f.lock, (pare_verify_options){0}, &r);
    CHECK(r.bytes == PARE_VERDICT_DIFFERENT && r.structure == PARE_VERDICT_OK);
    CHECK(has(&r, "metadata", "m.gguf", "general.name", "removed") &&
          has(&r, "metadata", "m.gguf", "tokenizer.chat_template", "changed"));
    CHECK(has(&r, "metadata", "m.gguf", "general.file_type", "added"));
    CHECK(has(&r, "sha256", "m.gguf", "", "3 metadata keys; the tensors are as pinned"));
    pare_verify_report_close(&r);
    tear_down(&f);
}

static char *hash_in_lock(const fixture *f, const char *key)
{
    json_t *doc = NULL;
    pare_error err = {0};
    pin(f, f->model);
    CHECK_OK(pare_json_load(&doc, f->lock, 1 << 20, 0, &err), &err);
    char *hash = strdup(text_of(json_array_get(json_object_get(doc, "files"), 0), key));
    CHECK(hash != NULL && strlen(hash) == 64);
    json_decref(doc);
    return hash;
}

/* Another template is no other tokenizer, and the other way round. */
static void tokenizer_and_template_have_hashes_of_their_own(void **state)
{
    (void)state;
    fixture f;
    pare_error err = {0};
    static const char *const keys[] = {"tokenizer.chat_template", "tokenizer.ggml.pre"};
    set_up(&f, "own-hashes");
    for (int i = 0; i < 2; i++) {
        char *tokenizer = hash_in_lock(&f, "tokenizer_sha256"), *template = hash_in_lock(&f, "chat_template_sha256");
        CHECK_OK(pare_meta_set_str(&f.m.meta, keys[i], (pare_str){"other", 5}, &err), &err);
        write_model(&f, NULL);
        char *new_tokenizer = hash_in_lock(&f, "tokenizer_sha256"),
             *new_template = hash_in_lock(&f, "chat_template_sha256");
        CHECK((strcmp(tokenizer, new_tokenizer) == 0) == (i == 0));
        CHECK((strcmp(template, new_template) == 0) == (i == 1));
        free(tokenizer);
        free(template);
        free(new_tokenizer);
        free(new_template);
    }
    tear_down(&f);
}

/* Between the look at the header and the hashing someone appends a byte. */
static void a_file_that_grows_meanwhile_is_an_error(void **state)
{
    (void)state;
    fixture f;
    bool is_model;
    pare_error err = {0};
    set_up(&f, "grows");
    pare_pin_file file = {.path = f.model};
    CHECK_OK(pare_pin_read_structure(&file, &is_model, &err), &err);
    CHECK(is_model && file.n_tensors == N_TENSORS);
    CHECK_OK(pare_pin_hash(&file, 1, NULL, PARE_HASH_BOTH, &err), &err);
    CHECK(truncate(f.model, (off_t)file.digest.n_bytes + 1) == 0);
    CHECK(pare_pin_hash(&file, 1, NULL, PARE_HASH_BOTH, &err) == PARE_ERR_IO && strstr(err.text, "changes") != NULL);
    file.path = NULL; /* not its own */
    pare_pin_file_close(&file);
    tear_down(&f);
}

static void a_file_written_again_is_told(void **state)
{
    (void)state;
    fixture f;
    pare_verify_report r;
    set_up(&f, "again");
    pin(&f, f.model);
    pare_tensor first = f.m.tensors[0]; /* another order of the same tensors: same size, other offsets */
    f.m.tensors[0] = f.m.tensors[2];
    f.m.tensors[2] = first;
    write_model(&f, NULL);
    verify(f.lock, (pare_verify_options){0}, &r);
    CHECK(r.bytes == PARE_VERDICT_DIFFERENT && r.n_findings == 1);
    CHECK(has(&r, "sha256", "m.gguf", "",
              "tensors and metadata are as pinned, the file was written again in another layout"));
    pare_verify_report_close(&r);
    tear_down(&f);
}

static void a_flipped_padding_bit_is_told(void **state)
{
    (void)state;
    fixture f;
    pare_verify_report r;
    set_up(&f, "padding");
    CHECK(f.m.tensors[1].n_bytes == TENSOR_BYTES);
    uint64_t start = offset_of(&f, "blk.0.a");
    size_t n = 0;
    uint8_t *bytes = check_read_file(f.model, &n);
    CHECK(start > 0 &&
          bytes[start - 1] == 0); /* the header's length is no multiple of 32, so padding lies before the data */
    free(bytes);
    pin(&f, f.model);
    flip(f.model, (size_t)start - 1);
    verify(f.lock, (pare_verify_options){0}, &r);
    CHECK(has(&r, "sha256", "m.gguf", "", "the difference lies in the header or in padding"));
    CHECK(r.n_findings == 1);
    pare_verify_report_close(&r);
    tear_down(&f);
}

/* Two files whose contents changed places, of other sizes, too; not their tensors' faults one by one. */
static void exchanged_files_are_recognised(void **state)
{
    (void)state;
    fixture f;
    pare_verify_report r;
    char first[4200], second[4200], third[4200];
    set_up(&f, "exchanged-files");
    snprintf(first, sizeof first, "%s", f.model);
    snprintf(second, sizeof second, "%s/n.gguf", f.dir);
    snprintf(third, sizeof third, "%s/t", f.dir);
    snprintf(f.model, sizeof f.model, "%s", second);
    f.m.n_tensors = 2;
    write_model(&f, NULL);
    put(&f, "x", "hello");
    put(&f, "y", "hullo");
    put(&f, "z", "hello"); /* the same content twice is no exchange */
    pin(&f, f.dir);
    expect_ok(f.lock);
    CHECK(rename(first, third) == 0 && rename(second, first) == 0 && rename(third, second) == 0);
    put(&f, "x", "hullo");
    put(&f, "y", "hello");
    for (int fast = 0; fast < 2; fast++) {
        verify(f.lock, (pare_verify_options){.fast = fast == 1}, &r);
        CHECK(r.n_findings == 6 && has(&r, "exchanged", "m.gguf", "", "tensors that the lock has for 'n.gguf'") &&
              has(&r, "exchanged", "n.gguf", "", "tensors that the lock has for 'm.gguf'"));
        CHECK(has(&r, "exchanged", "x", "", "content that the lock has for 'y'") &&
              has(&r, "exchanged", "y", "", "content that the lock has for 'x'"));
        pare_verify_report_close(&r);
    }
    f.m.n_tensors = N_TENSORS;
    tear_down(&f);
}

/* Of other sizes, too, and as SHA256SUMS tells it, which knows no sizes. */
static void exchanged_files_of_other_sizes_are_recognised(void **state)
{
    (void)state;
    fixture f;
    pare_pin p = {0};
    pare_verify_report r;
    pare_error err = {0};
    set_up(&f, "exchanged-sizes");
    put(&f, "x", "hello");
    put(&f, "y", "good day");
    put(&f, "z", "bye");
    pin(&f, f.dir);
    char *sums = in_dir(&f, "SHA256SUMS");
    CHECK_OK(pare_pin_scan(&p, f.dir, &err), &err);
    CHECK_OK(pare_sums_write(&p, sums, false, &err), &err);
    pare_pin_close(&p);
    put(&f, "x", "good day");
    put(&f, "y", "hello");
    put(&f, "z", "HELLO"); /* of a size that the lock has, and nobody's content */
    verify(f.lock, (pare_verify_options){0}, &r);
    CHECK(r.n_findings == 5 && has(&r, "size", "x", "", "8 bytes, the lock says 5") &&
          has(&r, "exchanged", "x", "", "content that the lock has for 'y'") &&
          has(&r, "exchanged", "y", "", "content that the lock has for 'x'") && has(&r, "size", "z", "", "5 bytes"));
    pare_verify_report_close(&r);
    verify(sums, (pare_verify_options){0}, &r);
    CHECK(r.n_findings == 3 && has(&r, "exchanged", "x", "", "for 'y'") && has(&r, "exchanged", "y", "", "for 'x'") &&
          has(&r, "sha256", "z", "", "differs"));
    pare_verify_report_close(&r);
    free(sums);
    tear_down(&f);
}

/* Each of many files, of one size, holds what its neighbour should; then all have other names. */
static void many_files_are_told_apart(void **state)
{
    (void)state;
    enum { N = 300 };
    fixture f;
    pare_verify_report r;
    set_up(&f, "many");
    CHECK(unlink(f.model) == 0);
    for (int turn = 0; turn < 3; turn++) {
        for (int i = 0; i < N; i++) {
            char name[32], text[32], other[32];
            snprintf(name, sizeof name, "f%04d", i);
            snprintf(other, sizeof other, "g%04d", N - i);
            snprintf(text, sizeof text, "%04d", turn == 1 ? (i + 1) % N : i);
            put(&f, turn == 2 ? other : name, text);
            char *path = in_dir(&f, name);
            CHECK(turn < 2 || unlink(path) == 0);
            free(path);
        }
        if (turn == 0)
            pin(&f, f.dir);
        verify(f.lock, (pare_verify_options){.fast = turn == 1}, &r);
        CHECK(r.n_findings == (turn == 0 ? 0 : N));
        CHECK(turn != 1 ||
              (has(&r, "exchanged", "f0000", "", "for 'f0001'") && has(&r, "exchanged", "f0299", "", "for 'f0000'")));
        CHECK(turn != 2 || (has(&r, "renamed", "f0000", "", "same content as 'g0300'") &&
                            has(&r, "renamed", "f0299", "", "same content as 'g0001'")));
        pare_verify_report_close(&r);
    }
    tear_down(&f);
}

/* Tensors of two files changed places. */
static void tensors_of_another_file_are_recognised(void **state)
{
    (void)state;
    fixture f;
    pare_verify_report r;
    set_up(&f, "across");
    snprintf(f.model, sizeof f.model, "%s/n.gguf", f.dir);
    for (int i = 0; i < TENSOR_BYTES / 4; i++)
        f.data[1][i] = f.data[2][i] = 9;
    write_model(&f, NULL);
    pin(&f, f.dir);
    for (int i = 0; i < TENSOR_BYTES / 4; i++)
        f.data[1][i] = 2; /* what m.gguf has, and n.gguf should not */
    write_model(&f, NULL);
    for (int fast = 0; fast < 2; fast++) {
        verify(f.lock, (pare_verify_options){.fast = fast == 1}, &r);
        CHECK(r.n_findings == 2 && has(&r, "tensor", "n.gguf", "blk.0.b", "are those of tensor 'blk.0.b' of 'm.gguf'"));
        pare_verify_report_close(&r);
    }
    tear_down(&f);
}

/* The same tensors in other files: bytes fail, tensors pass, and that is said. */
static void a_model_divided_anew_is_told(void **state)
{
    (void)state;
    fixture f;
    pare_verify_report r;
    pare_error err = {0};
    set_up(&f, "divided");
    pin(&f, f.dir);
    CHECK(unlink(f.model) == 0);
    const pare_write_options options = {.split_bytes = TENSOR_BYTES};
    CHECK_OK(pare_gguf_write(&f.m, f.model, &options, NULL, &err), &err);
    verify(f.lock, (pare_verify_options){0}, &r);
    CHECK(r.n_findings == 4 && r.structure == PARE_VERDICT_ABSENT &&
          has(&r, "missing", "m.gguf", "", "3 of its 3 tensors are as pinned in several files that it does not name"));
    CHECK(has(&r, "extra", "m-00002-of-00003.gguf", "", "1 of its 1 tensors are as pinned in files that are missing"));
    pare_verify_report_close(&r);
    char *part = in_dir(&f, "m-00002-of-00003.gguf");
    flip(part, 0); /* no model any more */
    verify(f.lock, (pare_verify_options){0}, &r);
    CHECK(has(&r, "missing", "m.gguf", "", "; 2 of its 3 tensors") &&
          has(&r, "extra", "m-00002-of-00003.gguf", "", "is not in the lock"));
    pare_verify_report_close(&r);
    flip(part, 0);
    size_t n = 0;
    free(check_read_file(part, &n));
    flip(part, n - 1); /* another content */
    verify(f.lock, (pare_verify_options){0}, &r);
    CHECK(has(&r, "missing", "m.gguf", "", "; 2 of its 3 tensors"));
    pare_verify_report_close(&r);
    free(part);
    tear_down(&f);
}

/* A part of a set that is a link now: looking at the set must not open it. */
static void a_set_with_a_link_is_not_opened(void **state)
{
    (void)state;
    fixture f;
    pare_verify_report r;
    pare_error err = {0};
    set_up(&f, "linked-part");
    CHECK(unlink(f.model) == 0);
    const pare_write_options options = {.split_bytes = TENSOR_BYTES};
    CHECK_OK(pare_gguf_write(&f.m, f.model, &options, NULL, &err), &err);
    pin(&f, f.dir);
    expect_ok(f.lock);
    char *part = in_dir(&f, "m-00002-of-00003.gguf"), *elsewhere = in_dir(&f, "../linked-part.2");
    CHECK(rename(part, elsewhere) == 0 && symlink("../linked-part.2", part) == 0);
    verify(f.lock, (pare_verify_options){0}, &r);
    CHECK(r.n_refused == 1 && r.n_findings == 1 && r.structure == PARE_VERDICT_ABSENT &&
          has(&r, "refused", "m-00002-of-00003.gguf", "", "is a symbolic link"));
    pare_verify_report_close(&r);
    free(part);
    free(elsewhere);
    tear_down(&f);
}

static void mark_folder(const fixture *f, const char *name)
{
    char *path = in_dir(f, name);
    CHECK(mkdir(path, 0777) == 0);
    free(path);
}

/* No more is left out than what model-signing leaves out, and the notes of the Hub's client: a name that begins so is a
 * file like any other. */
static void hidden_files_are_no_hiding_place(void **state)
{
    (void)state;
    static const char *const left_out[] = {".git/HEAD", ".gitignore",           ".gitattributes",
                                           ".github/x", ".cache/huggingface/x", "pare.lock"};
    static const char *const extra[] = {".gitmodules",        ".git2",    "sub/.git",
                                        "sub/.gitattributes", ".cache/x", "sub/.cache/huggingface/x",
                                        "sub/pare.lock"};
    fixture f;
    pare_verify_report r;
    char folder[5000], name[200];
    set_up(&f, "hidden");
    mark_folder(&f, "m"); /* pinned as a whole, by a lock beside it, and the folder of the lock itself */
    mark_folder(&f, "m/sub");
    snprintf(folder, sizeof folder, "%s/m", f.dir);
    put(&f, "m/a", "hello");
    for (int inside = 0; inside < 2; inside++) {
        if (inside)
            snprintf(f.lock, sizeof f.lock, "%s/m/pare.lock", f.dir);
        pin(&f, folder);
        expect_ok(f.lock);
        for (size_t i = 0; i < sizeof extra / sizeof *extra; i++) {
            pare_buf command = {0};
            CHECK(pare_buf_printf(&command, NULL, "mkdir -p \"$(dirname '%s/%s')\" && echo x >'%s/%s'", folder,
                                  extra[i], folder, extra[i]) == PARE_OK &&
                  system(command.data) == 0);
            command.len = 0;
            verify(f.lock, (pare_verify_options){0}, &r);
            snprintf(name, sizeof name, "%s%s", inside ? "" : "m/", extra[i]);
            CHECK(r.n_findings == 1 && has(&r, "extra", name, "", "is not in the lock"));
            pare_verify_report_close(&r);
            CHECK(pare_buf_printf(&command, NULL, "rm '%s/%s'", folder, extra[i]) == PARE_OK &&
                  system(command.data) == 0);
            pare_buf_close(&command);
        }
        for (size_t i = 0; i < sizeof left_out / sizeof *left_out - (size_t)inside; i++) {
            pare_buf command = {0};
            CHECK(pare_buf_printf(&command, NULL, "mkdir -p \"$(dirname '%s/%s')\" && echo x >'%s/%s'", folder,
                                  left_out[i], folder, left_out[i]) == PARE_OK &&
                  system(command.data) == 0);
            pare_buf_close(&command);
        }
        expect_ok(f.lock);
    }
    tear_down(&f);
}

static size_t n_warnings;

static void count_warning(const char *text, void *user)
{
    (void)user;
    n_warnings += strstr(text, "an older lock") != NULL;
}

/* Up to 0.1.0 names that begin with .git, and .cache, were left out at any level: such a lock cannot say that they are
 * extra, and says that it cannot. */
static void an_older_lock_warns_of_what_it_left_out(void **state)
{
    (void)state;
    fixture f;
    size_t n = 0;
    pare_verify_report r;
    set_up(&f, "older");
    mark_folder(&f, "sub");
    pin(&f, f.dir);
    char *text = (char *)check_read_file(f.lock, &n), *copy = check_malloc(n + 1);
    memcpy(copy, text, n);
    copy[n] = '\0';
    char *member = strstr(copy, "\"left_out\""), *end = member != NULL ? strchr(member, ']') : NULL;
    CHECK(end != NULL && end[1] == ',');
    memmove(member, end + 2, strlen(end + 2) + 1);
    unseal(copy);
    check_write_file(f.lock, copy, strlen(copy));
    put(&f, "sub/.gitkeep", "");
    pare_set_warn_sink(count_warning, NULL);
    expect_ok(f.lock);
    CHECK(n_warnings > 0);
    put(&f, "sub/x", "");
    verify(f.lock, (pare_verify_options){0}, &r);
    CHECK(r.n_findings == 1 && has(&r, "extra", "sub/x", "", ""));
    pare_verify_report_close(&r);
    pare_set_warn_sink(NULL, NULL);
    free(copy);
    free(text);
    tear_down(&f);
}

static void links_and_pipes_are_refused_unopened(void **state)
{
    (void)state;
    fixture f;
    pare_pin p = {0};
    pare_verify_report r;
    pare_error err = {0};
    set_up(&f, "links");
    put(&f, "x", "hello");
    pin(&f, f.dir);
    char *x = in_dir(&f, "x");
    CHECK(unlink(x) == 0 && symlink("/etc/hostname", x) == 0);
    char *y = in_dir(&f, "y");
    put(&f, "y", "other"); /* what else differs is told all the same */
    verify(f.lock, (pare_verify_options){0}, &r);
    CHECK(r.n_refused == 1 && r.n_findings == 2 && has(&r, "extra", "y", "", "") &&
          has(&r, "refused", "x", "", "is a symbolic link to '/etc/hostname', expected a regular file"));
    pare_verify_report_close(&r);
    CHECK(unlink(y) == 0);
    free(y);
    CHECK(pare_pin_scan(&p, f.dir, &err) == PARE_ERR_FORMAT && strstr(err.text, "is a symbolic link") != NULL);
    pare_pin_close(&p);
    CHECK(unlink(x) == 0 && mkfifo(x, 0666) == 0);
    verify(f.lock, (pare_verify_options){0}, &r);
    CHECK(r.n_refused == 1 && r.n_findings == 1 && has(&r, "refused", "x", "", "is a FIFO"));
    pare_verify_report_close(&r);
    CHECK(pare_pin_scan(&p, f.dir, &err) == PARE_ERR_FORMAT && strstr(err.text, "is a FIFO") != NULL);
    pare_pin_close(&p);
    CHECK(pare_pin_scan(&p, x, &err) == PARE_ERR_FORMAT && strstr(err.text, "FIFO") != NULL);
    pare_pin_close(&p);
    CHECK(unlink(x) == 0 && mkdir(x, 0777) == 0);
    verify(f.lock, (pare_verify_options){0}, &r);
    CHECK(r.n_refused == 1 && r.n_findings == 1 && has(&r, "refused", "x", "", "is a folder"));
    pare_verify_report_close(&r);
    free(x);
    tear_down(&f);
}

typedef struct swapper {
    char regular[4200], link[4200];
    atomic_bool stop;
} swapper;

/* What lies at `regular` and what lies at `link` change places, all the time. */
static void *swap(void *arg)
{
    swapper *s = arg;
    while (!atomic_load(&s->stop))
        syscall(SYS_renameat2, AT_FDCWD, s->regular, AT_FDCWD, s->link, 1 << 1 /* RENAME_EXCHANGE */);
    return NULL;
}

/* Between the look at a name and its opening something else is put there: it is not what is opened. in_middle: a folder
 * of the name changes places with a link to another folder. */
static void open_while_it_is_swapped(const fixture *f, bool in_middle)
{
    enum { TRIES = 1500 };
    pthread_t thread;
    swapper s = {0};
    char text[16];
    snprintf(s.regular, sizeof s.regular, "%s/in/%s", f->dir, in_middle ? "sub" : "a");
    snprintf(s.link, sizeof s.link, "%s/%s", f->dir, in_middle ? "swap2" : "swap");
    CHECK(symlink(in_middle ? "../outside" : "../outside/a", s.link) == 0);
    for (int i = 0; i < TRIES; i++) {
        CHECK(i != 1 || pthread_create(&thread, NULL, swap, &s) == 0);
        pare_path_file file;
        pare_error err = {0};
        char *folder = in_dir(f, "in");
        pare_status st = pare_path_open(&file, folder, in_middle ? "sub/a" : "a", &err);
        CHECK(st == PARE_OK || (st == PARE_ERR_IO && i > 0));
        CHECK(i > 0 || file.fd >= 0); /* nobody swaps yet */
        CHECK((file.fd >= 0) == (st == PARE_OK && file.state == PARE_PATH_FILE));
        if (file.fd >= 0) {
            CHECK(read(file.fd, text, 6) == 6 && memcmp(text, "inside", 6) == 0);
            close(file.fd);
        }
        free(folder);
    }
    atomic_store(&s.stop, true);
    CHECK(pthread_join(thread, NULL) == 0);
}

static void what_is_put_in_a_names_place_is_not_opened(void **state)
{
    (void)state;
    fixture f;
    set_up(&f, "swapped");
    static const char *const folders[] = {"in", "in/sub", "outside"}, *const files[] = {"in/a", "in/sub/a",
                                                                                        "outside/a"};
    for (size_t i = 0; i < 3; i++) {
        char *folder = in_dir(&f, folders[i]);
        CHECK(mkdir(folder, 0777) == 0);
        put(&f, files[i], i < 2 ? "inside" : "secret");
        free(folder);
    }
    open_while_it_is_swapped(&f, false);
    open_while_it_is_swapped(&f, true);
    tear_down(&f);
}

/* Not one after the other, each time that somebody tries again. */
static void all_that_a_folder_must_not_hold_is_told(void **state)
{
    (void)state;
    fixture f;
    pare_pin p = {0};
    pare_error err = {0};
    set_up(&f, "many-links");
    char *sub = in_dir(&f, "sub");
    CHECK(mkdir(sub, 0777) == 0);
    for (int i = 0; i < 12; i++) {
        char name[32], *path;
        snprintf(name, sizeof name, i == 3 ? "sub/l%02d" : "l%02d", i);
        path = in_dir(&f, name);
        CHECK(i == 4 ? mkfifo(path, 0666) == 0 : symlink("m.gguf", path) == 0);
        free(path);
        if (i != 1 && i != 11)
            continue;
        CHECK(pare_pin_scan(&p, f.dir, &err) == PARE_ERR_FORMAT &&
              strstr(err.text, "/l00 is a symbolic link") != NULL &&
              strstr(err.text, "; l01 is a symbolic link to 'm.gguf'") != NULL);
        CHECK((strstr(err.text, "; l04 is a FIFO") != NULL) == (i == 11) &&
              (strstr(err.text, "; and 4 more, expected regular files") != NULL) == (i == 11));
        pare_pin_close(&p);
    }
    free(sub);
    tear_down(&f);
}

static char index_warning[1024];

static void keep_warning(const char *text, void *user)
{
    (void)user;
    snprintf(index_warning, sizeof index_warning, "%s", text);
}

static void shards_that_are_not_there_are_warned_of(void **state)
{
    (void)state;
    fixture f;
    pare_pin p = {0};
    pare_error err = {0};
    set_up(&f, "shards");
    static const struct {
        const char *index, *text;
    } rows[] = {{"{\"weight_map\": {\"a\": \"m.gguf\"}}", ""},
                {"{\"weight_map\": {\"a\": \"x.st\", \"b\": \"x.st\", \"c\": \"m.gguf\", \"d\": \"y\"}}",
                 "index.json: names 2 files that are not there: x.st, y"},
                {"{", "no index that could be read"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        put(&f, "model.safetensors.index.json", rows[i].index);
        index_warning[0] = '\0';
        pare_set_warn_sink(keep_warning, NULL);
        CHECK_OK(pare_pin_scan(&p, f.dir, &err), &err);
        pare_set_warn_sink(NULL, NULL);
        CHECK(p.n_files == 2 &&
              (rows[i].text[0] == '\0' ? index_warning[0] == '\0' : strstr(index_warning, rows[i].text) != NULL));
        pare_pin_close(&p);
    }
    put(&f, "model.safetensors.index.json", "{\"weight_map\": {\"a\": \"m.gguf\", \"b\": \"../y\"}}");
    CHECK(pare_pin_scan(&p, f.dir, &err) == PARE_ERR_FORMAT);
    CHECK(strstr(err.text, "index.json: weight_map: 'b' is in '../y', which ") != NULL);
    pare_pin_close(&p);
    tear_down(&f);
}

/* snapshots/<commit>/<name> -> ../../blobs/<hash>: content is hashed, the blob's name is not trusted. */
static void the_hubs_cache_is_followed(void **state)
{
    (void)state;
    fixture f;
    pare_verify_report r;
    char dir[5000], link_path[6000];
    set_up(&f, "cache");
    snprintf(dir, sizeof dir, "%s/blobs", f.dir);
    CHECK(mkdir(dir, 0777) == 0);
    snprintf(dir, sizeof dir, "%s/blobs/2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", f.dir);
    check_write_file(dir, "hello", 5);
    snprintf(dir, sizeof dir, "%s/snapshots", f.dir);
    CHECK(mkdir(dir, 0777) == 0);
    snprintf(dir, sizeof dir, "%s/snapshots/main", f.dir);
    CHECK(mkdir(dir, 0777) == 0);
    snprintf(link_path, sizeof link_path, "%s/config", dir);
    CHECK(symlink("../../blobs/2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", link_path) == 0);
    snprintf(f.lock, sizeof f.lock, "%s/snapshots/main/pare.lock", f.dir);
    pin(&f, dir);
    expect_ok(f.lock);
    check_write_file(link_path, "hullo", 5); /* through the link, into the blob */
    verify(f.lock, (pare_verify_options){0}, &r);
    CHECK(r.n_findings == 1 && has(&r, "sha256", "config", "", "differs"));
    pare_verify_report_close(&r);
    tear_down(&f);
}

/* A lock that was made to say the blob's name as the hash of a file, beside true hashes of its parts. */
static void a_stores_name_is_compared_with_the_content(void **state)
{
    (void)state;
    static const char name[] = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    fixture f;
    pare_verify_report r;
    pare_error err = {0};
    json_t *doc = NULL;
    char command[20000], dir[5000], sha256[PARE_SHA256_HEX];
    set_up(&f, "forged");
    snprintf(dir, sizeof dir, "%s/snapshots/main", f.dir);
    snprintf(
        command, sizeof command,
        "cd '%s' && mkdir -p blobs snapshots/main && mv m.gguf blobs/%s && ln -s ../../blobs/%s snapshots/main/m.gguf",
        f.dir, name, name);
    CHECK(system(command) == 0);
    char *lock = in_dir(&f, "snapshots/main/pare.lock");
    snprintf(f.lock, sizeof f.lock, "%s", lock);
    free(lock);
    pin(&f, dir);
    CHECK_OK(pare_json_load(&doc, f.lock, 1 << 20, 0, &err), &err);
    snprintf(sha256, sizeof sha256, "%s", text_of(json_array_get(json_object_get(doc, "files"), 0), "sha256"));
    json_decref(doc);
    edit_lock(&f, "{", sha256, name, SEAL_AGAIN);
    verify(f.lock, (pare_verify_options){.whole = PARE_WHOLE_NEVER}, &r);
    CHECK(has(&r, "sha256", "m.gguf", "", "differs"));
    pare_verify_report_close(&r);
    tear_down(&f);
}

#define SHORT "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b982"
#define HEX SHORT "4"
#define UPPER "2CF24DBA5FB0A30E26E83B2AC5B9E29E1B161E5C1FA7425E73043362938B9824"

/* Text of the lock with the first `from` replaced by `to`, verified. */
static void rejects_lock(const fixture *f, const char *from, const char *to, const char *text)
{
    pare_verify_report r;
    pare_error err = {0};
    size_t n = 0;
    char *lock = (char *)check_read_file(f->lock, &n), *copy = check_malloc(n + 1);
    memcpy(copy, lock, n);
    copy[n] = '\0';
    char *at = strstr(copy, from);
    CHECK(at != NULL);
    pare_buf changed = {0};
    CHECK_OK(pare_buf_put(&changed, copy, (size_t)(at - copy), &err), &err);
    CHECK_OK(pare_buf_puts(&changed, to, &err), &err);
    CHECK_OK(pare_buf_puts(&changed, at + strlen(from), &err), &err);
    char *path = in_dir(f, "bad.lock");
    check_write_file(path, changed.data, changed.len);
    pare_status st = pare_verify(path, NULL, &r, &err);
    if (pare_exit_code(st) != 3 || strstr(err.text, text) == NULL || strstr(err.text, "bad.lock") == NULL)
        fail_msg("'%s' -> '%s': status %d, '%s'; expected '%s'", from, to, (int)st, err.text, text);
    CHECK(unlink(path) == 0);
    pare_buf_close(&changed);
    free(path);
    free(copy);
    free(lock);
}

static void bad_locks_are_refused(void **state)
{
    (void)state;
    fixture f;
    set_up(&f, "bad-lock");
    put(&f, "a", "hello");
    put(&f, "b", "hello2");
    pin(&f, f.dir);
    static const struct {
        const char *from, *to, *text;
    } rows[] = {
        {"\"schema\": 1", "\"schema\": 2", "schema 2, this program reads 1"},
        {"\"schema\": 1", "\"schema\": \"1\"", "expected an integer"},
        {"\"schema\": 1", "\"schema\": 1.0", "'schema' is a real number, expected an integer"},
        {"\"schema\": 1", "\"schema\": 1e0", "expected an integer"},
        {"\"schema\": 1", "\"schema\": true", "expected an integer"},
        {"\"schema\": 1", "\"schema\": null", "'schema' is missing"},
        {"\"schema\": 1,", "\"schema\": 1, \"schema\": 1,", "uplicate"},
        {"\"size\": 5", "\"size\": 5.0", "'size' is a real number"},
        {"\"size\": 256", "\"size\": 256.0", "'size' is a real number"},
        {"\"offset\": ", "\"offset\": 0.0, \"x\": ", "'offset' is a real number"},
        {"\"shape\": [", "\"shape\": [4.0, ", "shape holds what is no count"},
        {"\"complete_folders\"",
         "\"parents\": [{\"name\": \"m\", \"role\": \"model\", \"sha256\": \"" HEX
         "\", \"size\": 1e0}], \"complete_folders\"",
         "'size' is a real number"},
        {"\"sha256\": \"2cf24", "\"sha256\": \"cf24", "of 63 characters, expected 64 lower-case"},
        {"\"sha256\": \"2cf24d", "\"sha256\": \"2CF24D", "expected 64 lower-case"},
        {"\"sha256\": \"2cf24d", "\"sha256\": \"2cf24g", "expected 64 lower-case"},
        {"\"xxh3_128\": \"", "\"xxh3_128\": \"0", "of 33 characters, expected 32"},
        {"\"git_sha1\": \"", "\"git_sha1\": \"0", "expected 40"},
        {"\"rest\": {", "\"rest\": 1, \"x\": {", "'rest' is no object"},
        {"\"rest\": {", "\"rest\": {}, \"x\": {", "missing"},
        {"\"seal\": \"", "\"seal\": \"0", "expected 64"},
        {"\"seal\": \"", "\"seal\": \"A", "expected 64"},
        {"\"seal\": \"", "\"seal\": null, \"x\": \"", "'seal' is null"},
        {"\"seal\": \"", "\"seal\": \"" UPPER "\", \"x\": \"", "of 64 characters, expected 64 lower-case"},
        {"\"seal\": \"", "\"seal\": \"" SHORT "\", \"x\": \"", "of 63 characters, expected 64"},
        {"\"tensors\": [", "\"tensors\": [,", "near ','"},
        {"\"tensors\": [", "\"tensors\": [1,", "expected an object"},
        {"\"tensors\": [", "\"tensors\": [[0],", "expected an object"},
        {"\"tensors\": [", "\"tensors\": 1, \"x\": [", "'tensors' is no array"},
        {"\"tensors\": [", "\"tensors\": [], \"tensors\": [", "uplicate"},
        {"\"tensors\": [", "\"t\\u0065nsors\": [", "written with escapes"},
        {"\"tensors\": [", "\"t\\u0065nsors\": [0], \"x\": [", "written with escapes"},
        {"\"type\": \"f32\"", "\"type\": \"f32\", \"type\": \"f32\"", "uplicate"},
        {"    },\n    {\n     \"name\": \"blk.0.b\"", "    }\n    {\n     \"name\": \"blk.0.b\"", "near '{'"},
        {"\n    }\n   ]", "\n    },\n   ]", "near ']'"},
        {"\n    }\n   ]", "\n    }\n   ", "line"},
        {"\n    }\n   ]", "\n    ", "line"},
        {"\"name\": \"a\"", "\"name\": \"/etc/passwd\"", "is absolute"},
        {"\"name\": \"a\"", "\"name\": \"../a\"", "holds '..'"},
        {"\"name\": \"a\"", "\"name\": \"x/../a\"", "holds '..'"},
        {"\"name\": \"a\"", "\"name\": \"./a\"", "'.'"},
        {"\"name\": \"a\"", "\"name\": \"\"", "is empty"},
        {"\"name\": \"a\"", "\"name\": \"a\\u0000\"", "holds a NUL"},
        {"\"name\": \"a\"", "\"name\": \"a\\nb\"", "control byte"},
        {"\"name\": \"a\"", "\"name\": \"a\\u001b[31m\"", "control byte"},
        {"\"name\": \"a\"", "\"name\": \"a\\u007f\"", "control byte"},
        {"\"name\": \"a\"", "\"name\": \"a\\\\b\"", "backslash"},
        {"\"name\": \"a\"", "\"name\": \"B\"", "differ in case"},
        {"\"name\": \"a\"", "\"name\": \"b\"", "a name twice"},
        {"\"name\": \"a\"", "\"name\": 1", "expected a string"},
        {"\"name\": \"a\"", "\"nome\": \"a\"", "'name' is missing"},
        {"\"size\": 5", "\"size\": -5", "'size' is -5"},
        {"\"size\": 5", "\"size\": 5.5", "expected an integer"},
        {"\"type\": \"f32\"", "\"type\": \"f33\"", "unknown type 'f33'"},
        {"\"name\": \"blk.0.a\"", "\"name\": \"blk.0.b\"", "tensor 'blk.0.b' twice"},
        {"\"offset\": ", "\"offset\": 9", "bytes at offset 9"},
        {"\"files\": [", "\"files\": 1, \"x\": [", "'files' is missing or no array"},
        {"\"complete_folders\": [", "\"complete_folders\": [\"..\",", "'..'"},
        {"\"complete_folders\"", "\"beside\": 1, \"complete_folders\"", "'beside' is no array"},
        {"\"complete_folders\"", "\"beside\": [1], \"complete_folders\"", "'beside' holds what is no string"},
        {"\"complete_folders\"", "\"beside\": [\"../x\"], \"complete_folders\"", "'..'"},
        {"{\n", "{x\n", "line"},
        {"{\n", "\xef\xbb\xbf{\n", "byte order mark"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        rejects_lock(&f, rows[i].from, rows[i].to, rows[i].text);
    expect_ok(f.lock);
    tear_down(&f);
}

static void a_lock_that_contradicts_itself_fails(void **state)
{
    (void)state;
    fixture f;
    pare_verify_report r;
    size_t n = 0;
    set_up(&f, "contradiction");
    pin(&f, f.model);
    uint8_t *lock = check_read_file(f.lock, &n);
    static const char *const keys[] = {"\"tokenizer_sha256\": \"", "\"chat_template_sha256\": \"",
                                       "\"general.name\": \"", "\"sha256\": \""};
    for (size_t i = 0; i < 4; i++) {
        const uint8_t *from = i < 3 ? lock : memmem(lock, n, "\"tensors\"", 9);
        uint8_t *at = memmem(from, n - (size_t)(from - lock), keys[i], strlen(keys[i]));
        CHECK(at != NULL);
        at += strlen(keys[i]);
        uint8_t old = *at;
        *at = old == '0' ? '1' : '0';
        check_write_file(f.lock, lock, n);
        *at = old;
        verify(f.lock, (pare_verify_options){0}, &r);
        CHECK(r.bytes == PARE_VERDICT_DIFFERENT && r.n_findings >= 1);
        pare_verify_report_close(&r);
    }
    free(lock);
    tear_down(&f);
}

static void sums_are_those_of_sha256sum(void **state)
{
    (void)state;
    fixture f;
    pare_pin p = {0};
    pare_error err = {0};
    char command[8192];
    set_up(&f, "sums");
    put(&f, "plain", "hello");
    put(&f, "back\\slash", "a");
    put(&f, "line\nbreak", "b");
    put(&f, "cr\rhere", "c");
    put(&f, " leading", "d");
    put(&f, "empty", "");
    char *sums = in_dir(&f, "SHA256SUMS");
    CHECK_OK(pare_pin_scan(&p, f.dir, &err), &err);
    CHECK_OK(pare_sums_write(&p, sums, false, &err), &err);
    CHECK(pare_sums_write(&p, sums, false, &err) == PARE_ERR_USAGE);
    CHECK(pare_lock_write(&p, f.lock, NULL, false, &err) == PARE_ERR_FORMAT &&
          strstr(err.text, "a lock cannot hold it") != NULL);
    pare_pin_close(&p);
    snprintf(command, sizeof command, "cd '%s' && sha256sum -c --strict --status SHA256SUMS", f.dir);
    CHECK(system(command) == 0);
    expect_ok(sums);
    flip(f.model, 5);
    put(&f, "extra", "e");
    pare_verify_report r;
    verify(sums, (pare_verify_options){0}, &r);
    CHECK(has(&r, "sha256", "m.gguf", "", "differs") && has(&r, "extra", "extra", "", "not in the lock"));
    pare_verify_report_close(&r);
    free(sums);
    tear_down(&f);
}

static void bad_sums_are_refused(void **state)
{
    (void)state;
    fixture f;
    set_up(&f, "bad-sums");
    put(&f, "a", "hello");
    static const struct {
        const char *sums, *text;
    } rows[] = {
        {"\xef\xbb\xbf" HEX "  a\n", "byte order mark"},
        {HEX "  a\r\n", "CR LF"},
        {HEX "  a\n\n", "line 2: expected 64"},
        {HEX " a\n", "line 1: expected 64"},
        {HEX "0  a\n", "expected 64"},
        {"cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824  a\n", "expected 64"},
        {"2CF24DBA5FB0A30E26E83B2AC5B9E29E1B161E5C1FA7425E73043362938B9824  a\n", "lower-case"},
        {HEX "  \n", "expected 64"},
        {HEX "  /etc/passwd\n", "is absolute"},
        {HEX "  ../a\n", "holds '..'"},
        {HEX "  a\n" HEX "  a\n", "a name twice"},
        {HEX "  a\n" HEX "  A\n", "differ in case"},
        {HEX "  a\x1b[31m\n", "holds a control byte"},
        {HEX "  a\tb\n", "holds a control byte"},
        {"\\" HEX "  a\x7f\\n\n", "holds a control byte"},
        {"\\" HEX "  a\\x\n", "unknown escape"},
        {"\\" HEX "  a\\\n", "unknown escape"},
    };
    char *path = in_dir(&f, "SHA256SUMS");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        pare_verify_report r;
        pare_error err = {0};
        check_write_file(path, rows[i].sums, strlen(rows[i].sums));
        pare_status st = pare_verify(path, NULL, &r, &err);
        if (st != PARE_ERR_FORMAT || strstr(err.text, rows[i].text) == NULL)
            fail_msg("row %zu: status %d, '%s'; expected '%s'", i, (int)st, err.text, rows[i].text);
    }
    static const char good[] = "# made by hand\n" HEX " *./a";
    check_write_file(path, good, sizeof good - 1);
    CHECK(unlink(f.model) == 0);
    expect_ok(path);
    free(path);
    tear_down(&f);
}

/* The folder that the lock goes to went away while the files were hashed: no fault of theirs. */
static void a_folder_that_is_gone_is_an_io_error(void **state)
{
    (void)state;
    fixture f;
    pare_pin p = {0};
    pare_error err = {0};
    set_up(&f, "gone");
    char *folder = in_dir(&f, "out"), *lock = in_dir(&f, "out/pare.lock");
    CHECK_OK(pare_pin_scan(&p, f.model, &err), &err);
    CHECK(pare_lock_write(&p, lock, NULL, false, &err) == PARE_ERR_IO && strstr(err.text, folder) != NULL &&
          strstr(err.text, "cannot open the folder") != NULL);
    CHECK(pare_sums_write(&p, lock, false, &err) == PARE_ERR_IO);
    pare_pin_close(&p);
    free(folder);
    free(lock);
    tear_down(&f);
}

/* A name that no system opens is no missing file: in locks and in SHA256SUMS alike. */
static void names_have_limits(void **state)
{
    (void)state;
    fixture f;
    enum { N = 5000 };
    static const struct {
        const char *part;
        int n;
        const char *text;
    } rows[] = {{"a/", N, "has more than 256 components"},
                {"a/", 256, "has more than 256 components"},
                {"aa", 128, "has a component of more than 255 bytes"},
                {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/", 128, "is longer than 4095 bytes"}};
    set_up(&f, "long-names");
    put(&f, "a", "hello");
    pin(&f, f.dir);
    char *sums = in_dir(&f, "sums");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        pare_buf name = {0}, text = {0};
        pare_verify_report r;
        pare_error err = {0};
        for (int k = 0; k < rows[i].n; k++)
            CHECK(pare_buf_puts(&name, rows[i].part, NULL) == PARE_OK);
        CHECK(pare_buf_puts(&name, "b", NULL) == PARE_OK);
        CHECK(pare_buf_printf(&text, NULL, HEX "  %s\n", name.data) == PARE_OK);
        check_write_file(sums, text.data, text.len);
        CHECK(pare_verify(sums, NULL, &r, &err) == PARE_ERR_FORMAT && strstr(err.text, rows[i].text) != NULL);
        text.len = 0;
        CHECK(pare_buf_printf(&text, NULL, "\"name\": \"%s\"", name.data) == PARE_OK);
        rejects_lock(&f, "\"name\": \"a\"", text.data, rows[i].text);
        pare_buf_close(&name);
        pare_buf_close(&text);
    }
    free(sums);
    tear_down(&f);
}

static size_t n_unsealed;

static void count_unsealed(const char *text, void *user)
{
    (void)user;
    n_unsealed += strstr(text, "pare.lock: the lock has no seal: an edit of it cannot be told") != NULL;
}

static void a_lock_without_a_seal_is_warned_of(void **state)
{
    (void)state;
    fixture f;
    pare_verify_report r;
    pare_error err = {0};
    set_up(&f, "unsealed");
    pin(&f, f.dir);
    pare_set_warn_sink(count_unsealed, NULL);
    verify(f.lock, (pare_verify_options){0}, &r);
    CHECK(r.seal == PARE_VERDICT_OK && n_unsealed == 0);
    pare_verify_report_close(&r);
    edit_lock(&f, "\"schema\"", "1", "1", SEAL_AWAY);
    verify(f.lock, (pare_verify_options){0}, &r);
    CHECK(r.seal == PARE_VERDICT_ABSENT && n_unsealed == 1 && r.n_findings == 0);
    pare_verify_report_close(&r);
    pare_set_strict(true);
    CHECK(pare_verify(f.lock, NULL, &r, &err) == PARE_ERR_FORMAT && strstr(err.text, "no seal") != NULL);
    pare_set_strict(false);
    pare_set_warn_sink(NULL, NULL);
    tear_down(&f);
}

static void a_model_alone_is_checked_for_its_structure(void **state)
{
    (void)state;
    fixture f;
    pare_verify_report r;
    pare_error err = {0};
    set_up(&f, "alone");
    verify(f.model, (pare_verify_options){0}, &r);
    CHECK(r.bytes == PARE_VERDICT_ABSENT && r.structure == PARE_VERDICT_OK && r.n_tensors == 3 && r.n_files == 1);
    pare_verify_report_close(&r);
    f.data[1][20] = 1e38f * 1e10f; /* infinity */
    write_model(&f, NULL);
    verify(f.model, (pare_verify_options){0}, &r);
    CHECK(r.structure == PARE_VERDICT_DIFFERENT &&
          has(&r, "structure", f.model, "blk.0.b", "block 20 (weights 20 to 20) is not finite"));
    pare_verify_report_close(&r);
    CHECK(truncate(f.model, 100) == 0);
    CHECK(pare_exit_code(pare_verify(f.model, NULL, &r, &err)) == 3);
    /* a safetensors file: an infinite number alone may be a mask */
    static const uint8_t infinite[] =
        "\x3a\0\0\0\0\0\0\0{\"m\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}    \0\0\x80\xff";
    char *path = in_dir(&f, "m.safetensors");
    uint8_t bytes[8 + 58 + 4];
    memcpy(bytes, infinite, sizeof bytes);
    check_write_file(path, bytes, sizeof bytes);
    verify(path, (pare_verify_options){0}, &r);
    CHECK(r.structure == PARE_VERDICT_OK && r.n_tensors == 1);
    pare_verify_report_close(&r);
    free(path);
    tear_down(&f);
}

static void writing_refuses_what_it_must(void **state)
{
    (void)state;
    fixture f;
    pare_pin p = {0};
    pare_error err = {0};
    set_up(&f, "refuse");
    CHECK_OK(pare_pin_scan(&p, f.model, &err), &err);
    char below[5000];
    snprintf(below, sizeof below, "%s/sub", f.dir);
    CHECK(mkdir(below, 0777) == 0);
    snprintf(below, sizeof below, "%s/sub/pare.lock", f.dir);
    CHECK(pare_lock_write(&p, below, NULL, false, &err) == PARE_ERR_USAGE && strstr(err.text, "lies outside") != NULL);
    CHECK(access(below, F_OK) != 0);
    CHECK_OK(pare_lock_write(&p, f.lock, NULL, false, &err), &err);
    CHECK(pare_lock_write(&p, f.lock, NULL, false, &err) == PARE_ERR_USAGE && strstr(err.text, "exists") != NULL);
    CHECK_OK(pare_pin_scan(&p, f.model, &err), &err);
    CHECK(pare_lock_write(&p, f.lock, NULL, true, &err) == PARE_ERR_USAGE && strstr(err.text, "given twice") != NULL);
    pare_pin_close(&p);
    setenv("SOURCE_DATE_EPOCH", "yesterday", 1);
    CHECK_OK(pare_pin_scan(&p, f.model, &err), &err);
    CHECK(pare_lock_write(&p, f.lock, NULL, true, &err) == PARE_ERR_USAGE &&
          strstr(err.text, "SOURCE_DATE_EPOCH") != NULL);
    unsetenv("SOURCE_DATE_EPOCH");
    pare_pin_close(&p);
    put(&f, "Twin", "1");
    put(&f, "twin", "2");
    CHECK_OK(pare_pin_scan(&p, f.dir, &err), &err);
    CHECK(pare_lock_write(&p, f.lock, NULL, true, &err) == PARE_ERR_FORMAT &&
          strstr(err.text, "differ in case") != NULL);
    pare_pin_close(&p);
    CHECK(pare_pin_scan(&p, "/nonexistent/file", &err) == PARE_ERR_FORMAT);
    pare_pin_close(&p);
    tear_down(&f);
}

/* The demo model: a folder with its tokenizer in files of their own. */
static void a_folder_is_pinned_with_its_tokenizer(void **state)
{
    (void)state;
    static const char *const names[] = {"config.json",       "generation_config.json",
                                        "model.safetensors", "special_tokens_map.json",
                                        "tokenizer.json",    "tokenizer_config.json"};
    fixture f;
    json_t *doc = NULL;
    pare_verify_report r;
    pare_error err = {0};
    set_up(&f, "hub");
    CHECK(unlink(f.model) == 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t n = 0;
        char *from = pare_path_join(source_path("tests/data/demo"), names[i], NULL), *to = in_dir(&f, names[i]);
        uint8_t *bytes = check_read_file(from, &n);
        check_write_file(to, bytes, n);
        free(bytes);
        free(from);
        free(to);
    }
    put(&f, "chat_template.jinja", "hello");
    pin(&f, f.dir);
    CHECK_OK(pare_json_load(&doc, f.lock, 1 << 20, 0, &err), &err);
    const json_t *tokenizer = json_array_get(json_object_get(doc, "tokenizers"), 0);
    CHECK(strcmp(text_of(tokenizer, "folder"), ".") == 0 &&
          strcmp(text_of(tokenizer, "chat_template_sha256"), HEX) == 0);
    json_decref(doc);
    expect_ok(f.lock);
    char *path = in_dir(&f, "tokenizer.json");
    flip(path, 1000);
    verify(f.lock, (pare_verify_options){0}, &r);
    CHECK(has(&r, "sha256", "tokenizer.json", "", "differs") && has(&r, "tokenizer", ".", "", "hash of the tokenizer"));
    pare_verify_report_close(&r);
    free(path);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_scan_gives_the_lock_of_the_writer),
        cmocka_unit_test(a_split_set_is_pinned_by_any_part),
        cmocka_unit_test(the_lock_says_what_is_in_the_files),
        cmocka_unit_test(a_flipped_bit_is_told_with_tensor_and_offsets),
        cmocka_unit_test(every_flipped_byte_is_found),
        cmocka_unit_test(an_edited_lock_is_told),
        cmocka_unit_test(the_rest_is_what_lies_in_no_tensor),
        cmocka_unit_test(what_is_hashed_follows_from_the_lock),
        cmocka_unit_test(infinite_numbers_are_told_by_a_lock_too),
        cmocka_unit_test(a_damaged_header_leaves_the_tensors_told_as_whole),
        cmocka_unit_test(a_truncated_file_fails_by_its_size),
        cmocka_unit_test(an_extra_file_fails_unless_allowed),
        cmocka_unit_test(a_renamed_file_is_recognised),
        cmocka_unit_test(exchanged_tensors_are_recognised),
        cmocka_unit_test(renamed_and_reshaped_tensors_are_told),
        cmocka_unit_test(edited_metadata_is_told_by_key),
        cmocka_unit_test(tokenizer_and_template_have_hashes_of_their_own),
        cmocka_unit_test(a_file_that_grows_meanwhile_is_an_error),
        cmocka_unit_test(a_file_written_again_is_told),
        cmocka_unit_test(a_flipped_padding_bit_is_told),
        cmocka_unit_test(exchanged_files_are_recognised),
        cmocka_unit_test(exchanged_files_of_other_sizes_are_recognised),
        cmocka_unit_test(tensors_of_another_file_are_recognised),
        cmocka_unit_test(many_files_are_told_apart),
        cmocka_unit_test(a_model_divided_anew_is_told),
        cmocka_unit_test(a_set_with_a_link_is_not_opened),
        cmocka_unit_test(hidden_files_are_no_hiding_place),
        cmocka_unit_test(an_older_lock_warns_of_what_it_left_out),
        cmocka_unit_test(links_and_pipes_are_refused_unopened),
        cmocka_unit_test(what_is_put_in_a_names_place_is_not_opened),
        cmocka_unit_test(all_that_a_folder_must_not_hold_is_told),
        cmocka_unit_test(shards_that_are_not_there_are_warned_of),
        cmocka_unit_test(the_hubs_cache_is_followed),
        cmocka_unit_test(a_stores_name_is_compared_with_the_content),
        cmocka_unit_test(bad_locks_are_refused),
        cmocka_unit_test(a_lock_that_contradicts_itself_fails),
        cmocka_unit_test(sums_are_those_of_sha256sum),
        cmocka_unit_test(bad_sums_are_refused),
        cmocka_unit_test(a_folder_that_is_gone_is_an_io_error),
        cmocka_unit_test(names_have_limits),
        cmocka_unit_test(a_lock_without_a_seal_is_warned_of),
        cmocka_unit_test(a_model_alone_is_checked_for_its_structure),
        cmocka_unit_test(writing_refuses_what_it_must),
        cmocka_unit_test(a_folder_is_pinned_with_its_tokenizer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
