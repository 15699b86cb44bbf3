/* Every format: which item comes out of a record of its owner. */
#include "check.h"
#include "tasks/task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const pare_task_options defaults;

static const char *put_file(const char *name, const void *data, size_t n)
{
    static char paths[4][512];
    static size_t next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", temp_dir(), name);
    check_write_file(path, data, n);
    return path;
}

static void load_bytes(pare_task *t, const char *name, const void *data, size_t n, const pare_task_options *o)
{
    pare_error err = {0};
    CHECK_OK(pare_task_load(t, put_file(name, data, n), o, &err), &err);
}

static void load(pare_task *t, const char *name, const char *text, const pare_task_options *o)
{
    load_bytes(t, name, text, strlen(text), o);
}

static void check_text(pare_str s, const char *expected)
{
    if (!pare_str_equal(s, expected))
        fail_msg("<%.*s>, expected <%s>", (int)s.len, s.data, expected);
}

static void check_choice(const pare_item *item, size_t i, const char *context, const char *answer)
{
    const pare_choice *c = &item->choices[i];
    check_text(c->context, context);
    check_text(c->answer, answer);
    CHECK(c->continuation.len == c->answer.len + 1 && c->continuation.data[0] == ' ' &&
          memcmp(c->continuation.data + 1, answer, c->answer.len) == 0);
}

#define MMLU_START "The following are multiple choice questions (with answers) about high school physics.\n\n"
#define MMLU_PROMPT MMLU_START "What?\nA. 1\nB. x, y\nC. \"3\"\nD. d\nAnswer:"

static void check_mmlu(const char *name, const char *text)
{
    static const char *const letters[] = {"A", "B", "C", "D"};
    pare_task t;
    load(&t, name, text, &defaults);
    CHECK(strcmp(t.format, "mmlu") == 0 && strcmp(t.name, "mmlu_high_school_physics") == 0);
    CHECK(t.kind == PARE_TASK_CHOICE && t.has_norm && t.n_shot == 0 && t.n_items == 2 && t.n_in_file == 2);
    CHECK(strlen(t.sha256) == 64 && t.shots_sha256[0] == '\0');
    for (size_t i = 0; i < 4; i++) {
        check_choice(&t.items[0], i, MMLU_PROMPT, letters[i]);
        CHECK(t.items[0].choices[i].right == (i == 2));
    }
    CHECK(t.items[0].n_choices == 4 && t.items[0].answer == 2 && t.items[1].answer == 0);
    check_text(t.items[1].id, "1");
    pare_task_close(&t);
}

static void mmlu(void **state)
{
    (void)state;
    check_mmlu("high_school_physics_test.csv", " What? ,1,\"x, y\",\"\"\"3\"\"\",d,C\nq,a,b,c,d,A\n");
    check_mmlu("mmlu_high_school_physics.csv",
               "\xef\xbb\xbfQuestion,A,B,C,D,Answer\r\n What? ,1,\"x, y\",\"\"\"3\"\"\",d,2\r\n\r\nq,a,b,c,d,0\r\n");
    check_mmlu("high_school_physics_val.csv",
               ",answer,D,C,B,A,question\n7,2,d,\"\"\"3\"\"\",\"x, y\",1,What?\n8,A,d,c,b,a,q");
    check_mmlu("high_school_physics.jsonl",
               "{\"question\":\"What?\\n\",\"choices\":[1,\"x, y\",\"\\\"3\\\"\",\"d\"],\"answer\":2}\n\n"
               "{\"question\":\"q\",\"choices\":[\"a\",\"b\",\"c\",\"d\"],\"answer\":\"A\"}\n");
}

static void mmlu_subjects(void **state)
{
    pare_task t;
    pare_task_options o = {.description = "Hi\n"};
    static const char text[] =
        "[{\"question\":\"q\",\"subject\":\"high_school_physics\",\"choices\":[\"a\",\"b\",\"c\",\"d\"],\"answer\":3}]";
    (void)state;
    load(&t, "all.json", text, &defaults);
    check_text(t.items[0].group, "high_school_physics");
    check_choice(&t.items[0], 3, MMLU_START "q\nA. a\nB. b\nC. c\nD. d\nAnswer:", "D");
    pare_task_close(&t);
    load(&t, "all.json", text, &o);
    check_choice(&t.items[0], 3, "Hi\nq\nA. a\nB. b\nC. c\nD. d\nAnswer:", "D");
    pare_task_close(&t);
    o.description = "";
    load(&t, "all.json", text, &o);
    check_choice(&t.items[0], 3, "q\nA. a\nB. b\nC. c\nD. d\nAnswer:", "D");
    pare_task_close(&t);
}

