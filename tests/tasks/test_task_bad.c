/* Files that must be refused, with one line that says where and why. */
#include "check.h"
#include "tasks/task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct bad {
    const char *name, *text;
    pare_status status;
    const char *message; /* part of it, behind the path */
} bad;

#define ARC "{\"question\":\"q\",\"choices\":{\"text\":[\"x\",\"y\"],\"label\":[\"A\",\"B\"]},\"answerKey\":\"A\"}\n"

static const bad cases[] = {
    {"e.csv", "", PARE_ERR_FORMAT, ": the file is empty"},
    {"e.csv", "\n\n", PARE_ERR_FORMAT, ": line 1: 1 column and no header"},
    {"h.csv", "question,A,B,C,D,answer\n", PARE_ERR_FORMAT, ": no items"},
    {"m.csv", "question,A,B,C,D,answer\nq,a,b,c,d,4\n", PARE_ERR_RANGE,
     ": line 2: field 'answer' is '4', allowed 0 to 3, or A to D"},
    {"m.csv", "q,a,b,c,d,A\nq,a,b,c,d,E\n", PARE_ERR_RANGE, ": line 2: field 'answer' is 'E'"},
    {"m.csv", "q,a,b,c,d,-1\n", PARE_ERR_RANGE, ": line 1: field 'answer' is '-1'"},
    {"m.csv", "q,a,b,c,d,1.0\n", PARE_ERR_RANGE, "'1.0'"},
    {"m.csv", "q,a,b,c,d,99999999999999999999\n", PARE_ERR_RANGE, "'99999999999999999999'"},
    {"m.csv", "q,a,b,c,d,18446744073709551616\n", PARE_ERR_RANGE, "'18446744073709551616'"},
    {"m.csv", "q,a,b,c,d,\n", PARE_ERR_FORMAT, ": line 1: field 'answer' is empty"},
    {"m.csv", "q,a,,c,d,A\n", PARE_ERR_FORMAT, ": line 1: field 'b' is empty"},
    {"m.csv", "q,a,b,c,d,A\nq,a,b,c,A\n", PARE_ERR_FORMAT, ": line 2: 5 columns, the first line has 6"},
    {"m.csv", "q,a,b,c,d,A\nq,a,b,c,d,e,A\n", PARE_ERR_FORMAT, ": line 2: 7 columns, the first line has 6"},
    {"m.csv", "q,a,b,c\n", PARE_ERR_FORMAT, ": line 1: 4 columns and no header"},
    {"m.csv", "question,A,A,C,D,answer\n", PARE_ERR_FORMAT, ": line 1: columns 2 and 3 are both named 'A'"},
    {"m.csv", "question,x\nq,y\n", PARE_ERR_UNSUPPORTED, ": line 2: no known task has the fields {question, x}; known"},
    {"m.csv", "q,a,b,c,d,A\n\xff,a,b,c,d,A\n", PARE_ERR_FORMAT, ": line 2, offset 12: byte 0xff is not UTF-8"},
    {"m.csv", "\xff\xfeq", PARE_ERR_UNSUPPORTED, ": text in UTF-16"},
    {"m.gz", "\x1f\x8b\x08", PARE_ERR_UNSUPPORTED, ": compressed with gzip"},
    {"j.jsonl", "{\"goal\":\"g\",\"sol1\":\"s\"\n", PARE_ERR_FORMAT, ": line 1"},
    {"j.jsonl", "{\"goal\":\"g\",\"sol1\":\"s\",\"sol2\":\"t\"}\n", PARE_ERR_FORMAT,
     ": line 1: field 'label' is missing; an index is expected"},
    {"j.jsonl", "{\"goal\":\"g\",\"sol1\":\"\",\"sol2\":\"t\",\"label\":0}\n", PARE_ERR_FORMAT,
     ": line 1: field 'sol1' is empty"},
    {"j.jsonl", "{\"goal\":[],\"sol1\":\"s\",\"sol2\":\"t\",\"label\":0}\n", PARE_ERR_FORMAT,
     ": line 1: field 'goal' is an array"},
    {"j.jsonl", "{\"goal\":\"g\",\"sol1\":\"s\",\"sol2\":\"t\",\"label\":2}\n", PARE_ERR_RANGE, "'2', allowed 0 to 1"},
    {"j.jsonl", "{\"goal\":\"g\",\"sol1\":\"s\",\"sol2\":\"t\",\"label\":0.0}\n", PARE_ERR_FORMAT,
     ": line 1: field 'label' is a real; an index is expected"},
    {"j.jsonl", "{\"goal\":\"g\",\"goal\":\"h\",\"sol1\":\"s\",\"sol2\":\"t\",\"label\":1}\n", PARE_ERR_FORMAT,
     "duplicate"},
    {"j.jsonl", ARC "7\n", PARE_ERR_FORMAT, ": line 2: an object with an item's fields is expected"},
    {"j.jsonl", "[]", PARE_ERR_FORMAT, ": no items"},
    {"j.jsonl", "[" ARC "," ARC ", {\"question\":\"q\",\"answerKey\":\"A\"}]", PARE_ERR_FORMAT,
     ": item 2: field 'choices"},
    {"j.jsonl", "{\"question\":\"q\",\"choices\":{\"text\":[],\"label\":[]},\"answerKey\":\"A\"}", PARE_ERR_FORMAT,
     ": line 1: field 'choices.text' is empty; at least one choice"},
    {"j.jsonl", "{\"question\":\"q\",\"choices\":{\"text\":[\"x\",\"\"],\"label\":[\"A\",\"B\"]},\"answerKey\":\"A\"}",
     PARE_ERR_FORMAT, "choice 1 is empty"},
    {"j.jsonl", "{\"question\":\"q\",\"choices\":{\"text\":[\"x\",\"y\"],\"label\":[\"A\"]},\"answerKey\":\"A\"}",
     PARE_ERR_FORMAT, "2 texts and 1 labels"},
    {"j.jsonl", "{\"question\":\"q\",\"choices\":{\"text\":[\"x\",\"y\"],\"label\":[\"A\",\"B\"]},\"answerKey\":\"C\"}",
     PARE_ERR_RANGE, "field 'answerKey' is 'C'"},
    {"h.jsonl", "{\"question\":\"q\",\"choices\":[\"a\",\"b\",\"c\",\"d\",\"e\"],\"answer\":0}", PARE_ERR_RANGE,
     "field 'choices' has 5, expected 4"},
    {"w.jsonl", "{\"sentence\":\"no gap\",\"option1\":\"a\",\"option2\":\"b\",\"answer\":\"1\"}", PARE_ERR_FORMAT,
     "no gap"},
    {"w.jsonl", "{\"sentence\":\"gap _ \",\"option1\":\"a\",\"option2\":\"b\",\"answer\":\"1\"}", PARE_ERR_FORMAT,
     "nothing behind its gap"},
    {"w.jsonl", "{\"sentence\":\"gap _ x\",\"option1\":\"a\",\"option2\":\"b\",\"answer\":\"0\"}", PARE_ERR_RANGE,
     "'0', allowed 1 to 2"},
    {"t.jsonl", "{\"question\":\"q\",\"mc1_targets\":{\"choices\":[\"a\",\"b\"],\"labels\":[1,1]}}", PARE_ERR_RANGE,
     "2 right answers, expected 1"},
    {"t.jsonl", "{\"question\":\"q\",\"mc1_targets\":{\"choices\":[\"a\",\"b\"],\"labels\":[0,0]}}", PARE_ERR_RANGE,
     "0 right answers"},
    {"t.jsonl", "{\"question\":\"q\",\"mc1_targets\":{\"choices\":[\"a\",\"b\"],\"labels\":[0,2]}}", PARE_ERR_RANGE,
     "label 1 is not 0 or 1"},
    {"t.jsonl", "{\"question\":\"q\",\"mc1_targets\":{\"choices\":[\"a\",\"b\"],\"labels\":[1]}}", PARE_ERR_FORMAT,
     "2 choices and 1 labels"},
    {"t.jsonl", "{\"question\":\"q\",\"mc1_targets\":{\"a\":1,\"b\":2}}", PARE_ERR_RANGE, "label 1 is not 0 or 1"},
    {"t.jsonl", "{\"question\":\"q\",\"mc1_targets\":{\"a\":1,\"b\":true}}", PARE_ERR_RANGE, "label 1 is not 0 or 1"},
    {"t.jsonl", "{\"question\":\"q\",\"mc1_targets\":{}}", PARE_ERR_FORMAT, "is empty; at least one choice"},
    {"l.jsonl", "{\"text\":\"word\"}", PARE_ERR_FORMAT, "has a single word"},
    {"l.jsonl", "{\"text\":\" word\"}", PARE_ERR_FORMAT, "has a single word"},
    {"l.jsonl", "{\"text\":\"two \"}", PARE_ERR_FORMAT, "ends with a space"},
    {"s.jsonl", "{\"activity_label\":\"a\",\"ctx_a\":\"b\",\"endings\":[\"x\",\"[y]\"],\"label\":0}", PARE_ERR_FORMAT,
     "choice 1 is empty without its brackets"},
    {"six.txt", "c\n4\na\nb\nc\nd\n", PARE_ERR_RANGE, ": line 1: field 'gold' is '4', allowed 0 to 3"},
    {"six.txt", "c\n1\na\nb\nc\nd\nc\n1\na\n", PARE_ERR_FORMAT, ": line 7: the last item has 3 lines of 6"},
    {"six.txt", "c\n1\na\n\nc\nd\n", PARE_ERR_FORMAT, "choice 1 is empty"},
};

