/* formats/gguf_write.c: what is refused, what is left behind, what is recorded. */
#include "check.h"
#include "core/progress.h"
#include "core/threads.h"
#include "formats/gguf.h"
#include "formats/open.h"
#include "gguf_bytes.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *in_dir(const char *name)
{
    static char paths[4][4200];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", temp_dir(), name);
    return path;
}

static bool exists(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0;
}

/* No file of the folder is a temporary one. */
static void expect_no_leftover(void)
{
    DIR *dir = opendir(temp_dir());
    CHECK(dir != NULL);
    for (struct dirent *e; (e = readdir(dir)) != NULL;)
        CHECK(strstr(e->d_name, ".part.") == NULL);
    closedir(dir);
}

static void open_tiny(pare_model *m, const char *path)
{
    pare_buf b = {0};
    pare_error err = {0};
    gguf_tiny(&b);
    check_write_file(path, b.data, b.len);
    pare_buf_close(&b);
    CHECK_OK(pare_gguf_open(m, path, PARE_OPEN_RAW, &err), &err);
}

static void an_existing_file_needs_force(void **state)
{
    (void)state;
    pare_model m;
    pare_error err = {0};
    open_tiny(&m, in_dir("in.gguf"));
    check_write_file(in_dir("there.gguf"), "old", 3);
    CHECK(pare_gguf_write(&m, in_dir("there.gguf"), NULL, NULL, &err) == PARE_ERR_USAGE);
    CHECK(strstr(err.text, "--force") != NULL);
    CHECK_OK(pare_gguf_write(&m, in_dir("there.gguf"), &(pare_write_options){.force = true}, NULL, &err), &err);
    CHECK(pare_gguf_write(&m, temp_dir(), &(pare_write_options){.force = true}, NULL, &err) == PARE_ERR_USAGE);
    CHECK(pare_gguf_write(&m, in_dir("absent/x.gguf"), NULL, NULL, &err) == PARE_ERR_IO);
    pare_model_close(&m);
    expect_no_leftover();
}

/* One existing part stops the whole set before anything is written. */
static void an_existing_part_needs_force(void **state)
{
    (void)state;
    pare_model m;
    pare_error err = {0};
    open_tiny(&m, in_dir("in.gguf"));
    check_write_file(in_dir("set-00002-of-00002.gguf"), "old", 3);
    pare_write_options options = {.split_bytes = 32};
    CHECK(pare_gguf_write(&m, in_dir("set.gguf"), &options, NULL, &err) == PARE_ERR_USAGE);
    CHECK(strstr(err.text, "set-00002-of-00002.gguf: exists already") != NULL);
    CHECK(!exists(in_dir("set-00001-of-00002.gguf")));
    options.force = true;
    CHECK_OK(pare_gguf_write(&m, in_dir("set.gguf"), &options, NULL, &err), &err);
    CHECK(exists(in_dir("set-00001-of-00002.gguf")) && !exists(in_dir("set.gguf")));
    pare_model_close(&m);
    expect_no_leftover();
}

/* Whatever it is called: under its name, a link to it, and as the source of a derived model. */
static void an_input_is_never_an_output(void **state)
{
    (void)state;
    pare_model m, derived = {.path = "derived", .alignment = 32, .source = &m};
    pare_error err = {0};
    const pare_write_options force = {.force = true};
    open_tiny(&m, in_dir("in.gguf"));
    unlink(in_dir("link.gguf"));
    CHECK(symlink(in_dir("in.gguf"), in_dir("link.gguf")) == 0);
    CHECK(pare_gguf_write(&m, in_dir("in.gguf"), &force, NULL, &err) == PARE_ERR_USAGE);
    CHECK(strstr(err.text, "the output is an input as well") != NULL);
    CHECK(pare_gguf_write(&m, in_dir("link.gguf"), &force, NULL, &err) == PARE_ERR_USAGE);
    CHECK(pare_gguf_write(&derived, in_dir("in.gguf"), &force, NULL, &err) == PARE_ERR_USAGE);
    pare_model_close(&m);
    CHECK_OK(pare_gguf_open(&m, in_dir("in.gguf"), PARE_OPEN_RAW, &err), &err); /* unharmed */
    pare_model_close(&m);
    expect_no_leftover();
}

/* A tensor that gives rows of its own number, and fails or is interrupted in row `stop`. */
typedef struct stopper {
    uint64_t stop;
    int signal_number; /* 0: fail with PARE_ERR_NUMBER */
} stopper;

static pare_status read_until(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    const stopper *s = t->ctx;
    memset(dst, (int)row, (size_t)(n_rows * t->row_bytes));
    if (s->stop >= row && s->stop - row < n_rows) {
        if (s->signal_number == 0)
            return pare_fail(err, PARE_ERR_NUMBER, "tensor '%s': a NaN", t->name);
        pare_set_interrupted(s->signal_number);
    }
    return PARE_OK;
}