static void examples(void **state)
{
    static const char shots[] = "e1,a,b,c,d,B\nq1,a,b,c,d,A\ne2,a,b,c,d,D\n";
    const char *path = put_file("shots.csv", shots, sizeof shots - 1);
    pare_task_options o = {.shots = path, .n_shot = 2, .description = "S "};
    pare_error err = {0};
    pare_task t;
    (void)state;
    load(&t, "x.csv", "q1,a,b,c,d,A\nq2,a,b,c,d,B\n", &o);
    CHECK(t.n_shot == 2 && strlen(t.shots_sha256) == 64);
#define REST "\nA. a\nB. b\nC. c\nD. d\nAnswer:"
    check_choice(&t.items[0], 0, "S e1" REST " B\n\ne2" REST " D\n\nq1" REST, "A"); /* not the item itself */
    check_choice(&t.items[1], 1, "S e1" REST " B\n\nq1" REST " A\n\nq2" REST, "B");
    CHECK(t.items[1].choices[0].context.data == t.items[1].choices[3].context.data); /* one copy */
    pare_task_close(&t);
    o.n_shot = 3; /* q1 would need a fourth one */
    path = put_file("x.csv", "q1,a,b,c,d,A\n", 13);
    CHECK(pare_task_load(&t, path, &o, &err) == PARE_ERR_RANGE && strstr(err.text, "shots.csv: 3 examples") != NULL);
    o.n_shot = 0; /* the default is 5 */
    CHECK(pare_task_load(&t, path, &o, &err) == PARE_ERR_RANGE && strstr(err.text, "5 are needed") != NULL);
    o = (pare_task_options){.n_shot = 1};
    CHECK(pare_task_load(&t, path, &o, &err) == PARE_ERR_USAGE);
}

static void limit(void **state)
{
    const pare_task_options o = {.limit = 2};
    pare_task t;
    (void)state;
    load(&t, "x.csv", "q1,a,b,c,d,A\nq2,a,b,c,d,B\nq3,a,b,c,d,B\n", &o);
    CHECK(t.n_items == 2 && t.n_in_file == 3);
    check_text(t.items[1].id, "1");
    pare_task_close(&t);
}

static void hellaswag(void **state)
{
    pare_task t;
    (void)state;
    load(&t, "hellaswag_val.jsonl",
         "{\"ind\":24,\"activity_label\":\"Roof\",\"ctx_a\":\"A man [step] sits [title] How  to "
         "[a\\nb]\",\"ctx_b\":\"he Is\","
         "\"ctx\":\"-\",\"endings\":[\" [substeps] "
         "one\",\"two\",\"three[x\",\"fo[a]ur\"],\"label\":\"3\",\"source_id\":\"v1\"}\n",
         &defaults);
    CHECK(strcmp(t.format, "hellaswag") == 0 && strcmp(t.name, "hellaswag") == 0 && t.has_norm);
    check_text(t.items[0].id, "24");
    check_text(t.items[0].group, "v1");
    CHECK(t.items[0].answer == 3 && t.items[0].n_choices == 4);
    check_choice(&t.items[0], 0, "Roof: A man sits. How to [a\nb] He is", " one");
    check_choice(&t.items[0], 2, "Roof: A man sits. How to [a\nb] He is", "three[x");
    check_choice(&t.items[0], 3, "Roof: A man sits. How to [a\nb] He is", "four");
    pare_task_close(&t);
    load(&t, "hs.txt", "Roof: a man\r\n1\r\none\r\ntwo\r\nthree\r\nfour\r\n\r\n", &defaults);
    CHECK(strcmp(t.format, "hellaswag-text") == 0 && t.n_items == 1 && t.items[0].answer == 1);
    check_choice(&t.items[0], 3, "Roof: a man", "four");
    pare_task_close(&t);
}

