#include "check.h"

#include "core/error.h"

#include <signal.h>
#include <string.h>

static void fills_one_clean_line(void **state)
{
    (void)state;
    pare_error err = {0};
    CHECK(pare_fail(&err, PARE_ERR_RANGE, "%s: tensor '%s': %d", "a.gguf", "bad\n\x1b[31m\xff", 7) == PARE_ERR_RANGE);
    assert_int_equal(err.status, PARE_ERR_RANGE);
    assert_string_equal(err.text, "a.gguf: tensor 'bad\\x0a\\x1b[31m\\xff': 7");
    CHECK(pare_fail(NULL, PARE_ERR_IO, "nobody listens") == PARE_ERR_IO);
}

static void cuts_long_messages(void **state)
{
    (void)state;
    char name[5000];
    pare_error err = {0};
    memset(name, '\n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    pare_fail(&err, PARE_ERR_FORMAT, "%s", name);
    size_t len = strlen(err.text);
    CHECK(len < PARE_ERROR_TEXT && len > PARE_ERROR_TEXT - 8 && len % 4 == 0); /* whole escapes */
}

static char heard[PARE_ERROR_TEXT];

static void listen(const char *text, void *user)
{
    (void)user;
    strcpy(heard, text);
}

static void warnings_reach_the_sink(void **state)
{
    (void)state;
    pare_error err = {0};
    CHECK(pare_warn(&err, "dropped") == PARE_OK);
    pare_set_warn_sink(listen, NULL);
    CHECK(pare_warn(&err, "odd name '%s'", "a\tb") == PARE_OK);
    assert_string_equal(heard, "odd name 'a\\x09b'");
    CHECK(err.status == PARE_OK);
    pare_set_strict(true);
    heard[0] = '\0';
    CHECK(pare_warn(&err, "odd") == PARE_ERR_FORMAT);
    CHECK(heard[0] == '\0' && strncmp(err.text, "odd", 3) == 0);
    pare_set_strict(false);
    pare_set_warn_sink(NULL, NULL);
}

static void exit_codes(void **state)
{
    (void)state;
    static const int want[] = {0, 1, 2, 3, 3, 3, 4, 5, 6, 6, 130};
    for (int st = PARE_OK; st <= PARE_ERR_INTERRUPTED; st++) {
        assert_int_equal(pare_exit_code((pare_status)st), want[st]);
        CHECK(strlen(pare_status_name((pare_status)st)) > 0);
        for (int other = PARE_OK; other < st; other++)
            CHECK(strcmp(pare_status_name((pare_status)st), pare_status_name((pare_status)other)) != 0);
    }
}

static void interruption(void **state)
{
    (void)state;
    pare_error err = {0};
    CHECK(!pare_interrupted() && pare_check_interrupt(&err) == PARE_OK);
    pare_set_interrupted(SIGTERM);
    CHECK(pare_interrupted() && pare_check_interrupt(&err) == PARE_ERR_INTERRUPTED);
    assert_int_equal(pare_exit_code(PARE_ERR_INTERRUPTED), 128 + SIGTERM);
    pare_set_interrupted(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fills_one_clean_line),
        cmocka_unit_test(cuts_long_messages),
        cmocka_unit_test(warnings_reach_the_sink),
        cmocka_unit_test(exit_codes),
        cmocka_unit_test(interruption),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