static const char *put(const char *name, const void *data, size_t n)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", temp_dir(), name);
    check_write_file(path, data, n);
    return path;
}

static void refused(const char *path, const pare_task_options *o, pare_status status, const char *message)
{
    pare_task t;
    pare_error err = {0};
    pare_status st = pare_task_load(&t, path, o, &err);
    if (st != status || strstr(err.text, message) == NULL || strncmp(err.text, path, strlen(path)) != 0)
        fail_msg("status %d, '%s'; expected %d with '%s'", st, err.text, status, message);
    CHECK(t.memory.head == NULL && t.items == NULL);
}

static void texts(void **state)
{
    const pare_task_options o = {0};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        refused(put(cases[i].name, cases[i].text, strlen(cases[i].text)), &o, cases[i].status, cases[i].message);
}

static void formats_by_name(void **state)
{
    const pare_task_options unknown = {.format = "mmlu2"}, piqa = {.format = "piqa"}, tqa_shots = {.shots = "none"};
    static const char mmlu[] = "q,a,b,c,d,A\n",
                      tqa[] = "{\"question\":\"q\",\"mc1_targets\":{\"choices\":[\"a\"],\"labels\":[1]}}";
    (void)state;
    refused(put("m.csv", mmlu, sizeof mmlu - 1), &unknown, PARE_ERR_UNSUPPORTED,
            "the format 'mmlu2' is not known; known formats: ");
    refused(put("m.csv", mmlu, sizeof mmlu - 1), &piqa, PARE_ERR_FORMAT, ": line 1: field 'goal' is missing");
    refused(put("t.jsonl", tqa, sizeof tqa - 1), &tqa_shots, PARE_ERR_USAGE, "have their own examples");
    for (size_t i = 0; pare_task_format_name(i) != NULL; i++)
        for (size_t k = 0; k < i; k++)
            CHECK(strcmp(pare_task_format_name(i), pare_task_format_name(k)) != 0);
}