static void make_model(pare_model *m, stopper *s, size_t n_tensors)
{
    pare_error err = {0};
    *m = (pare_model){.path = "made", .alignment = 32};
    CHECK_OK(pare_model_reserve(m, n_tensors, &err), &err);
    for (size_t i = 0; i < n_tensors; i++) {
        char name[32];
        snprintf(name, sizeof name, "t%zu.weight", i);
        pare_tensor t = {.name = name, .type = PARE_TYPE_I8, .n_dims = 2, .dim = {1000, 40}};
        t.read = read_until;
        t.ctx = s;
        CHECK_OK(pare_tensor_set_shape(&t, "made", &err), &err);
        CHECK_OK(pare_model_add(m, &t, NULL, &err), &err);
    }
}

static void a_failing_tensor_leaves_nothing(void **state)
{
    (void)state;
    for (int split = 0; split < 2; split++) {
        stopper s = {.stop = 900};
        pare_model m;
        pare_error err = {0};
        make_model(&m, &s, 2);
        pare_write_options options = {.split_bytes = split ? 40000 : 0};
        CHECK(pare_gguf_write(&m, in_dir("fails.gguf"), &options, NULL, &err) == PARE_ERR_NUMBER);
        CHECK(!exists(in_dir("fails.gguf")) && !exists(in_dir("fails-00001-of-00002.gguf")));
        pare_model_close(&m);
        expect_no_leftover();
    }
}

static void an_interrupt_leaves_nothing(void **state)
{
    (void)state;
    stopper s = {.stop = 900, .signal_number = SIGTERM};
    pare_model m;
    pare_error err = {0};
    make_model(&m, &s, 3);
    CHECK(pare_gguf_write(&m, in_dir("cut.gguf"), NULL, NULL, &err) == PARE_ERR_INTERRUPTED);
    pare_set_interrupted(0);
    CHECK(!exists(in_dir("cut.gguf")));
    pare_model_close(&m);
    expect_no_leftover();
}

/* A file of the target's name that appears while the set is being written. */
static pare_status read_and_get_in_the_way(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst,
                                           pare_error *err)
{
    (void)row, (void)err;
    memset(dst, 0, (size_t)(n_rows * t->row_bytes));
    check_write_file(t->ctx, "mine", 4);
    return PARE_OK;
}

/* The parts that had their names already give them up again; the file of the other stays. */
static void a_set_appears_whole_or_not_at_all(void **state)
{
    (void)state;
    char other[4200];
    pare_model m;
    pare_error err = {0};
    size_t n = 0;
    snprintf(other, sizeof other, "%s", in_dir("race-00002-of-00003.gguf"));
    make_model(&m, NULL, 3);
    for (size_t i = 0; i < 3; i++) {
        m.tensors[i].read = read_and_get_in_the_way;
        m.tensors[i].ctx = other;
    }
    pare_write_options options = {.split_bytes = 40000};
    pare_set_threads(1);
    CHECK(pare_gguf_write(&m, in_dir("race.gguf"), &options, NULL, &err) == PARE_ERR_USAGE);
    pare_set_threads(0);
    CHECK(!exists(in_dir("race-00001-of-00003.gguf")) && !exists(in_dir("race-00003-of-00003.gguf")));
    uint8_t *bytes = check_read_file(other, &n);
    CHECK(n == 4 && memcmp(bytes, "mine", 4) == 0);
    free(bytes);
    unlink(other);
    pare_model_close(&m);
    expect_no_leftover();
}

static void a_full_disk_leaves_nothing(void **state)
{
    (void)state;
    stopper never = {.stop = UINT64_MAX};
    struct rlimit before, small;
    pare_model m;
    pare_error err = {0};
    make_model(&m, &never, 2);
    CHECK(getrlimit(RLIMIT_FSIZE, &before) == 0);
    small = (struct rlimit){.rlim_cur = 50000, .rlim_max = before.rlim_max};
    void (*old)(int) = signal(SIGXFSZ, SIG_IGN);
    CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0);
    pare_status st = pare_gguf_write(&m, in_dir("full.gguf"), NULL, NULL, &err);
    CHECK(setrlimit(RLIMIT_FSIZE, &before) == 0);
    signal(SIGXFSZ, old);
    CHECK(st == PARE_ERR_IO && strstr(err.text, "full.gguf") != NULL && !exists(in_dir("full.gguf")));
    pare_model_close(&m);
    expect_no_leftover();
}

