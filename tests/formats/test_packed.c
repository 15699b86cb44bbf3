/* Weights packed as integers, in and out: layouts that the interoperability checks compare with other programs are held
 * here to themselves, and what is bad is refused. */
#include "check.h"
#include "core/bytes.h"
#include "core/half.h"
#include "core/json.h"
#include "formats/hf.h"
#include "formats/open.h"
#include "formats/safetensors.h"
#include "recipe/recipe.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *fresh_path(void)
{
    static char paths[64][4200];
    static unsigned n;
    char *path = paths[n % 64];
    snprintf(path, sizeof paths[0], "%s/packed-%u", temp_dir(), n++);
    return path;
}

/* tests/data/demo (256 wide, 512 in the FFN) packed. */
static const char *pack_demo(const char *format, pare_pack_options options, pare_type dtype)
{
    const char *dir = fresh_path();
    pare_model m;
    pare_error err = {0};
    const pare_hf_write_options how = {.pack = pare_pack_find(format), .pack_options = options};
    CHECK(how.pack != NULL);
    CHECK_OK(pare_hf_open(&m, source_path("tests/data/demo"), 0, &err), &err);
    CHECK_OK(pare_hf_write(&m, dir, dtype, &how, NULL, &err), &err);
    pare_model_close(&m);
    return dir;
}

static float *values_of(const pare_model *m, const char *name, size_t *n)
{
    const pare_tensor *t = pare_model_find(m, name);
    pare_error err = {0};
    CHECK(t != NULL);
    *n = (size_t)(t->n_rows * t->row_len);
    float *x = check_malloc(*n * sizeof *x);
    CHECK_OK(pare_tensor_read_f32(t, 0, t->n_rows, x, &err), &err);
    return x;
}

/* Squared error over squared weights of a matrix. */
static double error_of(const pare_model *m, const pare_model *reference, const char *name)
{
    size_t n = 0, k = 0;
    float *x = values_of(reference, name, &n), *y = values_of(m, name, &k);
    double error = 0, energy = 0;
    CHECK(n == k);
    for (size_t i = 0; i < n; i++) {
        error += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
        energy += (double)x[i] * (double)x[i];
    }
    free(x);
    free(y);
    return error / energy;
}

static const char *const matrices[] = {"blk.0.attn_q.weight", "blk.1.attn_k.weight", "blk.0.attn_output.weight",
                                       "blk.1.ffn_up.weight", "blk.0.ffn_down.weight"};
enum { N_MATRICES = sizeof matrices / sizeof *matrices };

/* Folders of all kinds open with about the error that so many bits cost, in the block type that holds their codes. */
static void folders_come_back(void **state)
{
    (void)state;
    static const struct {
        const char *format;
        pare_pack_options options;
        pare_type type;
        double error;
    } rows[] = {
        {"awq", {0, 0, 0}, PARE_TYPE_Q5_0, 0.012},      {"awq", {4, 32, 0}, PARE_TYPE_Q5_0, 0.008},
        {"awq", {0, -1, 0}, PARE_TYPE_Q5_0, 0.016},     {"awq", {0, 64, 1}, PARE_TYPE_Q4_0, 0.012},
        {"gptq", {0, 0, 0}, PARE_TYPE_Q4_0, 0.014},     {"gptq", {2, 32, 1}, PARE_TYPE_Q4_0, 0.16},
        {"gptq", {2, 32, -1}, PARE_TYPE_Q4_0, 0.16},    {"gptq", {3, 64, 1}, PARE_TYPE_Q4_0, 0.05},
        {"gptq", {3, 128, -1}, PARE_TYPE_Q4_0, 0.05},   {"gptq", {4, -1, 1}, PARE_TYPE_Q4_0, 0.018},
        {"gptq", {8, 128, 1}, PARE_TYPE_Q8_0, 0.00006}, {"gptq", {8, 32, -1}, PARE_TYPE_F32, 0.00006},
    };
    pare_model demo;
    pare_error err = {0};
    CHECK_OK(pare_hf_open(&demo, source_path("tests/data/demo"), 0, &err), &err);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        pare_model m;
        CHECK_OK(pare_hf_open(&m, pack_demo(rows[i].format, rows[i].options, PARE_TYPE_NONE), 0, &err), &err);
        CHECK(m.n_tensors == demo.n_tensors);
        for (size_t k = 0; k < N_MATRICES; k++) {
            double error = error_of(&m, &demo, matrices[k]);
            const pare_tensor *t = pare_model_find(&m, matrices[k]);
            if (t->type != rows[i].type || !t->packed || !(error > 0 && error < rows[i].error))
                fail_msg("%s, row %zu: %s is %s with an error of %g", rows[i].format, i, matrices[k],
                         pare_type_get(t->type)->name, error);
        }
        CHECK(!pare_model_find(&m, "token_embd.weight")->packed);
        pare_model_close(&m);
    }
    pare_model_close(&demo);
}

