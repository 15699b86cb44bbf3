/* Folders that other packages packed, opened and packed again: the same weights, and the same bytes where the format
 * leaves no choice. And what the rounding of F8_E4M3 is. */
#include "check.h"
#include "core/bytes.h"
#include "core/half.h"
#include "core/json.h"
#include "formats/hf.h"
#include "formats/open.h"
#include "formats/safetensors.h"
#include "quant/f8_fit.h"
#include "quant/minifloat.h"
#include "quant/registry.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const struct {
    const char *folder, *format;
    pare_pack_options options;
    bool same_bytes;
} cases[] = {
    {"ct_w4", "compressed-tensors", {.group = 32}, false},
    {"ct_w4_asymmetric", "compressed-tensors", {.group = 32, .symmetric = -1}, false},
    {"ct_w8", "compressed-tensors", {.bits = 8, .group = -1}, false},
    {"ct_fp8_channel", "fp8", {0}, false}, /* scales are BF16 there */
    {"fp8_tensor", "fp8", {0}, false},     /* and one for all here */
    {"ct_mxfp4", "mxfp4", {0}, true},
    {"ct_nvfp4", "nvfp4", {0}, true},
};

static const char *packed_path(const char *folder, const char *file)
{
    char path[512];
    snprintf(path, sizeof path, "tests/packed/%s%s", folder, file);
    return source_path(path);
}

static void expect_same(const pare_tensor *a, const pare_tensor *b)
{
    pare_error err = {0};
    size_t n = (size_t)(a->n_rows * a->row_len);
    CHECK(b != NULL && b->n_rows == a->n_rows && b->row_len == a->row_len);
    float *x = check_malloc(n * sizeof *x), *y = check_malloc(n * sizeof *y);
    CHECK_OK(pare_tensor_read_f32(a, 0, a->n_rows, x, &err), &err);
    CHECK_OK(pare_tensor_read_f32(b, 0, b->n_rows, y, &err), &err);
    for (size_t i = 0; i < n; i++) {
        if (x[i] != y[i])
            print_error("%s at %zu: %.9g, was %.9g\n", a->name, i, (double)y[i], (double)x[i]);
        CHECK(x[i] == y[i]);
    }
    free(x);
    free(y);
}

/* Every tensor of the old file is in the new one, byte for byte. Several floats have one reciprocal, which is what
 * counts of a global scale. */
static void expect_same_bytes(const char *folder, const char *dir)
{
    char path[4400];
    pare_error err = {0};
    pare_model was = {0}, is = {0};
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    CHECK_OK(pare_safetensors_open(&was, packed_path(folder, "/model.safetensors"), &err), &err);
    CHECK_OK(pare_safetensors_open(&is, path, &err), &err);
    for (size_t i = 0; i < was.n_tensors; i++) {
        const pare_tensor *a = &was.tensors[i], *b = pare_model_find(&is, a->name);
        CHECK(b != NULL && b->type == a->type && b->n_bytes == a->n_bytes);
        if (strstr(a->name, "global_scale") != NULL) {
            CHECK(1 / pare_load_f32le(a->data) == 1 / pare_load_f32le(b->data));
            continue;
        }
        if (memcmp(a->data, b->data, (size_t)a->n_bytes) != 0)
            print_error("%s: %s differs\n", folder, a->name);
        CHECK(memcmp(a->data, b->data, (size_t)a->n_bytes) == 0);
    }
    CHECK(was.n_tensors == is.n_tensors);
    pare_model_close(&was);
    pare_model_close(&is);
}

static void packed_again(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char dir[4300];
        pare_error err = {0};
        pare_model in = {0}, back = {0};
        const pare_hf_write_options how = {.pack = pare_pack_find(cases[i].format), .pack_options = cases[i].options};
        snprintf(dir, sizeof dir, "%s/%s", temp_dir(), cases[i].folder);
        CHECK(how.pack != NULL);
        CHECK_OK(pare_model_open(&in, packed_path(cases[i].folder, ""), 0, &err), &err);
        CHECK_OK(pare_hf_write(&in, dir, PARE_TYPE_NONE, &how, NULL, &err), &err);
        CHECK_OK(pare_model_open(&back, dir, 0, &err), &err);
        for (size_t k = 0; k < in.n_tensors; k++)
            if (in.tensors[k].n_dims == 2)
                expect_same(&in.tensors[k], pare_model_find(&back, in.tensors[k].name));
        if (cases[i].same_bytes)
            expect_same_bytes(cases[i].folder, dir);
        pare_model_close(&in);
        pare_model_close(&back);
    }
}

