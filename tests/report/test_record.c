#include "make_record.h"
#include "report/record_merge.h"
#include "report/record_read.h"
#include "report/record_seal.h"
#include "report/record_verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Name in the test's folder: a static buffer, four in turn. */
static const char *in_temp(const char *name)
{
    static char paths[4][512];
    static int turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", temp_dir(), name);
    return path;
}

static pare_record_report verify(const char *path)
{
    pare_record_report r;
    pare_error err = {0};
    CHECK_OK(pare_verify_record(path, &r, &err), &err);
    return r;
}

static bool has_finding(const pare_record_report *r, const char *item)
{
    for (size_t i = 0; i < r->n_findings; i++)
        if (strcmp(r->findings[i].item, item) == 0)
            return true;
    return false;
}

static void a_record_follows_from_its_items(void **state)
{
    (void)state;
    for (int has_reference = 0; has_reference < 2; has_reference++) {
        make_record(in_temp("a.json"), has_reference, 0, MADE_WINDOWS, NULL);
        CHECK(pare_is_record(in_temp("a.json")));
        CHECK(!pare_is_record(in_temp("a.jsonl")));
        pare_record_report r = verify(in_temp("a.json"));
        CHECK(r.n_findings == 0 && r.bytes == PARE_VERDICT_OK && r.figures == PARE_VERDICT_OK);
        CHECK(r.files == PARE_VERDICT_ABSENT);
        CHECK(r.n_absent == (has_reference ? 4u : 3u)); /* model, perhaps reference, two texts */
        CHECK(r.n_windows == MADE_TEXTS * MADE_WINDOWS && r.n_positions == r.n_windows * MADE_POSITIONS);
        pare_record_report_close(&r);
    }
}

/* Whatever the white space is, and wherever the member stands; not further in than the outermost object. */
static void a_record_is_known_by_its_format(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is;
    } rows[] = {
        {"{\"format\":\"pare-record\"}", true},
        {" {\"a\":{\"x\":[\"}\\\"\"]},\t\"format\" :\n\"pare-record\"", true},
        {"{\"x\":\"\n \"format\": \"pare-record\"", true}, /* damaged, and as pare writes it */
        {"{\"a\":{\"format\":\"pare-record\"}}", false},
        {"{\"a\":\"format\",\"b\":\"pare-record\"}", false},
        {"{\"format\":\"other\",\"b\":\"pare-record\"}", false},
        {"[\"format\",\"pare-record\"]", false},
        {"\"format\":\"pare-record\"", false},
        {"{\"format\":\"pare-record", false},
        {"", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const size_t n = strlen(rows[i].text);
        char *exact = check_malloc(n); /* not terminated */
        memcpy(exact, rows[i].text, n);
        if (pare_record_is_one(exact, n) != rows[i].is)
            fail_msg("%s", rows[i].text);
        free(exact);
    }
}

/* Change the digit at `at` of a copy of the record, and see what is found. */
static void edit_digit(const char *file, const uint8_t *bytes, size_t n, size_t at)
{
    uint8_t *edited = check_malloc(n);
    memcpy(edited, bytes, n);
    edited[at] = (uint8_t)('0' + (edited[at] - '0' + 1 + at % 9) % 10);
    check_write_file(in_temp(file), edited, n);
    pare_record_report r = verify(in_temp("a.json"));
    if (r.n_findings == 0)
        fprintf(stderr, "%s: the digit at %zu\n", file, at);
    CHECK(r.n_findings > 0 && r.findings[0].text[0] != '\0');
    pare_record_report_close(&r);
    free(edited);
}

static void an_edited_digit_is_found(void **state)
{
    static const char *const files[] = {"a.json", "a.jsonl"};
    (void)state;
    make_record(in_temp("a.json"), true, 0, MADE_WINDOWS, NULL);
    for (size_t f = 0; f < 2; f++) {
        size_t n, seen = 0;
        uint8_t *bytes = check_read_file(in_temp(files[f]), &n);
        for (size_t at = 0; at < n; at++)
            if (bytes[at] >= '0' && bytes[at] <= '9' && seen++ % 41 == 0)
                edit_digit(files[f], bytes, n, at);
        CHECK(seen > 1000);
        check_write_file(in_temp(files[f]), bytes, n);
        free(bytes);
    }
    pare_record_report r = verify(in_temp("a.json"));
    CHECK(r.n_findings == 0);
    pare_record_report_close(&r);
}

/* Put `to`, of the same length, for the first `from` in a file. */
static void replace(const char *file, const char *from, const char *to)
{
    size_t n;
    uint8_t *bytes = check_read_file(in_temp(file), &n);
    uint8_t *at = memmem(bytes, n, from, strlen(from));
    CHECK(at != NULL && strlen(from) == strlen(to));
    memcpy(at, to, strlen(to));
    check_write_file(in_temp(file), bytes, n);
    free(bytes);
}