/* What was packed once is packed again to the same bytes, straight and by way of a GGUF file. */
static void packing_twice_changes_nothing(void **state)
{
    (void)state;
    static const char *const formats[] = {"awq", "gptq"};
    for (size_t i = 0; i < 2; i++) {
        const char *first = pack_demo(formats[i], (pare_pack_options){.group = 64}, PARE_TYPE_NONE),
                   *gguf = fresh_path();
        const pare_hf_write_options how = {.pack = pare_pack_find(formats[i]), .pack_options = {.group = 64}};
        char path[4300];
        size_t n = 0, k = 0;
        pare_model m, g, a;
        pare_error err = {0};
        pare_plan plan;
        CHECK_OK(pare_hf_open(&m, first, 0, &err), &err);
        CHECK_OK(pare_convert(&g, &m, PARE_TYPE_NONE, &plan, &err), &err);
        snprintf(path, sizeof path, "%s.gguf", gguf);
        CHECK_OK(pare_gguf_write(&g, path, &(pare_write_options){0}, NULL, &err), &err);
        CHECK_OK(pare_gguf_open(&a, path, 0, &err), &err);
        const pare_model *sources[] = {&m, &a};
        snprintf(path, sizeof path, "%s/model.safetensors", first);
        uint8_t *bytes = check_read_file(path, &n);
        for (size_t s = 0; s < 2; s++) {
            const char *second = fresh_path();
            CHECK_OK(pare_hf_write(sources[s], second, PARE_TYPE_NONE, &how, NULL, &err), &err);
            snprintf(path, sizeof path, "%s/model.safetensors", second);
            uint8_t *again = check_read_file(path, &k);
            CHECK(n == k && memcmp(bytes, again, n) == 0);
            free(again);
        }
        free(bytes);
        pare_model_close(&a);
        pare_model_close(&g);
        pare_model_close(&m);
    }
}

/* ---- what is bad ---- */

typedef struct change {
    const char *settings;        /* members that replace those of quantization_config */
    const char *end;             /* of the tensors that are dropped, or changed: */
    unsigned cut;                /* by so many rows, or of a vector by elements */
    uint32_t value;              /* their first number becomes this, */
    uint32_t others;             /* and if fill, all others this */
    bool drop, set, fill, as_u8; /* as_u8: their type becomes u8 */
} change;

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), k = strlen(end);
    return n >= k && strcmp(text + n - k, end) == 0;
}

/* Copy t's bytes, changed, to new memory that lives as long as m. */
static void change_tensor(pare_model *m, pare_tensor *t, const change *c)
{
    pare_error err = {0};
    uint8_t *data = pare_arena_alloc(&m->arena, (size_t)t->n_bytes, &err);
    CHECK(data != NULL);
    memcpy(data, t->data, (size_t)t->n_bytes);
    for (size_t i = 0; c->fill && i < t->n_bytes / 4; i++)
        pare_store_u32le(data + 4 * i, c->others);
    if (c->set)
        pare_store_u32le(data, c->value);
    t->data = data;
    t->dim[0] -= c->cut;
    if (c->as_u8) {
        t->type = PARE_TYPE_U8;
        t->dim[t->n_dims - 1] *= 4;
    }
    CHECK_OK(pare_tensor_set_shape(t, "test", &err), &err);
}

