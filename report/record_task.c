#include "report/record_task.h"
#include "eval/task_figures.h"
#include "eval/written.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const kind_names[] = {[PARE_TASK_CHOICE] = "choice",
                                         [PARE_TASK_MASS] = "mass",
                                         [PARE_TASK_LAST_WORD] = "last_word",
                                         [PARE_TASK_GENERATE] = "generate"};
enum { N_KINDS = sizeof kind_names / sizeof kind_names[0] };

static pare_status no_memory(pare_error *err)
{
    return pare_fail(err, PARE_ERR_MEMORY, "no memory for a record");
}

static bool put_text(json_t *object, const char *key, pare_str text)
{
    return json_object_set_new(object, key, pare_json_text(text.data != NULL ? text.data : "", text.len)) == 0;
}

static bool put_chars(json_t *object, const char *key, const char *text)
{
    return put_text(object, key, (pare_str){text, strlen(text)});
}

static bool put_count(json_t *object, const char *key, uint64_t n)
{
    return json_object_set_new(object, key, json_integer((json_int_t)n)) == 0;
}

static bool put_real(json_t *object, const char *key, double value)
{
    return !isfinite(value) || json_object_set_new(object, key, json_real(value)) == 0;
}

/* One row a member of a choice's score: how it is written and read. */
static const struct column {
    const char *key;
    size_t offset; /* in a pare_choice_score */
    bool real;
} columns[] = {{"loglik", offsetof(pare_choice_score, loglik), true},
               {"own_loglik", offsetof(pare_choice_score, own_loglik), true},
               {"tokens", offsetof(pare_choice_score, n_tokens), false},
               {"own_tokens", offsetof(pare_choice_score, n_own_tokens), false},
               {"chars", offsetof(pare_choice_score, n_chars), false},
               {"bytes", offsetof(pare_choice_score, n_bytes), false}};
enum { N_COLUMNS = sizeof columns / sizeof columns[0] };

static json_t *column_value(const struct column *c, const pare_choice_score *score)
{
    const char *at = (const char *)score + c->offset;
    return c->real ? json_real(*(const double *)(const void *)at) : json_integer(*(const uint32_t *)(const void *)at);
}

/* "0010": a digit a choice. */
static bool put_flags(json_t *object, const char *key, const pare_item *item, const pare_item_score *score)
{
    char *digits = calloc(item->n_choices + 1, 1);
    for (size_t k = 0; digits != NULL && k < item->n_choices; k++)
        digits[k] = (score != NULL ? score->choices[k].greedy : item->choices[k].right) ? '1' : '0';
    bool ok = digits != NULL && json_object_set_new(object, key, json_string(digits)) == 0;
    free(digits);
    return ok;
}

static bool put_choices(json_t *line, const pare_item *item, const pare_item_score *score)
{
    bool ok = put_flags(line, "right", item, NULL);
    if (score->too_long)
        return ok;
    for (size_t c = 0; c < N_COLUMNS && ok; c++) {
        json_t *list = json_array();
        for (size_t k = 0; k < item->n_choices && ok; k++)
            ok = json_array_append_new(list, column_value(&columns[c], &score->choices[k])) == 0;
        ok = json_object_set_new(line, columns[c].key, list) == 0 && ok;
    }
    return ok && put_flags(line, "greedy", item, score) &&
           json_object_set_new(line, "pick",
                               json_pack("[I, I, I]", (json_int_t)score->pick[PARE_BY_SUM],
                                         (json_int_t)score->pick[PARE_BY_CHARS],
                                         (json_int_t)score->pick[PARE_BY_TOKENS])) == 0;
}

static bool put_written(json_t *line, const pare_item *item, const pare_item_score *score)
{
    const pare_written *w = score->written;
    bool ok = put_text(line, "target", item->target);
    if (score->too_long || w == NULL)
        return ok;
    ok = ok && put_text(line, "text", w->text) && put_count(line, "tokens", w->n_tokens) &&
         put_chars(line, "ending", pare_ending_name(w->ending));
    for (int how = 0; how < PARE_N_EXTRACTIONS && ok && item->target.len > 0; how++)
        ok = put_text(line, pare_extraction_names[how], w->answer[how]);
    return ok;
}