static void what_a_format_has_not(void **state)
{
    (void)state;
    static const struct {
        const char *format;
        pare_pack_options options;
    } bad[] = {{"fp8", {.bits = 4}},
               {"nvfp4", {.group = 32}},
               {"mxfp4", {.symmetric = -1}},
               {"compressed-tensors", {.bits = 3}}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        pare_pack_options o = bad[i].options;
        pare_error err = {0};
        CHECK(pare_pack_find(bad[i].format)->check(&o, &err) == PARE_ERR_USAGE);
        CHECK(err.text[0] != '\0');
    }
}

/* The factor of one matrix in a folder. */
static float global_scale(const pare_model *folder, const char *module)
{
    char name[256];
    snprintf(name, sizeof name, "model.layers.1.%s.weight_global_scale", module);
    const pare_tensor *t = pare_model_find(folder, name);
    CHECK(t != NULL && t->type == PARE_TYPE_F32 && t->n_bytes == 4);
    return pare_load_f32le(t->data);
}

static float peak_of(const pare_model *m, const char *name)
{
    const pare_tensor *t = pare_model_find(m, name);
    pare_error err = {0};
    float peak = 0;
    CHECK(t != NULL);
    size_t n = (size_t)(t->n_rows * t->row_len);
    float *x = check_malloc(n * sizeof *x);
    CHECK_OK(pare_tensor_read_f32(t, 0, t->n_rows, x, &err), &err);
    for (size_t i = 0; i < n; i++)
        peak = fmaxf(peak, fabsf(x[i]));
    free(x);
    return peak;
}

/* BF16 weights four times as large. */
static pare_status read_larger(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    pare_status st = pare_tensor_read(t->ctx, row, n_rows, dst, err);
    for (uint64_t i = 0; i < n_rows * t->row_len && st == PARE_OK; i++) {
        uint8_t *x = (uint8_t *)dst + 2 * i;
        pare_store_u16le(x, (uint16_t)(pare_load_u16le(x) + (2 << 7)));
    }
    return st;
}

/* Runtimes unite Q, K and V, and gate and up, of an expert too, and keep one factor: it must be that of all. */
static void united_matrices_share_a_factor(void **state)
{
    (void)state;
    const char *const folders[] = {source_path("tests/families/qwen3"), shared_path("oracle/models/qwen3_moe")};
    static const struct {
        int folder;
        const char *a, *b;
        bool same;
    } pairs[] = {
        {0, "self_attn.q_proj", "self_attn.k_proj", true},
        {0, "self_attn.k_proj", "self_attn.v_proj", true},
        {0, "self_attn.v_proj", "self_attn.o_proj", false},
        {0, "mlp.gate_proj", "mlp.up_proj", true},
        {0, "mlp.up_proj", "mlp.down_proj", false},
        {1, "mlp.experts.3.gate_proj", "mlp.experts.3.up_proj", true},
        {1, "mlp.experts.3.gate_proj", "mlp.experts.3.down_proj", false},
    };
    static const char *const gates[] = {"blk.1.ffn_gate.weight", "blk.1.ffn_gate_exps.weight"};
    const pare_hf_write_options how = {.pack = pare_pack_find("nvfp4")};
    for (int i = 0; i < 2; i++) {
        char dir[4300], path[4400];
        pare_error err = {0};
        pare_model in = {0}, raw = {0};
        snprintf(dir, sizeof dir, "%s/united%d", temp_dir(), i);
        CHECK_OK(pare_model_open(&in, folders[i], 0, &err), &err);
        pare_tensor *gate = (pare_tensor *)(uintptr_t)pare_model_find(&in, gates[i]), original = *gate;
        CHECK(gate->type == PARE_TYPE_BF16);
        gate->data = NULL;
        gate->read = read_larger;
        gate->release = NULL;
        gate->ctx = &original;
        CHECK_OK(pare_hf_write(&in, dir, PARE_TYPE_NONE, &how, NULL, &err), &err);
        snprintf(path, sizeof path, "%s/model.safetensors", dir);
        CHECK_OK(pare_safetensors_open(&raw, path, &err), &err);
        for (size_t k = 0; k < sizeof pairs / sizeof *pairs; k++) {
            if (pairs[k].folder != i)
                continue;
            bool same = global_scale(&raw, pairs[k].a) == global_scale(&raw, pairs[k].b);
            if (same != pairs[k].same)
                print_error("%s and %s\n", pairs[k].a, pairs[k].b);
            CHECK(same == pairs[k].same);
        }
        float peak = fmaxf(peak_of(&in, "blk.1.attn_q.weight"),
                           fmaxf(peak_of(&in, "blk.1.attn_k.weight"), peak_of(&in, "blk.1.attn_v.weight")));
        int exponent;
        float global = global_scale(&raw, "self_attn.q_proj"), top = global * peak / 6; /* the scale of that block */
        CHECK(top > 128 && top <= 256 && frexpf(global, &exponent) == 0.5f);
        pare_model_close(&raw);
        pare_model_close(&in);
    }
}

