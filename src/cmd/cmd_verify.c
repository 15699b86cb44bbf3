#include "cmd/console.h"
#include "formats/lock.h"

#include <inttypes.h>
#include <string.h>

static const char *const verdict_names[] = {
    [PARE_VERDICT_OK] = "ok", [PARE_VERDICT_DIFFERENT] = "different", [PARE_VERDICT_ABSENT] = "absent"};

static json_t *report_json(const pare_verify_report *r, bool fast)
{
    json_t *doc = json_object(), *findings = json_array();
    json_object_set_new(doc, "bytes", json_string(verdict_names[r->bytes]));
    json_object_set_new(doc, "structure", json_string(verdict_names[r->structure]));
    json_object_set_new(doc, "signature", json_string(verdict_names[r->signature]));
    json_object_set_new(doc, "hash", json_string(fast ? "xxh3-128" : "sha256"));
    cmd_json_u64(doc, "n_files", r->n_files);
    cmd_json_u64(doc, "n_tensors", r->n_tensors);
    cmd_json_u64(doc, "n_bytes", r->n_bytes);
    for (size_t i = 0; i < r->n_findings; i++) {
        const pare_finding *f = &r->findings[i];
        json_array_append_new(findings,
                              json_pack("{s:o, s:o, s:o, s:o}", "kind", cmd_json_text(f->kind, strlen(f->kind)), "file",
                                        cmd_json_text(f->file, strlen(f->file)), "item",
                                        cmd_json_text(f->item, strlen(f->item)), "text",
                                        cmd_json_text(f->text, strlen(f->text))));
    }
    json_object_set_new(doc, "findings", findings);
    return doc;
}

static void report_text(const pare_verify_report *r, bool fast)
{
    cmd_progress_clear();
    for (size_t i = 0; i < r->n_findings; i++) {
        const pare_finding *f = &r->findings[i];
        printf("%s: %s%s%s: %s\n", cmd_safe(f->file, strlen(f->file)), f->kind, f->item[0] != '\0' ? " " : "",
               cmd_safe(f->item, strlen(f->item)), cmd_safe(f->text, strlen(f->text)));
    }
    printf("bytes: %s (%" PRIu64 " %s, %s%s)\n", verdict_names[r->bytes], r->n_files,
           r->n_files == 1 ? "file" : "files", cmd_bytes(r->n_bytes),
           fast ? "; XXH3 only: finds accidents, not tampering" : "");
    printf("structure: %s (%" PRIu64 " tensors)\n", verdict_names[r->structure], r->n_tensors);
    printf("signature: %s\n", verdict_names[r->signature]);
}

pare_status cmd_verify(const cmd_args *args, pare_error *err)
{
    const pare_verify_options options = {cmd_has(args, OPT_FAST), cmd_has(args, OPT_ALLOW_EXTRA)};
    pare_verify_report r = {0};
    pare_status st = pare_verify(args->operands[0], &options, &r, err);
    if (st == PARE_OK && cmd_has(args, OPT_JSON))
        st = cmd_print_json(args, report_json(&r, options.fast), err);
    else if (st == PARE_OK)
        report_text(&r, options.fast);
    bool different = r.bytes == PARE_VERDICT_DIFFERENT || r.structure == PARE_VERDICT_DIFFERENT ||
                     r.signature == PARE_VERDICT_DIFFERENT || r.n_findings > 0;
    pare_verify_report_close(&r);
    return st == PARE_OK && different ? PARE_ERR_DIFFERENCE : st;
}
