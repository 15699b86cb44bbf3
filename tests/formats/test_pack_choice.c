/* Which matrices of a folder are packed, which stay floats, and how readers are told; which row of a matrix that cannot
 * be packed is named. */
#include "check.h"
#include "core/bytes.h"
#include "core/json.h"
#include "formats/hf.h"
#include "formats/open.h"
#include "formats/pack_rows.h"
#include "formats/safetensors.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

static char heard[2048];
static int n_heard;

static void hear(const char *text, void *user)
{
    (void)user;
    n_heard++;
    snprintf(heard, sizeof heard, "%s", text);
}

/* tests/data/demo has rows of 256 columns, and of 512 in ffn_down. */
static pare_status pack_demo(const char *format, int64_t group, const char *dir, bool quiet, pare_error *err)
{
    pare_model m;
    const pare_hf_write_options how = {
        .pack = pare_pack_find(format), .pack_options = {.group = group}, .quiet = quiet};
    n_heard = 0;
    heard[0] = '\0';
    CHECK_OK(pare_hf_open(&m, source_path("tests/data/demo"), 0, err), err);
    pare_set_warn_sink(hear, NULL);
    pare_status st = pare_hf_write(&m, dir, PARE_TYPE_NONE, &how, NULL, err);
    pare_set_warn_sink(NULL, NULL);
    pare_model_close(&m);
    return st;
}

static json_t *settings_of(const char *dir)
{
    char path[4400];
    pare_error err = {0};
    json_t *config = NULL;
    snprintf(path, sizeof path, "%s/config.json", dir);
    CHECK_OK(pare_json_load(&config, path, 1 << 20, PARE_JSON_BIG_AS_REAL, &err), &err);
    json_t *settings = json_incref(json_object_get(config, "quantization_config"));
    json_decref(config);
    return settings;
}

static bool lists(const json_t *list, const char *name)
{
    size_t i;
    const json_t *one;
    bool found = false;
    json_array_foreach((json_t *)(uintptr_t)list, i, one) found = found || strcmp(json_string_value(one), name) == 0;
    return found;
}

static size_t count_of(const char *text, const char *part)
{
    size_t n = 0;
    for (; (text = strstr(text, part)) != NULL; text++)
        n++;
    return n;
}

#define Q "model.layers.1.self_attn.q_proj"
#define DOWN "model.layers.1.mlp.down_proj"

/* What the readers are told, in each format's words. */
static void check_told(const char *format, const json_t *settings)
{
    if (strcmp(format, "awq") == 0) {
        const json_t *kept = json_object_get(settings, "modules_to_not_convert");
        CHECK(lists(kept, Q) && lists(kept, "lm_head") && !lists(kept, DOWN));
    } else if (strcmp(format, "gptq") == 0) {
        const json_t *packed = json_array_get(json_object_get(settings, "modules_in_block_to_quantize"), 0),
                     *rules = json_object_get(settings, "dynamic");
        CHECK(lists(packed, DOWN) && !lists(packed, Q) && json_array_size(packed) == 2);
        CHECK(json_object_get(rules, "-:^" Q "$") != NULL && json_object_get(rules, "-:^" DOWN "$") == NULL);
    } else {
        const json_t *kept = json_object_get(settings, "ignore");
        CHECK(lists(kept, Q) && lists(kept, "lm_head") && !lists(kept, DOWN));
    }
}

/* Groups of 512 columns: ffn_down has them, the other matrices stay what they are in F16. */
static void matrices_stay_floats(void **state)
{
    (void)state;
    static const char *const formats[] = {"awq", "gptq", "compressed-tensors"};
    for (size_t i = 0; i < 3; i++) {
        char dir[4300];
        pare_error err = {0};
        pare_model was, is;
        snprintf(dir, sizeof dir, "%s/kept_%s", temp_dir(), formats[i]);
        CHECK_OK(pack_demo(formats[i], 512, dir, false, &err), &err);
        CHECK(n_heard == 1 && strstr(heard, "12 of 14 matrices stay floats") != NULL);
        CHECK(strstr(heard, "'" Q ".weight'") != NULL && strstr(heard, "groups of 512") != NULL);
        CHECK(strstr(heard, DOWN) == NULL && strstr(heard, ", ...; tensor '") != NULL);
        CHECK(count_of(heard, "'model.layers.") == 10 + 1); /* ten of them, and one with the reason */
        json_t *settings = settings_of(dir);
        check_told(formats[i], settings);
        json_decref(settings);
        CHECK_OK(pare_hf_open(&was, source_path("tests/data/demo"), 0, &err), &err);
        CHECK_OK(pare_hf_open(&is, dir, 0, &err), &err);
        CHECK(is.n_tensors == was.n_tensors);
        const pare_tensor *a = pare_model_find(&was, "blk.1.attn_q.weight"),
                          *b = pare_model_find(&is, "blk.1.attn_q.weight");
        float x[256], y[256];
        CHECK_OK(pare_tensor_read_f32(a, 77, 1, x, &err), &err);
        CHECK_OK(pare_tensor_read_f32(b, 77, 1, y, &err), &err);
        CHECK(b->type == PARE_TYPE_F16 && !b->packed && pare_model_find(&is, "blk.1.ffn_down.weight")->packed);
        for (int c = 0; c < 256; c++)
            CHECK(fabsf(x[c] - y[c]) <= 0x1p-11f * fabsf(x[c]) + 0x1p-24f);
        pare_model_close(&is);
        pare_model_close(&was);
    }
}

