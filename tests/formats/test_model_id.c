#include "check.h"
#include "formats/model_card.h"
#include "formats/model_id.h"

#include <string.h>

/* Expected values: gguf-py 0.19, Metadata.get_model_id_components, id_to_title and size_label. */
static void takes_names_apart_as_stock_does(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t n_params;
        const char *name, *organization, *basename, *finetune, *version, *size_label;
    } rows[] = {
        {"meta-llama/Llama-2-7b-hf", 6738000000, "Llama-2-7b-hf", "meta-llama", "Llama-2", "hf", "", "7B"},
        {"Meta-Llama-3-8B-Instruct", 8030000000, "Meta-Llama-3-8B-Instruct", "", "Meta-Llama-3", "Instruct", "", "8B"},
        {"TinyLlama-1.1B-Chat-v1.0", 1100000000, "TinyLlama-1.1B-Chat-v1.0", "", "TinyLlama", "Chat", "v1.0", "1.1B"},
        {"phi-3-mini-128k-instruct", 3800000000, "phi-3-mini-128k-instruct", "", "phi-3", "128k-instruct", "", "mini"},
        {"bloom-7b1", 7069000000, "bloom-7b1", "", "bloom", "", "", "7.1B"},
        {"llama_rope", 136000, "llama_rope", "", "", "", "", ""},
        {"./x", 10, "x", "", "", "", "", ""},
        {"a plain sentence-7b", 10, "a plain sentence-7b", "", "", "", "", ""},
        {"", 10, "", "", "", "", "", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        pare_model_id id;
        pare_model_id_parse(&id, rows[i].text, rows[i].n_params);
        if (strcmp(id.name, rows[i].name) != 0 || strcmp(id.organization, rows[i].organization) != 0 ||
            strcmp(id.basename, rows[i].basename) != 0 || strcmp(id.finetune, rows[i].finetune) != 0 ||
            strcmp(id.version, rows[i].version) != 0 || strcmp(id.size_label, rows[i].size_label) != 0)
            fail_msg("%s: '%s' '%s' '%s' '%s' '%s' '%s'", rows[i].text, id.name, id.organization, id.basename,
                     id.finetune, id.version, id.size_label);
    }
}

static void leaves_long_names_alone(void **state)
{
    (void)state;
    char text[5000];
    pare_model_id id;
    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = '\0';
    pare_model_id_parse(&id, text, 1);
    CHECK(id.name[0] == '\0');
    for (size_t i = 0; i < PARE_MODEL_ID_TEXT - 1; i++)
        text[i] = i % 2 == 0 ? 'b' : '-';
    text[PARE_MODEL_ID_TEXT - 1] = '\0';
    pare_model_id_parse(&id, text, 1);
    CHECK(strlen(id.name) == PARE_MODEL_ID_TEXT - 1);
}

static void writes_titles(void **state)
{
    (void)state;
    static const char *const rows[][2] = {{"llama_rope", "Llama_Rope"},
                                          {"qwen3_tiny", "Qwen3_Tiny"},
                                          {"tiny-llama 7b-v1.2", "Tiny Llama 7b v1.2"},
                                          {"SmolLM2-135M", "SmolLM2 135M"},
                                          {"-x--y ", "X Y"}};
    char title[64];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        CHECK(strcmp(pare_model_id_title(title, sizeof title, rows[i][0]), rows[i][1]) == 0);
    CHECK(strcmp(pare_model_id_title(title, 4, "abcdef"), "Abc") == 0);
}

static void writes_size_labels(void **state)
{
    (void)state;
    static const struct {
        uint64_t n;
        const char *label;
    } rows[] = {{136208, "136K"},   {1360000, "1.4M"},    {27000000, "27M"},    {999, "1.0K"},          {9999, "10K"},
                {1000000, "1000K"}, {8030261248, "8.0B"}, {70553706496, "71B"}, {1000000000001, "1.0T"}};
    char label[32];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(pare_size_label(label, sizeof label, rows[i].n), rows[i].label) != 0)
            fail_msg("%s, not %s", label, rows[i].label);
}

static json_t *card(const char *text)
{
    json_t *doc = NULL;
    pare_error err = {0};
    CHECK_OK(pare_model_card_parse(&doc, text, strlen(text), &err), &err);
    return doc;
}

static void reads_front_matter(void **state)
{
    (void)state;
    json_t *doc = card(
        "---\nlicense: mit # why not\ntags: [a, \"b c\"] # two\nlanguage:\n- en\n  - 'no'\nlink: \"https://x.y/#z\"\n"
        "empty:\nnested:\n- name: x\nblock: >-\n  license: no\nlicense: other\nversion: 1.0\r\n---\nlater: x\n");
    json_t *wanted = json_pack("{s:s, s:[s,s], s:[s,s], s:s, s:s}", "license", "mit", "tags", "a", "b c", "language",
                               "en", "no", "link", "https://x.y/#z", "version", "1.0");
    CHECK(json_equal(doc, wanted));
    json_decref(doc);
    json_decref(wanted);
}

static void passes_over_what_is_no_front_matter(void **state)
{
    (void)state;
    static const char odd[] = "---\n: x\n-\n- \nkey with blanks: x\n\xff\xfe: x\nbad: \xff\n[: ]\na: {b: c}\n"
                              "b: &c d\nc: null\nd: \"a\\nb\"\n";
    static const char *const texts[] = {
        "", "---", "# title\n---\nlicense: mit\n---\n", " ---\nlicense: mit\n", "---\n---\nlicense: mit\n", odd,
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        json_t *doc = card(texts[i]);
        CHECK(json_object_size(doc) == 0);
        json_decref(doc);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_names_apart_as_stock_does),
        cmocka_unit_test(leaves_long_names_alone),
        cmocka_unit_test(writes_titles),
        cmocka_unit_test(writes_size_labels),
        cmocka_unit_test(reads_front_matter),
        cmocka_unit_test(passes_over_what_is_no_front_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
