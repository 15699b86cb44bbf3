/* Folders that other packages packed (tests/packed/make.py): every matrix must be what the package says, bit for bit.
 */
#include "check.h"
#include "core/hash.h"
#include "core/json.h"
#include "formats/packed.h"
#include "formats/safetensors.h"
#include "quant/registry.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_MATRICES = 7 };

/* Which types the matrices come in, where that is more than a float. */
static const struct {
    const char *folder;
    pare_type type;
} types[] = {
    {"ct_w4", PARE_TYPE_Q4_0},       {"ct_w4_asymmetric", PARE_TYPE_Q5_0},
    {"ct_w8", PARE_TYPE_Q8_0},       {"ct_int8", PARE_TYPE_Q8_0},
    {"ct_nvfp4", PARE_TYPE_NVFP4},   {"modelopt_nvfp4", PARE_TYPE_NVFP4},
    {"ct_mxfp4", PARE_TYPE_MXFP4},   {"ct_mxfp8", PARE_TYPE_BF16},
    {"ct_mxfp6", PARE_TYPE_BF16},    {"fp8_tile_exponent", PARE_TYPE_BF16},
    {"bitnet_auto", PARE_TYPE_BF16}, {"ct_int8_asymmetric", PARE_TYPE_NONE}, /* as its zero points are */
};

typedef struct folder {
    pare_model model;
    pare_arena arena;
    json_t *config;
} folder;

/* config: 4300 bytes for the path of config.json */
static void load_folder(folder *f, const char *dir, char *config, pare_error *err)
{
    char path[4300];
    *f = (folder){0};
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    snprintf(config, 4300, "%s/config.json", dir);
    CHECK_OK(pare_safetensors_open(&f->model, path, err), err);
    CHECK_OK(pare_json_load(&f->config, config, 1 << 20, PARE_JSON_BIG_AS_REAL, err), err);
}

static void close_folder(folder *f)
{
    pare_model_close(&f->model);
    pare_arena_close(&f->arena);
    json_decref(f->config);
}

/* SHA-256 of t's values, rows read in an order and in pieces of their own; -0 counts as 0. */
static void digest_of(const pare_tensor *t, char *hex)
{
    pare_error err = {0};
    size_t n = (size_t)(t->n_rows * t->row_len);
    float *x = check_malloc(n * sizeof *x);
    pare_digest digest;
    for (uint64_t row = t->n_rows; row > 0;) {
        uint64_t take = row % 5 + 1 < row ? row % 5 + 1 : row;
        row -= take;
        CHECK_OK(pare_tensor_read_f32(t, row, take, x + row * t->row_len, &err), &err);
    }
    for (size_t i = 0; i < n; i++)
        x[i] += 0.0f;
    CHECK_OK(pare_hash_bytes(x, n * sizeof *x, PARE_HASH_BOTH, &digest, &err), &err);
    for (size_t i = 0; i < sizeof digest.sha256; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest.sha256[i]);
    free(x);
}

static void expect_type(const char *name, pare_type found)
{
    pare_type wanted = PARE_TYPE_F32;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].folder, name) == 0)
            wanted = types[i].type;
    if (found != wanted && wanted != PARE_TYPE_NONE)
        print_error("%s: type %s, expected %s\n", name, pare_type_get(found)->name, pare_type_get(wanted)->name);
    CHECK(found == wanted || wanted == PARE_TYPE_NONE);
}

static void check_folder(const char *name)
{
    char path[4200], config[4300], want[65], module[256], tensor[512], got[65];
    folder f;
    pare_error err = {0};
    size_t n = 0, n_biases = 0;
    snprintf(path, sizeof path, "tests/packed/%s", name);
    load_folder(&f, source_path(path), config, &err);
    for (size_t i = 0; i < f.model.n_tensors; i++)
        n_biases += strstr(f.model.tensors[i].name, ".bias") != NULL;
    CHECK_OK(pare_packed_open(&f.model, &f.arena, source_path(path), f.config, config, &err), &err);
    CHECK(f.model.n_tensors == N_MATRICES + 4 + n_biases); /* nothing but weights and biases is left */
    snprintf(path, sizeof path, "tests/packed/%s/weights.sha256", name);
    FILE *list = fopen(source_path(path), "r");
    CHECK(list != NULL);
    for (; fscanf(list, "%64s %255s", want, module) == 2; n++) {
        snprintf(tensor, sizeof tensor, "model.layers.0.%s.weight", module);
        const pare_tensor *t = pare_model_find(&f.model, tensor);
        CHECK(t != NULL);
        digest_of(t, got);
        if (strcmp(got, want) != 0)
            print_error("%s: %s differs\n", name, module);
        CHECK(strcmp(got, want) == 0);
        expect_type(name, t->type);
    }
    CHECK(n == N_MATRICES);
    fclose(list);
    close_folder(&f);
}