pare_status pare_record_put_item(pare_buf *out, size_t number, const pare_task_scores *s, size_t i, pare_error *err)
{
    const pare_item *item = &s->task->items[i];
    const pare_item_score *score = &s->items[i];
    json_t *line = json_object();
    bool ok = put_count(line, "task", number) && put_count(line, "item", i) && put_text(line, "id", item->id) &&
              put_text(line, "group", item->group) &&
              json_object_set_new(line, "too_long", json_boolean(score->too_long)) == 0;
    ok = ok && (s->task->kind == PARE_TASK_GENERATE ? put_written(line, item, score) : put_choices(line, item, score));
    char *text = ok ? json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    pare_status st = text != NULL ? pare_buf_puts(out, text, err) : no_memory(err);
    if (st == PARE_OK)
        st = pare_buf_puts(out, "\n", err);
    free(text);
    json_decref(line);
    return st;
}

pare_status pare_record_task_figures(json_t *object, const pare_task_scores *s, pare_error *err)
{
    pare_task_figure f[PARE_MAX_FIGURES];
    char key[64];
    size_t n = 0;
    uint64_t n_scored = s->task->n_items - s->n_too_long;
    bool ok = put_count(object, "n_scored", n_scored) && put_count(object, "n_too_long", s->n_too_long);
    pare_status st = n_scored > 0 ? pare_task_figures(s, f, &n, err) : PARE_OK;
    for (size_t i = 0; i < n && st == PARE_OK && ok; i++) {
        ok = put_real(object, f[i].key, f[i].mean.value);
        snprintf(key, sizeof key, "%s_stderr", f[i].key);
        ok = ok && put_real(object, key, f[i].mean.stderr_);
        snprintf(key, sizeof key, "%s_clustered_stderr", f[i].key);
        ok = ok && put_real(object, key, f[i].clustered_stderr);
    }
    /* of two models, of which one gives another answer to 5 or 10 % of the items */
    ok = ok && put_real(object, "detectable_of_5_percent_flips", pare_detectable(n_scored, 0.05)) &&
         put_real(object, "detectable_of_10_percent_flips", pare_detectable(n_scored, 0.10));
    return st != PARE_OK || ok ? st : no_memory(err);
}

pare_status pare_record_task(json_t **out, const pare_task_scores *s, pare_error *err)
{
    const pare_task *task = s->task;
    json_t *member = json_object(), *figures = json_object();
    bool ok = put_chars(member, "name", task->name) && put_chars(member, "path", task->path) &&
              put_chars(member, "format", task->format) && put_chars(member, "sha256", task->sha256) &&
              put_chars(member, "kind", kind_names[task->kind]) &&
              json_object_set_new(member, "has_norm", json_boolean(task->has_norm)) == 0 &&
              put_count(member, "n_shot", task->n_shot) && put_count(member, "n_items", task->n_items) &&
              put_count(member, "n_in_file", task->n_in_file) && put_count(member, "n_ctx", s->n_ctx) &&
              (task->shots_sha256[0] == '\0' || put_chars(member, "shots_sha256", task->shots_sha256)) &&
              json_object_set_new(member, "figures", figures) == 0;
    pare_status st = ok ? pare_record_task_figures(figures, s, err) : no_memory(err);
    *out = st == PARE_OK ? member : NULL;
    if (st != PARE_OK)
        json_decref(member);
    return st;
}

