/* cli.h - run the program as a user does, and look at what it printed */
#ifndef PARE_TESTS_CMD_CLI_H
#define PARE_TESTS_CMD_CLI_H

#include "check.h"

#include <jansson.h>
#include <openssl/evp.h>

typedef struct cli_result {
    int code;        /* exit code; 128 + signal when one ended it */
    char *out, *err; /* what it printed, valid until the next cli_run */
} cli_result;

/* Run a shell command in the test's own folder; $PARE is the program, $DEMO the demo model, $TEXT its text. */
cli_result cli_run(const char *fmt, ...) PARE_PRINTF(1, 2);

/* The same, expecting an exit code: prints command and outputs when another one comes. */
cli_result cli_expect(int code, const char *fmt, ...) PARE_PRINTF(2, 3);

/* stdout as the one JSON document that it must be, with a schema number. Owned by the caller. */
json_t *cli_json(const cli_result *r);

/* The number of that key, which must be there. */
double cli_number(const json_t *doc, const char *key);

const char *cli_folder(void); /* where the commands run */
bool cli_contains(const char *text, const char *part);
size_t cli_count_lines(const char *text);
size_t cli_count_temporaries(void); /* *.part.* left in the folder */

/* Write a key as PEM, its private or its public half, to a file of that folder. */
void cli_write_key(const char *name, EVP_PKEY *key, bool private);

#endif