static void every_folder(void **state)
{
    (void)state;
    int n = 0;
    DIR *dir = opendir(source_path("tests/packed"));
    CHECK(dir != NULL);
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir))
        if (strchr(e->d_name, '.') == NULL && strncmp(e->d_name, "__", 2) != 0) {
            check_folder(e->d_name);
            n++;
        }
    closedir(dir);
    CHECK(n >= 27);
}

/* ---- what must be refused ---- */

/* The folder with one tensor removed, or given other dimensions, and settings replaced. */
typedef struct damage {
    const char *folder;
    const char *tensor;   /* NULL: none */
    uint64_t dim[2];      /* of as many elements or fewer; 0: the tensor is removed */
    const char *settings; /* members of quantization_config; NULL: as they are */
    pare_status status;
    const char *says[2];
} damage;

#define Q "model.layers.0.self_attn.q_proj."

static const damage damages[] = {
    {"ct_w4", Q "weight_scale", {0}, NULL, PARE_ERR_FORMAT, {"are missing: '" Q "weight_scale'", "1 tensors"}},
    {"ct_w4", Q "weight_scale", {64, 1}, NULL, PARE_ERR_RANGE, {"'group_size' is 32", "groups of 64"}},
    {"ct_w4",
     Q "weight_scale",
     {3, 5},
     NULL,
     PARE_ERR_RANGE,
     {Q "weight_scale' of 3 rows of 5", "64 rows of 64 weights"}},
    {"ct_w4", Q "weight_shape", {0}, NULL, PARE_ERR_FORMAT, {"are missing: '" Q "weight_shape'", ""}},
    {"ct_w4", Q "weight_packed", {32, 8}, NULL, PARE_ERR_RANGE, {"64 rows of 64 weights", "32 rows of 8 words"}},
    {"ct_w4",
     NULL,
     {0},
     "{\"config_groups\": {\"a\": {\"weights\": {\"num_bits\": 5}}}}",
     PARE_ERR_RANGE,
     {"16 words a row of 128", "says 5"}},
    {"ct_w4", NULL, {0}, "{\"config_groups\": {}}", PARE_ERR_FORMAT, {"'config_groups'", "1 to 64"}},
    {"ct_w4",
     NULL,
     {0},
     "{\"config_groups\": {\"a\": {\"weights\": {\"num_bits\": 99}}}}",
     PARE_ERR_RANGE,
     {"num_bits", "99"}},
    {"ct_w4",
     NULL,
     {0},
     "{\"transform_config\": {\"config_groups\": {\"u\": {}}}}",
     PARE_ERR_UNSUPPORTED,
     {"transform_config", ""}},
    {"ct_w4",
     NULL,
     {0},
     "{\"sparsity_config\": {\"format\": \"sparse-24-bitmask\"}}",
     PARE_ERR_UNSUPPORTED,
     {"sparse-24-bitmask", "dense"}},
    {"ct_w4_asymmetric",
     Q "weight_zero_point",
     {4, 2},
     NULL,
     PARE_ERR_RANGE,
     {Q "weight_zero_point' of 4 rows of 2 i32", "groups of 32"}},
    {"ct_fp8_block", Q "weight_scale", {1, 1}, NULL, PARE_OK, {NULL}},
    {"ct_fp8_block", Q "weight_scale", {3, 1}, NULL, PARE_ERR_RANGE, {"3 rows of 1 scales", "64 rows of 64 codes"}},
    {"ct_nvfp4", Q "weight_scale", {64, 3}, NULL, PARE_ERR_RANGE, {"64 rows of 3 scales", "64 rows of 64 codes"}},
    {"ct_nvfp4", Q "weight_packed", {31, 32}, NULL, PARE_ERR_RANGE, {"scales does not go with", "31 rows"}},
    {"fp8_tile", NULL, {0}, "{\"weight_block_size\": [0, 128]}", PARE_ERR_RANGE, {"weight_block_size", "two numbers"}},
    {"fp8_tile",
     NULL,
     {0},
     "{\"weight_block_size\": [128, 128]}",
     PARE_ERR_RANGE,
     {"2 rows of 4 scales", "64 rows of 128"}},
    {"fp8_tile", Q "weight_scale_inv", {0}, NULL, PARE_ERR_FORMAT, {Q "weight' has type f8_e4m3", "no scale"}},
    {"bnb_nf4", Q "weight.absmax", {1, 63}, NULL, PARE_ERR_RANGE, {"63 elements", "expected 64"}},
    {"bnb_nf4", Q "weight.quant_map", {0}, NULL, PARE_ERR_FORMAT, {"are missing: '" Q "weight.quant_map'", ""}},
    {"bnb_nf4", Q "weight", {1, 2047}, NULL, PARE_ERR_RANGE, {"2047 bytes", "64 rows of 64"}},
    {"bnb_nf4", Q "weight.quant_state.bitsandbytes__nf4", {0}, NULL, PARE_ERR_FORMAT, {Q "weight'", "quant_state"}},
    {"bnb_nf4_nested", Q "weight.nested_absmax", {1, 0}, NULL, PARE_ERR_RANGE, {"expected 1", "f32"}},
    {"bnb_int8", Q "SCB", {1, 63}, NULL, PARE_ERR_RANGE, {"63 scales", "64 rows of 64 codes"}},
    {"bitnet", Q "weight_scale", {0}, NULL, PARE_ERR_FORMAT, {"are missing: '" Q "weight_scale'", ""}},
    {"bitnet", NULL, {0}, "{\"linear_class\": \"other\"}", PARE_ERR_UNSUPPORTED, {"linear_class", "'other'"}},
    {"bitnet_auto", NULL, {0}, "{\"quantization_mode\": \"online\"}", PARE_ERR_UNSUPPORTED, {"'online'", "ternary"}},
    {"bitnet", NULL, {0}, "{\"quant_method\": \"exl2\"}", PARE_ERR_UNSUPPORTED, {"EXL2 (ExLlamaV2)", "not decoded"}},
    {"bitnet", NULL, {0}, "{\"quant_method\": \"of_1999\"}", PARE_ERR_UNSUPPORTED, {"'of_1999'", "not supported"}},
};

