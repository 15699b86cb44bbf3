/* make_record.h - small records of made-up scores */
#ifndef PARE_TESTS_REPORT_MAKE_RECORD_H
#define PARE_TESTS_REPORT_MAKE_RECORD_H

#include "check.h"
#include "report/record.h"

enum { MADE_CTX = 16, MADE_FIRST = 8, MADE_POSITIONS = 7, MADE_TEXTS = 2, MADE_WINDOWS = 5, MADE_SEED = 9 };

/* The head of a record. Owned by the caller. */
json_t *made_head(bool has_reference);

/* Write a record of MADE_TEXTS texts at path with windows [first, end) of MADE_WINDOWS. The scores of a window depend
 * on its text and number alone. change: alters the head before it is written, or NULL. */
void make_record(const char *path, bool has_reference, uint32_t first, uint32_t end, void (*change)(json_t *head));

#endif
