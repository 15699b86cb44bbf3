#include "cmd/signals.h"
#include "core/error.h"
#include "core/map.h"
#include "core/output.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

/* Only async-signal-safe calls from here to cmd_signals_start. */

static void say(const char *text)
{
    if (write(STDERR_FILENO, text, strlen(text)) < 0)
        return; /* nobody is left to be told */
}

static void say_number(uint64_t n)
{
    char digits[21];
    size_t at = sizeof digits - 1;
    digits[at] = '\0';
    do
        digits[--at] = (char)('0' + n % 10);
    while ((n /= 10) != 0);
    say(digits + at);
}

static void on_stop(int number)
{
    if (pare_interrupted()) {
        if (pare_output_abandon())
            _exit(128 + number);
        return; /* the files are complete and about to have their names: a moment longer leaves none alone */
    }
    pare_set_interrupted(number);
}

static void on_bus_error(int number, siginfo_t *info, void *context)
{
    static atomic_flag told = ATOMIC_FLAG_INIT;
    uint64_t offset = 0;
    (void)context;
    while (atomic_flag_test_and_set(&told)) /* several threads meet the end of the file: the first one tells and ends */
        pause();
    const char *path = pare_map_find(info->si_addr, &offset);
    pare_output_abandon();
    if (path == NULL) {
        signal(number, SIG_DFL);
        raise(number);
        return;
    }
    say("pare: error: ");
    say(path);
    say(": offset ");
    say_number(offset);
    say(": cannot be read: the file became shorter while it was in use, or its disk failed\n");
    _exit(pare_exit_code(PARE_ERR_FORMAT));
}

void cmd_signals_start(void)
{
    struct sigaction stop = {.sa_handler = on_stop}, bus = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO}, old;
    static const int ignorable[] = {SIGINT, SIGHUP}; /* a shell's background job ignores Ctrl-C, and nohup the end of
                                                        the terminal */
    for (size_t i = 0; i < sizeof ignorable / sizeof *ignorable; i++)
        if (sigaction(ignorable[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(ignorable[i], &stop, NULL);
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGBUS, &bus, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* ulimit -f: the write fails with EFBIG and is reported as a full disk is */
}