static void damage_tensor(pare_model *m, const damage *d)
{
    pare_model kept = {.files = m->files, .n_files = m->n_files};
    pare_error err = {0};
    CHECK_OK(pare_model_reserve(&kept, m->n_tensors, &err), &err);
    bool removed = d->dim[0] == 0;
    for (size_t i = 0; i < m->n_tensors; i++) {
        pare_tensor t = m->tensors[i];
        if (strcmp(t.name, d->tensor) == 0) {
            t.n_dims = 2;
            memcpy(t.dim, d->dim, sizeof d->dim);
            CHECK_OK(pare_tensor_set_shape(&t, "test", &err), &err);
            CHECK(t.n_bytes <= m->tensors[i].n_bytes);
            if (removed)
                continue;
        }
        CHECK_OK(pare_model_add(&kept, &t, NULL, &err), &err);
    }
    CHECK(kept.n_tensors == m->n_tensors - removed);
    m->files = NULL;
    m->n_files = 0;
    pare_model_close(m);
    *m = kept;
}

static void refuses_damage(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        const damage *d = &damages[i];
        char dir[4200], config[4300];
        folder f = {0};
        pare_error err = {0};
        snprintf(dir, sizeof dir, "tests/packed/%s", d->folder);
        load_folder(&f, source_path(dir), config, &err);
        if (d->tensor != NULL)
            damage_tensor(&f.model, d);
        if (d->settings != NULL) {
            json_t *settings = json_object_get(f.config, "quantization_config"), *other = NULL;
            CHECK_OK(pare_json_parse(&other, "test", d->settings, strlen(d->settings), 0, &err), &err);
            CHECK(json_object_update(settings, other) == 0);
            json_decref(other);
        }
        pare_status st = pare_packed_open(&f.model, &f.arena, temp_dir(), f.config, config, &err);
        bool said = st != PARE_OK && strstr(err.text, d->says[0]) != NULL && strstr(err.text, d->says[1]) != NULL;
        if (st != d->status || (st != PARE_OK && !said))
            print_error("%s, case %zu: status %d: %s\n", d->folder, i, (int)st, err.text);
        CHECK(st == d->status);
        CHECK(st == PARE_OK || said);
        close_folder(&f);
    }
}

/* Without settings, what tensors are called tells what packed them. */
static void traces_are_named(void **state)
{
    (void)state;
    const char *const names[][2] = {{"model.layers.0.mlp.up_proj.q_weight", "EXL2"},
                                    {"model.layers.0.mlp.up_proj.trellis", "EXL3"},
                                    {"model.layers.0.mlp.up_proj.qweight", "GPTQ or AWQ"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const float data[1] = {0};
        pare_tensor t = {.name = names[i][0], .n_dims = 1, .dim = {1}, .data = (const uint8_t *)data};
        pare_model m = {0};
        pare_arena arena = {0};
        pare_error err = {0};
        json_t *config = json_object();
        CHECK_OK(pare_tensor_set_shape(&t, "test", &err), &err);
        CHECK_OK(pare_model_reserve(&m, 1, &err), &err);
        CHECK_OK(pare_model_add(&m, &t, NULL, &err), &err);
        CHECK(pare_packed_open(&m, &arena, temp_dir(), config, "config.json", &err) == PARE_ERR_UNSUPPORTED);
        CHECK(strstr(err.text, names[i][0]) != NULL && strstr(err.text, names[i][1]) != NULL);
        pare_model_close(&m);
        pare_arena_close(&arena);
        json_decref(config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_folder),
        cmocka_unit_test(refuses_damage),
        cmocka_unit_test(traces_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
