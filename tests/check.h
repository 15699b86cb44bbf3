/* check.h - what the tests share: assertions with a message, reference data outside of the repository, temporary files */
#ifndef PARE_TESTS_CHECK_H
#define PARE_TESTS_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <cmocka.h>

#include "core/error.h"

/* Fails the running test with file, line and the text. */
#define CHECK(cond) ((cond) ? (void)0 : check_failed(__FILE__, __LINE__, #cond))
void check_failed(const char *file, int line, const char *text);

/* CHECK that st is PARE_OK, printing the error otherwise. */
#define CHECK_OK(st, err) ((st) == PARE_OK ? (void)0 : check_failed(__FILE__, __LINE__, (err)->text))

/* Reference data: $PARE_SHARED, else ../shared beside the checkout. shared_path returns a static buffer with the path,
 * or skips the running test with one line "SKIP <what>: <path> is absent". With PARE_REQUIRE_SHARED=1 (CI) absence is a
 * failure. */
const char *shared_path(const char *relative);
bool have_shared(void);

/* A file of the repository, e.g. "tests/data/demo": a static buffer (four in turn). */
const char *source_path(const char *relative);

/* The whole file; exits the test on failure. Owned by the caller. */
uint8_t *check_read_file(const char *path, size_t *n);
void check_write_file(const char *path, const void *data, size_t n);
void *check_malloc(size_t n);

/* A fresh folder under $TMPDIR, removed with all it holds when the program ends. Static buffer. */
const char *temp_dir(void);

#endif