pare_status pare_task_read_open(pare_task_read *t, const json_t *member, const char *where, pare_error *err)
{
    pare_str name = {0}, kind = {0};
    uint64_t n_items = 0, n_shot = 0, n_in_file = 0, n_ctx = 0;
    *t = (pare_task_read){0};
    if (!json_is_object(member))
        return pare_fail(err, PARE_ERR_FORMAT, "%s is no object", where);
    pare_status st = pare_json_str(member, where, "name", &name, NULL, err);
    if (st == PARE_OK)
        st = pare_json_str(member, where, "kind", &kind, NULL, err);
    if (st == PARE_OK)
        st = pare_json_bool(member, where, "has_norm", &t->task.has_norm, NULL, err);
    if (st == PARE_OK)
        st = pare_json_u64(member, where, "n_items", 1, INT32_MAX, &n_items, NULL, err);
    if (st == PARE_OK)
        st = pare_json_u64(member, where, "n_shot", 0, INT32_MAX, &n_shot, NULL, err);
    if (st == PARE_OK)
        st = pare_json_u64(member, where, "n_in_file", 0, INT64_MAX, &n_in_file, NULL, err);
    if (st == PARE_OK)
        st = pare_json_u64(member, where, "n_ctx", 0, INT32_MAX, &n_ctx, NULL, err);
    if (st != PARE_OK)
        return st;
    size_t k = 0;
    while (k < N_KINDS && !pare_str_equal(kind, kind_names[k]))
        k++;
    if (k == N_KINDS)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: kind '%s' is not known", where, kind.data);
    t->task.kind = (pare_task_kind)k;
    t->task.name = t->task.path = pare_arena_copy(&t->task.memory, name.data, name.len, err);
    t->scores.task = &t->task;
    return t->task.name != NULL ? PARE_OK : PARE_ERR_MEMORY;
}

void pare_task_read_close(pare_task_read *t)
{
    free(t->task.items);
    free(t->scores.items);
    pare_arena_close(&t->task.memory);
    *t = (pare_task_read){0};
}

static pare_status read_text(pare_task_read *t, pare_str *out, const json_t *line, const char *where, const char *key,
                             pare_error *err)
{
    pare_str text = {0};
    pare_status st = pare_json_str(line, where, key, &text, NULL, err);
    if (st != PARE_OK)
        return st;
    const char *copy = pare_arena_copy(&t->task.memory, text.data, text.len, err);
    *out = (pare_str){copy, text.len};
    return copy != NULL ? PARE_OK : PARE_ERR_MEMORY;
}

/* A digit 0 or 1 for each choice. */
static pare_status read_flags(pare_str *out, const json_t *line, const char *where, const char *key, size_t n,
                              pare_error *err)
{
    pare_status st = pare_json_str(line, where, key, out, NULL, err);
    if (st == PARE_OK && (out->len != n || strspn(out->data, "01") != n))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: '%s' is '%.64s', expected %zu digits 0 or 1", where, key, out->data,
                         n);
    return st;
}

static pare_status read_column(pare_choice_score *choices, size_t n, const struct column *c, const json_t *line,
                               const char *where, pare_error *err)
{
    const json_t *list = json_object_get(line, c->key);
    if (json_array_size(list) != n)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: '%s' has %zu numbers, expected %zu", where, c->key,
                         json_array_size(list), n);
    for (size_t k = 0; k < n; k++) {
        const json_t *value = json_array_get(list, k);
        char *at = (char *)&choices[k] + c->offset;
        json_int_t whole = json_integer_value(value);
        if (c->real ? !json_is_number(value) || !isfinite(json_number_value(value))
                    : !json_is_integer(value) || whole < 0 || whole > UINT32_MAX)
            return pare_fail(err, PARE_ERR_FORMAT, "%s: '%s' element %zu is no such number", where, c->key, k);
        if (c->real)
            *(double *)(void *)at = json_number_value(value);
        else
            *(uint32_t *)(void *)at = (uint32_t)whole;
    }
    return PARE_OK;
}

