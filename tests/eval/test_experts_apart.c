/* GGUF files may have gate and up of experts as one tensor or as two, where a folder has one
 * (tests/families/gemma4moe): both forms compute the same and become the same folder. */
#include "check.h"

#include "eval/forward.h"
#include "formats/gguf.h"
#include "formats/hf.h"
#include "model/view.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEN = 24, N_VOCAB = 80 };

static void logits_of(const pare_model *m, float *out)
{
    pare_backend *b = NULL;
    pare_forward *f = NULL;
    pare_error err = {0};
    int32_t ids[LEN];
    for (int i = 0; i < LEN; i++)
        ids[i] = i * 7 % N_VOCAB;
    CHECK_OK(pare_backend_cpu(&b, &err), &err);
    CHECK_OK(pare_forward_open(&f, m, b, LEN, 1, &err), &err);
    CHECK_OK(pare_forward_run(f, ids, 1, LEN, &err), &err);
    CHECK_OK(pare_forward_logits(f, 0, 0, LEN, out, &err), &err);
    pare_forward_close(f);
    b->close(b);
}

static pare_status read_powers(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    float *x = dst;
    (void)row;
    (void)err;
    for (uint64_t i = 0; i < n_rows * t->row_len; i++)
        x[i] = ldexpf(1, (int)i);
    return PARE_OK;
}

static void add_named(pare_model *m, const pare_tensor *t, pare_weight id, uint32_t layer, const char *suffix)
{
    char name[128];
    pare_error err = {0};
    pare_tensor copy = *t;
    copy.name = pare_weight_name(name, sizeof name, id, layer, suffix);
    CHECK_OK(pare_model_add(m, &copy, NULL, &err), &err);
}

/* Layer 0's up has a factor of 2^e for expert e, the gates of all layers have none. */
static void split(pare_model *m, const pare_tensor *fused, uint32_t layer)
{
    pare_tensor part;
    pare_error err = {0};
    for (uint8_t i = 0; i < 2; i++) {
        pare_weight id = i == 0 ? PARE_W_FFN_GATE_EXPS : PARE_W_FFN_UP_EXPS;
        CHECK_OK(pare_view_share(&m->arena, &part, fused, (pare_hf_share){i, 2, false}, false, &err), &err);
        add_named(m, &part, id, layer, "weight");
        if (i == 0 || layer > 0)
            continue;
        pare_tensor scale = {.type = PARE_TYPE_F32, .n_dims = 1, .dim = {fused->dim[0]}, .read = read_powers};
        CHECK_OK(pare_tensor_set_shape(&scale, "test", &err), &err);
        add_named(m, &scale, id, layer, "scale");
    }
}

/* The model with gate and up apart. Borrows from hub. */
static void take_apart(pare_model *m, const pare_model *hub)
{
    pare_error err = {0};
    *m = (pare_model){.format = PARE_FORMAT_GGUF, .path = "apart", .alignment = 32, .arch = hub->arch, .hp = hub->hp};
    CHECK_OK(pare_model_reserve(m, hub->n_tensors + 2 * hub->hp.n_layer, &err), &err);
    for (size_t i = 0; i < hub->meta.n; i++)
        CHECK_OK(pare_meta_set(&m->meta, &hub->meta.values[i], &err), &err);
    for (size_t i = 0; i < hub->n_tensors; i++) {
        unsigned layer = 0;
        char name[64] = "";
        if (sscanf(hub->tensors[i].name, "blk.%u.%63s", &layer, name) == 2 &&
            strcmp(name, "ffn_gate_up_exps.weight") == 0)
            split(m, &hub->tensors[i], layer);
        else
            CHECK_OK(pare_model_add(m, &hub->tensors[i], NULL, &err), &err);
    }
    CHECK(m->n_tensors == hub->n_tensors + hub->hp.n_layer + 1);
}

static void expect_same(const float *a, const float *b)
{
    for (int i = 0; i < LEN * N_VOCAB; i++) {
        CHECK(isfinite(a[i]));
        CHECK(fabsf(a[i] - b[i]) < 1e-4f);
    }
}

/* Rows of up of layer 0 have their factor, all else is the same. */
static void check_fused(const pare_model *hub, const pare_model *back)
{
    pare_error err = {0};
    CHECK(back->n_tensors == hub->n_tensors);
    for (size_t i = 0; i < hub->n_tensors; i++) {
        const pare_tensor *x = &hub->tensors[i], *y = pare_model_find(back, x->name);
        CHECK(y != NULL && y->n_rows == x->n_rows && y->row_len == x->row_len);
        bool scaled = strcmp(x->name, "blk.0.ffn_gate_up_exps.weight") == 0;
        float a[64], b[64];
        CHECK(x->row_len <= 64);
        for (uint64_t row = 0; row < x->n_rows; row++) {
            uint64_t expert = row / (2 * hub->hp.n_ff_expert);
            bool up = scaled && row % (2 * hub->hp.n_ff_expert) >= hub->hp.n_ff_expert;
            CHECK_OK(pare_tensor_read_f32(x, row, 1, a, &err), &err);
            CHECK_OK(pare_tensor_read_f32(y, row, 1, b, &err), &err);
            for (uint64_t k = 0; k < x->row_len; k++)
                CHECK(b[k] == (up ? ldexpf(a[k], (int)expert) : a[k]));
        }
    }
}

static void apart_is_the_same(void **state)
{
    (void)state;
    static float whole[LEN * N_VOCAB], apart[LEN * N_VOCAB], folder[LEN * N_VOCAB];
    char path[512], dir[512];
    pare_model hub = {0}, m, file = {0}, back = {0};
    pare_error err = {0};
    CHECK_OK(pare_hf_open(&hub, source_path("tests/families/gemma4moe"), 0, &err), &err);
    CHECK(!hub.hp.experts_apart);
    logits_of(&hub, whole);
    take_apart(&m, &hub);
    snprintf(path, sizeof path, "%s/apart.gguf", temp_dir());
    CHECK_OK(pare_gguf_write(&m, path, &(pare_write_options){0}, NULL, &err), &err);
    CHECK_OK(pare_gguf_open(&file, path, 0, &err), &err);
    CHECK(file.hp.experts_apart && pare_model_find(&file, "blk.0.ffn_up_exps.weight")->factor != NULL);
    CHECK(pare_model_find(&file, "blk.0.ffn_down_exps.weight")->factor == NULL); /* the scale is the router's */
    logits_of(&file, apart);
    snprintf(dir, sizeof dir, "%s/folder", temp_dir());
    CHECK_OK(pare_hf_write(&file, dir, PARE_TYPE_NONE, &(pare_hf_write_options){0}, NULL, &err), &err);
    CHECK_OK(pare_hf_open(&back, dir, 0, &err), &err);
    check_fused(&hub, &back);
    logits_of(&back, folder);
    expect_same(apart, folder);
    CHECK(fabsf(apart[0] - whole[0]) > 1e-3f); /* the factor counts */
    pare_model_close(&back);
    pare_model_close(&file);
    pare_model_close(&m);
    pare_model_close(&hub);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(apart_is_the_same)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
