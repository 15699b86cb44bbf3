/* Records of evaluations with arbitrary content, and what is made of them: a page; lines of items. */
#include "report/record_items.h"
#include "report/record_read.h"
#include "report/record_seal.h"
#include "report/report.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static pare_status ignore(const char *part, const char *what, void *user, pare_error *err)
{
    (void)part;
    (void)what;
    (void)user;
    (void)err;
    return PARE_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pare_record record;
    pare_record_line line = {0};
    pare_error err = {0};
    pare_buf page = {0};
    json_t *doc = NULL;
    bool found, fits;
    pare_record_check_digest(data, size, &found, &fits, &err);
    if (pare_record_parse(&record, "fuzz/record.json", data, size, &err) == PARE_OK)
        pare_record_unload(&record);
    pare_record_line_parse(&line, "fuzz: line 1", data, size, &err);
    pare_record_line_close(&line);
    if (pare_json_parse(&doc, "fuzz", data, size, PARE_JSON_NUL, &err) == PARE_OK) {
        const json_t *const docs[] = {doc};
        const pare_report_input in = {
            .records = docs, .n_records = 1, .quantize = docs, .n_quantize = 1, .comparison = doc};
        pare_record_check_seal(doc, ignore, NULL, &err);
        pare_report_html(&page, &in, &err);
        pare_report_markdown(&page, &in, &err);
    }
    pare_buf_close(&page);
    json_decref(doc);
    return 0;
}