static void the_edited_member_is_named(void **state)
{
    static const struct {
        const char *from, *to, *item;
    } rows[] = {
        {"\"n_ctx\": 16,\n  \"seed\"", "\"n_ctx\": 17,\n  \"seed\"", "settings.n_ctx"},
        {"00:00:10Z", "00:00:11Z", "time.end"},
        {"\"bits_per_weight\": 4.5", "\"bits_per_weight\": 4.6", "model.bits_per_weight"},
        {"\"version\": \"0.1.0\"", "\"version\": \"0.1.1\"", "tool.version"},
        {"\"n_windows\": 5", "\"n_windows\": 6", "texts[0].n_windows"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        make_record(in_temp("a.json"), true, 0, MADE_WINDOWS, NULL);
        replace("a.json", rows[i].from, rows[i].to);
        pare_record_report r = verify(in_temp("a.json"));
        CHECK(r.bytes == PARE_VERDICT_DIFFERENT && has_finding(&r, "digest"));
        if (!has_finding(&r, rows[i].item))
            fprintf(stderr, "%s is not named\n", rows[i].item);
        CHECK(has_finding(&r, rows[i].item));
        pare_record_report_close(&r);
    }
}

static void broken_records_are_findings_too(void **state)
{
    size_t n;
    (void)state;
    make_record(in_temp("a.json"), true, 0, MADE_WINDOWS, NULL);
    replace("a.json", "\"seed\": 9", "\"seed\": x"); /* no JSON any more */
    pare_record_report r = verify(in_temp("a.json"));
    CHECK(r.bytes == PARE_VERDICT_DIFFERENT && r.n_findings >= 2);
    pare_record_report_close(&r);

    make_record(in_temp("a.json"), true, 0, MADE_WINDOWS, NULL);
    uint8_t *items = check_read_file(in_temp("a.jsonl"), &n);
    check_write_file(in_temp("a.jsonl"), items, n - 20); /* cut */
    r = verify(in_temp("a.json"));
    CHECK(r.bytes == PARE_VERDICT_DIFFERENT && has_finding(&r, "items.sha256") && has_finding(&r, "items"));
    pare_record_report_close(&r);
    free(items);

    remove(in_temp("a.jsonl"));
    r = verify(in_temp("a.json"));
    CHECK(r.bytes == PARE_VERDICT_DIFFERENT && has_finding(&r, "items.sha256"));
    pare_record_report_close(&r);
}

/* Merge a.json and b.json into m.json. */
static pare_status merge(uint64_t *n_missing, pare_error *err)
{
    pare_record parts[2];
    pare_output_set set = {0};
    json_t *tool = json_pack("{s:s}", "version", "0.1.0");
    CHECK_OK(pare_record_load(&parts[0], in_temp("a.json"), err), err);
    CHECK_OK(pare_record_load(&parts[1], in_temp("b.json"), err), err);
    pare_status st = pare_record_merge(parts, 2, in_temp("m.json"), true, tool, &set, n_missing, err);
    if (st == PARE_OK)
        CHECK_OK(pare_output_set_publish(&set, err), err);
    pare_output_set_close(&set);
    pare_record_unload(&parts[0]);
    pare_record_unload(&parts[1]);
    json_decref(tool);
    return st;
}

static void parts_become_the_undivided_run(void **state)
{
    pare_error err = {0};
    pare_record whole, merged;
    size_t n, m;
    uint64_t n_missing = 1;
    (void)state;
    make_record(in_temp("whole.json"), true, 0, MADE_WINDOWS, NULL);
    make_record(in_temp("b.json"), true, 0, 2, NULL); /* the later part is named first */
    make_record(in_temp("a.json"), true, 2, MADE_WINDOWS, NULL);
    CHECK_OK(merge(&n_missing, &err), &err);
    CHECK(n_missing == 0);
    uint8_t *left = check_read_file(in_temp("whole.jsonl"), &n), *right = check_read_file(in_temp("m.jsonl"), &m);
    CHECK(n == m && memcmp(left, right, n) == 0);
    CHECK_OK(pare_record_load(&whole, in_temp("whole.json"), &err), &err);
    CHECK_OK(pare_record_load(&merged, in_temp("m.json"), &err), &err);
    CHECK(json_equal(json_object_get(whole.doc, "texts"), json_object_get(merged.doc, "texts")));
    CHECK(json_equal(json_object_get(whole.doc, "average"), json_object_get(merged.doc, "average")));
    CHECK(json_array_size(json_object_get(merged.doc, "parts")) == 2);
    pare_record_unload(&whole);
    pare_record_unload(&merged);
    free(left);
    free(right);
    pare_record_report r = verify(in_temp("m.json"));
    CHECK(r.n_findings == 0);
    pare_record_report_close(&r);

    make_record(in_temp("b.json"), true, 0, 1, NULL);
    CHECK_OK(merge(&n_missing, &err), &err);
    CHECK(n_missing == MADE_TEXTS);
}

static void other_seed(json_t *head)
{
    json_object_set_new(json_object_get(head, "settings"), "seed", json_integer(1));
}

static void other_model(json_t *head)
{
    json_object_set_new(json_object_get(head, "model"), "sha256", json_string("1"));
}

static void parts_that_do_not_fit_are_refused(void **state)
{
    static const struct {
        uint32_t first;
        bool has_reference;
        void (*change)(json_t *head);
        const char *why;
    } rows[] = {{1, true, NULL, "window 1 of text 0 stands in both"},
                {2, true, other_seed, "'settings.seed' is not that of"},
                {2, true, other_model, "'model.sha256' is not that of"},
                {2, false, NULL, "'reference' is not that of"}};
    (void)state;
    make_record(in_temp("a.json"), true, 0, 2, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        pare_error err = {0};
        make_record(in_temp("b.json"), rows[i].has_reference, rows[i].first, MADE_WINDOWS, rows[i].change);
        remove(in_temp("m.json"));
        CHECK(merge(NULL, &err) == PARE_ERR_USAGE);
        CHECK(strstr(err.text, rows[i].why) != NULL);
        FILE *f = fopen(in_temp("m.json"), "r");
        CHECK(f == NULL);
    }
}

/* The same model and settings, and another text in one of its properties. */
static void parts_are_of_one_text(void **state)
{
    static const char *const keys[] = {"sha256", "ids_sha256", "n_tokens", "n_windows"};
    (void)state;
    make_record(in_temp("a.json"), true, 0, 2, NULL);
    make_record(in_temp("b.json"), true, 2, MADE_WINDOWS, NULL);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        pare_error err = {0};
        pare_record parts[2];
        pare_output_set set = {0};
        json_t *tool = json_object();
        char why[64];
        CHECK_OK(pare_record_load(&parts[0], in_temp("a.json"), &err), &err);
        CHECK_OK(pare_record_load(&parts[1], in_temp("b.json"), &err), &err);
        json_object_set_new(json_array_get(json_object_get(parts[1].doc, "texts"), 1), keys[i], json_integer(7));
        CHECK(pare_record_merge(parts, 2, in_temp("n.json"), true, tool, &set, NULL, &err) == PARE_ERR_USAGE);
        snprintf(why, sizeof why, "'texts[1].%s' is not that of", keys[i]);
        CHECK(strstr(err.text, why) != NULL);
        pare_output_set_close(&set);
        pare_record_unload(&parts[0]);
        pare_record_unload(&parts[1]);
        json_decref(tool);
    }
}

