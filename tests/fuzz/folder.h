/* A folder for readers that open files, removed when the program ends. */
#ifndef PARE_TESTS_FUZZ_FOLDER_H
#define PARE_TESTS_FUZZ_FOLDER_H

#include <stddef.h>

/* Its path; the first call makes it. */
const char *fuzz_folder(void);

/* Write the file `name` there, a constant: it goes with the folder. It may lie in further folders ("a/b/c"). At most
 * FUZZ_MAX_FILES names. */
enum { FUZZ_MAX_FILES = 12 };
void fuzz_put(const char *name, const void *bytes, size_t n);

/* Several texts in one input, a byte 0 between them: file i has the i-th. One that is empty or not there is no file. */
void fuzz_put_sections(const char *const *names, size_t n_names, const void *bytes, size_t n);

#endif
