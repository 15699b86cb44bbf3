#include "recipe/state.h"

#include "core/bytes.h"
#include "core/checked.h"
#include "core/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char magic[8] = {'P', 'A', 'R', 'E', 'S', 'T', 'A', '3'};
enum {
    AT_TEXT_LENGTH = 8,
    AT_TEXT_DIGEST = 16,
    FIXED = 32,
    RECORD = 88,
    DIGEST = 16,
    DATA_ALIGN = 4096,
    TENSOR_ALIGN = 64
};
enum { AT_DIGEST = 16, AT_ERROR = 32, AT_LOSSLESS = 64, AT_CHECK = 72 };

static void put_real(uint8_t *to, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    pare_store_u64le(to, bits);
}

static double get_real(const uint8_t *from)
{
    uint64_t bits = pare_load_u64le(from);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

pare_status pare_state_path(char **out, const char *output, pare_error *err)
{
    pare_buf text = {0};
    pare_status st = pare_buf_printf(&text, err, "%s.pare-state", output);
    *out = text.data;
    return st;
}

bool pare_state_is_there(const char *output)
{
    char *path = NULL;
    bool found = pare_state_path(&path, output, NULL) == PARE_OK && access(path, F_OK) == 0;
    free(path);
    return found;
}

void pare_state_remove(const char *output)
{
    char *path = NULL;
    if (pare_state_path(&path, output, NULL) == PARE_OK)
        unlink(path);
    free(path);
}

/* Offsets of everything; offset may be NULL. */
static pare_status lay_out(const char *text, size_t n, const uint64_t *size, uint64_t *records, uint64_t *offset,
                           uint64_t *end, pare_error *err)
{
    uint64_t at = FIXED + (uint64_t)strlen(text);
    at = (at + 7) / 8 * 8;
    *records = at;
    bool fits = n < UINT32_MAX;
    at += fits ? (uint64_t)n * RECORD : 0;
    at = (at + DATA_ALIGN - 1) / DATA_ALIGN * DATA_ALIGN;
    for (size_t i = 0; i < n && fits; i++) {
        if (offset != NULL)
            offset[i] = at;
        fits = pare_add_u64(at, size[i], &at) && pare_add_u64(at, TENSOR_ALIGN - 1, &at);
        at = at / TENSOR_ALIGN * TENSOR_ALIGN;
    }
    *end = at;
    return fits ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "%zu tensors are too many bytes to be kept", n);
}

pare_status pare_state_bytes(uint64_t *out, const char *text, size_t n, const uint64_t *size, pare_error *err)
{
    uint64_t records;
    return lay_out(text, n, size, &records, NULL, out, err);
}

static pare_status digest_of(const void *data, uint64_t n, uint8_t *out, pare_error *err)
{
    pare_digest d;
    pare_status st = pare_hash_bytes(data, (size_t)n, PARE_HASH_XXH3, &d, err);
    if (st == PARE_OK)
        memcpy(out, d.xxh3_128, DIGEST);
    return st;
}

/* The texts differ: say where. Either ends at its length or with a zero. */
static pare_status tell_difference(const char *path, const char *was, size_t n, const char *is, pare_error *err)
{
    size_t line = 0, i = 0;
    while (i < n && is[i] != '\0' && was[i] == is[i])
        if (was[i++] == '\n')
            line = i;
    const char *end = memchr(was + line, '\n', n - line);
    int len = (int)((end != NULL ? (size_t)(end - was) : n) - line);
    enum { SHOWN = 200 };
    return pare_fail(err, PARE_ERR_USAGE,
                     "%s: belongs to another run: it says '%.*s', and this one '%.*s'; --force drops it", path,
                     len < SHOWN ? len : SHOWN, was + line, (int)strcspn(is + line, "\n"), is + line);
}

/* Nothing of it is touched: whoever needs what is in it may keep it. */
static pare_status damaged(const pare_state *s, uint64_t offset, const char *what, pare_error *err)
{
    return pare_fail(
        err, PARE_ERR_FORMAT,
        "%s: offset %llu: %s; it stays as it is: remove it, or give --force in place of --resume, to start "
        "anew",
        s->path, (unsigned long long)offset, what);
}

