#include "check.h"

#include "quant/preset.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* One table of stock's choices: rows of tab-separated cells, the first row is the head. */
typedef struct table {
    uint8_t *text;
    char ***rows;
    size_t n_rows, n_cols;
} table;

static table read_table(const char *path)
{
    table t = {0};
    size_t n = 0;
    uint8_t *file = check_read_file(path, &n);
    t.text = check_malloc(n + 1);
    memcpy(t.text, file, n);
    t.text[n] = 0;
    free(file);
    t.rows = check_malloc(n * sizeof *t.rows);
    for (char *line = (char *)t.text, *next; line != NULL && *line != 0; line = next) {
        if ((next = strchr(line, '\n')) != NULL)
            *next++ = 0;
        char **cells = check_malloc((strlen(line) + 1) * sizeof *cells);
        size_t k = 0;
        for (char *cell = line; cell != NULL; k++)
            cells[k] = strsep(&cell, "\t");
        t.n_cols = t.n_rows == 0 ? k : t.n_cols;
        CHECK(k == t.n_cols);
        t.rows[t.n_rows++] = cells;
    }
    return t;
}

static void free_table(table *t)
{
    for (size_t i = 0; i < t->n_rows; i++)
        free(t->rows[i]);
    free(t->rows);
    free(t->text);
}

/* "8x256x512" to sizes, slowest first. */
static size_t parse_shape(const char *text, uint64_t *size)
{
    size_t n = 0;
    for (char *at = (char *)text; n < 4; at++) {
        size[n++] = strtoull(at, &at, 10);
        if (*at != 'x')
            break;
    }
    return n;
}

/* The model behind a table: the family is the start of the file's name, the rest shows in names and shapes. */
static pare_preset_model model_of(const char *file, const table *t, char *arch)
{
    pare_preset_model m = {.arch = arch, .n_head = 1, .n_head_kv = 1};
    uint64_t q = 1, k = 1, size[4];
    snprintf(arch, 32, "%.*s", (int)strcspn(file, "-"), file);
    for (size_t r = 1; r < t->n_rows; r++) {
        const char *name = t->rows[r][0];
        uint32_t layer = 0;
        if (sscanf(name, "blk.%u.", &layer) == 1 && layer >= m.n_layer)
            m.n_layer = layer + 1;
        parse_shape(t->rows[r][1], size);
        if (strstr(name, "attn_q.weight") != NULL)
            q = size[0];
        if (strstr(name, "attn_k.weight") != NULL)
            k = size[0];
        if (strstr(name, "_exps.weight") != NULL)
            m.n_expert = (uint32_t)size[0];
    }
    m.n_head = (uint32_t)(q / k);
    return m;
}

/* True when every cell of the column is pare's choice, or all are "refused" and pare refuses too. */
static bool column_equal(const char *file, const table *t, size_t column, const char *const *names)
{
    char arch[32], head[64];
    pare_preset_state s;
    pare_preset_model model = model_of(file, t, arch);
    const char *plus = strchr(t->rows[0][column], '+');
    snprintf(head, sizeof head, "%.*s", (int)strcspn(t->rows[0][column], "+"), t->rows[0][column]);
    model.has_imatrix = plus != NULL;
    CHECK(pare_preset_find(head) != NULL);
    pare_preset_start(&s, pare_preset_find(head), &model, names, t->n_rows - 1);
    bool refused = false, equal = true;
    for (size_t r = 1; r < t->n_rows; r++) {
        uint64_t size[4];
        pare_error err = {0};
        pare_type type = PARE_TYPE_NONE;
        size_t n_dims = parse_shape(t->rows[r][1], size);
        pare_preset_tensor tensor = {names[r - 1], (uint32_t)n_dims, size[n_dims - 1], PARE_TYPE_F32};
        pare_status st = pare_preset_choose(&s, &tensor, &type, NULL, &err);
        if (st == PARE_ERR_UNSUPPORTED) {
            CHECK(strstr(err.text, names[r - 1]) != NULL);
            refused = true;
            break;
        }
        CHECK_OK(st, &err);
        if (strcmp(t->rows[r][column], "refused") != 0 &&
            strcasecmp(pare_type_get(type)->name, t->rows[r][column]) != 0) {
            print_error("%s %s %s: %s instead of %s\n", file, t->rows[0][column], names[r - 1],
                        pare_type_get(type)->name, t->rows[r][column]);
            equal = false;
        }
    }
    return equal && refused == (strcmp(t->rows[1][column], "refused") == 0);
}

