#include "cmd/console.h"
#include "formats/bundle.h"
#include "formats/lock.h"
#include "formats/safe_path.h"
#include "report/record_verify.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const verdict_names[] = {
    [PARE_VERDICT_OK] = "ok", [PARE_VERDICT_DIFFERENT] = "different", [PARE_VERDICT_ABSENT] = "absent"};

static json_t *findings_json(const pare_finding *findings, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        const pare_finding *f = &findings[i];
        json_array_append_new(list, json_pack("{s:o, s:o, s:o, s:o}", "kind", cmd_json_text(f->kind, strlen(f->kind)),
                                              "file", cmd_json_text(f->file, strlen(f->file)), "item",
                                              cmd_json_text(f->item, strlen(f->item)), "text",
                                              cmd_json_text(f->text, strlen(f->text))));
    }
    return list;
}

static void print_findings(const pare_finding *findings, size_t n)
{
    cmd_progress_clear();
    for (size_t i = 0; i < n; i++) {
        const pare_finding *f = &findings[i];
        printf("%s: %s%s%s: %s\n", cmd_safe(f->file, strlen(f->file)), f->kind, f->item[0] != '\0' ? " " : "",
               cmd_safe(f->item, strlen(f->item)), cmd_safe(f->text, strlen(f->text)));
    }
}

/* What --key found out. */
typedef struct signature_run {
    pare_ec_key key; /* zeroed without --key */
    char *path;      /* of the bundle */
    uint64_t n_files;
} signature_run;

static json_t *report_json(const pare_verify_report *r, bool fast, const signature_run *s)
{
    json_t *doc = json_object();
    json_object_set_new(doc, "bytes", json_string(verdict_names[r->bytes]));
    json_object_set_new(doc, "structure", json_string(verdict_names[r->structure]));
    json_object_set_new(doc, "signature", json_string(verdict_names[r->signature]));
    json_object_set_new(doc, "seal", json_string(verdict_names[r->seal]));
    json_object_set_new(doc, "hash", json_string(fast ? "xxh3-128" : "sha256"));
    cmd_json_u64(doc, "n_files", r->n_files);
    cmd_json_u64(doc, "n_tensors", r->n_tensors);
    cmd_json_u64(doc, "n_bytes", r->n_bytes);
    cmd_json_u64(doc, "n_by_parts", r->n_by_parts);
    if (s->key.key != NULL) {
        json_object_set_new(doc, "key", json_string(s->key.hint));
        cmd_json_u64(doc, "n_signed", s->n_files);
    }
    if (r->store != NULL) {
        json_object_set_new(doc, "store", json_string(r->store));
        cmd_json_u64(doc, "n_stored", r->n_stored);
    }
    json_object_set_new(doc, "findings", findings_json(r->findings, r->n_findings));
    return doc;
}

static void signature_text(const pare_verify_report *r, const signature_run *s)
{
    printf("signature: %s", verdict_names[r->signature]);
    if (s->key.key != NULL && r->signature != PARE_VERDICT_ABSENT)
        printf(" (%" PRIu64 " %s, %s key %.16s)", s->n_files, s->n_files == 1 ? "file" : "files", s->key.curve,
               s->key.hint);
    else if (s->key.key == NULL && s->path != NULL && access(s->path, F_OK) == 0)
        printf(" (not looked at: %s is there, and --key was not given)", cmd_safe(s->path, strlen(s->path)));
    printf("\n");
}

static void report_text(const pare_verify_report *r, bool fast, const signature_run *s)
{
    print_findings(r->findings, r->n_findings);
    printf("bytes: %s (%" PRIu64 " %s, %s%s)\n", verdict_names[r->bytes], r->n_files,
           r->n_files == 1 ? "file" : "files", cmd_bytes(r->n_bytes),
           fast && r->bytes != PARE_VERDICT_ABSENT ? "; XXH3 only: finds accidents, not tampering" : "");
    if (r->n_by_parts > 0)
        printf("%" PRIu64 " of the files by tensors and what lies in none; hashes of whole files are the lock's word "
               "without --whole\n",
               r->n_by_parts);
    if (r->store != NULL)
        printf("store: %s names %" PRIu64 " of the files by their hashes\n", r->store, r->n_stored);
    printf("structure: %s (%" PRIu64 " tensors)\n", verdict_names[r->structure], r->n_tensors);
    signature_text(r, s);
}

static json_t *record_json(const pare_record_report *r)
{
    json_t *doc = json_object(), *absent = json_array();
    json_object_set_new(doc, "bytes", json_string(verdict_names[r->bytes]));
    json_object_set_new(doc, "figures", json_string(verdict_names[r->figures]));
    json_object_set_new(doc, "files", json_string(verdict_names[r->files]));
    cmd_json_u64(doc, "n_windows", r->n_windows);
    cmd_json_u64(doc, "n_positions", r->n_positions);
    cmd_json_u64(doc, "n_items", r->n_items);
    cmd_json_u64(doc, "n_files", r->n_files);
    for (size_t i = 0; i < r->n_absent; i++)
        json_array_append_new(absent, cmd_json_text(r->absent[i], strlen(r->absent[i])));
    json_object_set_new(doc, "absent", absent);
    json_object_set_new(doc, "findings", findings_json(r->findings, r->n_findings));
    return doc;
}

