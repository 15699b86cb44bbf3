/* A folder for readers that open files, removed when the program ends. */
#ifndef PARE_TESTS_FUZZ_FOLDER_H
#define PARE_TESTS_FUZZ_FOLDER_H

#include <stddef.h>

/* Its path; the first call makes it. */
const char *fuzz_folder(void);

/* Write the file `name` there, a constant: it goes with the folder. At most four names. */
void fuzz_put(const char *name, const void *bytes, size_t n);

#endif