static void every_table_of_stock_is_reproduced(void **state)
{
    (void)state;
    char folder[4096], path[8192];
    size_t n_tables = 0, n_wrong = 0;
    snprintf(folder, sizeof folder, "%s", shared_path("oracle/presets"));
    DIR *dir = opendir(folder);
    CHECK(dir != NULL);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        const char *end = strrchr(entry->d_name, '.');
        if (end == NULL || strcmp(end, ".tsv") != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        table t = read_table(path);
        const char **names = check_malloc(t.n_rows * sizeof *names);
        for (size_t r = 1; r < t.n_rows; r++) {
            names[r - 1] = t.rows[r][0];
            CHECK(r == 1 || pare_preset_order(names[r - 2], names[r - 1]) < 0); /* the tables are in stock's order */
        }
        for (size_t c = 2; c < t.n_cols; c++)
            n_wrong += !column_equal(entry->d_name, &t, c, names);
        n_tables++;
        free(names);
        free_table(&t);
    }
    closedir(dir);
    CHECK(n_tables >= 9);
    CHECK(n_wrong == 0);
}

static void presets_are_found_by_name_and_alias(void **state)
{
    (void)state;
    size_t n = 0;
    for (; pare_preset_at(n) != NULL; n++)
        CHECK(pare_preset_find(pare_preset_at(n)->name) == pare_preset_at(n));
    CHECK(n == 36);
    CHECK(pare_preset_find("Q4_K_M")->ftype == 15);
    CHECK(pare_preset_find("q4_k") == pare_preset_find("q4_k_m"));
    CHECK(pare_preset_find("q3_K") == pare_preset_find("q3_k_m"));
    CHECK(pare_preset_find("q5_k") == pare_preset_find("q5_k_m"));
    CHECK(pare_preset_find("q4_k_x") == NULL && pare_preset_find("") == NULL);
}

static void small_tensors_are_left_alone(void **state)
{
    (void)state;
    CHECK(pare_preset_quantizes("llama", "blk.0.attn_q.weight", 2));
    CHECK(!pare_preset_quantizes("llama", "blk.0.attn_q.weight", 1));
    CHECK(!pare_preset_quantizes("llama", "blk.0.attn_q.bias", 2));
    CHECK(!pare_preset_quantizes("llama", "blk.0.attn_norm.weight", 2));
    CHECK(!pare_preset_quantizes("qwen3moe", "blk.0.ffn_gate_inp.weight", 2));
    CHECK(!pare_preset_quantizes("gpt2", "position_embd.weight", 2));
    CHECK(!pare_preset_quantizes("bert", "token_types.weight", 2));
    CHECK(!pare_preset_quantizes("rwkv6", "blk.3.time_mix_w1.weight", 2));
    CHECK(pare_preset_quantizes("deepseek2", "blk.0.attn_k_b.weight", 3));
    CHECK(!pare_preset_quantizes("glm5-next", "blk.0.attn_k_b.weight", 3));
    CHECK(!pare_preset_quantizes("llama", "w", 2));
}

static void rows_that_the_block_does_not_divide_fall_back(void **state)
{
    (void)state;
    CHECK(pare_preset_fallback(PARE_TYPE_Q4_K, 512) == PARE_TYPE_Q4_K);
    CHECK(pare_preset_fallback(PARE_TYPE_Q4_K, 352) == PARE_TYPE_Q5_0);
    CHECK(pare_preset_fallback(PARE_TYPE_Q4_K, 100) == PARE_TYPE_F16);
    CHECK(pare_preset_fallback(PARE_TYPE_Q8_0, 100) == PARE_TYPE_F16);
    CHECK(pare_preset_fallback(PARE_TYPE_Q1_0, 352) == PARE_TYPE_NONE);
    CHECK(pare_preset_fallback(PARE_TYPE_NVFP4, 352) == PARE_TYPE_IQ4_NL);
    CHECK(pare_preset_fallback(PARE_TYPE_NVFP4, 100) == PARE_TYPE_F16);
    for (int type = 0; type < PARE_TYPE_COUNT; type++) {
        pare_type to = pare_preset_fallback((pare_type)type, 352);
        CHECK(to == PARE_TYPE_NONE || 352 % pare_type_get(to)->block_len == 0);
    }
}