static void write_changed(const char *from, const char *to, const change *c)
{
    pare_model m, out = {.path = "test"};
    pare_error err = {0};
    pare_buf text = {0};
    json_t *config = NULL;
    char path[4400];
    const char *names[128];
    CHECK_OK(pare_hf_open(&m, from, PARE_OPEN_RAW, &err), &err);
    CHECK_OK(pare_model_reserve(&out, m.n_tensors, &err), &err);
    for (size_t i = 0; i < m.n_tensors; i++) {
        pare_tensor t = m.tensors[i];
        bool hit = c->end != NULL && ends_with(t.name, c->end);
        if (hit && c->drop)
            continue;
        if (hit)
            change_tensor(&m, &t, c);
        CHECK_OK(pare_model_add(&out, &t, NULL, &err), &err);
    }
    for (size_t i = 0; i < out.n_tensors; i++)
        names[i] = out.tensors[i].name;
    CHECK(mkdir(to, 0777) == 0);
    CHECK_OK(pare_safetensors_write(&out, names, to, 0, NULL, &err), &err);
    snprintf(path, sizeof path, "%s/config.json", from);
    CHECK_OK(pare_json_load(&config, path, 1 << 20, PARE_JSON_BIG_AS_REAL, &err), &err);
    json_t *patch = json_loads(c->settings != NULL ? c->settings : "{}", 0, NULL);
    CHECK(patch != NULL && json_object_update(json_object_get(config, "quantization_config"), patch) == 0);
    CHECK_OK(pare_json_dump(config, &text, &err), &err);
    snprintf(path, sizeof path, "%s/config.json", to);
    check_write_file(path, text.data, text.len);
    json_decref(patch);
    json_decref(config);
    pare_buf_close(&text);
    pare_model_close(&out);
    pare_model_close(&m);
}

static void refuses(const char *from, const change *c, pare_status wanted, const char *words)
{
    const char *dir = fresh_path();
    pare_model m;
    pare_error err = {0};
    write_changed(from, dir, c);
    pare_status st = pare_hf_open(&m, dir, PARE_OPEN_NO_VOCAB, &err);
    if (st != wanted || strstr(err.text, words) == NULL)
        fail_msg("status %d, '%s'; wanted %d and '%s'", (int)st, err.text, (int)wanted, words);
}

static void refuses_bad_gptq(void **state)
{
    (void)state;
    static const struct {
        change change;
        pare_status wanted;
        const char *words;
    } rows[] = {
        {{.settings = "{\"bits\":5}"}, PARE_ERR_UNSUPPORTED, "'bits' is 5"},
        {{.settings = "{\"bits\":0}"}, PARE_ERR_RANGE, "bits"},
        {{.settings = "{\"bits\":\"4\"}"}, PARE_ERR_FORMAT, "bits"},
        {{.settings = "{\"bits\":8}"}, PARE_ERR_RANGE, "rows of"},
        {{.settings = "{\"group_size\":0}"}, PARE_ERR_RANGE, "group_size"},
        {{.settings = "{\"group_size\":-2}"}, PARE_ERR_RANGE, "group_size"},
        {{.settings = "{\"group_size\":48}"}, PARE_ERR_RANGE, "groups of 48 columns"},
        {{.settings = "{\"group_size\":32}"}, PARE_ERR_RANGE, "has 8 rows of 32 i32, where"},
        {{.settings = "{\"checkpoint_format\":\"marlin\"}"}, PARE_ERR_UNSUPPORTED, "'marlin'"},
        {{.settings = "{\"dynamic\":{\"+:.*q_proj\":{\"bits\":8}}}"}, PARE_ERR_UNSUPPORTED, "q_proj"},
        {{.settings = "{\"quant_method\":\"exotic\"}"}, PARE_ERR_UNSUPPORTED, "'exotic'"},
        {{.end = "0.mlp.up_proj.scales", .drop = true}, PARE_ERR_FORMAT, "1 tensors"},
        {{.end = "0.mlp.up_proj.qzeros", .drop = true},
         PARE_ERR_FORMAT,
         "missing: 'model.layers.0.mlp.up_proj.qzeros'"},
        {{.end = ".mlp.up_proj.scales", .drop = true},
         PARE_ERR_FORMAT,
         "are missing: 'model.layers.0.mlp.up_proj.scales', 'model.layers.1.mlp.up_proj.scales'"},
        {{.end = "0.mlp.up_proj.qweight", .drop = true}, PARE_ERR_FORMAT, "up_proj.weight"},
        {{.end = "0.mlp.up_proj.scales", .cut = 1}, PARE_ERR_RANGE, "where the settings ask for 4 of 512"},
        {{.end = "0.mlp.up_proj.qzeros", .cut = 1}, PARE_ERR_RANGE, "where the settings ask for 4 of 64"},
        {{.end = "0.mlp.up_proj.qweight", .cut = 8}, PARE_ERR_RANGE, "up_proj"},
        {{.end = "0.mlp.up_proj.qweight", .as_u8 = true}, PARE_ERR_RANGE, "no matrix of i32"},
        {{.end = "0.mlp.up_proj.g_idx", .cut = 1}, PARE_ERR_RANGE, "255 i32"},
        {{.end = "0.mlp.up_proj.g_idx", .set = true, .value = 4}, PARE_ERR_RANGE, "column 0 is in group 4 of 4"},
        {{.end = "0.mlp.up_proj.g_idx", .set = true, .value = UINT32_MAX}, PARE_ERR_RANGE, "group -1 of 4"},
    };
    const char *good = pack_demo("gptq", (pare_pack_options){.group = 64}, PARE_TYPE_NONE);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        refuses(good, &rows[i].change, rows[i].wanted, rows[i].words);
}