static char said[4096]; /* the warnings, one behind the other */

static void keep_warning(const char *text, void *user)
{
    (void)user;
    snprintf(said + strlen(said), sizeof said - strlen(said), "%s\n", text);
}

/* What transformers computes otherwise from packed experts is said; and decoding while loading is asked for, into
 * scales that no reader has to round where floats are wanted. */
static void readers_of_experts(void **state)
{
    (void)state;
    static const struct {
        const char *format;
        pare_pack_options options;
        const char *words;
    } rows[] = {
        {"nvfp4", {0}, "leaves out 'weight_global_scale' of experts"},
        {"fp8", {0}, NULL},
        {"compressed-tensors", {.group = 8}, NULL},
        {"compressed-tensors", {.group = 8, .symmetric = -1}, "does not load experts with zero points"},
    };
    pare_set_warn_sink(keep_warning, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char dir[4300], path[4400];
        pare_error err = {0};
        pare_model in = {0}, raw = {0};
        json_t *config = NULL;
        const pare_hf_write_options how = {.pack = pare_pack_find(rows[i].format), .pack_options = rows[i].options};
        CHECK_OK(pare_model_open(&in, source_path("tests/families/qwen2_moe"), 0, &err), &err);
        snprintf(dir, sizeof dir, "%s/experts%zu", temp_dir(), i);
        said[0] = '\0';
        CHECK_OK(pare_hf_write(&in, dir, PARE_TYPE_F32, &how, NULL, &err), &err);
        CHECK(rows[i].words != NULL ? strstr(said, rows[i].words) != NULL : strstr(said, "experts: ") == NULL);
        snprintf(path, sizeof path, "%s/config.json", dir);
        CHECK_OK(pare_json_load(&config, path, 1 << 20, PARE_JSON_BIG_AS_REAL, &err), &err);
        CHECK(json_is_true(json_object_get(json_object_get(config, "quantization_config"), "dequantize")));
        json_decref(config);
        snprintf(path, sizeof path, "%s/model.safetensors", dir);
        CHECK_OK(pare_safetensors_open(&raw, path, &err), &err);
        const pare_tensor *scale = pare_model_find(&raw, "model.layers.1.self_attn.q_proj.weight_scale");
        CHECK(scale != NULL);
        if (strcmp(rows[i].format, "compressed-tensors") == 0)
            CHECK(scale->type == PARE_TYPE_F32);
        pare_model_close(&raw);
        pare_model_close(&in);
    }
    pare_set_warn_sink(NULL, NULL);
}