/* Once is enough; and a folder in which everything is packed lists no more than it did. */
static void nothing_is_said_without_need(void **state)
{
    (void)state;
    char dir[4300];
    pare_error err = {0};
    snprintf(dir, sizeof dir, "%s/quiet", temp_dir());
    CHECK_OK(pack_demo("gptq", 512, dir, true, &err), &err);
    CHECK(n_heard == 0);
    snprintf(dir, sizeof dir, "%s/all", temp_dir());
    CHECK_OK(pack_demo("gptq", 128, dir, false, &err), &err);
    CHECK(n_heard == 0);
    json_t *settings = settings_of(dir);
    CHECK(json_object_get(settings, "dynamic") == NULL);
    CHECK(json_object_get(settings, "modules_in_block_to_quantize") == NULL);
    json_decref(settings);
    snprintf(dir, sizeof dir, "%s/none", temp_dir());
    struct stat info;
    CHECK(pack_demo("gptq", 1024, dir, false, &err) == PARE_ERR_RANGE && strstr(err.text, "no matrix could") != NULL);
    CHECK(stat(dir, &info) != 0);
}

/* ---- what runtimes unite ---- */

static const float zeros[64 * 64];

static pare_pack_entry entry_of(const char *name, uint64_t rows, uint64_t columns, uint64_t united, bool of_experts)
{
    pare_error err = {0};
    pare_pack_entry e = {.tensor = {.name = name,
                                    .type = PARE_TYPE_F32,
                                    .n_dims = 2,
                                    .dim = {rows, columns},
                                    .data = (const uint8_t *)zeros},
                         .kind = PARE_PACK_MATRIX,
                         .united = united,
                         .of_experts = of_experts};
    CHECK_OK(pare_tensor_set_shape(&e.tensor, "test", &err), &err);
    return e;
}

static pare_status choose(const pare_pack_entry *entries, size_t n, pare_pack *pack, pare_model *hub, pare_error *err)
{
    *pack = (pare_pack){.format = pare_pack_find("awq"), .options = {.bits = 4, .group = 32, .symmetric = -1}};
    *hub = (pare_model){.path = "test"};
    CHECK_OK(pare_model_reserve(hub, 5 * n, err), err);
    for (size_t i = 0; i < n; i++)
        CHECK_OK(pare_pack_note(pack, &entries[i], err), err);
    return pare_pack_all(pack, hub, PARE_TYPE_F16, err);
}

static void united_matrices_stay_together(void **state)
{
    (void)state;
    pare_error err = {0};
    pare_pack pack;
    pare_model hub;
    pare_pack_entry entries[] = {entry_of("l.q.weight", 64, 64, 7, false), entry_of("l.o.weight", 64, 64, 0, false),
                                 entry_of("l.k.weight", 20, 64, 7, false), entry_of("m.q.weight", 64, 64, 8, false),
                                 entry_of("l.v.weight", 32, 64, 7, false), entry_of("l.q.bias", 1, 64, 7, false)};
    entries[5].kind = PARE_PACK_FLOATS; /* is a float in any case, which nobody is told */
    CHECK_OK(choose(entries, 6, &pack, &hub, &err), &err);
    CHECK(strcmp(pack.kept.data, "l.q\nl.k\nl.v\n") == 0);
    CHECK(pack.n_unfit == 3 && pack.n_packed == 2);
    CHECK(pare_model_find(&hub, "l.q.weight") != NULL && pare_model_find(&hub, "l.q.qweight") == NULL);
    CHECK(pare_model_find(&hub, "l.k.weight") != NULL && pare_model_find(&hub, "l.v.weight") != NULL);
    CHECK(pare_model_find(&hub, "l.o.qweight") != NULL && pare_model_find(&hub, "m.q.qweight") != NULL);
    CHECK(pare_model_find(&hub, "l.v.weight")->type == PARE_TYPE_F16);
    pare_pack_close(&pack);
    pare_model_close(&hub);
}

