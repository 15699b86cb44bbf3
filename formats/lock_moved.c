#include "formats/lock_moved.h"
#include "core/bytes.h"
#include "formats/pin_scan.h"

#include <stdlib.h>
#include <string.h>

void pare_moved_close(pare_moved *m)
{
    free(m->n_as_pinned);
    free(m->n_found);
    free(m->where);
    *m = (pare_moved){0};
}

static bool same_digest(const pare_verification *v, const pare_digest *a, const pare_digest *b)
{
    return a->n_bytes == b->n_bytes &&
           (v->kind == PARE_HASH_XXH3 ? memcmp(a->xxh3_128, b->xxh3_128, sizeof a->xxh3_128) == 0
                                      : memcmp(a->sha256, b->sha256, sizeof a->sha256) == 0);
}

static bool same_tensor(const pare_verification *v, const pare_pin_tensor *a, const pare_pin_tensor *b)
{
    return a->type == b->type && a->n_dims == b->n_dims && memcmp(a->dim, b->dim, a->n_dims * sizeof *a->dim) == 0 &&
           same_digest(v, &a->digest, &b->digest);
}

/* Tensors of missing files by name. A name that stands in two of them belongs to the first. */
typedef struct wanted {
    pare_index names; /* -> index in place */
    struct {
        size_t file, tensor;
    } * place;
    size_t n;
} wanted;

