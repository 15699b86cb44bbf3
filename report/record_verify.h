/* report/record_verify.h - is a record what was measured? Every figure computed again from its items, every hash
 * compared with the file that is there */
#ifndef PARE_REPORT_RECORD_VERIFY_H
#define PARE_REPORT_RECORD_VERIFY_H

#include "formats/lock.h"

typedef struct pare_record_report {
    pare_verdict bytes;     /* the record and its items are what was written */
    pare_verdict figures;   /* each figure follows from the items */
    pare_verdict files;     /* models and texts are those that were measured; PARE_VERDICT_ABSENT: none is there */
    pare_finding *findings; /* item: the member of the record, "texts[0].figures.kld_mean" */
    size_t n_findings;
    uint64_t n_windows, n_positions, n_items; /* that figures were computed again from */
    uint64_t n_files;                         /* models and texts that were compared */
    char **absent;                            /* [n_absent] their paths: not compared */
    size_t n_absent;
} pare_record_report;

void pare_record_report_close(pare_record_report *r);

/* Is the file a record? False as well when it cannot be read. */
bool pare_is_record(const char *path);

/* Verify the record at path. PARE_OK: the verification ran; what it found, the verdicts and findings say. An edit of
 * the record or its items is a finding whatever it breaks. Errors: PARE_ERR_FORMAT, PARE_ERR_RANGE,
 * PARE_ERR_UNSUPPORTED (a record that was written so), PARE_ERR_IO, PARE_ERR_MEMORY, PARE_ERR_INTERRUPTED; *out is
 * closed then */
pare_status pare_verify_record(const char *path, pare_record_report *out, pare_error *err);

#endif
