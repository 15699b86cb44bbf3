/* pare: the command line. Finds the verb, parses its options, runs it, reports what failed. */
#include "cmd/console.h"
#include "cmd/doc.h"
#include "cmd/mpi.h"
#include "cmd/signals.h"
#include "cmd/sources.h"
#include "cmd/summary.h"
#include "core/json.h"
#include "core/threads.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* A closed stream would lend its number to the next file that is opened, and what is printed would end up in there. A
 * stand-in that cannot be written makes the output fail as it must. */
static void keep_streams_apart(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) == -1 && open("/dev/null", O_RDONLY) != fd)
            _exit(pare_exit_code(PARE_ERR_IO));
}

/* Whether the user asked for JSON, also when the command line could not be parsed. */
static bool asks_for_json(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--json") == 0)
            return true;
    return false;
}

/* One line says what is wrong; a second one where to read on, when the command line is. */
static void report(const cmd_args *args, bool as_json, const pare_error *err)
{
    static const cmd_verb nameless = {.name = ""};
    const cmd_args anonymous = {.verb = &nameless};
    if (err->text[0] == '\0')
        return; /* a difference: the verb has printed it */
    if (as_json && !cmd_printed_json()) {
        json_t *doc = json_object();
        json_object_set_new(doc, "error", cmd_json_error(err));
        cmd_print_json(args->verb != NULL ? args : &anonymous, doc, NULL);
    }
    cmd_error(err->text);
    if (err->status == PARE_ERR_USAGE)
        cmd_hint("try 'pare help%s%s'", args->verb != NULL ? " " : "", args->verb != NULL ? args->verb->name : "");
}

static pare_status run(cmd_args *args, pare_error *err)
{
    if (cmd_has(args, OPT_HELP)) {
        cmd_doc_verb(stdout, args->verb);
        return PARE_OK;
    }
    pare_set_threads((int)cmd_number(args, OPT_THREADS));
    pare_set_strict(cmd_has(args, OPT_STRICT));
    cmd_signals_start();
    pare_status st = cmd_sources_note(args, err);
    return st == PARE_OK ? args->verb->run(args, err) : st;
}

int main(int argc, char **argv)
{
    pare_error err = {0}, late = {0};
    cmd_args args = {0};
    const cmd_verb *verb = NULL;
    const char *name = argc > 1 ? argv[1] : "";
    pare_status st = PARE_OK;
    keep_streams_apart();
    pare_json_watch_memory();
    cmd_seconds(); /* the clock starts */
    if (argc < 2)
        st = pare_fail(&err, PARE_ERR_USAGE, "a command is missing");
    else if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)
        cmd_doc_version(stdout);
    else if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        cmd_doc_overview(stdout);
    else {
        st = cmd_verb_require(&verb, name, &err);
        if (st == PARE_OK)
            st = cmd_args_parse(&args, verb, argc - 1, argv + 1, &err);
        cmd_console_start(&args);
        if (st == PARE_OK)
            st = run(&args, &err);
    }
    cmd_progress_clear();
    if (st != PARE_OK)
        report(&args, asks_for_json(argc, argv), &err);
    if (cmd_finish_stdout(&late) != PARE_OK && st == PARE_OK) {
        st = late.status;
        cmd_error(late.text);
    }
    cmd_sources_close(&args);
    cmd_args_close(&args);
    cmd_mpi_end(st);
    return pare_exit_code(st);
}