/* A file of n bytes, x between `before` and `behind`; message NULL: it is good. */
static void long_record(const char *name, const char *before, const char *behind, size_t n, const char *message)
{
    const pare_task_options o = {0};
    size_t from = strlen(before), to = n - strlen(behind);
    char *text = check_malloc(n + 1);
    memcpy(text, before, from);
    memset(text + from, 'x', to - from);
    strcpy(text + to, behind);
    if (message != NULL) {
        refused(put(name, text, n), &o, PARE_ERR_RANGE, message);
    } else {
        pare_task t;
        pare_error err = {0};
        CHECK_OK(pare_task_load(&t, put(name, text, n), &o, &err), &err);
        CHECK(t.n_items == 1);
        pare_task_close(&t);
    }
    free(text);
}

static void long_records(void **state)
{
    enum { LIMIT = 16 * 1024 * 1024 };
    (void)state;
    long_record("l.jsonl", "{\"text\":\"a ", "\"}", LIMIT, NULL);
    long_record("l.jsonl", "{\"text\":\"a ", "\"}", LIMIT + 1, ": line 1: 16777217 bytes, limit 16777216");
    long_record("m.csv", "", ",a,b,c,d,A", LIMIT, NULL);
    long_record("m.csv", "", ",a,b,c,d,A", LIMIT + 1,
                ": line 1: the record has 16777217 bytes or more, limit 16777216");
    long_record("m.csv", "question,", "\n", 9 + 64 + 1, ": line 1: the name of column 2 has 64 bytes, limit 63");
}