static void what_gguf_cannot_hold_is_refused(void **state)
{
    (void)state;
    static const char name64[] = "0123456789012345678901234567890123456789012345678901234567890123";
    static const struct {
        pare_tensor t;
        const char *text;
    } rows[] = {
        {{.name = "u.weight", .type = PARE_TYPE_U32, .n_dims = 1, .dim = {1}}, "of type u32, which GGUF has no number"},
        {{.name = "d.weight", .type = PARE_TYPE_F32, .n_dims = 5, .dim = {1, 1, 1, 1, 1}}, "has 5 dimensions"},
        {{.name = name64, .type = PARE_TYPE_F32, .n_dims = 1, .dim = {1}}, "a name of 64 bytes"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        pare_model m = {.path = "made", .alignment = 32};
        pare_error err = {0};
        pare_tensor t = rows[i].t;
        uint64_t size = 0;
        CHECK_OK(pare_tensor_set_shape(&t, "made", &err), &err);
        CHECK_OK(pare_model_reserve(&m, 1, &err), &err);
        CHECK_OK(pare_model_add(&m, &t, NULL, &err), &err);
        CHECK(pare_gguf_write(&m, in_dir("never.gguf"), NULL, NULL, &err) == PARE_ERR_UNSUPPORTED);
        CHECK(strstr(err.text, rows[i].text) != NULL);
        CHECK(pare_gguf_size(&m, NULL, &size, &err) == PARE_ERR_UNSUPPORTED);
        CHECK(!exists(in_dir("never.gguf")));
        pare_model_close(&m);
    }
}

static uint64_t progress_done, progress_total;
static void keep_progress(const char *unit, uint64_t done, uint64_t total, const char *what, void *user)
{
    (void)unit, (void)what, (void)user;
    CHECK(done >= progress_done && done <= total);
    progress_done = done;
    progress_total = total;
}

/* What the pin has is what a second reading of the files finds. */
static void expect_pinned(const pare_pin_file *f)
{
    pare_model m;
    pare_error err = {0};
    pare_digest digest;
    size_t n = 0;
    uint8_t *bytes = check_read_file(f->path, &n);
    CHECK_OK(pare_hash_bytes(bytes, n, PARE_HASH_BOTH, &digest, &err), &err);
    CHECK(f->digest.n_bytes == n && memcmp(&f->digest, &digest, sizeof digest) == 0);
    CHECK_OK(pare_gguf_parse(&m, bytes, n, f->path, &err), &err);
    CHECK(m.n_tensors == f->n_tensors && m.meta.n == f->n_meta);
    for (size_t i = 0; i < m.n_tensors; i++) {
        const pare_tensor *t = &m.tensors[i];
        CHECK_OK(pare_hash_bytes(t->data, (size_t)t->n_bytes, PARE_HASH_BOTH, &digest, &err), &err);
        CHECK(strcmp(t->name, f->tensors[i].name) == 0 && t->offset == f->tensors[i].offset);
        CHECK(memcmp(&f->tensors[i].digest, &digest, sizeof digest) == 0);
    }
    for (size_t i = 0; i < m.meta.n; i++) {
        pare_buf value = {0};
        CHECK_OK(pare_meta_serialize(&m.meta.values[i], &value, &err), &err);
        CHECK_OK(pare_hash_bytes(value.data, value.len, PARE_HASH_BOTH, &digest, &err), &err);
        CHECK(pare_str_equal(m.meta.values[i].key, f->meta[i].key));
        CHECK(memcmp(&f->meta[i].digest, &digest, sizeof digest) == 0);
        pare_buf_close(&value);
    }
    pare_model_close(&m);
    free(bytes);
}

static void a_pin_is_filled_while_writing(void **state)
{
    (void)state;
    for (int split = 0; split < 2; split++) {
        stopper never = {.stop = UINT64_MAX};
        pare_model m;
        pare_pin pin = {0};
        pare_error err = {0};
        make_model(&m, &never, 3);
        CHECK_OK(pare_meta_set_u32(&m.meta, "general.alignment", 64, &err), &err);
        pare_write_options options = {.force = true, .split_bytes = split ? 80000 : 0};
        progress_done = progress_total = 0;
        pare_set_progress(keep_progress, NULL);
        CHECK_OK(pare_gguf_write(&m, in_dir("pinned.gguf"), &options, &pin, &err), &err);
        pare_set_progress(NULL, NULL);
        CHECK(progress_total > 120000 && progress_done == progress_total);
        CHECK(pin.n_files == (split ? 2 : 1));
        for (size_t i = 0; i < pin.n_files; i++)
            expect_pinned(&pin.files[i]);
        pare_pin brief = {.files_only = true};
        CHECK_OK(pare_gguf_write(&m, in_dir("pinned.gguf"), &options, &brief, &err), &err);
        for (size_t i = 0; i < pin.n_files; i++) {
            CHECK(brief.n_files == pin.n_files && brief.files[i].n_tensors == 0);
            CHECK(memcmp(&brief.files[i].digest, &pin.files[i].digest, sizeof(pare_digest)) == 0);
        }
        pare_pin_close(&brief);
        pare_pin_close(&pin);
        pare_model_close(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_existing_file_needs_force),      cmocka_unit_test(an_existing_part_needs_force),
        cmocka_unit_test(an_input_is_never_an_output),       cmocka_unit_test(a_failing_tensor_leaves_nothing),
        cmocka_unit_test(an_interrupt_leaves_nothing),       cmocka_unit_test(what_gguf_cannot_hold_is_refused),
        cmocka_unit_test(a_set_appears_whole_or_not_at_all), cmocka_unit_test(a_full_disk_leaves_nothing),
        cmocka_unit_test(a_pin_is_filled_while_writing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