static void refuses_bad_awq(void **state)
{
    (void)state;
    static const struct {
        change change;
        pare_status wanted;
        const char *words;
    } rows[] = {
        {{.settings = "{\"bits\":3}"}, PARE_ERR_UNSUPPORTED, "'bits' is 3"},
        {{.settings = "{\"group_size\":96}"}, PARE_ERR_RANGE, "groups of 96 columns"},
        {{.settings = "{\"version\":\"marlin\"}"}, PARE_ERR_UNSUPPORTED, "'marlin'"},
        {{.settings = "{\"version\":\"gemv\"}"}, PARE_ERR_RANGE, "rows of"},
        {{.settings = "{\"version\":7}"}, PARE_ERR_FORMAT, "version"},
        {{.end = "1.self_attn.k_proj.scales", .drop = true},
         PARE_ERR_FORMAT,
         "are missing: 'model.layers.1.self_attn.k_proj.scales'"},
        {{.end = "1.self_attn.k_proj.qzeros", .cut = 2}, PARE_ERR_RANGE, "where the settings ask for 4 of 16"},
        {{.end = "1.self_attn.k_proj.qweight", .cut = 64}, PARE_ERR_RANGE, "k_proj"},
    };
    const char *good = pack_demo("awq", (pare_pack_options){.group = 64}, PARE_TYPE_NONE);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        refuses(good, &rows[i].change, rows[i].wanted, rows[i].words);
}

/* Columns in any order of groups: act-order. Values are those of the table, and no block type holds them. */
static void takes_groups_in_any_order(void **state)
{
    (void)state;
    const char *good = pack_demo("gptq", (pare_pack_options){.group = 64}, PARE_TYPE_NONE), *dir = fresh_path();
    pare_model m, turned;
    pare_error err = {0};
    size_t n = 0;
    write_changed(good, dir, &(change){.end = "0.mlp.up_proj.g_idx", .set = true, .value = 3});
    CHECK_OK(pare_hf_open(&m, good, PARE_OPEN_NO_VOCAB, &err), &err);
    CHECK_OK(pare_hf_open(&turned, dir, PARE_OPEN_NO_VOCAB, &err), &err);
    CHECK(pare_model_find(&turned, "blk.0.ffn_up.weight")->type == PARE_TYPE_F32);
    CHECK(pare_model_find(&turned, "blk.0.ffn_up.weight")->packed);
    CHECK(pare_model_find(&turned, "blk.1.ffn_up.weight")->type == PARE_TYPE_Q4_0);
    float *x = values_of(&m, "blk.0.ffn_up.weight", &n), *y = values_of(&turned, "blk.0.ffn_up.weight", &n);
    pare_model raw;
    CHECK_OK(pare_hf_open(&raw, good, PARE_OPEN_RAW, &err), &err);
    const pare_tensor *scales = pare_model_find(&raw, "model.layers.0.mlp.up_proj.scales");
    for (size_t row = 0; row < 512; row++) {
        float s0 = pare_f16_to_f32(pare_load_u16le(scales->data + 2 * row)),
              s3 = pare_f16_to_f32(pare_load_u16le(scales->data + 2 * (3 * 512 + row)));
        CHECK(y[row * 256] == x[row * 256] / s0 * s3); /* a small integer times s0: the quotient is exact */
        CHECK(memcmp(x + row * 256 + 1, y + row * 256 + 1, 255 * sizeof *x) == 0);
    }
    free(x);
    free(y);
    pare_model_close(&raw);
    pare_model_close(&turned);
    pare_model_close(&m);
}