static pare_status list_wanted(wanted *w, const pare_verification *v, pare_error *err)
{
    const pare_pin *pin = &v->lock->pin;
    size_t n = 0;
    pare_status st = PARE_OK;
    for (size_t k = 0; k < pin->n_files; k++)
        n += v->states[k].missing ? pin->files[k].n_tensors : 0;
    if (n == 0)
        return PARE_OK;
    if ((w->place = calloc(n, sizeof *w->place)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu tensors", v->lock->path, n);
    for (size_t k = 0; k < pin->n_files && st == PARE_OK; k++)
        for (size_t t = 0; v->states[k].missing && t < pin->files[k].n_tensors && st == PARE_OK; t++) {
            const char *name = pin->files[k].tensors[t].name;
            w->place[w->n].file = k;
            w->place[w->n].tensor = t;
            st = pare_index_add(&w->names, (pare_str){name, strlen(name)}, (int64_t)w->n++, NULL, err);
        }
    return st;
}

static int64_t find_wanted(const wanted *w, const char *name)
{
    return pare_index_find(&w->names, (pare_str){name, strlen(name)});
}

/* A file that cannot be read as a model is none, and no fault: the lock says nothing of it. */
static bool may_hold(const wanted *w, pare_pin_file *f)
{
    bool is_model = false;
    if (pare_pin_read_structure(f, &is_model, NULL) != PARE_OK || !is_model)
        return false;
    for (size_t t = 0; t < f->n_tensors; t++)
        if (find_wanted(w, f->tensors[t].name) != PARE_INDEX_NONE)
            return true;
    return false;
}

static void count(pare_moved *m, const wanted *w, const pare_verification *v, const pare_pin *files,
                  const uint8_t *what)
{
    for (size_t i = 0; i < files->n_files; i++)
        for (size_t t = 0; what[i] != 0 && t < files->files[i].n_tensors; t++) {
            const pare_pin_tensor *is = &files->files[i].tensors[t];
            const int64_t at = find_wanted(w, is->name);
            if (at == PARE_INDEX_NONE)
                continue;
            const size_t k = w->place[at].file;
            if (!same_tensor(v, &v->lock->pin.files[k].tensors[w->place[at].tensor], is))
                continue;
            m->n_as_pinned[i]++;
            m->where[k] = m->n_found[k] == 0 || m->where[k] == i ? i : SIZE_MAX;
            m->n_found[k]++;
        }
}

pare_status pare_find_moved(pare_moved *m, const pare_verification *v, pare_pin *files, const bool *skip,
                            pare_error *err)
{
    wanted w = {0};
    uint8_t *what = NULL;
    *m = (pare_moved){0};
    pare_status st = list_wanted(&w, v, err);
    if (st == PARE_OK && w.n > 0) {
        const size_t n = files->n_files + 1, n_lock = v->lock->pin.n_files + 1;
        what = calloc(n, sizeof *what);
        *m = (pare_moved){calloc(n, sizeof *m->n_as_pinned), calloc(n_lock, sizeof *m->n_found),
                          calloc(n_lock, sizeof *m->where)};
        if (what == NULL || m->n_as_pinned == NULL || m->n_found == NULL || m->where == NULL)
            st = pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu files", v->lock->path, n);
    }
    for (size_t i = 0; st == PARE_OK && w.n > 0 && i < files->n_files; i++)
        if (!skip[i] && may_hold(&w, &files->files[i]))
            what[i] = PARE_PIN_PARTS;
    if (st == PARE_OK && w.n > 0)
        st = pare_pin_hash(files->files, files->n_files, what, v->kind, err);
    if (st == PARE_OK && w.n > 0)
        count(m, &w, v, files, what);
    pare_index_close(&w.names);
    free(w.place);
    free(what);
    if (st != PARE_OK)
        pare_moved_close(m);
    return st;
}

/* As it is and as the lock has it: tensors in their order, or, without tensors, the whole. */
static bool same_file(const pare_verification *v, const pare_pin_file *is, uint8_t what, const pare_pin_file *was)
{
    if (v->lock->sums) {
        const pare_str a = pare_verification_key(v, &is->digest), b = pare_verification_key(v, &was->digest);
        return (what & PARE_PIN_WHOLE) && memcmp(a.data, b.data, a.len) == 0;
    }
    if (is->digest.n_bytes != was->digest.n_bytes || is->n_tensors != was->n_tensors)
        return false;
    if (is->n_tensors == 0 || (what & PARE_PIN_PARTS) == 0)
        return (what & PARE_PIN_WHOLE) != 0 && same_digest(v, &is->digest, &was->digest);
    for (size_t t = 0; t < is->n_tensors; t++)
        if (strcmp(is->tensors[t].name, was->tensors[t].name) != 0 ||
            !same_tensor(v, &is->tensors[t], &was->tensors[t]))
            return false;
    return true;
}

/* What same_file compares, in a few bytes. */
enum { KEY_BYTES = 49 };
typedef struct pare_owner_key {
    uint8_t bytes[KEY_BYTES]; /* tensors or whole, size, number of tensors, hash */
} pare_owner_key;

static pare_status hash_tensors(const pare_verification *v, const pare_pin_file *f, uint8_t *out, pare_error *err)
{
    pare_hasher h;
    pare_digest digest;
    pare_status st = pare_hasher_open(&h, PARE_HASH_XXH3, err);
    for (size_t t = 0; t < f->n_tensors && st == PARE_OK; t++) {
        const pare_pin_tensor *tensor = &f->tensors[t];
        const uint64_t numbers[] = {(uint64_t)tensor->type, tensor->n_dims, tensor->digest.n_bytes};
        const pare_str hash = pare_verification_key(v, &tensor->digest);
        if ((st = pare_hasher_add(&h, tensor->name, strlen(tensor->name) + 1, err)) == PARE_OK &&
            (st = pare_hasher_add(&h, numbers, sizeof numbers, err)) == PARE_OK &&
            (st = pare_hasher_add(&h, tensor->dim, tensor->n_dims * sizeof *tensor->dim, err)) == PARE_OK)
            st = pare_hasher_add(&h, hash.data, hash.len, err);
    }
    if (st == PARE_OK && (st = pare_hasher_finish(&h, &digest, err)) == PARE_OK)
        memcpy(out, digest.xxh3_128, sizeof digest.xxh3_128);
    pare_hasher_close(&h);
    return st;
}

static pare_status make_key(const pare_verification *v, const pare_pin_file *f, bool parts, pare_owner_key *key,
                            pare_error *err)
{
    *key = (pare_owner_key){{parts}};
    if (!v->lock->sums) { /* which knows neither */
        pare_store_u64le(key->bytes + 1, f->digest.n_bytes);
        pare_store_u64le(key->bytes + 9, f->n_tensors);
    }
    if (parts)
        return hash_tensors(v, f, key->bytes + 17, err);
    const pare_str whole = pare_verification_key(v, &f->digest);
    memcpy(key->bytes + 17, whole.data, whole.len);
    return PARE_OK;
}

static pare_str view(const pare_owner_key *key)
{
    return (pare_str){(const char *)key->bytes, KEY_BYTES};
}

static pare_status list_owners(pare_owners *o, const pare_verification *v, pare_error *err)
{
    const pare_pin *pin = &v->lock->pin;
    pare_status st = PARE_OK;
    if ((o->keys = calloc(2 * pin->n_files + 1, sizeof *o->keys)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu files", v->lock->path, pin->n_files);
    for (size_t k = 0; k < 2 * pin->n_files && st == PARE_OK; k++) {
        const bool parts = k % 2 == 1;
        if (parts && pin->files[k / 2].n_tensors == 0)
            continue;
        if ((st = make_key(v, &pin->files[k / 2], parts, &o->keys[k], err)) == PARE_OK)
            st = pare_index_add(&o->index, view(&o->keys[k]), (int64_t)(k / 2), NULL, err);
    }
    return st;
}

void pare_owners_close(pare_owners *o)
{
    pare_index_close(&o->index);
    free(o->keys);
    *o = (pare_owners){0};
}

pare_status pare_find_owner(pare_owners *o, const pare_verification *v, size_t i, size_t *owner, pare_error *err)
{
    const pare_pin_file *is = &v->actual.files[i];
    const bool parts = !v->lock->sums && is->n_tensors > 0 && (v->what[i] & PARE_PIN_PARTS);
    pare_owner_key key;
    *owner = SIZE_MAX;
    if (same_file(v, is, v->what[i], &v->lock->pin.files[i]))
        return PARE_OK;
    pare_status st = o->keys == NULL ? list_owners(o, v, err) : PARE_OK;
    if (st == PARE_OK)
        st = make_key(v, is, parts, &key, err);
    const int64_t k = st == PARE_OK ? pare_index_find(&o->index, view(&key)) : PARE_INDEX_NONE;
    if (k != PARE_INDEX_NONE && same_file(v, is, v->what[i], &v->lock->pin.files[k]))
        *owner = (size_t)k;
    return st;
}
