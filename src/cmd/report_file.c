#include "cmd/report_file.h"
#include "cmd/build.h"
#include "cmd/console.h"
#include "core/json.h"
#include "core/output.h"
#include "report/report.h"

#include <string.h>

typedef pare_status (*render_fn)(pare_buf *out, const pare_report_input *in, pare_error *err);

static pare_status render_json(pare_buf *out, const pare_report_input *in, pare_error *err)
{
    return pare_json_dump(in->comparison != NULL ? in->comparison : in->fit != NULL ? in->fit : in->kv, out, err);
}

/* What the name ends in says what is written. NULL: nothing known. */
static render_fn renderer_of(const char *path)
{
    static const struct {
        const char *end;
        render_fn render;
    } formats[] = {
        {".html", pare_report_html}, {".htm", pare_report_html}, {".md", pare_report_markdown}, {".json", render_json}};
    const size_t n = strlen(path);
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        const size_t len = strlen(formats[i].end);
        if (n >= len && strcmp(path + n - len, formats[i].end) == 0)
            return formats[i].render;
    }
    return NULL;
}

pare_status cmd_check_report_name(const cmd_args *args, pare_error *err)
{
    const char *path = cmd_text(args, OPT_REPORT);
    if (path != NULL && renderer_of(path) == NULL)
        return pare_fail(err, PARE_ERR_USAGE, "%s: expected a name that ends in .html, .md or .json", path);
    return PARE_OK;
}

pare_status cmd_write_report(const cmd_args *args, json_t *doc, pare_error *err)
{
    const char *path = cmd_text(args, OPT_REPORT);
    pare_buf text = {0};
    if (path == NULL)
        return PARE_OK;
    json_object_set_new(doc, "schema", json_integer(CMD_SCHEMA));
    json_object_set_new(doc, "command", json_string(args->verb->name));
    const pare_report_input input = {.comparison = args->verb->id == CMD_COMPARE ? doc : NULL,
                                     .fit = args->verb->id == CMD_FIT ? doc : NULL,
                                     .kv = args->verb->id == CMD_KV ? doc : NULL,
                                     .tool = "pare " CMD_BUILD_VERSION " (" CMD_BUILD_COMMIT ")"};
    pare_status st = renderer_of(path)(&text, &input, err);
    if (st == PARE_OK)
        st = pare_output_file(path, text.data, text.len, cmd_has(args, OPT_FORCE) ? PARE_OUTPUT_FORCE : 0, err);
    pare_buf_close(&text);
    return st;
}