static void too_many_choices(void **state)
{
    const pare_task_options o = {0};
    char *text = check_malloc(16 * PARE_MAX_CHOICES);
    size_t at = (size_t)sprintf(text, "{\"query\":\"q\",\"gold\":0,\"choices\":[\"x\"");
    (void)state;
    for (int i = 0; i < PARE_MAX_CHOICES; i++)
        at += (size_t)sprintf(text + at, ",\"x\"");
    at += (size_t)sprintf(text + at, "]}");
    refused(put("c.jsonl", text, at), &o, PARE_ERR_RANGE, "has 1001 choices, limit 1000");
    free(text);
}

/* Brackets that never close, and titles, of a megabyte: in one pass over the text. */
static void long_lines(void **state)
{
    enum { N = 1 << 20 };
    const pare_task_options o = {0};
    char *text = check_malloc(2 * N);
    size_t at = (size_t)sprintf(text, "{\"activity_label\":\"a\",\"ctx_a\":\"b\",\"label\":0,\"endings\":[\"");
    pare_task t;
    pare_error err = {0};
    (void)state;
    memset(text + at, '[', N);
    at += N;
    at += (size_t)sprintf(text + at, "\\n]\"]}");
    CHECK_OK(pare_task_load(&t, put("h.jsonl", text, at), &o, &err), &err);
    CHECK(t.items[0].choices[0].answer.len == N + 2);
    pare_task_close(&t);
    free(text);
}

static const char binary[] = "\1\0\0\0"
                             "\10\0\0\0"
                             "\2\0\0\0Q:"
                             "\2\0\0\0"
                             "\1\0\0\0a"
                             "\2\0\0\0bc"
                             "\0\0\0\0"
                             "\1\0\0\0"
                             "\1\0\0\0"
                             "\1\0\0\0z"
                             "\1\0\0\0";
enum { BINARY_BYTES = sizeof binary - 1 };

static void binary_truncations(void **state)
{
    const pare_task_options o = {.format = "llama-cpp-choice"};
    (void)state;
    for (size_t n = 1; n < BINARY_BYTES; n++)
        refused(put("c.bin", binary, n), &o, PARE_ERR_FORMAT, "");
}

