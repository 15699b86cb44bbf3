/* verify_lock LOCK|MODEL - are the files what was pinned? Exit code 0: they are; 1: they differ; 3 and more: could not
 * tell */
#include <pare.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *word(pare_verdict verdict)
{
    return verdict == PARE_VERDICT_OK ? "ok" : verdict == PARE_VERDICT_DIFFERENT ? "different" : "absent";
}

static void print_finding(const pare_finding *f)
{
    char file[512], item[512], text[1024]; /* names are as the files have them: control bytes become \xNN */
    printf("%s: %s %s: %s\n", pare_escape(file, sizeof file, f->file, strlen(f->file)), f->kind,
           pare_escape(item, sizeof item, f->item, strlen(f->item)),
           pare_escape(text, sizeof text, f->text, strlen(f->text)));
}

int main(int argc, char **argv)
{
    pare_verify_report report = {0};
    pare_error err = {0};
    if (argc != 2) {
        fprintf(stderr, "usage: verify_lock LOCK|MODEL\n");
        return 2;
    }
    pare_status st = pare_verify(argv[1], NULL, &report, &err);
    if (st != PARE_OK) {
        fprintf(stderr, "verify_lock: %s\n", err.text);
        return pare_exit_code(st);
    }
    for (size_t i = 0; i < report.n_findings; i++)
        print_finding(&report.findings[i]);
    printf("bytes: %s, structure: %s (%" PRIu64 " tensors)\n", word(report.bytes), word(report.structure),
           report.n_tensors);
    bool differs = report.bytes == PARE_VERDICT_DIFFERENT || report.structure == PARE_VERDICT_DIFFERENT;
    pare_verify_report_close(&report);
    return pare_exit_code(differs ? PARE_ERR_DIFFERENCE : PARE_OK);
}