/* Not one of stock's: base type in the layers, the embedding in Q4_K of the same size, the head as elsewhere. */
static void nvfp4_is_a_preset(void **state)
{
    (void)state;
    const char *const names[] = {"output.weight", "token_embd.weight", "blk.0.attn_q.weight", "blk.0.attn_v.weight",
                                 "blk.0.ffn_down.weight"};
    const char *const expect[] = {"q6_K", "q4_K", "nvfp4", "nvfp4", "iq4_nl"};
    const pare_preset *preset = pare_preset_find("NVFP4");
    pare_preset_model model = {.arch = "llama", .n_layer = 2, .n_head = 4, .n_head_kv = 2};
    pare_preset_state s;
    CHECK(preset != NULL && preset->ftype == 39);
    pare_preset_start(&s, preset, &model, names, 5);
    for (size_t i = 0; i < 5; i++) {
        pare_preset_tensor t = {names[i], 2, i < 4 ? 256 : 352, PARE_TYPE_F16};
        pare_type type = PARE_TYPE_NONE;
        pare_error err = {0};
        CHECK_OK(pare_preset_choose(&s, &t, &type, NULL, &err), &err);
        CHECK(strcmp(pare_type_get(type)->name, expect[i]) == 0);
    }
    CHECK(s.n_fallback == 1);
}

static void falcon_has_its_own_rules(void **state)
{
    (void)state;
    const char *const names[] = {"output.weight", "blk.0.attn_qkv.weight", "blk.0.attn_output.weight",
                                 "blk.0.ffn_down.weight"};
    const char *const expect[] = {"q8_0", "q6_K", "q4_K", "q6_K"};
    pare_preset_model model = {.arch = "falcon", .n_layer = 16, .n_head = 1, .n_head_kv = 1};
    pare_preset_state s;
    pare_preset_start(&s, pare_preset_find("q4_k_m"), &model, names, 4);
    s.n_attn_v = 16;
    for (size_t i = 0; i < 4; i++) {
        pare_preset_tensor t = {names[i], 2, 256, PARE_TYPE_F16};
        pare_type type = PARE_TYPE_NONE, wanted = PARE_TYPE_NONE;
        pare_error err = {0};
        CHECK_OK(pare_preset_choose(&s, &t, &type, &wanted, &err), &err);
        CHECK(strcmp(pare_type_get(type)->name, expect[i]) == 0 && wanted == type);
    }
}

static void an_expert_without_a_layer_is_refused(void **state)
{
    (void)state;
    const char *const names[] = {"blk.9.ffn_down_exps.weight", "mtp.ffn_down_exps.weight",
                                 "blk.99999999999999999999.ffn_down_exps.weight"};
    pare_preset_model model = {.arch = "qwen3moe", .n_layer = 8, .n_head = 4, .n_head_kv = 1, .n_expert = 64};
    for (size_t i = 0; i < 3; i++) {
        pare_preset_state s;
        pare_preset_start(&s, pare_preset_find("q4_k_m"), &model, names, 3);
        pare_preset_tensor t = {names[i], 3, 256, PARE_TYPE_F16};
        pare_type type = PARE_TYPE_NONE;
        pare_error err = {0};
        CHECK(pare_preset_choose(&s, &t, &type, NULL, &err) == PARE_ERR_UNSUPPORTED);
        CHECK(strstr(err.text, names[i]) != NULL);
    }
}

static void some_types_need_importances(void **state)
{
    (void)state;
    CHECK(!pare_preset_needs_weight("blk.0.ffn_up.weight", PARE_TYPE_Q2_K));
    CHECK(pare_preset_needs_weight("blk.0.ffn_up.weight", PARE_TYPE_IQ2_XXS));
    CHECK(!pare_preset_needs_weight("token_embd.weight", PARE_TYPE_IQ2_XXS));
    CHECK(!pare_preset_needs_weight("blk.0.attn_v.weight", PARE_TYPE_Q4_K));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_table_of_stock_is_reproduced),
        cmocka_unit_test(presets_are_found_by_name_and_alias),
        cmocka_unit_test(small_tensors_are_left_alone),
        cmocka_unit_test(rows_that_the_block_does_not_divide_fall_back),
        cmocka_unit_test(nvfp4_is_a_preset),
        cmocka_unit_test(falcon_has_its_own_rules),
        cmocka_unit_test(an_expert_without_a_layer_is_refused),
        cmocka_unit_test(some_types_need_importances),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