/* Where the head, which does not fit its digest, is damaged: where it is not what this run has, if that has its length.
 */
static uint64_t find_damage(const uint8_t *head, uint64_t n, const char *text, uint64_t len)
{
    if (n != len)
        return AT_TEXT_LENGTH;
    for (uint64_t i = 0; i < len; i++)
        if (head[FIXED + i] != (uint8_t)text[i])
            return FIXED + i;
    return AT_TEXT_DIGEST;
}

static bool are_zeros(const uint8_t *data, uint64_t size, uint64_t from, uint64_t n)
{
    for (uint64_t i = from; i < size && i - from < n; i++)
        if (data[i] != 0)
            return false;
    return true;
}

/* A run that was killed before its head was whole leaves a file like this: no magic, and no record of a tensor. */
static bool holds_nothing(const pare_state *s)
{
    const uint8_t *data = s->spool.data;
    return are_zeros(data, s->spool.size, 0, sizeof magic) &&
           are_zeros(data, s->spool.size, s->records, (uint64_t)s->n * RECORD);
}

/* What lies in the file that is gone on with. */
static pare_status check_found(const pare_state *s, const char *text, uint64_t end, pare_error *err)
{
    char what[128];
    uint8_t digest[DIGEST];
    const uint8_t *data = s->spool.data;
    uint64_t size = s->spool.size, len = strlen(text);
    if (size < FIXED || memcmp(data, magic, sizeof magic) != 0)
        return damaged(s, 0,
                       size >= FIXED && memcmp(data, magic, sizeof magic - 1) == 0
                           ? "is of another version of the program"
                           : "holds no state of an unfinished pare quantize, or is damaged",
                       err);
    uint64_t was = pare_load_u64le(data + AT_TEXT_LENGTH);
    if (was > size - FIXED) {
        snprintf(what, sizeof what, "is damaged: %llu bytes of text in a file of %llu", (unsigned long long)was,
                 (unsigned long long)size);
        return damaged(s, AT_TEXT_LENGTH, what, err);
    }
    pare_status st = digest_of(data + FIXED, was, digest, err);
    if (st != PARE_OK)
        return st;
    if (memcmp(digest, data + AT_TEXT_DIGEST, DIGEST) != 0)
        return damaged(s, find_damage(data, was, text, len), "is damaged: its text does not fit its hash", err);
    if (was != len || memcmp(data + FIXED, text, (size_t)len) != 0)
        return tell_difference(s->path, (const char *)data + FIXED, (size_t)was, text, err);
    if (size == end)
        return PARE_OK;
    snprintf(what, sizeof what, "is damaged: %llu bytes, expected %llu", (unsigned long long)size,
             (unsigned long long)end);
    return damaged(s, size < end ? size : end, what, err);
}

/* The magic comes last: a head that is not whole is none. */
static pare_status write_head(pare_state *s, const char *text, pare_error *err)
{
    uint8_t *data = s->spool.data;
    const size_t len = strlen(text);
    memcpy(data + FIXED, text, len);
    pare_store_u64le(data + AT_TEXT_LENGTH, len);
    pare_status st = digest_of(text, len, data + AT_TEXT_DIGEST, err);
    memcpy(data, magic, sizeof magic);
    return st;
}

