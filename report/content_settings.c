#include "report/content.h"

#include <math.h>
#include <string.h>

enum { MAX_VALUE = 400 };

/* A value of a record as text; what holds others is left to the record itself. */
static const char *value_text(const pare_content *c, const json_t *value)
{
    if (json_is_string(value))
        return pare_page_text(c->page, "%.*s", MAX_VALUE, json_string_value(value));
    if (json_is_number(value))
        return pare_page_text(c->page, "%.12g", json_number_value(value));
    return json_is_true(value) ? "yes" : json_is_false(value) ? "no" : json_is_null(value) ? "none" : NULL;
}

static const char *const members[] = {"model", "reference", "settings", "machine", "time", "tool", "items"};
enum { N_MEMBERS = sizeof members / sizeof members[0] };

/* Do all records, of which there are several, say the same? */
static bool is_common(const pare_content *c, const char *member, const char *key, const json_t *value)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++) {
        if (c->entries[i].record == NULL)
            continue;
        n++;
        if (!json_equal(json_object_get(json_object_get(c->entries[i].record, member), key), value))
            return false;
    }
    return n > 1;
}

/* Fields of all members: those that are common to all records, or the others. */
static void add_fields(const pare_content *c, pare_table *t, const json_t *record, bool common)
{
    const char *key;
    json_t *value;
    for (size_t i = 0; i < N_MEMBERS; i++)
        json_object_foreach(json_object_get(record, members[i]), key, value)
        {
            const char *cells[] = {pare_page_text(c->page, "%s.%s", members[i], key), value_text(c, value)};
            if (cells[1] != NULL && is_common(c, members[i], key, value) == common)
                pare_page_row(c->page, t, cells);
        }
}

static void add_command(const pare_content *c, pare_table *t, const pare_entry *e)
{
    const json_t *argv = json_object_get(json_object_get(e->record, "tool"), "argv");
    const char *line = "";
    for (size_t i = 0; i < json_array_size(argv) && i < 200; i++) {
        const char *word = json_string_value(json_array_get(argv, i));
        if (word != NULL)
            line = pare_page_text(c->page, "%s%s%.*s", line, i > 0 ? " " : "", MAX_VALUE, word);
    }
    const char *cells[] = {"tool.argv", line};
    if (line[0] != '\0')
        pare_page_row(c->page, t, cells);
}

static void add_record(const pare_content *c, const pare_entry *e)
{
    static const char *const plain[] = {"chunk_range", "self_check", "digest"};
    pare_table *t =
        pare_page_table(c->page, pare_page_text(c->page, "The record of %s, %s", e->key, e->name), "Field|Value");
    add_fields(c, t, e->record, false);
    add_command(c, t, e);
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++) {
        const char *cells[] = {plain[i], value_text(c, json_object_get(e->record, plain[i]))};
        if (json_is_string(json_object_get(e->record, plain[i])))
            pare_page_row(c->page, t, cells);
    }
}

/* What several records have in common is told once. */
static void add_common(const pare_content *c)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->entries[i].record != NULL) {
            add_fields(c, pare_page_table(c->page, "The same in all records", "Field|Value"), c->entries[i].record,
                       true);
            return;
        }
}

/* Does the first record say the same of text k? */
static bool is_repeated(const pare_content *c, size_t entry, size_t k)
{
    const json_t *text = json_array_get(json_object_get(c->entries[entry].record, "texts"), k);
    const json_t *first = json_array_get(json_object_get(c->entries[0].record, "texts"), k);
    return entry > 0 && json_equal(json_object_get(text, "ids_sha256"), json_object_get(first, "ids_sha256")) &&
           json_equal(json_object_get(text, "sha256"), json_object_get(first, "sha256")) &&
           json_equal(json_object_get(text, "n_windows"), json_object_get(first, "n_windows"));
}

static void add_texts(const pare_content *c)
{
    pare_table *t = NULL;
    for (size_t i = 0; i < c->n; i++) {
        const json_t *texts = json_object_get(c->entries[i].record, "texts");
        for (size_t k = 0; k < json_array_size(texts); k++) {
            const json_t *text = json_array_get(texts, k);
            if (is_repeated(c, i, k))
                continue;
            if (t == NULL)
                t = pare_page_table(c->page, "Texts",
                                    "Key|Text|#Bytes|#Tokens|#Windows|SHA-256|SHA-256 of the token ids");
            const char *cells[] = {c->entries[i].key,
                                   pare_content_string(text, "name"),
                                   value_text(c, json_object_get(text, "bytes")),
                                   value_text(c, json_object_get(text, "n_tokens")),
                                   value_text(c, json_object_get(text, "n_windows")),
                                   pare_content_string(text, "sha256"),
                                   pare_content_string(text, "ids_sha256")};
            pare_page_row(c->page, t, cells);
        }
    }
}

void pare_content_settings(const pare_content *c)
{
    size_t before = c->page->n;
    pare_page_add(c->page, PARE_BLOCK_HEADING, "What was measured, and how");
    add_texts(c);
    add_common(c);
    for (size_t i = 0; i < c->n; i++)
        if (c->entries[i].record != NULL)
            add_record(c, &c->entries[i]);
    if (c->page->n == before + 1)
        c->page->n = before;
    else
        pare_page_add(c->page, PARE_BLOCK_TEXT,
                      "pare verify computes every figure of a record again from the scores beside it, and compares its "
                      "hashes with the files.");
}