/* A tensor that stays a float, but not in the type of the folder, is named in the message. */
static void a_kept_tensor_is_named(void **state)
{
    (void)state;
    char dir[4300];
    pare_error err = {0};
    pare_model in = {0};
    const pare_hf_write_options how = {.pack = pare_pack_find("gptq"), .pack_options = {.group = -1}};
    snprintf(dir, sizeof dir, "%s/large", temp_dir());
    CHECK_OK(pare_model_open(&in, source_path("tests/packed/ct_w4"), 0, &err), &err);
    pare_tensor *norm = (pare_tensor *)(uintptr_t)pare_model_find(&in, "output_norm.weight"); /* in's own */
    CHECK(norm != NULL);
    norm->type = PARE_TYPE_F32;
    CHECK_OK(pare_tensor_set_shape(norm, "test", &err), &err);
    uint8_t *data = check_malloc((size_t)norm->n_bytes);
    for (size_t i = 0; i < norm->n_bytes / 4; i++)
        pare_store_u32le(data + 4 * i, pare_f32_to_bits(1e30f));
    norm->data = data;
    CHECK(pare_hf_write(&in, dir, PARE_TYPE_F16, &how, NULL, &err) == PARE_ERR_NUMBER);
    if (strstr(err.text, "'model.norm.weight'") == NULL)
        fail_msg("%s", err.text);
    free(data);
    pare_model_close(&in);
}

/* Copy a folder, but for the scales of one matrix, which become 1. */
static void write_with_ones(const char *from, const char *to, const char *scales)
{
    pare_model m, out = {.path = "test"};
    pare_error err = {0};
    const char *names[256];
    char path[4400];
    size_t n = 0;
    bool found = false;
    CHECK_OK(pare_hf_open(&m, from, PARE_OPEN_RAW, &err), &err);
    CHECK_OK(pare_model_reserve(&out, m.n_tensors, &err), &err);
    for (size_t i = 0; i < m.n_tensors; i++) {
        pare_tensor t = m.tensors[i];
        if (strcmp(t.name, scales) == 0) {
            uint8_t *data = pare_arena_alloc(&m.arena, (size_t)t.n_bytes, &err);
            CHECK(data != NULL && t.type == PARE_TYPE_F32);
            for (size_t k = 0; k < t.n_bytes / 4; k++)
                pare_store_u32le(data + 4 * k, pare_f32_to_bits(1));
            t.data = data;
            found = true;
        }
        CHECK_OK(pare_model_add(&out, &t, NULL, &err), &err);
    }
    CHECK(found && out.n_tensors <= 256);
    for (size_t i = 0; i < out.n_tensors; i++)
        names[i] = out.tensors[i].name;
    CHECK(mkdir(to, 0777) == 0);
    CHECK_OK(pare_safetensors_write(&out, names, to, 0, NULL, &err), &err);
    snprintf(path, sizeof path, "%s/config.json", from);
    uint8_t *config = check_read_file(path, &n);
    snprintf(path, sizeof path, "%s/config.json", to);
    check_write_file(path, config, n);
    free(config);
    pare_model_close(&out);
    pare_model_close(&m);
}