static void arc_and_openbookqa(void **state)
{
    const pare_task_options by_name = {.format = "openbookqa"};
    pare_task t;
    (void)state;
    load(&t, "ARC-Easy.jsonl",
         "{\"id\":\"M1\",\"question\":\"Why?\",\"choices\":{\"text\":[\"x\",\"y\",\"z\"],\"label\":[\"1\",\"2\",\"3\"]}"
         ",\"answerKey\":\"2\"}",
         &defaults);
    CHECK(strcmp(t.format, "arc") == 0 && t.items[0].n_choices == 3 && t.items[0].answer == 1);
    check_choice(&t.items[0], 2, "Question: Why?\nAnswer:", "z");
    check_text(t.items[0].id, "M1");
    pare_task_close(&t);
    static const char owner[] =
        "{\"id\":\"M1\",\"question\":{\"stem\":\"Why\",\"choices\":[{\"text\":\"x\",\"label\":\"A\"},"
        "{\"label\":\"B\",\"text\":\"y\"}]},\"answerKey\":\"B\"}";
    load(&t, "arc.jsonl", owner, &defaults);
    CHECK(strcmp(t.format, "arc") == 0 && t.items[0].answer == 1);
    check_choice(&t.items[0], 1, "Question: Why\nAnswer:", "y");
    pare_task_close(&t);
    load(&t, "obqa.jsonl", owner, &by_name);
    check_choice(&t.items[0], 0, "Why", "x");
    pare_task_close(&t);
    load(&t, "obqa.jsonl",
         "{\"id\":\"7\",\"question_stem\":\"Why\",\"choices\":{\"text\":[\"x\",\"y\"],\"label\":[\"A\",\"B\"]},"
         "\"answerKey\":\" B\"}",
         &defaults);
    CHECK(strcmp(t.format, "openbookqa") == 0 && t.items[0].answer == 1);
    check_choice(&t.items[0], 1, "Why", "y");
    pare_task_close(&t);
}

static void piqa_and_boolq(void **state)
{
    pare_task t;
    (void)state;
    load(&t, "piqa.jsonl", "{\"goal\":\"g\",\"sol1\":\"s\",\"sol2\":\"t\",\"label\":1}", &defaults);
    CHECK(strcmp(t.format, "piqa") == 0 && t.items[0].answer == 1 && t.items[0].n_choices == 2);
    check_choice(&t.items[0], 0, "Question: g\nAnswer:", "s");
    pare_task_close(&t);
    load(&t, "boolq.jsonl", "{\"question\":\"is it\",\"passage\":\"P\",\"answer\":true,\"title\":\"T\"}\n", &defaults);
    CHECK(strcmp(t.format, "boolq") == 0 && t.items[0].answer == 1);
    check_choice(&t.items[0], 1, "P\nQuestion: is it?\nAnswer:", "yes");
    check_text(t.items[0].group, "P");
    pare_task_close(&t);
    load(&t, "boolq.jsonl", "{\"question\":\"is it\",\"passage\":\"P\",\"idx\":5,\"label\":0}", &defaults);
    CHECK(t.items[0].answer == 0);
    check_text(t.items[0].id, "5");
    pare_task_close(&t);
}

static void winogrande(void **state)
{
    pare_task t;
    (void)state;
    load(&t, "train_xl.jsonl",
         "{\"qID\":\"ABC-2\",\"sentence\":\"Ann saw Eve, _ "
         "left_.\",\"option1\":\"Ann\",\"option2\":\"Eve\",\"answer\":\"2\"}",
         &defaults);
    CHECK(strcmp(t.format, "winogrande") == 0 && !t.has_norm && t.items[0].answer == 1);
    check_choice(&t.items[0], 0, "Ann saw Eve, Ann", "left_.");
    check_choice(&t.items[0], 1, "Ann saw Eve, Eve", "left_.");
    check_text(t.items[0].group, "ABC");
    pare_task_close(&t);
    pare_task_options shots = {.n_shot = 1};
    shots.shots = put_file("wg_shots.csv", "0,x _ y,a,b,1\n", 14);
    load(&t, "wg.csv", "0,Ann saw _ leave,Eve,Bob,1\n", &shots); /* examples stand before each of two contexts */
    check_choice(&t.items[0], 0, "x a y\n\nAnn saw Eve", "leave");
    check_choice(&t.items[0], 1, "x a y\n\nAnn saw Bob", "leave");
    pare_task_close(&t);
    load(&t, "wg.csv", "0,\"Ann saw Eve, _ left.\",Ann,Eve,1\n", &defaults);
    CHECK(strcmp(t.format, "winogrande") == 0 && t.items[0].answer == 0);
    pare_task_close(&t);
}

/* The end of a context: the six examples in front are the same for all. */
static void check_end(pare_str s, const char *end)
{
    size_t n = strlen(end);
    CHECK(s.len > 500 && memcmp(s.data, "Q: What is human life expectancy", 32) == 0);
    check_text((pare_str){s.data + s.len - n, n}, end);
}