/* One zero point decides which block holds all codes. */
static void zero_points_set_the_type(void **state)
{
    (void)state;
    static const struct {
        const char *format;
        pare_pack_options options;
        const char *end;
        uint32_t others, value;
        pare_type type;
    } rows[] = {
        {"gptq", {.group = 64}, "0.mlp.up_proj.qzeros", 0x77777777, 0x77777777, PARE_TYPE_Q4_0},
        {"gptq", {.group = 64}, "0.mlp.up_proj.qzeros", 0x77777777, 0x77777778, PARE_TYPE_Q5_0}, /* 9: codes from -9 */
        {"gptq", {.group = 64}, "0.mlp.up_proj.qzeros", 0x77777777, 0x77777776, PARE_TYPE_Q5_0}, /* 7: codes to 8 */
        {"gptq", {.group = 64}, "0.mlp.up_proj.qzeros", 0xffffffff, 0xffffffff, PARE_TYPE_Q5_0}, /* 16, as kernels add
                                                                                                  */
        {"awq", {.group = 64}, "0.mlp.up_proj.qzeros", 0x88888888, 0x88888888, PARE_TYPE_Q4_0},
        {"awq", {.group = 64}, "0.mlp.up_proj.qzeros", 0x88888888, 0x88888889, PARE_TYPE_Q5_0},
        {"awq", {.group = 64}, "0.mlp.up_proj.qzeros", 0x88888888, 0x88888887, PARE_TYPE_Q5_0},
        {"compressed-tensors",
         {.group = 64, .symmetric = -1},
         "0.mlp.up_proj.weight_zero_point",
         0x88888888,
         0x88888888,
         PARE_TYPE_Q4_0},
        {"compressed-tensors",
         {.group = 64, .symmetric = -1},
         "0.mlp.up_proj.weight_zero_point",
         0x88888888,
         0x88788888,
         PARE_TYPE_Q5_0}, /* of row 5 */
        {"compressed-tensors",
         {.group = 64, .symmetric = -1},
         "0.mlp.up_proj.weight_zero_point",
         0x88888888,
         0x88988888,
         PARE_TYPE_Q5_0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *good = pack_demo(rows[i].format, rows[i].options, PARE_TYPE_NONE), *dir = fresh_path();
        const change c = {
            .end = rows[i].end, .fill = true, .others = rows[i].others, .set = true, .value = rows[i].value};
        pare_model m;
        pare_error err = {0};
        write_changed(good, dir, &c);
        CHECK_OK(pare_hf_open(&m, dir, PARE_OPEN_NO_VOCAB, &err), &err);
        pare_type type = pare_model_find(&m, "blk.0.ffn_up.weight")->type;
        if (type != rows[i].type)
            print_error("row %zu: type %d\n", i, (int)type);
        CHECK(type == rows[i].type);
        pare_model_close(&m);
    }
}

static void refuses_to_pack_what_does_not_fit(void **state)
{
    (void)state;
    static const struct {
        const char *format;
        pare_pack_options options;
        pare_status wanted;
        const char *words;
    } rows[] = {
        {"awq", {.bits = 8}, PARE_ERR_USAGE, "4 bits"},
        {"gptq", {.bits = 5}, PARE_ERR_USAGE, "2, 3, 4 or 8"},
        {"gptq", {.group = 96}, PARE_ERR_RANGE, "groups of 96"},
        {"awq", {.group = 16}, PARE_ERR_RANGE, "multiple of 32"},
    };
    pare_model m;
    pare_error err = {0};
    CHECK_OK(pare_hf_open(&m, source_path("tests/data/demo"), 0, &err), &err);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *dir = fresh_path();
        const pare_hf_write_options how = {.pack = pare_pack_find(rows[i].format), .pack_options = rows[i].options};
        struct stat info;
        CHECK(pare_hf_write(&m, dir, PARE_TYPE_NONE, &how, NULL, &err) == rows[i].wanted);
        CHECK(strstr(err.text, rows[i].words) != NULL);
        CHECK(stat(dir, &info) != 0);
    }
    pare_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folders_come_back),
        cmocka_unit_test(packing_twice_changes_nothing),
        cmocka_unit_test(zero_points_set_the_type),
        cmocka_unit_test(refuses_bad_gptq),
        cmocka_unit_test(refuses_bad_awq),
        cmocka_unit_test(takes_groups_in_any_order),
        cmocka_unit_test(refuses_to_pack_what_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