/* The scales of one expert are powers of two, so that BF16 holds its weights, while the others need F32. */
static void experts_may_need_other_types(void **state)
{
    (void)state;
    char first[4300], second[4300];
    pare_error err = {0};
    pare_model in = {0}, before = {0}, after = {0};
    const pare_hf_write_options how = {.pack = pare_pack_find("fp8")};
    snprintf(first, sizeof first, "%s/experts", temp_dir());
    snprintf(second, sizeof second, "%s/experts_mixed", temp_dir());
    CHECK_OK(pare_model_open(&in, source_path("tests/families/olmoe"), 0, &err), &err);
    CHECK_OK(pare_hf_write(&in, first, PARE_TYPE_NONE, &how, NULL, &err), &err);
    write_with_ones(first, second, "model.layers.0.mlp.experts.0.up_proj.weight_scale");
    CHECK_OK(pare_model_open(&before, first, 0, &err), &err);
    CHECK_OK(pare_model_open(&after, second, 0, &err), &err);
    const pare_tensor *a = pare_model_find(&before, "blk.0.ffn_up_exps.weight"),
                      *b = pare_model_find(&after, "blk.0.ffn_up_exps.weight");
    CHECK(a != NULL && b != NULL && b->type == PARE_TYPE_F32 && b->packed && b->n_dims == 3);
    size_t n = (size_t)(b->n_rows * b->row_len), one = n / (size_t)b->dim[0], n_other = 0;
    float *x = check_malloc(n * sizeof *x), *y = check_malloc(n * sizeof *y);
    CHECK_OK(pare_tensor_read_f32(a, 0, a->n_rows, x, &err), &err);
    CHECK_OK(pare_tensor_read_f32(b, 0, b->n_rows, y, &err), &err);
    for (size_t i = 0; i < one; i++) {
        uint8_t code = pare_f8_e4m3_nearest(y[i]);
        CHECK(pare_f8_e4m3_to_f32(code) == y[i]);
        n_other += x[i] != y[i];
    }
    CHECK(n_other > one / 2);
    CHECK(memcmp(x + one, y + one, (n - one) * sizeof *x) == 0);
    free(x);
    free(y);
    pare_model_close(&after);
    pare_model_close(&before);
    pare_model_close(&in);
}

/* The code of least distance, the even one of two. */
static void nearest_code(void **state)
{
    (void)state;
    uint32_t seed = 1;
    for (int i = 0; i < 20000; i++) {
        seed = seed * 1664525u + 1013904223u;
        float v =
            i < 256 ? pare_f8_e4m3_to_f32((uint8_t)i) : ldexpf((float)(seed >> 9) / 8388608.0f, (int)(seed % 21) - 11);
        if (i >= 256 && i % 3 == 0) /* middles */
            v = 0.5f * (pare_f8_e4m3_to_f32((uint8_t)(seed >> 8 & 0x7d)) +
                        pare_f8_e4m3_to_f32((uint8_t)((seed >> 8 & 0x7d) + 1)));
        if (isnan(v))
            continue;
        uint8_t code = pare_f8_e4m3_nearest(v);
        float least = fabsf(pare_f8_e4m3_to_f32(code) - v);
        CHECK(v == 0 || (code >> 7 != 0) == (v < 0));
        for (unsigned other = 0; other < 0x7f; other++) {
            float d = fabsf(pare_f8_e4m3_to_f32((uint8_t)(other | (v < 0 ? 0x80u : 0))) - v);
            CHECK(d >= least);
            CHECK(d > least || (other & 1) == (code & 1u) || (code & 1) == 0);
        }
    }
    CHECK(pare_f8_e4m3_nearest(1e9f) == 0x7e && pare_f8_e4m3_nearest(-460.0f) == 0xfe);
}

/* Codes times a scale that is no power of two come back, wherever the largest code is. */
static void lattice_is_found(void **state)
{
    (void)state;
    uint8_t codes[5];
    for (unsigned top = 0x28; top < 0x7f; top++) {
        const unsigned code[] = {top, 0x80 | (top - 9), 0x11, 0, 0x23};
        float x[5], scale = 0.0123456789f;
        for (int i = 0; i < 5; i++)
            x[i] = pare_f8_e4m3_to_f32((uint8_t)code[i]) * scale;
        float found = pare_f8_e4m3_fit(x, 5, codes);
        for (int i = 0; i < 5; i++)
            CHECK(pare_f8_e4m3_to_f32(codes[i]) * found == x[i]);
    }
    const float none[3] = {0};
    CHECK(pare_f8_e4m3_fit(none, 3, codes) == 1 && codes[0] == 0);
    const float any[3] = {1, 0.3f, -0.7123f};
    CHECK(pare_f8_e4m3_fit(any, 3, codes) == 1.0f / 448 && codes[0] == 0x7e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packed_again),           cmocka_unit_test(united_matrices_share_a_factor),
        cmocka_unit_test(a_kept_tensor_is_named), cmocka_unit_test(experts_may_need_other_types),
        cmocka_unit_test(readers_of_experts),     cmocka_unit_test(what_a_format_has_not),
        cmocka_unit_test(nearest_code),           cmocka_unit_test(lattice_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