static void truthfulqa(void **state)
{
    static const char csv[] = "Type,Category,Question,Best Answer,Correct Answers,Incorrect Answers,Source\n"
                              "A,C,Why?,b,\"b; c.;\",x; y,http\n";
    static const char hub[] = "{\"question\":\"Why?\",\"mc1_targets\":{\"choices\":[\"x\",\"b\"],\"labels\":[0,1]},"
                              "\"mc2_targets\":{\"choices\":[\"b\",\"c\",\"x\"],\"labels\":[1,1,0]}}";
    static const char owner[] =
        "[{\"question\":\"Why?\",\"mc1_targets\":{\"b\":1,\"x\":0},\"mc2_targets\":{\"b\":1,\"x\":0}}]";
    const pare_task_options mc2 = {.format = "truthfulqa-mc2"};
    pare_task t;
    (void)state;
    load(&t, "TruthfulQA.csv", csv, &defaults);
    CHECK(strcmp(t.format, "truthfulqa-mc1") == 0 && strcmp(t.name, "TruthfulQA_mc1") == 0);
    CHECK(t.kind == PARE_TASK_CHOICE && t.items[0].n_choices == 3 && t.items[0].answer == 0);
    check_end(t.items[0].choices[2].context, "Barcelona, Spain.\n\nQ: Why?\nA:");
    check_text(t.items[0].choices[0].continuation, " b.");
    check_text(t.items[0].choices[2].continuation, " y.");
    pare_task_close(&t);
    load(&t, "TruthfulQA.csv", csv, &mc2);
    CHECK(t.kind == PARE_TASK_MASS && t.items[0].n_choices == 4 && strcmp(t.name, "TruthfulQA_mc2") == 0);
    CHECK(t.items[0].choices[0].right && t.items[0].choices[1].right && !t.items[0].choices[2].right);
    check_text(t.items[0].choices[1].continuation, " c.");
    pare_task_close(&t);
    load(&t, "tqa.jsonl", hub, &defaults);
    CHECK(strcmp(t.format, "truthfulqa-mc1") == 0 && t.items[0].answer == 1);
    pare_task_close(&t);
    load(&t, "tqa.jsonl", hub, &mc2);
    CHECK(t.items[0].n_choices == 3 && t.items[0].choices[1].right && t.items[0].answer == 0);
    pare_task_close(&t);
    load(&t, "mc_task.json", owner, &defaults);
    CHECK(t.items[0].n_choices == 2 && t.items[0].answer == 0);
    check_text(t.items[0].choices[1].continuation, " x");
    pare_task_close(&t);
}

static void lambada_and_choices(void **state)
{
    pare_task t;
    (void)state;
    load(&t, "lambada_test.jsonl", "{\"text\":\"he said  her name\"}\n", &defaults);
    CHECK(strcmp(t.format, "lambada") == 0 && t.kind == PARE_TASK_LAST_WORD && t.items[0].n_choices == 1);
    check_choice(&t.items[0], 0, "he said  her", "name");
    pare_task_close(&t);
    load(&t, "own.jsonl", "{\"query\":\"q\",\"choices\":[\"a\",\"b\"],\"gold\":1,\"group\":\"g\"}", &defaults);
    CHECK(strcmp(t.format, "choices") == 0 && t.items[0].answer == 1);
    check_choice(&t.items[0], 1, "q", "b");
    check_text(t.items[0].group, "g");
    pare_task_close(&t);
}

static void llama_cpp_file(void **state)
{
    /* one task: offset table, question, two answers with labels, no second set */
    static const char file[] = "\1\0\0\0"
                               "\10\0\0\0"
                               "\2\0\0\0Q:"
                               "\2\0\0\0"
                               "\1\0\0\0a"
                               "\2\0\0\0bc"
                               "\0\0\0\0"
                               "\1\0\0\0"
                               "\0\0\0\0";
    pare_task t;
    (void)state;
    load_bytes(&t, "arc.bin", file, sizeof file - 1, &defaults);
    CHECK(strcmp(t.format, "llama-cpp-choice") == 0 && t.n_items == 1 && t.items[0].answer == 1);
    check_choice(&t.items[0], 1, "Q:", "bc");
    pare_task_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mmlu),           cmocka_unit_test(mmlu_subjects),      cmocka_unit_test(examples),
        cmocka_unit_test(limit),          cmocka_unit_test(hellaswag),          cmocka_unit_test(arc_and_openbookqa),
        cmocka_unit_test(piqa_and_boolq), cmocka_unit_test(winogrande),         cmocka_unit_test(truthfulqa),
        cmocka_unit_test(llama_cpp_file), cmocka_unit_test(lambada_and_choices)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
