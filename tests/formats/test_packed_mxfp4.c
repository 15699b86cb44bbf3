#include "check.h"
#include "core/hash.h"
#include "formats/hf.h"
#include "formats/packed.h"
#include "quant/registry.h"
#include "recipe/recipe.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXPERTS = 2, ROWS = 3, BLOCKS = 2, IN = 32 * BLOCKS };

static const double levels[16] = {0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6};

typedef struct toy {
    uint8_t blocks[EXPERTS][ROWS][BLOCKS][16], scales[EXPERTS][ROWS][BLOCKS];
    pare_model raw;
    pare_arena arena;
    json_t *config;
} toy;

static void put(toy *t, const char *name, const uint8_t *data, uint32_t n_dims, const uint64_t *dim)
{
    pare_error err = {0};
    pare_tensor made = {.name = name, .type = PARE_TYPE_U8, .n_dims = n_dims, .data = data};
    memcpy(made.dim, dim, n_dims * sizeof *dim);
    CHECK_OK(pare_tensor_set_shape(&made, "toy", &err), &err);
    CHECK_OK(pare_model_add(&t->raw, &made, NULL, &err), &err);
}

static void open_toy(toy *t, bool with_scales, uint64_t n_scales)
{
    pare_error err = {0};
    uint32_t seed = 1;
    *t = (toy){.config = json_loads("{\"quantization_config\":{\"quant_method\":\"mxfp4\"}}", 0, NULL)};
    for (size_t i = 0; i < sizeof t->blocks; i++)
        (&t->blocks[0][0][0][0])[i] = (uint8_t)((seed = seed * 1664525u + 1013904223u) >> 24);
    for (size_t i = 0; i < sizeof t->scales; i++)
        (&t->scales[0][0][0])[i] = (uint8_t)(120 + i);
    CHECK_OK(pare_model_reserve(&t->raw, 4, &err), &err);
    put(t, "experts.w_blocks", &t->blocks[0][0][0][0], 4, (const uint64_t[]){EXPERTS, ROWS, BLOCKS, 16});
    if (with_scales)
        put(t, "experts.w_scales", &t->scales[0][0][0], 3, (const uint64_t[]){EXPERTS, ROWS, n_scales});
    put(t, "other_scales", &t->scales[0][0][0], 1, (const uint64_t[]){4}); /* of nothing */
}

static void close_toy(toy *t)
{
    pare_model_close(&t->raw);
    pare_arena_close(&t->arena);
    json_decref(t->config);
}

static void unpacks_blocks_without_rounding(void **state)
{
    (void)state;
    toy t;
    pare_error err = {0};
    float x[EXPERTS * ROWS][IN];
    open_toy(&t, true, BLOCKS);
    CHECK_OK(pare_packed_open(&t.raw, &t.arena, "toy", t.config, "toy/config.json", &err), &err);
    CHECK(t.raw.n_tensors == 2 && pare_model_find(&t.raw, "other_scales") != NULL);
    const pare_tensor *w = pare_model_find(&t.raw, "experts.w");
    CHECK(w != NULL && w->type == PARE_TYPE_MXFP4 && w->n_dims == 3);
    CHECK(w->dim[0] == EXPERTS && w->dim[1] == ROWS && w->dim[2] == IN);
    CHECK_OK(pare_tensor_read_f32(w, 0, EXPERTS * ROWS, &x[0][0], &err), &err);
    for (int r = 0; r < EXPERTS * ROWS; r++)
        for (int c = 0; c < IN; c++) {
            int byte = t.blocks[r / ROWS][r % ROWS][c / 32][c % 32 / 2];
            double scale = ldexp(1, t.scales[r / ROWS][r % ROWS][c / 32] - 127);
            CHECK((double)x[r][c] == levels[c % 2 ? byte >> 4 : byte & 15] * scale);
        }
    t.scales[1][2][1] = 255; /* not a number */
    CHECK(pare_tensor_read_f32(w, 5, 1, &x[0][0], &err) == PARE_ERR_NUMBER && strstr(err.text, "experts.w") != NULL);
    close_toy(&t);
}

static void refuses_shapes_that_contradict(void **state)
{
    (void)state;
    toy t;
    pare_error err = {0};
    open_toy(&t, false, 0);
    CHECK(pare_packed_open(&t.raw, &t.arena, "toy", t.config, "toy/config.json", &err) == PARE_ERR_FORMAT);
    CHECK(strstr(err.text, "experts.w_scales") != NULL);
    close_toy(&t);
    open_toy(&t, true, BLOCKS - 1);
    CHECK(pare_packed_open(&t.raw, &t.arena, "toy", t.config, "toy/config.json", &err) == PARE_ERR_RANGE);
    CHECK(strstr(err.text, "experts.w_scales") != NULL && strstr(err.text, "experts.w_blocks") != NULL);
    close_toy(&t);
    open_toy(&t, true, BLOCKS);
    t.raw.tensors[0].dim[2] *= 2; /* blocks of 8 bytes */
    t.raw.tensors[0].dim[3] /= 2;
    CHECK(pare_packed_open(&t.raw, &t.arena, "toy", t.config, "toy/config.json", &err) == PARE_ERR_RANGE);
    CHECK(strstr(err.text, "experts.w_blocks") != NULL);
    close_toy(&t);
}