static void experts_are_refused(void **state)
{
    (void)state;
    pare_error err = {0};
    pare_pack pack;
    pare_model hub;
    const pare_pack_entry entries[] = {entry_of("l.0.up.weight", 64, 64, 1, true),
                                       entry_of("l.0.down.weight", 64, 48, 0, true)};
    CHECK(choose(entries, 2, &pack, &hub, &err) == PARE_ERR_RANGE);
    CHECK(strstr(err.text, "'l.0.down.weight'") != NULL && strstr(err.text, "experts all packed") != NULL);
    CHECK(hub.n_tensors == 0);
    pare_pack_close(&pack);
    pare_model_close(&hub);
}

/* ---- the row that is named ---- */

enum { ROWS = 3 * PARE_PACK_UNIT, COLUMNS = 32 };

/* Rows 20 and 40, in two units, are bad. The units are read by two threads; the one that `late` names waits until the
 * other one is done. */
typedef struct duel {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    unsigned late, n_begun, n_done; /* of the late one, of the other */
} duel;

static pare_status read_duel(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    duel *d = (duel *)(uintptr_t)t->ctx;
    float *x = dst;
    (void)err;
    for (uint64_t i = 0; i < n_rows * COLUMNS; i++)
        x[i] = row + i / COLUMNS == 20 || row + i / COLUMNS == 40 ? NAN : 1;
    bool late = row / PARE_PACK_UNIT == d->late;
    pthread_mutex_lock(&d->lock);
    d->n_begun += late;
    pthread_cond_broadcast(&d->moved);
    while (late ? d->n_done == 0 : d->n_begun == 0)
        pthread_cond_wait(&d->moved, &d->lock);
    pthread_mutex_unlock(&d->lock);
    if (late)
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL); /* until the other has noted its error, too */
    return PARE_OK;
}

static void release_duel(const pare_tensor *t, uint64_t row, uint64_t n_rows)
{
    duel *d = (duel *)(uintptr_t)t->ctx;
    (void)n_rows;
    pthread_mutex_lock(&d->lock);
    d->n_done += row / PARE_PACK_UNIT != d->late;
    pthread_cond_broadcast(&d->moved);
    pthread_mutex_unlock(&d->lock);
}

static void put_nothing(const pare_tensor *t, const pare_pack_item *item, uint8_t *whole)
{
    (void)t;
    (void)item;
    (void)whole;
}

typedef struct asking {
    const pare_tensor *tensor;
    pare_error err;
    pare_status st;
} asking;

static void *ask(void *p)
{
    asking *a = p;
    uint8_t row[4 * COLUMNS];
    a->st = pare_tensor_read(a->tensor, 0, 1, row, &a->err);
    return NULL;
}

static void the_first_bad_row_is_named(void **state)
{
    (void)state;
    for (unsigned late = 0; late < 2; late++) {
        duel d = {.late = late};
        pthread_t threads[2];
        asking asked[2] = {0};
        pare_model hub = {.path = "test"};
        pare_error err = {0};
        const pare_group_shape shape = {4, 8, 8};
        pare_tensor weight = {.name = "w",
                              .type = PARE_TYPE_F32,
                              .n_dims = 2,
                              .dim = {ROWS, COLUMNS},
                              .read = read_duel,
                              .release = release_duel,
                              .ctx = &d},
                    made = {.name = "made", .type = PARE_TYPE_I32, .n_dims = 2, .dim = {2, COLUMNS}};
        pthread_mutex_init(&d.lock, NULL);
        pthread_cond_init(&d.moved, NULL);
        CHECK_OK(pare_tensor_set_shape(&weight, "test", &err), &err);
        CHECK_OK(pare_pack_rows(&hub, &made, &weight, COLUMNS, &shape, put_nothing, &err), &err);
        CHECK_OK(pare_model_reserve(&hub, 1, &err), &err);
        CHECK_OK(pare_pack_add(&hub, &made, "made", "", &err), &err);
        for (int i = 0; i < 2; i++) {
            asked[i].tensor = &hub.tensors[0];
            CHECK(pthread_create(&threads[i], NULL, ask, &asked[i]) == 0);
        }
        for (int i = 0; i < 2; i++) {
            pthread_join(threads[i], NULL);
            CHECK(asked[i].st == PARE_ERR_NUMBER);
            if (strstr(asked[i].err.text, "row 20, column 0 ") == NULL)
                fail_msg("%s", asked[i].err.text);
        }
        pare_model_close(&hub);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matrices_stay_floats),          cmocka_unit_test(nothing_is_said_without_need),
        cmocka_unit_test(united_matrices_stay_together), cmocka_unit_test(experts_are_refused),
        cmocka_unit_test(the_first_bad_row_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