static pare_status read_choices(pare_task_read *t, pare_item *item, pare_item_score *score, const json_t *line,
                                const char *where, pare_error *err)
{
    pare_str right = {0}, greedy = {0};
    pare_status st = pare_json_str(line, where, "right", &right, NULL, err);
    size_t n = right.len;
    if (st == PARE_OK && (n == 0 || n > PARE_MAX_CHOICES))
        return pare_fail(err, PARE_ERR_RANGE, "%s: %zu choices, 1 to %d are possible", where, n, PARE_MAX_CHOICES);
    if (st == PARE_OK)
        st = read_flags(&right, line, where, "right", n, err);
    if (st != PARE_OK)
        return st;
    item->n_choices = n;
    item->choices = pare_arena_alloc(&t->task.memory, n * sizeof *item->choices, err);
    score->choices = pare_arena_alloc(&t->task.memory, n * sizeof *score->choices, err);
    if (item->choices == NULL || score->choices == NULL)
        return PARE_ERR_MEMORY;
    for (size_t k = 0; k < n; k++)
        item->choices[k].right = right.data[k] == '1';
    for (size_t c = 0; c < N_COLUMNS && st == PARE_OK && !score->too_long; c++)
        st = read_column(score->choices, n, &columns[c], line, where, err);
    if (st == PARE_OK && !score->too_long)
        st = read_flags(&greedy, line, where, "greedy", n, err);
    for (size_t k = 0; k < greedy.len && st == PARE_OK; k++)
        score->choices[k].greedy = greedy.data[k] == '1';
    if (st == PARE_OK && !score->too_long)
        pare_item_decide(score, item);
    return st;
}

static pare_status judge(pare_written *w, const pare_item *item, pare_extraction how, pare_error *err)
{
    pare_buf answer = {0};
    pare_status st = pare_normalize_answer(&answer, pare_extract(how, w->text), err);
    w->right[how] = st == PARE_OK && answer.len > 0 && answer.len == item->target.len &&
                    memcmp(answer.data, item->target.data, answer.len) == 0;
    pare_buf_close(&answer);
    return st;
}

static pare_status read_written(pare_task_read *t, pare_item *item, pare_item_score *score, const json_t *line,
                                const char *where, pare_error *err)
{
    pare_written *w = pare_arena_alloc(&t->task.memory, sizeof *w, err);
    pare_status st = w != NULL ? read_text(t, &item->target, line, where, "target", err) : PARE_ERR_MEMORY;
    score->written = w;
    if (st == PARE_OK && !score->too_long)
        st = read_text(t, &w->text, line, where, "text", err);
    for (int how = 0; how < PARE_N_EXTRACTIONS && st == PARE_OK && !score->too_long && item->target.len > 0; how++)
        st = judge(w, item, (pare_extraction)how, err);
    return st;
}

static pare_status make_room(pare_task_read *t, pare_error *err)
{
    if (t->task.n_items < t->cap)
        return PARE_OK;
    size_t cap = t->cap > 0 ? 2 * t->cap : 256;
    pare_item *items = reallocarray(t->task.items, cap, sizeof *items);
    t->task.items = items != NULL ? items : t->task.items;
    pare_item_score *scores = items != NULL ? reallocarray(t->scores.items, cap, sizeof *scores) : NULL;
    if (scores == NULL)
        return no_memory(err);
    t->scores.items = scores;
    t->cap = cap;
    return PARE_OK;
}

pare_status pare_task_read_item(pare_task_read *t, const json_t *line, const char *where, pare_error *err)
{
    pare_status st = make_room(t, err);
    if (st != PARE_OK)
        return st;
    pare_item *item = &t->task.items[t->task.n_items];
    pare_item_score *score = &t->scores.items[t->task.n_items];
    *item = (pare_item){0};
    *score = (pare_item_score){0};
    st = read_text(t, &item->id, line, where, "id", err);
    if (st == PARE_OK)
        st = read_text(t, &item->group, line, where, "group", err);
    if (st == PARE_OK)
        st = pare_json_bool(line, where, "too_long", &score->too_long, NULL, err);
    if (st == PARE_OK)
        st = t->task.kind == PARE_TASK_GENERATE ? read_written(t, item, score, line, where, err)
                                                : read_choices(t, item, score, line, where, err);
    if (st != PARE_OK)
        return st;
    t->task.n_items++;
    t->scores.n_too_long += score->too_long;
    return PARE_OK;
}