/* Whoever computes seal and digest anew is caught by the items. */
static void a_sealed_lie_does_not_follow_from_the_items(void **state)
{
    pare_error err = {0};
    pare_buf text = {0};
    (void)state;
    make_record(in_temp("a.json"), true, 0, 2, NULL);
    json_t *doc = json_load_file(in_temp("a.json"), 0, NULL), *average = json_object_get(doc, "average");
    const double kld = json_real_value(json_object_get(average, "kld_mean"));
    json_object_set_new(average, "kld_mean", json_real(kld * (1 + 1e-9)));
    json_object_del(doc, "seal");
    json_object_del(doc, "digest");
    CHECK_OK(pare_record_seal(doc, &text, &err), &err);
    check_write_file(in_temp("a.json"), text.data, text.len);
    pare_record_report r = verify(in_temp("a.json"));
    CHECK(r.bytes == PARE_VERDICT_OK && r.figures == PARE_VERDICT_DIFFERENT && r.n_findings == 1);
    CHECK(has_finding(&r, "average.kld_mean"));
    pare_record_report_close(&r);
    pare_buf_close(&text);
    json_decref(doc);
}

static void a_changed_record_is_not_loaded(void **state)
{
    pare_error err = {0};
    pare_record r;
    (void)state;
    make_record(in_temp("a.json"), true, 0, 2, NULL);
    replace("a.json", "00:00:10Z", "00:00:11Z");
    CHECK(pare_record_load(&r, in_temp("a.json"), &err) == PARE_ERR_FORMAT);
    CHECK(strstr(err.text, "was changed after it was written") != NULL);
    make_record(in_temp("a.json"), true, 0, 2, NULL);
    replace("a.jsonl", "\"first\":8", "\"first\":7");
    CHECK(pare_record_load(&r, in_temp("a.json"), &err) == PARE_ERR_FORMAT);
    CHECK(strstr(err.text, "its items are not those that were written") != NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_follows_from_its_items),
        cmocka_unit_test(a_record_is_known_by_its_format),
        cmocka_unit_test(an_edited_digit_is_found),
        cmocka_unit_test(the_edited_member_is_named),
        cmocka_unit_test(broken_records_are_findings_too),
        cmocka_unit_test(parts_become_the_undivided_run),
        cmocka_unit_test(parts_that_do_not_fit_are_refused),
        cmocka_unit_test(parts_are_of_one_text),
        cmocka_unit_test(a_sealed_lie_does_not_follow_from_the_items),
        cmocka_unit_test(a_changed_record_is_not_loaded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
