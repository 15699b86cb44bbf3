#include "fit/memo.h"

#include "core/hash.h"
#include "core/map.h"
#include "core/text.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct pare_memo_line {
    pare_memo_key key;
    pare_trial_score score;
} line;

enum { HEX = 32, SUM = 8, LINE = 160 };
static const char head[] = "pare fit 3 ";

static pare_status remember(pare_memo *m, const line *l, pare_error *err)
{
    if (m->n == m->cap) {
        const size_t cap = m->cap > 0 ? 2 * m->cap : 64;
        line *lines = realloc(m->lines, cap * sizeof *lines);
        if (lines == NULL)
            return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu measurements", cap);
        m->lines = lines;
        m->cap = cap;
    }
    m->lines[m->n++] = *l;
    return PARE_OK;
}

/* The end of a line says whether it is as it was written: SUM digits of the XXH3 of what stands before them. */
static bool sum_of(const char *text, size_t n, char sum[SUM + 1])
{
    pare_digest digest;
    pare_error err = {0};
    char hex[HEX + 1];
    if (pare_hash_bytes(text, n, PARE_HASH_XXH3, &digest, &err) != PARE_OK)
        return false;
    pare_hex(hex, digest.xxh3_128, sizeof digest.xxh3_128);
    memcpy(sum, hex, SUM);
    sum[SUM] = '\0';
    return true;
}

/* "KEY ALL SECOND ERROR SUM\n" */
static bool parse(char *text, line *out)
{
    char *end = text, sum[SUM + 1];
    const size_t n = strlen(text);
    if (n < HEX + SUM + 3 || text[HEX] != ' ' || text[n - 1] != '\n' || text[n - SUM - 2] != ' ')
        return false;
    if (!sum_of(text, n - SUM - 1, sum) || memcmp(sum, text + n - SUM - 1, SUM) != 0)
        return false;
    text[n - SUM - 2] = '\n';
    text[HEX] = '\0';
    if (!pare_unhex(out->key.xxh3_128, sizeof out->key.xxh3_128, text))
        return false;
    out->score.all = strtod(text + HEX + 1, &end);
    if (*end != ' ')
        return false;
    out->score.second = strtod(end, &end);
    if (*end != ' ')
        return false;
    out->score.error = strtod(end, &end);
    return *end == '\n' && isfinite(out->score.all) && isfinite(out->score.second) && isfinite(out->score.error);
}

/* The lines of a file of this key; *end: where the last good one ends. False: it is of another. */
static pare_status read_lines(pare_memo *m, FILE *f, const char *first, long *end, pare_error *err)
{
    char text[LINE];
    line l;
    pare_status st = PARE_OK;
    *end = 0;
    if (fgets(text, sizeof text, f) == NULL || strcmp(text, first) != 0)
        return PARE_OK;
    *end = ftell(f);
    while (st == PARE_OK && fgets(text, sizeof text, f) != NULL && parse(text, &l)) {
        st = remember(m, &l, err);
        *end = ftell(f);
    }
    return st;
}

static pare_status check_regular(FILE *f, const char *path, pare_error *err)
{
    struct stat info;
    if (fstat(fileno(f), &info) == 0 && !S_ISREG(info.st_mode))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: is %s, expected a regular file", path, pare_kind_of_file(&info));
    return PARE_OK;
}

pare_status pare_memo_open(pare_memo *m, const char *path, const pare_memo_key *key, pare_error *err)
{
    char first[LINE], hex[HEX + 1];
    long end = 0;
    *m = (pare_memo){0};
    pare_hex(hex, key->xxh3_128, sizeof key->xxh3_128);
    snprintf(first, sizeof first, "%s%s\n", head, hex);
    FILE *old = fopen(path, "r+"); /* does not wait for the other end of a FIFO, but reading would */
    pare_status st = old != NULL ? check_regular(old, path, err) : PARE_OK;
    if (st == PARE_OK && old != NULL)
        st = read_lines(m, old, first, &end, err);
    if (st == PARE_OK && (m->path = strdup(path)) == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory");
    if (st == PARE_OK && end > 0 && fseek(old, end, SEEK_SET) == 0) {
        m->file = old;
        return PARE_OK;
    }
    if (old != NULL)
        fclose(old);
    if (st == PARE_OK && ((m->file = fopen(path, "w")) == NULL || fputs(first, m->file) < 0 || fflush(m->file) != 0))
        st = pare_fail(err, PARE_ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
    return st;
}

void pare_memo_close(pare_memo *m)
{
    if (m->file != NULL)
        fclose(m->file);
    free(m->path);
    free(m->lines);
    *m = (pare_memo){0};
}

bool pare_memo_find(pare_memo *m, const pare_memo_key *key, pare_trial_score *out)
{
    for (size_t i = 0; i < m->n; i++)
        if (memcmp(&m->lines[i].key, key, sizeof *key) == 0) {
            *out = m->lines[i].score;
            m->n_found++;
            return true;
        }
    return false;
}

pare_status pare_memo_add(pare_memo *m, const pare_memo_key *key, const pare_trial_score *score, pare_error *err)
{
    const line l = {*key, *score};
    char hex[HEX + 1], text[LINE], sum[SUM + 1];
    pare_hex(hex, key->xxh3_128, sizeof key->xxh3_128);
    snprintf(text, sizeof text, "%s %a %a %a ", hex, score->all, score->second, score->error);
    if (!sum_of(text, strlen(text), sum))
        return pare_fail(err, PARE_ERR_MEMORY, "no memory");
    if (fprintf(m->file, "%s%s\n", text, sum) < 0 || fflush(m->file) != 0)
        return pare_fail(err, PARE_ERR_IO, "%s: cannot be written: %s", m->path, strerror(errno));
    return remember(m, &l, err);
}
