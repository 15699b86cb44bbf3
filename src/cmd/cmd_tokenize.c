#include "cmd/console.h"
#include "cmd/input.h"
#include "eval/tokenizer.h"
#include "formats/open.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct job {
    const pare_tokenizer *tokenizer;
    unsigned flags;
    bool as_json;
    json_t *lines; /* with --json: what is printed at the end */
} job;

static json_t *ids_json(const pare_ids *ids)
{
    json_t *list = json_array();
    for (size_t i = 0; i < ids->n; i++)
        json_array_append_new(list, json_integer(ids->ids[i]));
    return list;
}

static void print_ids(const pare_ids *ids, const char *between)
{
    for (size_t i = 0; i < ids->n; i++)
        printf("%s%" PRId32, i > 0 ? between : "", ids->ids[i]);
}

static pare_status one_line(job *j, const char *text, size_t len, pare_error *err)
{
    pare_ids ids = {0};
    pare_status st = pare_tokenize(j->tokenizer, text, len, j->flags, &ids, err);
    if (st == PARE_OK && j->as_json)
        json_array_append_new(j->lines, ids_json(&ids));
    else if (st == PARE_OK) {
        print_ids(&ids, " ");
        putchar('\n');
    }
    free(ids.ids);
    return st;
}

/* Every line without its newline; a last line without one counts too. */
static pare_status by_lines(job *j, const pare_buf *text, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t at = 0; at < text->len && st == PARE_OK;) {
        const char *end = memchr(text->data + at, '\n', text->len - at);
        size_t len = end != NULL ? (size_t)(end - text->data) - at : text->len - at;
        st = one_line(j, text->data + at, len, err);
        if (st == PARE_OK)
            st = pare_check_interrupt(err);
        at += len + 1;
    }
    return st;
}

static pare_status whole(const cmd_args *args, const job *j, const pare_buf *text, pare_error *err)
{
    pare_ids ids = {0};
    pare_status st = pare_tokenize(j->tokenizer, text->len > 0 ? text->data : "", text->len, j->flags, &ids, err);
    if (st == PARE_OK && j->as_json) {
        json_t *doc = json_object();
        json_object_set_new(doc, "ids", ids_json(&ids));
        cmd_json_u64(doc, "n_tokens", ids.n);
        st = cmd_print_json(args, doc, err);
    } else if (st == PARE_OK) {
        putchar('[');
        print_ids(&ids, ", ");
        puts("]");
    }
    free(ids.ids);
    return st;
}

static pare_status run(const cmd_args *args, const pare_tokenizer *tokenizer, const pare_buf *text, pare_error *err)
{
    job j = {.tokenizer = tokenizer, .as_json = cmd_has(args, OPT_JSON)};
    j.flags = (cmd_has(args, OPT_NO_SPECIAL) ? 0 : PARE_TOKENIZE_SPECIAL) |
              (cmd_has(args, OPT_NO_BOS) ? 0 : PARE_TOKENIZE_BOS);
    if (!cmd_has(args, OPT_LINES))
        return whole(args, &j, text, err);
    j.lines = json_array();
    pare_status st = by_lines(&j, text, err);
    if (st == PARE_OK && j.as_json)
        st = cmd_print_json(args, json_pack("{s:O}", "lines", j.lines), err);
    json_decref(j.lines);
    return st;
}

pare_status cmd_tokenize(const cmd_args *args, pare_error *err)
{
    pare_model m = {0};
    pare_tokenizer *tokenizer = NULL;
    pare_buf text = {0};
    pare_status st = pare_model_open(&m, args->operands[0], 0, err);
    int64_t bos;
    if (st == PARE_OK)
        st = cmd_open_tokenizer(&tokenizer, &m, cmd_has(args, OPT_NO_BOS) ? NULL : &bos, err);
    if (st == PARE_OK)
        st = cmd_read_all(cmd_text(args, OPT_FILE), &text, err);
    if (st == PARE_OK)
        st = run(args, tokenizer, &text, err);
    pare_buf_close(&text);
    pare_tokenizer_close(tokenizer);
    pare_model_close(&m);
    return st;
}