/* The bytes of every MXFP4 tensor and the place of each as stock's converter writes them. */
static void gpt_oss_keeps_every_bit(void **state)
{
    (void)state;
    pare_model hub, m;
    pare_plan plan = {0};
    pare_error err = {0};
    size_t n = 0, at = 0, n_packed = 0;
    char *witness = (char *)check_read_file(shared_path("oracle/models/gpt_oss_mxfp4/gguf_meta.txt"), &n);
    witness = realloc(witness, n + 1);
    witness[n] = '\0';
    CHECK_OK(pare_hf_open(&hub, shared_path("oracle/models/gpt_oss_mxfp4"), 0, &err), &err);
    CHECK_OK(pare_convert(&m, &hub, PARE_TYPE_NONE, &plan, &err), &err);
    const pare_meta_value *type = pare_meta_find(&m.meta, "general.file_type");
    CHECK(type != NULL && type->v.u == 38);
    char *line = strstr(witness, "# tensors");
    for (line = strtok(strchr(line, '\n'), "\n"); line != NULL; line = strtok(NULL, "\n"), at++) {
        const pare_tensor *t = &m.tensors[at];
        pare_digest digest;
        char hex[PARE_SHA256_HEX];
        CHECK(at < m.n_tensors && strncmp(line, t->name, strlen(t->name)) == 0);
        if (t->type != PARE_TYPE_MXFP4)
            continue;
        uint8_t *bytes = check_malloc((size_t)t->n_bytes);
        CHECK_OK(pare_tensor_read(t, 0, t->n_rows, bytes, &err), &err);
        CHECK_OK(pare_hash_bytes(bytes, (size_t)t->n_bytes, PARE_HASH_SHA256, &digest, &err), &err);
        pare_hex(hex, digest.sha256, sizeof digest.sha256);
        CHECK(strstr(line, " MXFP4 ") != NULL && strcmp(line + strlen(line) - 64, hex) == 0);
        free(bytes);
        n_packed++;
    }
    CHECK(at == m.n_tensors && n_packed == 12);
    free(witness);
    pare_model_close(&m);
    pare_model_close(&hub);
}

/* From the folder, and from a GGUF file, the folder that the weights came from; BF16 experts as they are quantized. */
static void goes_out_as_it_came(void **state)
{
    (void)state;
    pare_model hub, m;
    pare_plan plan = {0};
    pare_error err = {0};
    char dir[4200], path[4300];
    const pare_hf_write_options options = {.force = true, .pack = pare_pack_find("mxfp4-experts")};
    size_t n[2] = {0};
    uint8_t *want = check_read_file(shared_path("oracle/models/gpt_oss_mxfp4/model.safetensors"), &n[0]);
    snprintf(dir, sizeof dir, "%s/out", temp_dir());
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    CHECK_OK(pare_hf_open(&hub, shared_path("oracle/models/gpt_oss_mxfp4"), 0, &err), &err);
    CHECK_OK(pare_convert(&m, &hub, PARE_TYPE_NONE, &plan, &err), &err);
    for (int derived = 0; derived < 2; derived++) {
        CHECK_OK(pare_hf_write(derived ? &m : &hub, dir, PARE_TYPE_NONE, &options, NULL, &err), &err);
        uint8_t *got = check_read_file(path, &n[1]);
        CHECK(n[0] == n[1] && memcmp(got, want, n[0]) == 0);
        free(got);
    }
    pare_model_close(&m);
    pare_model_close(&hub);
    free(want);
    CHECK_OK(pare_hf_open(&hub, shared_path("oracle/models/gpt_oss"), 0, &err), &err);
    CHECK_OK(pare_hf_write(&hub, dir, PARE_TYPE_NONE, &options, NULL, &err), &err);
    CHECK_OK(pare_hf_open(&m, dir, 0, &err), &err);
    const pare_tensor *from = pare_model_find(&hub, "blk.1.ffn_up_exps.weight");
    const pare_tensor *to = pare_model_find(&m, "blk.1.ffn_up_exps.weight");
    float x[64];
    uint8_t wanted[34], got[34];
    for (uint64_t row = 0; row < 256; row += 37) {
        CHECK_OK(pare_tensor_read_f32(from, row, 1, x, &err), &err);
        CHECK_OK(pare_encode_rows(PARE_TYPE_MXFP4, x, 1, 64, NULL, PARE_EFFORT_DEFAULT, wanted, &err), &err);
        CHECK(to->type == PARE_TYPE_MXFP4);
        CHECK_OK(pare_tensor_read(to, row, 1, got, &err), &err);
        CHECK(memcmp(got, wanted, sizeof got) == 0);
    }
    pare_model_close(&m);
    pare_model_close(&hub);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unpacks_blocks_without_rounding),
        cmocka_unit_test(refuses_shapes_that_contradict),
        cmocka_unit_test(gpt_oss_keeps_every_bit),
        cmocka_unit_test(goes_out_as_it_came),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