pare_status pare_state_open(pare_state *s, const char *output, const char *text, size_t n, const uint64_t *size,
                            bool resume, pare_error *err)
{
    uint64_t end = 0;
    *s = (pare_state){.n = n};
    if (n == 0)
        return PARE_OK;
    s->offset = calloc(n, sizeof *s->offset);
    s->size = calloc(n, sizeof *s->size);
    if (s->offset == NULL || s->size == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu tensors", n);
    memcpy(s->size, size, n * sizeof *size);
    pare_status st = lay_out(text, n, size, &s->records, s->offset, &end, err);
    if (st == PARE_OK)
        st = pare_state_path(&s->path, output, err);
    if (st == PARE_OK)
        st = pare_spool_open_named(&s->spool, s->path, end, resume, &s->reused, err);
    if (st == PARE_OK && s->reused && holds_nothing(s)) {
        pare_spool_close(&s->spool);
        st = pare_spool_open_named(&s->spool, s->path, end, false, &s->reused, err);
    }
    if (st == PARE_OK && s->reused && (st = check_found(s, text, end, err)) != PARE_OK)
        pare_spool_close(&s->spool); /* it stays as it is */
    for (size_t i = 0; i < n && st == PARE_OK && s->reused; i++)
        s->n_kept += pare_state_has(s, i);
    if (st != PARE_OK || s->reused)
        return st;
    return write_head(s, text, err);
}

uint8_t *pare_state_at(const pare_state *s, size_t i)
{
    return s->spool.data + s->offset[i];
}

static uint8_t *record_at(const pare_state *s, size_t i)
{
    return s->spool.data + s->records + i * RECORD;
}

bool pare_state_has(const pare_state *s, size_t i)
{
    uint8_t check[DIGEST];
    return digest_of(record_at(s, i), AT_CHECK, check, NULL) == PARE_OK &&
           memcmp(check, record_at(s, i) + AT_CHECK, DIGEST) == 0;
}

pare_status pare_state_take(pare_state *s, size_t i, const pare_state_key *key, const char *name, pare_plan_row *row,
                            bool *found, pare_error *err)
{
    const uint8_t *r = record_at(s, i);
    uint8_t digest[DIGEST];
    *found = false;
    if (!pare_state_has(s, i))
        return PARE_OK;
    if (memcmp(r, key->xxh3_128, DIGEST) != 0)
        return pare_fail(
            err, PARE_ERR_USAGE,
            "%s: belongs to another run: tensor '%s' was encoded from other weights or statistics; --force "
            "drops it",
            s->path, name);
    pare_status st = digest_of(pare_state_at(s, i), s->size[i], digest, err);
    if (st != PARE_OK)
        return st;
    if (memcmp(digest, r + AT_DIGEST, DIGEST) != 0) {
        s->n_kept--;
        return pare_warn(err, "%s: tensor '%s' is damaged: it is encoded again", s->path, name);
    }
    row->error = get_real(r + AT_ERROR);
    row->weighted_error = get_real(r + AT_ERROR + 8);
    row->feedback = get_real(r + AT_ERROR + 16);
    row->form = get_real(r + AT_ERROR + 24);
    row->lossless = pare_load_u64le(r + AT_LOSSLESS) != 0;
    *found = true;
    return PARE_OK;
}

pare_status pare_state_keep(pare_state *s, size_t i, const pare_state_key *key, const pare_plan_row *row,
                            pare_error *err)
{
    uint8_t r[RECORD];
    memcpy(r, key->xxh3_128, DIGEST);
    put_real(r + AT_ERROR, row->error);
    put_real(r + AT_ERROR + 8, row->weighted_error);
    put_real(r + AT_ERROR + 16, row->feedback);
    put_real(r + AT_ERROR + 24, row->form);
    pare_store_u64le(r + AT_LOSSLESS, row->lossless);
    pare_status st = digest_of(pare_state_at(s, i), s->size[i], r + AT_DIGEST, err);
    if (st == PARE_OK)
        st = digest_of(r, AT_CHECK, r + AT_CHECK, err);
    if (st != PARE_OK)
        return st;
    memcpy(record_at(s, i), r, RECORD);
    s->n_kept++;
    return PARE_OK;
}

bool pare_state_stays(const pare_state *s)
{
    return s->spool.data != NULL && !s->dropped && (s->n_kept > 0 || s->reused);
}

void pare_state_drop(pare_state *s)
{
    if (s->spool.data != NULL && !s->dropped)
        unlink(s->path);
    s->dropped = true;
}

void pare_state_close(pare_state *s)
{
    if (!pare_state_stays(s))
        pare_state_drop(s);
    pare_spool_close(&s->spool);
    free(s->path);
    free(s->offset);
    free(s->size);
    *s = (pare_state){0};
}