static void record_text(const pare_record_report *r)
{
    print_findings(r->findings, r->n_findings);
    for (size_t i = 0; i < r->n_absent; i++)
        printf("%s: not there, so not compared with the record\n", cmd_safe(r->absent[i], strlen(r->absent[i])));
    printf("record: %s\n", verdict_names[r->bytes]);
    printf("figures: %s (computed again from %" PRIu64 " positions of %" PRIu64 " windows and %" PRIu64
           " answered items)\n",
           verdict_names[r->figures], r->n_positions, r->n_windows, r->n_items);
    printf("files: %s (%" PRIu64 " compared, %zu not there)\n", verdict_names[r->files], r->n_files, r->n_absent);
}

static pare_status verify_record(const cmd_args *args, pare_error *err)
{
    pare_record_report r;
    pare_status st = pare_verify_record(args->operands[0], &r, err);
    if (st == PARE_OK && cmd_has(args, OPT_JSON))
        st = cmd_print_json(args, record_json(&r), err);
    else if (st == PARE_OK)
        record_text(&r);
    bool different = r.n_findings > 0;
    pare_record_report_close(&r);
    return st == PARE_OK && different ? PARE_ERR_DIFFERENCE : st;
}

/* The key, and where the bundle is: what --signature says, else model.sig in the folder that the operand is or lies
 * in. */
static pare_status open_signature(signature_run *s, const cmd_args *args, pare_error *err)
{
    const char *operand = args->operands[0], *key = cmd_text(args, OPT_KEY), *given = cmd_text(args, OPT_SIGNATURE);
    if (key == NULL && (given != NULL || cmd_has(args, OPT_IGNORE_UNSIGNED)))
        return pare_fail(err, PARE_ERR_USAGE, "verify: --%s needs --key",
                         given != NULL ? "signature" : "ignore-unsigned");
    char *folder = pare_path_is_folder(operand) ? strdup(operand) : pare_path_folder(operand, err);
    s->path = given != NULL ? strdup(given) : folder != NULL ? pare_path_join(folder, "model.sig", err) : NULL;
    free(folder);
    if (s->path == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for a name");
    return key != NULL ? pare_ec_key_load(&s->key, key, PARE_EC_VERIFY, err) : PARE_OK;
}

static pare_status verify_signature(signature_run *s, const cmd_args *args, pare_verify_report *r, pare_error *err)
{
    const char *operand = args->operands[0];
    const pare_bundle_options options = {.ignore_unsigned = cmd_has(args, OPT_IGNORE_UNSIGNED),
                                         .must_sign = pare_path_is_folder(operand) ? NULL : operand};
    if (s->key.key == NULL)
        return PARE_OK;
    return pare_bundle_verify(s->path, operand, &s->key, &options, r, &s->n_files, err);
}

pare_status cmd_verify(const cmd_args *args, pare_error *err)
{
    if (pare_is_record(args->operands[0]))
        return cmd_has(args, OPT_KEY)
                   ? pare_fail(err, PARE_ERR_USAGE, "%s: is a record; --key is for models and locks", args->operands[0])
                   : verify_record(args, err);
    const pare_verify_options options = {.fast = cmd_has(args, OPT_FAST),
                                         .whole = cmd_has(args, OPT_WHOLE) ? PARE_WHOLE_ALWAYS : PARE_WHOLE_SMALL,
                                         .allow_extra = cmd_has(args, OPT_ALLOW_EXTRA),
                                         .any_file = cmd_has(args, OPT_KEY)};
    pare_verify_report r = {0};
    signature_run s = {0};
    pare_status st = open_signature(&s, args, err);
    if (st == PARE_OK && (st = pare_verify(args->operands[0], &options, &r, err)) == PARE_OK)
        st = verify_signature(&s, args, &r, err);
    pare_error refused = {0};
    if (st == PARE_OK && r.n_refused > 0) /* all is told, and yet not all could be looked at */
        pare_fail(&refused, PARE_ERR_FORMAT, "%s: %" PRIu64 " of its files %s", args->operands[0], r.n_refused,
                  r.n_refused == 1 ? "is no regular file and was not opened"
                                   : "are no regular files and were not opened");
    if (st == PARE_OK && cmd_has(args, OPT_JSON)) {
        json_t *doc = report_json(&r, options.fast, &s);
        if (refused.status != PARE_OK)
            json_object_set_new(doc, "error", cmd_json_error(&refused));
        st = cmd_print_json(args, doc, err);
    } else if (st == PARE_OK)
        report_text(&r, options.fast, &s);
    if (st == PARE_OK && refused.status != PARE_OK) {
        *err = refused;
        st = refused.status;
    }
    bool different = r.bytes == PARE_VERDICT_DIFFERENT || r.structure == PARE_VERDICT_DIFFERENT ||
                     r.signature == PARE_VERDICT_DIFFERENT || r.n_findings > 0;
    pare_verify_report_close(&r);
    pare_ec_key_close(&s.key);
    free(s.path);
    return st == PARE_OK && different ? PARE_ERR_DIFFERENCE : st;
}
