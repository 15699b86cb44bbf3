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

static pare_status open_folder(folder *f, const char *dir, pare_error *err)
{
    char path[4200], config[4200];
    *f = (folder){0};
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    snprintf(config, sizeof config, "%s/config.json", dir);
    CHECK_OK(pare_safetensors_open(&f->model, path, err), err);
    CHECK_OK(pare_json_load(&f->config, config, 1 << 20, true, err), err);
    return pare_packed_open(&f->model, &f->arena, dir, f->config, config, err);
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
    char path[4200], want[65], module[256], tensor[512], got[65];
    folder f;
    pare_error err = {0};
    size_t n = 0;
    snprintf(path, sizeof path, "tests/packed/%s", name);
    CHECK_OK(open_folder(&f, source_path(path), &err), &err);
    CHECK(f.model.n_tensors == N_MATRICES + 4); /* nothing but weights is left */
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
    CHECK(n >= 24);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
