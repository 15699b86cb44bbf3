/* Plans against what stock llama.cpp allocates (tests/data/memory/reference.tsv, made by scripts/memory_reference.sh):
 * every family that it loads, the reference data's models, and models of real sizes on paper. */
#include "check.h"
#include "core/json.h"
#include "formats/open.h"
#include "memory/memory.h"
#include "model/stock.h"
#include "recipe/recipe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct model {
    pare_model source, f16;
    pare_hparams hp;
    pare_memory_model memory;
    char name[96];
    bool paper;
} model;

typedef struct row {
    char name[96], k[16], v[16], bytes[4][24]; /* weights, cache, compute, output; "-" */
    unsigned n_ctx, n_seq, shared, flash, full, n_ubatch;
} row;

static bool parse(const char *line, row *r)
{
    return sscanf(line, "%95s %u %u %u %15s %15s %u %u %u %23s %23s %23s %23s", r->name, &r->n_ctx, &r->n_seq,
                  &r->shared, r->k, r->v, &r->flash, &r->full, &r->n_ubatch, r->bytes[0], r->bytes[1], r->bytes[2],
                  r->bytes[3]) == 13;
}

static void close_model(model *m)
{
    pare_memory_model_close(&m->memory);
    pare_model_close(&m->f16);
    pare_model_close(&m->source);
    *m = (model){0};
}

static void open_paper(model *m)
{
    char path[160];
    pare_error err = {0};
    json_t *config = NULL;
    snprintf(path, sizeof path, "tests/data/memory/%s.json", m->name + strlen("paper/"));
    CHECK_OK(pare_json_load(&config, source_path(path), 1 << 20, true, &err), &err);
    const pare_arch *arch =
        pare_arch_find_class(json_string_value(json_array_get(json_object_get(config, "architectures"), 0)), NULL);
    CHECK(arch != NULL);
    CHECK_OK(pare_hparams_from_config(&m->hp, arch, config, path, &err), &err);
    CHECK_OK(pare_memory_model_on_paper(&m->memory, arch, &m->hp, PARE_TYPE_F16, &err), &err);
    json_decref(config);
}

/* As a conversion to F16 would be run. */
static void open_folder(model *m, const char *path)
{
    pare_error err = {0};
    pare_plan plan;
    CHECK_OK(pare_model_open(&m->source, path, 0, &err), &err);
    CHECK_OK(pare_stock_complete(&m->source, &err), &err);
    CHECK_OK(pare_convert(&m->f16, &m->source, PARE_TYPE_F16, &plan, &err), &err);
    CHECK_OK(pare_memory_model_of(&m->memory, &m->f16, &err), &err);
}

static void open_named(model *m, const char *name)
{
    char path[160];
    snprintf(m->name, sizeof m->name, "%s", name);
    m->paper = strncmp(name, "paper/", 6) == 0;
    if (m->paper) {
        open_paper(m);
        return;
    }
    bool oracle = strncmp(name, "oracle/", 7) == 0;
    snprintf(path, sizeof path, oracle ? "oracle/models/%s" : "tests/families/%s", strchr(name, '/') + 1);
    open_folder(m, oracle ? shared_path(path) : source_path(path));
}

static pare_status plan_row(const model *m, const row *r, pare_memory_plan *plan, pare_error *err)
{
    pare_memory_run run;
    pare_memory_run_default(&run);
    run.n_ctx = r->n_ctx;
    run.n_seq = r->n_seq;
    run.per_sequence = r->shared == 0;
    run.cache_k = pare_type_from_name(r->k);
    run.cache_v = pare_type_from_name(r->v);
    run.no_flash_attn = r->flash == 0;
    run.swa_full = r->full != 0;
    run.n_ubatch = r->n_ubatch;
    run.no_mmap = m->paper;
    return pare_memory_runtime_find("llama.cpp")->plan(plan, &m->memory, &run, err);
}

/* Equal byte for byte, all four; what stock refuses is refused. */
static void compare(const model *m, const row *r, const char *line)
{
    static const pare_memory_kind kinds[4] = {PARE_MEMORY_WEIGHTS, PARE_MEMORY_CACHE, PARE_MEMORY_COMPUTE,
                                              PARE_MEMORY_OUTPUT};
    pare_memory_plan plan;
    pare_error err = {0};
    pare_status st = plan_row(m, r, &plan, &err);
    if (r->bytes[0][0] == '-') {
        if (st != PARE_ERR_USAGE)
            check_failed(__FILE__, __LINE__, line);
        return;
    }
    CHECK_OK(st, &err);
    for (int i = 0; i < 4; i++) {
        uint64_t planned = pare_memory_of_kind(&plan, kinds[i], PARE_MEMORY_HOST);
        if (planned != strtoull(r->bytes[i], NULL, 10)) {
            fprintf(stderr, "%s: %llu planned\n", pare_memory_kind_name(kinds[i]), (unsigned long long)planned);
            check_failed(__FILE__, __LINE__, line);
        }
    }
}

static size_t compare_all(const char *prefix)
{
    char line[512];
    row r;
    model m = {0};
    size_t n = 0;
    FILE *f = fopen(source_path("tests/data/memory/reference.tsv"), "r");
    CHECK(f != NULL);
    while (fgets(line, sizeof line, f) != NULL) {
        if (line[0] == '#')
            continue;
        CHECK(parse(line, &r));
        if (strncmp(r.name, prefix, strlen(prefix)) != 0)
            continue;
        if (strcmp(m.name, r.name) != 0) {
            close_model(&m);
            open_named(&m, r.name);
        }
        compare(&m, &r, line);
        n++;
    }
    fclose(f);
    close_model(&m);
    return n;
}

static void test_families(void **state)
{
    (void)state;
    CHECK(compare_all("families/") > 400);
}

static void test_oracle(void **state)
{
    (void)state;
    (void)shared_path("oracle/models"); /* skips without it */
    CHECK(compare_all("oracle/") > 400);
}

static void test_real_sizes(void **state)
{
    (void)state;
    CHECK(compare_all("paper/") > 70);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_families), cmocka_unit_test(test_oracle),
                                       cmocka_unit_test(test_real_sizes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