static void binary_values(void **state)
{
    static const struct {
        size_t at;
        unsigned char value;
        pare_status status;
        const char *message;
    } edits[] = {
        {0, 2, PARE_ERR_FORMAT, ": task 0: its offset is 8, what stands before ends at 12"},
        {0, 0, PARE_ERR_FORMAT, ": no items"},
        {3, 0x80, PARE_ERR_FORMAT, ": offset 0: 2147483649 tasks in a file of"},
        {4, 9, PARE_ERR_FORMAT, "its offset is 9"},
        {8, 200, PARE_ERR_FORMAT, "question: 200 bytes"},
        {11, 0xff, PARE_ERR_FORMAT, "question: 4278190082 bytes"},
        {12, 0xff, PARE_ERR_FORMAT, "offset 12: question: not UTF-8"},
        {14, 101, PARE_ERR_RANGE, "mc1_targets is 101, limit 100"},
        {29, 1, PARE_ERR_RANGE, ""},
        {29, 2, PARE_ERR_RANGE, "label is 2, limit 1"},
    };
    const pare_task_options o = {.format = "llama-cpp-choice"};
    char copy[BINARY_BYTES];
    (void)state;
    for (size_t i = 0; i < sizeof edits / sizeof edits[0]; i++) {
        memcpy(copy, binary, sizeof copy);
        copy[edits[i].at] = (char)edits[i].value;
        if (edits[i].status == PARE_ERR_RANGE && edits[i].message[0] == '\0') {
            pare_task t; /* two right answers are allowed */
            pare_error err = {0};
            CHECK_OK(pare_task_load(&t, put("c.bin", copy, sizeof copy), &o, &err), &err);
            CHECK(t.items[0].choices[0].right && t.items[0].choices[1].right);
            pare_task_close(&t);
            continue;
        }
        refused(put("c.bin", copy, sizeof copy), &o, edits[i].status, edits[i].message);
    }
}

/* What is a mark of UTF-8 in a text is a count here. */
static void binary_that_begins_like_text(void **state)
{
    const pare_task_options o = {0};
    static const char bytes[64] = "\xef\xbb\xbf";
    (void)state;
    refused(put("c.bin", bytes, sizeof bytes), &o, PARE_ERR_FORMAT, ": offset 0: 12565487 tasks in a file of 64 bytes");
}

static void long_labels(void **state)
{
    const pare_task_options o = {0};
    char text[2048], label[1001] = "", message[256];
    (void)state;
    memset(label, 'L', sizeof label - 1);
    snprintf(text, sizeof text,
             "{\"question\":\"q\",\"choices\":{\"text\":[\"x\"],\"label\":[\"%s\"]},\"answerKey\":\"Z\"}", label);
    snprintf(message, sizeof message, "none of the 1 labels '%.100s' to '%.100s'", label, label);
    refused(put("a.jsonl", text, strlen(text)), &o, PARE_ERR_RANGE, message);
}

static void bytes_behind_the_last_task(void **state)
{
    const pare_task_options o = {.format = "llama-cpp-choice"};
    char more[BINARY_BYTES + 2] = {0};
    (void)state;
    memcpy(more, binary, BINARY_BYTES);
    pare_set_strict(true);
    refused(put("c.bin", more, sizeof more), &o, PARE_ERR_FORMAT, ": 2 bytes follow the last task");
    pare_set_strict(false);
}

static void not_a_file(void **state)
{
    const pare_task_options o = {0};
    char fifo[512];
    (void)state;
    refused(temp_dir(), &o, PARE_ERR_FORMAT, "");
    refused("/nonexistent/x.csv", &o, PARE_ERR_FORMAT, "");
    snprintf(fifo, sizeof fifo, "%s/fifo", temp_dir());
    CHECK(mkfifo(fifo, 0600) == 0);
    refused(fifo, &o, PARE_ERR_FORMAT, "");
}

static void huge_files(void **state)
{
    const pare_task_options o = {0};
    char path[512];
    (void)state;
    snprintf(path, sizeof path, "%s/huge.csv", temp_dir());
    check_write_file(path, "q", 1);
    CHECK(truncate(path, (off_t)(1 << 30) + 1) == 0); /* sparse */
    refused(path, &o, PARE_ERR_RANGE, ": 1073741825 bytes, limit 1073741824");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(texts),
                                       cmocka_unit_test(formats_by_name),
                                       cmocka_unit_test(too_many_choices),
                                       cmocka_unit_test(long_lines),
                                       cmocka_unit_test(binary_truncations),
                                       cmocka_unit_test(binary_values),
                                       cmocka_unit_test(not_a_file),
                                       cmocka_unit_test(binary_that_begins_like_text),
                                       cmocka_unit_test(long_labels),
                                       cmocka_unit_test(bytes_behind_the_last_task),
                                       cmocka_unit_test(long_records),
                                       cmocka_unit_test(huge_files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
