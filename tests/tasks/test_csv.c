#include "check.h"
#include "tasks/csv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Records as "field|field;" in one text, or the error's. */
static const char *read_all(const char *text, size_t n_expected, pare_csv *c)
{
    static char out[1024];
    pare_error err = {0};
    size_t at = 0, len = strlen(text);
    char *exact = check_malloc(len > 0 ? len : 1); /* a sanitizer sees any read past the end */
    bool more = true;
    memcpy(exact, text, len);
    *c = (pare_csv){.path = "t.csv", .data = exact, .len = len, .line = 1, .n_expected = n_expected};
    out[0] = '\0';
    while (pare_csv_next(c, &more, &err) == PARE_OK && more) {
        for (size_t i = 0; i < c->n_fields; i++)
            at += (size_t)snprintf(out + at, sizeof out - at, "%s%.*s", i > 0 ? "|" : "", (int)c->fields[i].len,
                                   c->fields[i].data);
        at += (size_t)snprintf(out + at, sizeof out - at, ";");
    }
    if (err.status != PARE_OK)
        snprintf(out, sizeof out, "%s", err.text);
    pare_csv_close(c);
    free(exact);
    return out;
}

static void check_records(const char *text, size_t n_expected, const char *expected)
{
    pare_csv c;
    const char *found = read_all(text, n_expected, &c);
    if (strcmp(found, expected) != 0)
        fail_msg("<%s> gives <%s>, expected <%s>", text, found, expected);
}

static void rfc_4180(void **state)
{
    (void)state;
    check_records("", 0, "");
    check_records("a,b\nc,d\n", 0, "a|b;c|d;");
    check_records("a,b\r\nc,d", 0, "a|b;c|d;");
    check_records(",\n,", 0, "|;|;");
    check_records("\"a,b\",\"c\"\"d\"\n", 0, "a,b|c\"d;");
    check_records("\"two\nlines\",x\r\n\"\",y\n", 0, "two\nlines|x;|y;");
    check_records(" a , b \n", 0, " a | b ;");
    check_records("\"a\"", 0, "a;");
    check_records("\"\"\"\"\n", 0, "\";");
    check_records("x\n\ny\n", 0, "x;;y;"); /* an empty line is a record of one empty field */
}

static void quotes_that_are_not_doubled(void **state)
{
    pare_csv c;
    (void)state;
    /* as Python's csv.reader gives them */
    check_records("\"a \"b\" c\",2\n", 2, "a b\" c\"|2;");
    check_records("a \"b\",2\n", 2, "a \"b\"|2;");
    check_records("\"a \"b\",2\n\"c\",3\n", 2, "a b\"|2;c|3;");
    /* ... which makes too many columns of these */
    check_records("\"a \"b, c\" d\",\"e\",2\n\"f\",\"g\",3\n", 3, "a \"b, c\" d|e|2;f|g|3;");
    check_records("\"so \"b,\" she\",\"\"e\"\",2\r\n", 3, "so \"b,\" she|\"e\"|2;");
    check_records("\"a \"b, c\"\",\"last\"\n", 2, "a \"b, c\"|last;");
    check_records("x,\"a \"b, c\"\"\n", 2, "x|a \"b, c\";");
    /* neither rule gives the right number: what the second one gives is told apart by who asks for columns */
    check_records("\"a \"b, c\",\"d\",\"e\"\n", 2, "a \"b, c|d|e;");
    read_all("\"a\",1\n\"b \"c\",2\n\"d\",3\n\"e \"f\",4\n", 2, &c);
    CHECK(c.n_repaired == 2 && c.first_repaired == 2);
    read_all("\"a\"\"b\",1\n", 2, &c);
    CHECK(c.n_repaired == 0);
}

static void what_is_refused(void **state)
{
    char wide[PARE_CSV_MAX_FIELDS + 2];
    (void)state;
    check_records("a,b\n\"c", 0, "t.csv: line 2, column 1 of the record: the quote is never closed");
    check_records("a\n\"x\n\ny,z", 0, "t.csv: line 2, column 1 of the record: the quote is never closed");
    check_records("a\rb", 0, "t.csv: line 1, column 1 of the record: carriage return without line feed");
    memset(wide, ',', sizeof wide - 1);
    wide[PARE_CSV_MAX_FIELDS] = '\0';
    check_records(wide, 0, "t.csv: line 1: more than 64 columns");
}

static void lines_are_counted(void **state)
{
    static const char text[] = "a\n\"two\nlines\"\nb\n";
    pare_csv c = {.path = "t.csv", .data = text, .len = sizeof text - 1, .line = 1};
    pare_error err = {0};
    bool more;
    (void)state;
    for (uint64_t line = 1; line <= 4; line += line == 2 ? 2 : 1) {
        CHECK_OK(pare_csv_next(&c, &more, &err), &err);
        CHECK(more && c.record_line == line);
    }
    pare_csv_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(rfc_4180), cmocka_unit_test(quotes_that_are_not_doubled),
                                       cmocka_unit_test(what_is_refused), cmocka_unit_test(lines_are_counted)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
