#include "formats/lock_compare.h"
#include "formats/git_blob.h"
#include "formats/lock_derive.h"
#include "formats/lock_moved.h"
#include "formats/pin_scan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT = 512 };

pare_status pare_verification_add(pare_verification *v, pare_found verdict, const char *kind, const char *file,
                                  const char *item, const char *text, pare_error *err)
{
    pare_verify_report *r = v->report;
    pare_verdict *const verdicts[] = {
        [PARE_FOUND_BYTES] = &r->bytes, [PARE_FOUND_STRUCTURE] = &r->structure, [PARE_FOUND_SIGNATURE] = &r->signature};
    *verdicts[verdict] = PARE_VERDICT_DIFFERENT;
    if ((r->n_findings & (r->n_findings - 1)) == 0) { /* the capacity is the next power of two */
        pare_finding *more = reallocarray(r->findings, r->n_findings == 0 ? 1 : 2 * r->n_findings, sizeof *more);
        if (more == NULL)
            return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu findings", r->n_findings + 1);
        r->findings = more;
    }
    pare_finding *f = &r->findings[r->n_findings++];
    *f = (pare_finding){strdup(kind), strdup(file), strdup(item), strdup(text)};
    if (f->kind == NULL || f->file == NULL || f->item == NULL || f->text == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for a finding");
    return PARE_OK;
}

int pare_compare_sizes(const void *pa, const void *pb)
{
    const uint64_t a = *(const uint64_t *)pa, b = *(const uint64_t *)pb;
    return a < b ? -1 : a > b;
}

pare_str pare_verification_key(const pare_verification *v, const pare_digest *d)
{
    return v->kind == PARE_HASH_XXH3 ? (pare_str){(const char *)d->xxh3_128, sizeof d->xxh3_128}
                                     : (pare_str){(const char *)d->sha256, sizeof d->sha256};
}

static bool same_digest(const pare_verification *v, const pare_digest *a, const pare_digest *b)
{
    pare_str x = pare_verification_key(v, a), y = pare_verification_key(v, b);
    return memcmp(x.data, y.data, x.len) == 0 && (v->lock->sums || a->n_bytes == b->n_bytes);
}

static pare_str name_key(const char *name)
{
    return (pare_str){name, strlen(name)};
}

/* The tensors of all files of the lock by content: filled when the first has other bytes than the lock says. */
typedef struct whereabouts {
    pare_index index; /* hash -> place */
    struct {
        const pare_pin_file *file;
        const pare_pin_tensor *tensor;
    } * place;
} whereabouts;

static pare_status list_whereabouts(whereabouts *w, const pare_verification *v, pare_error *err)
{
    const pare_pin *pin = &v->lock->pin;
    size_t n = 0;
    pare_status st = PARE_OK;
    for (size_t k = 0; k < pin->n_files; k++)
        n += pin->files[k].n_tensors;
    if ((w->place = calloc(n + 1, sizeof *w->place)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu tensors", v->lock->path, n);
    n = 0;
    for (size_t k = 0; k < pin->n_files; k++)
        for (size_t t = 0; t < pin->files[k].n_tensors && st == PARE_OK; t++, n++) {
            w->place[n].file = &pin->files[k];
            w->place[n].tensor = &pin->files[k].tensors[t];
            st =
                pare_index_add(&w->index, pare_verification_key(v, &w->place[n].tensor->digest), (int64_t)n, NULL, err);
        }
    return st;
}

static void close_whereabouts(whereabouts *w)
{
    pare_index_close(&w->index);
    free(w->place);
}

/* The tensors of one file, expected (e) and actual (a), matched by name and looked up by content. */
typedef struct tensor_match {
    pare_verification *v;
    const pare_pin_file *e, *a;
    whereabouts *all;
    int64_t *to;            /* [e->n_tensors] index in a, or PARE_INDEX_NONE */
    pare_index names;       /* of a */
    pare_index unmet;       /* hash -> index in e, of the expected tensors that are absent or differ */
    pare_index unknown;     /* hash -> index in a, of tensors that e does not name */
    pare_index known_names; /* of e */
    size_t n_different;     /* tensors that are not as expected, in any way */
    bool moved;             /* some tensor lies at another offset */
    bool other_bytes;       /* some tensor is missing, new, or has other content */
} tensor_match;

static bool is_different(const tensor_match *m, size_t i)
{
    return m->to[i] != PARE_INDEX_NONE && !same_digest(m->v, &m->e->tensors[i].digest, &m->a->tensors[m->to[i]].digest);
}

static pare_status match_tensors(tensor_match *m, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < m->a->n_tensors && st == PARE_OK; i++)
        st = pare_index_add(&m->names, name_key(m->a->tensors[i].name), (int64_t)i, NULL, err);
    for (size_t i = 0; i < m->e->n_tensors && st == PARE_OK; i++) {
        const pare_pin_tensor *t = &m->e->tensors[i];
        m->to[i] = pare_index_find(&m->names, name_key(t->name));
        m->moved |= m->to[i] == PARE_INDEX_NONE || m->a->tensors[m->to[i]].offset != t->offset;
        if ((st = pare_index_add(&m->known_names, name_key(t->name), (int64_t)i, NULL, err)) == PARE_OK &&
            (m->to[i] == PARE_INDEX_NONE || is_different(m, i)))
            st = pare_index_add(&m->unmet, pare_verification_key(m->v, &t->digest), (int64_t)i, NULL, err);
        m->other_bytes |= m->to[i] == PARE_INDEX_NONE || is_different(m, i);
    }
    m->other_bytes |= m->a->n_tensors != m->e->n_tensors;
    for (size_t i = 0; i < m->a->n_tensors && st == PARE_OK; i++) {
        const pare_pin_tensor *t = &m->a->tensors[i];
        if (pare_index_find(&m->known_names, name_key(t->name)) == PARE_INDEX_NONE)
            st = pare_index_add(&m->unknown, pare_verification_key(m->v, &t->digest), (int64_t)i, NULL, err);
    }
    return st;
}

/* The expected tensor whose content the actual tensor i has, when that one is not itself as expected. */
static int64_t owner_of(const tensor_match *m, int64_t i)
{
    return pare_index_find(&m->unmet, pare_verification_key(m->v, &m->a->tensors[i].digest));
}

static pare_status add_tensor_finding(tensor_match *m, const char *kind, const char *item, const char *text,
                                      pare_error *err)
{
    m->n_different++;
    return pare_verification_add(m->v, PARE_FOUND_BYTES, kind, m->e->name, item, text, err);
}

/* Tensor i has bytes that no tensor of the file should have, or only ones that have them: another file's? */
static pare_status explain_foreign(tensor_match *m, size_t i, pare_error *err)
{
    char text[TEXT];
    const pare_pin_tensor *a = &m->a->tensors[m->to[i]];
    const uint64_t end = a->offset + a->digest.n_bytes;
    pare_status st = m->all->place == NULL ? list_whereabouts(m->all, m->v, err) : PARE_OK;
    const int64_t at =
        st == PARE_OK ? pare_index_find(&m->all->index, pare_verification_key(m->v, &a->digest)) : PARE_INDEX_NONE;
    if (st != PARE_OK)
        return st;
    if (at != PARE_INDEX_NONE && m->all->place[at].file != m->e)
        snprintf(text, sizeof text,
                 "bytes at offsets %" PRIu64 " to %" PRIu64 " are those of tensor '%.150s' of '%.150s'", a->offset, end,
                 m->all->place[at].tensor->name, m->all->place[at].file->name);
    else
        snprintf(text, sizeof text, "bytes at offsets %" PRIu64 " to %" PRIu64 " differ from the lock", a->offset, end);
    return add_tensor_finding(m, "tensor", m->e->tensors[i].name, text, err);
}

/* Tensor i of the lock has other bytes now: whose are they? */
static pare_status explain_bytes(tensor_match *m, size_t i, pare_error *err)
{
    char text[TEXT];
    pare_buf item = {0};
    const pare_pin_tensor *e = &m->e->tensors[i], *a = &m->a->tensors[m->to[i]];
    int64_t owner = owner_of(m, m->to[i]);
    uint64_t end = a->offset + a->digest.n_bytes;
    if (owner == PARE_INDEX_NONE || (size_t)owner == i)
        return explain_foreign(m, i, err);
    const char *other = m->e->tensors[owner].name;
    bool mutual = m->to[owner] != PARE_INDEX_NONE && owner_of(m, m->to[owner]) == (int64_t)i;
    if (!mutual) {
        snprintf(text, sizeof text, "bytes at offsets %" PRIu64 " to %" PRIu64 " are those of tensor '%.200s'",
                 a->offset, end, other);
        return add_tensor_finding(m, "tensor", e->name, text, err);
    }
    m->n_different++;
    if ((size_t)owner < i)
        return PARE_OK; /* told at the other one */
    pare_status st = pare_buf_printf(&item, err, "%s, %s", e->name, other);
    if (st == PARE_OK)
        st = pare_verification_add(m->v, PARE_FOUND_BYTES, "tensors exchanged", m->e->name, item.data,
                                   "contents exchanged: each holds the bytes that the lock has for the other", err);
    pare_buf_close(&item);
    return st;
}

/* "f32 [2, 3]" */
static void describe(const pare_pin_tensor *t, char *dst, size_t size)
{
    int n = snprintf(dst, size, "%s [", pare_type_get(t->type)->name);
    for (uint32_t i = 0; i < t->n_dims && n > 0 && (size_t)n < size; i++)
        n += snprintf(dst + n, size - (size_t)n, "%s%" PRIu64, i > 0 ? ", " : "", t->dim[i]);
    if (n > 0 && (size_t)n + 1 < size)
        strcpy(dst + n, "]");
}

static pare_status compare_tensor(tensor_match *m, size_t i, pare_error *err)
{
    char text[TEXT], is[200], was[200];
    const pare_pin_tensor *e = &m->e->tensors[i];
    if (m->to[i] == PARE_INDEX_NONE) {
        int64_t now = pare_index_find(&m->unknown, pare_verification_key(m->v, &e->digest));
        if (now == PARE_INDEX_NONE)
            snprintf(text, sizeof text, "is missing");
        else
            snprintf(text, sizeof text, "is missing; tensor '%.200s' has its content", m->a->tensors[now].name);
        return add_tensor_finding(m, "tensor", e->name, text, err);
    }
    const pare_pin_tensor *a = &m->a->tensors[m->to[i]];
    pare_status st = PARE_OK;
    if (a->type != e->type || a->n_dims != e->n_dims || memcmp(a->dim, e->dim, e->n_dims * sizeof *e->dim) != 0) {
        describe(a, is, sizeof is);
        describe(e, was, sizeof was);
        snprintf(text, sizeof text, "is %s, the lock says %s", is, was);
        st = add_tensor_finding(m, "tensor", e->name, text, err);
    }
    return st == PARE_OK && is_different(m, i) ? explain_bytes(m, i, err) : st;
}

static pare_status compare_tensors(tensor_match *m, pare_error *err)
{
    if ((m->to = calloc(m->e->n_tensors > 0 ? m->e->n_tensors : 1, sizeof *m->to)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu tensors", m->e->n_tensors);
    pare_status st = match_tensors(m, err);
    for (size_t i = 0; i < m->e->n_tensors && st == PARE_OK; i++)
        st = compare_tensor(m, i, err);
    for (size_t i = 0; i < m->a->n_tensors && st == PARE_OK; i++)
        if (pare_index_find(&m->known_names, name_key(m->a->tensors[i].name)) == PARE_INDEX_NONE)
            st = add_tensor_finding(m, "tensor", m->a->tensors[i].name, "is not in the lock", err);
    m->v->report->n_tensors += m->a->n_tensors;
    return st;
}

static void close_match(tensor_match *m)
{
    free(m->to);
    pare_index_close(&m->names);
    pare_index_close(&m->unmet);
    pare_index_close(&m->unknown);
    pare_index_close(&m->known_names);
}

static pare_status index_keys(pare_index *keys, const pare_pin_file *f, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < f->n_meta && st == PARE_OK; i++)
        st = pare_index_add(keys, name_key(f->meta[i].key), (int64_t)i, NULL, err);
    return st;
}

/* Keys changed, removed, added; *n_changes of them. */
static pare_status compare_metadata(pare_verification *v, const pare_pin_file *e, const pare_pin_file *a,
                                    size_t *n_changes, pare_error *err)
{
    pare_index is = {0}, was = {0};
    *n_changes = 0;
    pare_status st = index_keys(&was, e, err);
    if (st == PARE_OK)
        st = index_keys(&is, a, err);
    for (size_t i = 0; i < e->n_meta && st == PARE_OK; i++) {
        int64_t now = pare_index_find(&is, name_key(e->meta[i].key));
        bool same = now != PARE_INDEX_NONE && memcmp(a->meta[now].digest.sha256, e->meta[i].digest.sha256, 32) == 0;
        *n_changes += !same;
        if (!same)
            st = pare_verification_add(v, PARE_FOUND_BYTES, "metadata", e->name, e->meta[i].key,
                                       now == PARE_INDEX_NONE ? "removed" : "changed", err);
    }
    for (size_t i = 0; i < a->n_meta && st == PARE_OK; i++)
        if (pare_index_find(&was, name_key(a->meta[i].key)) == PARE_INDEX_NONE) {
            ++*n_changes;
            st = pare_verification_add(v, PARE_FOUND_BYTES, "metadata", e->name, a->meta[i].key, "added", err);
        }
    pare_index_close(&is);
    pare_index_close(&was);
    return st;
}

/* The sums that the lock gives over metadata; when every key is as expected, only a lock that contradicts itself fails.
 */
static pare_status compare_sums(pare_verification *v, size_t i, const pare_pin_file *a, pare_error *err)
{
    const pare_lock_file *more = &v->lock->files[i];
    const pare_pin_file *e = &v->lock->pin.files[i];
    uint8_t sha256[32];
    bool any = false;
    pare_status st = pare_lock_metadata_hash(a, false, sha256, &any, err);
    if (st == PARE_OK && more->has_metadata && (!any || memcmp(sha256, more->metadata, 32) != 0))
        st = pare_verification_add(v, PARE_FOUND_BYTES, "metadata", e->name, "",
                                   "the hash over all keys is not the lock's", err);
    if (st == PARE_OK)
        st = pare_lock_metadata_hash(a, true, sha256, &any, err);
    if (st == PARE_OK && more->has_tokenizer && (!any || memcmp(sha256, more->tokenizer, 32) != 0))
        st = pare_verification_add(v, PARE_FOUND_BYTES, "tokenizer", e->name, "",
                                   "the hash of the tokenizer is not the lock's", err);
    if (st == PARE_OK && e->has_chat_template &&
        (!a->has_chat_template || memcmp(a->chat_template.sha256, e->chat_template.sha256, 32) != 0))
        st = pare_verification_add(v, PARE_FOUND_BYTES, "chat template", e->name, "",
                                   "the hash of the chat template is not the lock's", err);
    return st;
}

/* The bytes in tensors and in none are the lock's: with the header, which says where tensors lie, the file is. */
static bool same_parts(const pare_verification *v, const tensor_match *m)
{
    return m->a->n_tensors > 0 && m->e->has_rest && !m->other_bytes && !m->moved &&
           same_digest(v, &m->e->rest, &m->a->rest) && m->e->digest.n_bytes == m->a->digest.n_bytes;
}

/* One line that says what the difference of the whole file amounts to. */
static pare_status sum_up(pare_verification *v, size_t i, const tensor_match *m, size_t n_metadata, pare_error *err)
{
    char text[TEXT];
    const pare_file_state *state = &v->states[i];
    const char *kind = v->kind == PARE_HASH_XXH3 ? "xxh3_128" : "sha256";
    if (!state->is_model || v->lock->sums)
        snprintf(text, sizeof text, "differs from the lock");
    else if (same_parts(v, m) && n_metadata == 0)
        snprintf(text, sizeof text,
                 "differs from the lock, which contradicts itself: its hashes of the tensors and of the rest are the file's");
    else if (m->n_different > 0)
        snprintf(text, sizeof text, "differs from the lock: %zu of %zu tensors, %zu metadata keys", m->n_different,
                 m->e->n_tensors, n_metadata);
    else if (state->broken)
        snprintf(text, sizeof text, "differs from the lock: the tensors are as pinned, the header is damaged");
    else if (n_metadata > 0)
        snprintf(text, sizeof text, "differs from the lock: %zu metadata keys; the tensors are as pinned", n_metadata);
    else if (state->other_size || m->moved)
        snprintf(
            text, sizeof text,
            "differs from the lock: tensors and metadata are as pinned, the file was written again in another layout");
    else
        snprintf(text, sizeof text,
                 "differs from the lock: tensors and metadata are as pinned, the difference lies in the header or in "
                 "padding");
    return pare_verification_add(v, PARE_FOUND_BYTES, kind, m->e->name, "", text, err);
}

/* A file without tensors is read again for its name in Git; a larger one only when no seal stands for what the lock
 * says.
 */
enum { GIT_BYTES = 64 << 20 };

static pare_status compare_git_sha1(pare_verification *v, size_t i, pare_error *err)
{
    const pare_lock_file *more = &v->lock->files[i];
    const pare_pin_file *a = &v->actual.files[i];
    uint8_t sha1[20];
    if (v->lock->sums || !more->has_git_sha1 || v->kind == PARE_HASH_XXH3 ||
        (a->n_tensors == 0 && a->digest.n_bytes > GIT_BYTES && v->lock->sealed))
        return PARE_OK;
    pare_status st = pare_git_blob_sha1(a, sha1, err);
    if (st == PARE_OK && memcmp(sha1, more->git_sha1, sizeof sha1) != 0)
        st = pare_verification_add(v, PARE_FOUND_BYTES, "git_sha1", a->name, "",
                                   "its Git name is not the lock's", err);
    return st;
}

/* Whether the file has the bytes that the lock says. Tensors and rest cover it, the header that says where the tensors
 * lie among them: when these are the lock's, so is the file, and its hash need not be computed. */
static bool same_file(pare_verification *v, size_t i, const tensor_match *m)
{
    pare_pin_file *a = &v->actual.files[i];
    if (v->what[i] & PARE_PIN_WHOLE)
        return same_digest(v, &m->e->digest, &a->digest);
    const bool same = same_parts(v, m);
    if (same)
        a->digest = m->e->digest;
    v->report->n_by_parts += same;
    return same;
}

static pare_status tell_owner(pare_verification *v, size_t i, size_t owner, pare_error *err)
{
    char text[TEXT];
    const pare_pin_file *was = &v->lock->pin.files[owner];
    snprintf(text, sizeof text, "holds the %s that the lock has for '%.300s'",
             was->n_tensors > 0 ? "tensors" : "content", was->name);
    return pare_verification_add(v, PARE_FOUND_BYTES, "exchanged", v->actual.files[i].name, "", text, err);
}

static pare_status compare_file(pare_verification *v, pare_owners *owners, whereabouts *all, size_t i, pare_error *err)
{
    const pare_pin_file *a = &v->actual.files[i];
    size_t owner = SIZE_MAX;
    pare_status st = v->states[i].broken ? PARE_OK : pare_find_owner(owners, v, i, &owner, err);
    if (st != PARE_OK || owner != SIZE_MAX)
        return st != PARE_OK ? st : tell_owner(v, i, owner, err);
    if (v->states[i].other_size && !v->states[i].is_model) /* which was told */
        return PARE_OK;
    tensor_match m = {.v = v, .e = &v->lock->pin.files[i], .a = a, .all = all};
    size_t n_metadata = 0;
    if (!v->lock->sums) {
        st = compare_tensors(&m, err);
        if (st == PARE_OK && !v->states[i].broken && (st = compare_metadata(v, m.e, a, &n_metadata, err)) == PARE_OK &&
            n_metadata == 0)
            st = compare_sums(v, i, a, err);
    }
    if (st == PARE_OK)
        st = same_file(v, i, &m) ? compare_git_sha1(v, i, err) : sum_up(v, i, &m, n_metadata, err);
    close_match(&m);
    return st;
}

pare_status pare_compare_files(pare_verification *v, pare_error *err)
{
    pare_owners owners = {0};
    whereabouts all = {0};
    pare_status st = PARE_OK;
    for (size_t i = 0; i < v->actual.n_files && st == PARE_OK; i++)
        if (v->what[i] != 0)
            st = compare_file(v, &owners, &all, i, err);
    pare_owners_close(&owners);
    close_whereabouts(&all);
    return st;
}
