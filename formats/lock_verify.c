#include "core/bytes.h"
#include "core/map.h"
#include "formats/folder_list.h"
#include "formats/git_blob.h"
#include "formats/lock.h"
#include "formats/lock_compare.h"
#include "formats/lock_derive.h"
#include "formats/lock_read.h"
#include "formats/lock_schema.h"
#include "formats/open.h"
#include "formats/pin_scan.h"
#include "formats/safe_path.h"
#include "formats/store.h"
#include "formats/structure_check.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void pare_verify_report_close(pare_verify_report *r)
{
    for (size_t i = 0; i < r->n_findings; i++) {
        free(r->findings[i].kind);
        free(r->findings[i].file);
        free(r->findings[i].item);
        free(r->findings[i].text);
    }
    free(r->findings);
    *r = (pare_verify_report){0};
}

/* True for an error that says something about the file, not about this program's surroundings. */
static bool blames_file(pare_status st)
{
    return st == PARE_ERR_FORMAT || st == PARE_ERR_RANGE || st == PARE_ERR_NUMBER || st == PARE_ERR_UNSUPPORTED;
}

/* The header cannot be read, but the size is right: look at the tensors where the lock says that they lie. */
static pare_status expect_tensors(pare_pin_file *f, const pare_pin_file *expected, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < expected->n_tensors && st == PARE_OK; i++) {
        const pare_pin_tensor *from = &expected->tensors[i];
        pare_tensor t = {.name = from->name, .type = from->type, .n_dims = from->n_dims};
        memcpy(t.dim, from->dim, sizeof t.dim);
        st = pare_pin_add_tensor(f, &t, from->offset, &(pare_digest){.n_bytes = from->digest.n_bytes}, err);
    }
    return st;
}

static pare_status refuse(pare_verification *v, const char *name, const char *what, pare_error *err)
{
    char text[600];
    snprintf(text, sizeof text, "%s, expected a regular file; it was not opened", what);
    v->report->n_refused++;
    return pare_verification_add(v, PARE_FOUND_BYTES, "refused", name, "", text, err);
}

/* Every byte once, where tensors and rest stand for a file that is so large that a second hash takes time. Without the
 * seal they may not even be meant to. */
static uint8_t what_to_hash(const pare_verification *v, size_t i)
{
    const pare_pin_file *expected = &v->lock->pin.files[i], *f = &v->actual.files[i];
    unsigned numbers = v->states[i].broken ? 0 : PARE_PIN_NUMBERS;
    if (v->lock->sums)
        return (uint8_t)(PARE_PIN_WHOLE | numbers);
    bool whole =
        v->whole == PARE_WHOLE_ALWAYS || (v->whole == PARE_WHOLE_SMALL && f->digest.n_bytes <= PARE_WHOLE_BYTES);
    bool parts = v->lock->sealed && expected->has_rest && f->n_tensors > 0 && !whole;
    return (uint8_t)((parts ? 0 : PARE_PIN_WHOLE) | PARE_PIN_PARTS | numbers);
}

/* What a size that is not the lock's may mean. */
static const char *size_hint(const pare_pin_file *f, const pare_pin_file *expected, const pare_file_state *state)
{
    pare_digest content;
    if (pare_git_pointer_read(f->path, &content))
        return content.n_bytes == expected->digest.n_bytes && memcmp(content.sha256, expected->digest.sha256, 32) == 0
                   ? ": a Git-LFS pointer to the pinned content; run git lfs pull"
                   : ": a Git-LFS pointer to other content than the pinned";
    /* a header that all tensors lie behind says that the file was written so */
    return f->digest.n_bytes < expected->digest.n_bytes && (state->broken || !state->is_model) ? ": truncated" : "";
}

/* What can be told of file i without hashing: is it there, its size, its header. */
static pare_status look_at_file(pare_verification *v, size_t i, pare_error *err)
{
    const pare_pin_file *expected = &v->lock->pin.files[i];
    pare_pin_file *f = &v->actual.files[i];
    pare_file_state *state = &v->states[i];
    char why[512];
    pare_error fault = {0};
    pare_path_file file;
    pare_status st = pare_path_open(&file, v->lock->folder, f->name, err);
    if (st != PARE_OK) /* it is there, and nothing is known of it */
        return st;
    state->missing = file.state == PARE_PATH_ABSENT;
    state->refused = file.state == PARE_PATH_REFUSED;
    if (state->refused)
        return refuse(v, f->name, file.why, err);
    if (state->missing)
        return PARE_OK;
    st = pare_pin_read_structure_fd(f, file.fd, &state->is_model, &fault);
    state->broken = st != PARE_OK;
    if (state->broken && !blames_file(st)) {
        if (err != NULL)
            *err = fault;
        return st;
    }
    v->report->n_files++;
    v->report->n_bytes += f->digest.n_bytes;
    st = PARE_OK;
    state->other_size = !v->lock->sums && f->digest.n_bytes != expected->digest.n_bytes;
    if (state->other_size) {
        snprintf(why, sizeof why, "%" PRIu64 " bytes, the lock says %" PRIu64 "%s", f->digest.n_bytes,
                 expected->digest.n_bytes, size_hint(f, expected, state));
        st = pare_verification_add(v, PARE_FOUND_BYTES, "size", f->name, "", why, err);
    }
    if (st == PARE_OK && state->broken)
        st = pare_verification_add(v, PARE_FOUND_STRUCTURE, "structure", f->name, "", fault.text, err);
    if (st == PARE_OK && state->broken && !state->other_size)
        st = expect_tensors(f, expected, err);
    if (!state->other_size || (!state->broken && state->is_model))
        v->what[i] = what_to_hash(v, i);
    return st;
}

/* Files without tensors of another size than theirs, but of one that the lock has: they may be each other's. */
static pare_status hash_exchanged(pare_verification *v, pare_error *err)
{
    const size_t n = v->lock->pin.n_files;
    uint64_t *sizes = NULL;
    for (size_t i = 0; i < n; i++) {
        if (!v->states[i].other_size || v->states[i].broken || v->what[i] != 0)
            continue;
        if (sizes == NULL) {
            if ((sizes = calloc(n, sizeof *sizes)) == NULL)
                return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu files", v->lock->path, n);
            for (size_t k = 0; k < n; k++)
                sizes[k] = v->lock->pin.files[k].digest.n_bytes;
            qsort(sizes, n, sizeof *sizes, pare_compare_sizes);
        }
        if (bsearch(&v->actual.files[i].digest.n_bytes, sizes, n, sizeof *sizes, pare_compare_sizes) != NULL)
            v->what[i] = PARE_PIN_WHOLE;
    }
    free(sizes);
    return PARE_OK;
}

static pare_status look_at_files(pare_verification *v, pare_error *err)
{
    size_t n = v->lock->pin.n_files;
    v->what = calloc(n > 0 ? n : 1, sizeof *v->what);
    v->states = calloc(n > 0 ? n : 1, sizeof *v->states);
    if (v->what == NULL || v->states == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu files", v->lock->path, n);
    pare_status st = pare_index_reserve(&v->names, n, err);
    for (size_t i = 0; i < n && st == PARE_OK; i++) {
        const char *name = v->lock->pin.files[i].name;
        pare_pin_file *f = NULL;
        if ((st = pare_index_add(&v->names, (pare_str){name, strlen(name)}, (int64_t)i, NULL, err)) != PARE_OK)
            break;
        if ((st = pare_pin_add_file(&v->actual, v->lock->pin.files[i].path, &f, err)) != PARE_OK)
            break;
        if ((f->name = strdup(name)) == NULL)
            st = pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for a name", v->lock->path);
        else
            st = look_at_file(v, i, err);
    }
    return st == PARE_OK ? hash_exchanged(v, err) : st;
}

/* The folder's own hashes of tokenizer and template, which fast verification does not compute. */
static pare_status compare_tokenizers(pare_verification *v, pare_error *err)
{
    json_t *actual = NULL, *entry, *other;
    size_t i, k;
    if (v->kind != PARE_HASH_SHA256 || v->lock->tokenizers == NULL)
        return PARE_OK;
    pare_status st = pare_lock_tokenizers(&v->actual, &actual, err);
    json_array_foreach(v->lock->tokenizers, i, entry)
    {
        const char *folder = json_string_value(json_object_get(entry, "folder"));
        bool same = false;
        json_array_foreach(actual, k, other) same = same || json_equal(entry, other);
        if (st == PARE_OK && !same)
            st =
                pare_verification_add(v, PARE_FOUND_BYTES, "tokenizer", folder != NULL ? folder : "", "",
                                      "the hash of the tokenizer files or of the chat template is not the lock's", err);
    }
    json_decref(actual);
    return st;
}

typedef struct fault_place {
    pare_verification *v;
    const char *file;
} fault_place;

static pare_status add_structure_fault(const char *item, const char *text, void *user, pare_error *err)
{
    const fault_place *place = user;
    return pare_verification_add(place->v, PARE_FOUND_STRUCTURE, "structure", place->file, item, text, err);
}

static bool same_state(const pare_identity *a, const pare_identity *b)
{
    return a->known && b->known && a->device == b->device && a->inode == b->inode && a->size == b->size &&
           a->modified == b->modified && a->changed == b->changed;
}

/* The tensor of f at this offset, or NULL: a search for files that list their tensors in order, as they do. */
static const pare_pin_tensor *find_tensor(const pare_pin_file *f, uint64_t offset, uint64_t n_bytes)
{
    size_t low = 0, high = f->n_tensors;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (f->tensors[middle].offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    const pare_pin_tensor *t = low < f->n_tensors ? &f->tensors[low] : NULL;
    return t != NULL && t->offset == offset && t->digest.n_bytes == n_bytes ? t : NULL;
}

/* Hashing has looked at the numbers, too. */
static bool find_numbers(const pare_map *file, const pare_tensor *tensor, uint64_t *bad_block, void *user)
{
    const pare_verification *v = ((const fault_place *)user)->v;
    for (size_t i = 0; i < v->actual.n_files; i++) {
        const pare_pin_file *f = &v->actual.files[i];
        if (!(v->what[i] & PARE_PIN_NUMBERS) || !same_state(&f->source, &file->id))
            continue;
        const pare_pin_tensor *t = find_tensor(f, (uint64_t)(tensor->data - file->data), tensor->n_bytes);
        if (t == NULL || t->type != tensor->type || t->bad_block == PARE_PIN_NOT_LOOKED_AT)
            return false;
        *bad_block = t->bad_block;
        return true;
    }
    return false;
}

static pare_status check_model(pare_verification *v, const char *path, const char *name, pare_error *err)
{
    pare_structure_counts counts;
    pare_error fault = {0};
    v->any_checked = true;
    pare_status st = pare_structure_check(path, v->lock != NULL ? find_numbers : NULL, &counts, add_structure_fault,
                                          &(fault_place){v, name}, &fault);
    if (blames_file(st))
        return pare_verification_add(v, PARE_FOUND_STRUCTURE, "structure", name, "", fault.text, err);
    if (st != PARE_OK && err != NULL)
        *err = fault;
    return st;
}

/* A part of a split set behind the first one: the set is checked when its first part is. */
static bool is_later_part(const char *name)
{
    unsigned part, parts;
    const char *dash = strrchr(name, '-');
    if (dash == NULL || dash - name < 9 ||
        sscanf(dash - 9, "-%5u-of-%5u", &part, &parts) != 2) /* -00002-of-00003.gguf */
        return false;
    return part != 1;
}

/* Is a part of the GGUF set that starts with file number i no regular file? Opening the set would open it. */
static bool has_refused_part(const pare_verification *v, size_t i)
{
    if (v->report->n_refused == 0)
        return false;
    enum { TAIL = 20, PART = 6 }; /* "-00001-of-00003.gguf", "-00001" */
    const char *first = v->actual.files[i].name;
    const size_t n = strlen(first);
    for (size_t k = 0; k < v->actual.n_files && n > TAIL; k++) {
        const char *other = v->actual.files[k].name;
        if (v->states[k].refused && strlen(other) == n && memcmp(first, other, n - TAIL) == 0 &&
            strcmp(first + n - TAIL + PART, other + n - TAIL + PART) == 0)
            return true;
    }
    return false;
}

/* The file called base in the folder of file number i, when the lock names it and it is there, or NULL. */
static const pare_pin_file *neighbour(const pare_verification *v, size_t i, const char *base)
{
    const char *name = v->actual.files[i].name, *slash = strrchr(name, '/');
    const size_t n = slash != NULL ? (size_t)(slash - name) + 1 : 0;
    pare_buf full = {0};
    const bool made = pare_buf_put(&full, name, n, NULL) == PARE_OK && pare_buf_puts(&full, base, NULL) == PARE_OK;
    const int64_t k = made ? pare_index_find(&v->names, (pare_str){full.data, full.len}) : PARE_INDEX_NONE;
    pare_buf_close(&full);
    return k != PARE_INDEX_NONE && !v->states[k].missing && !v->states[k].refused ? &v->actual.files[k] : NULL;
}

/* Check the model that starts with file number i: a GGUF file, the safetensors files of a folder with a config.json
 * (once, at *folder_done), or a safetensors file alone. */
static pare_status check_model_at(pare_verification *v, size_t i, const pare_pin_file **folder_done, pare_error *err)
{
    const pare_pin_file *f = &v->actual.files[i];
    if (v->states[i].missing || v->states[i].broken || !v->states[i].is_model || is_later_part(f->name) ||
        has_refused_part(v, i))
        return PARE_OK;
    size_t n = strlen(f->name);
    const pare_pin_file *config =
        n > 5 && strcmp(f->name + n - 5, ".gguf") == 0 ? NULL : neighbour(v, i, "config.json");
    if (config == NULL)
        return check_model(v, f->path, f->name, err);
    if (config == *folder_done)
        return PARE_OK;
    *folder_done = config;
    char *folder = pare_path_folder(f->path, err);
    pare_status st = folder == NULL ? PARE_ERR_MEMORY : check_model(v, folder, f->name, err);
    free(folder);
    return st;
}

static pare_status check_models(pare_verification *v, pare_error *err)
{
    const pare_pin_file *folder_done = NULL;
    pare_status st = PARE_OK;
    for (size_t i = 0; i < v->actual.n_files && st == PARE_OK; i++)
        st = check_model_at(v, i, &folder_done, err);
    for (size_t i = 0; i < v->lock->pin.n_files && !v->any_checked && !v->lock->sums; i++)
        if (v->lock->pin.files[i].n_tensors > 0 && v->report->structure == PARE_VERDICT_OK)
            v->report->structure = PARE_VERDICT_ABSENT; /* there was a model, and nothing of it could be looked at */
    return st;
}

static pare_status check_seal(pare_verification *v, pare_error *err)
{
    const char *slash = strrchr(v->lock->path, '/');
    v->report->seal = !v->lock->has_seal ? PARE_VERDICT_ABSENT
                      : v->lock->sealed  ? PARE_VERDICT_OK
                                         : PARE_VERDICT_DIFFERENT;
    if (v->lock->sums || v->lock->sealed)
        return PARE_OK;
    if (!v->lock->has_seal)
        return pare_lock_warn_unsealed(v->lock, err);
    return pare_verification_add(v, PARE_FOUND_BYTES, "lock", slash != NULL ? slash + 1 : v->lock->path, "",
                                 "the lock was edited after it was written", err);
}

static pare_status verify_lock(const pare_lock *lock, const pare_verify_options *options, pare_verify_report *r,
                               pare_error *err)
{
    bool fast = options != NULL && options->fast && !lock->sums; /* SHA256SUMS has nothing faster */
    pare_verification v = {.lock = lock,
                           .report = r,
                           .kind = fast ? PARE_HASH_XXH3 : PARE_HASH_SHA256,
                           .allow_extra = options != NULL && options->allow_extra,
                           .whole = options != NULL ? options->whole : PARE_WHOLE_SMALL};
    r->bytes = r->structure = PARE_VERDICT_OK;
    pare_status st = check_seal(&v, err);
    if (st == PARE_OK && (st = look_at_files(&v, err)) == PARE_OK &&
        (st = pare_pin_hash(v.actual.files, v.actual.n_files, v.what, v.kind, err)) == PARE_OK &&
        (st = pare_compare_files(&v, err)) == PARE_OK && (st = pare_compare_folders(&v, err)) == PARE_OK &&
        (st = compare_tokenizers(&v, err)) == PARE_OK && (st = pare_compare_store(&v, err)) == PARE_OK)
        st = check_models(&v, err);
    pare_pin_close(&v.actual);
    pare_index_close(&v.names);
    free(v.what);
    free(v.states);
    return st;
}

/* A file of something that is no model as a whole. *whole: it was checked as a model of its own. */
static pare_status look_at_container(pare_verification *v, const char *path, const char *name, bool *whole,
                                     pare_error *err)
{
    pare_pin_file f = {0};
    pare_error fault = {0};
    bool is_model = false;
    if ((f.path = strdup(path)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for a name", path);
    pare_status st = pare_pin_read_structure(&f, &is_model, &fault);
    size_t n = strlen(name);
    v->report->n_files++;
    v->report->n_bytes += f.digest.n_bytes;
    v->report->n_tensors += f.n_tensors;
    pare_pin_file_close(&f);
    *whole = st == PARE_OK && is_model && n > 5 && strcmp(name + n - 5, ".gguf") == 0 && !is_later_part(name);
    if (*whole)
        return check_model(v, path, name, err);
    if (blames_file(st))
        return pare_verification_add(v, PARE_FOUND_STRUCTURE, "structure", name, "", fault.text, err);
    if (st != PARE_OK && err != NULL)
        *err = fault;
    return st;
}

/* path is no model that pare knows (why): its files one by one. */
static pare_status verify_containers(const char *path, const char *why, pare_verify_report *r, pare_error *err)
{
    pare_folder_list list = {0};
    pare_verification v = {.report = r};
    bool any = false, whole = false;
    r->structure = PARE_VERDICT_ABSENT;
    pare_status st = pare_warn(err, "not looked at as a model: %s", why);
    if (st == PARE_OK && !pare_path_is_folder(path))
        st = look_at_container(&v, path, path, &any, err);
    else if (st == PARE_OK)
        st = pare_folder_list_read(&list, path, err);
    for (size_t i = 0; i < list.n && st == PARE_OK; i++) {
        char *full = list.entries[i].why == NULL ? pare_path_join(path, list.entries[i].name, err) : NULL;
        if (full != NULL)
            st = look_at_container(&v, full, list.entries[i].name, &whole, err);
        else if (list.entries[i].why == NULL)
            st = PARE_ERR_MEMORY;
        any = any || whole;
        free(full);
    }
    pare_folder_list_close(&list);
    if (any && r->structure == PARE_VERDICT_ABSENT)
        r->structure = PARE_VERDICT_OK;
    return st;
}

static pare_status verify_model(const char *path, const pare_verify_options *options, pare_verify_report *r,
                                pare_error *err)
{
    pare_structure_counts counts;
    pare_error fault = {0};
    pare_verification v = {.report = r};
    r->structure = PARE_VERDICT_OK;
    pare_status st = pare_structure_check(path, NULL, &counts, add_structure_fault, &(fault_place){&v, path}, &fault);
    if (blames_file(st) && r->n_findings == 0 && options != NULL && options->any_file)
        return verify_containers(path, fault.text, r, err);
    if (st != PARE_OK && err != NULL)
        *err = fault;
    r->n_files = counts.n_files;
    r->n_bytes = counts.n_bytes;
    r->n_tensors = counts.n_tensors;
    return st;
}

/* The same, and what the store says that path lies in, if it lies in one. What that finds damaged need not open. */
static pare_status verify_stored(const char *path, const pare_verify_options *options, pare_verify_report *r,
                                 pare_error *err)
{
    pare_verification v = {.report = r};
    pare_verify_options stored = options != NULL ? *options : (pare_verify_options){0};
    pare_error fault = {0};
    pare_status st = options != NULL && options->fast ? PARE_OK : pare_verify_store(&v, path, err);
    if (st != PARE_OK)
        return st;
    if (pare_store_is_blob(path)) /* which may be a template or a licence */
        stored.any_file = true;
    st = verify_model(path, &stored, r, &fault);
    if (blames_file(st) && r->bytes == PARE_VERDICT_DIFFERENT)
        return pare_verification_add(&v, PARE_FOUND_STRUCTURE, "structure", path, "", fault.text, err);
    if (st != PARE_OK && err != NULL)
        *err = fault;
    return st;
}

typedef enum input_kind { INPUT_MODEL, INPUT_LOCK, INPUT_SUMS } input_kind;

/* A byte order mark of UTF-16, and no header's length of a safetensors file. */
static bool is_utf16(const char *text, size_t n)
{
    return n >= 2 && (memcmp(text, "\xff\xfe", 2) == 0 || memcmp(text, "\xfe\xff", 2) == 0) &&
           (n < 8 || memcmp(text + 4, "\0\0\0\0", 4) != 0);
}

/* Neither GGUF nor safetensors by its first bytes, and no JSON. */
static bool is_unknown(const pare_map *file)
{
    return file->size < 8 ||
           (memcmp(file->data, "GGUF", 4) != 0 && file->data[0] != '{' && pare_load_u64le(file->data) > file->size - 8);
}

/* What a file is, from its content. A lock starts with "{", and so does the index of a model's shards, which has a
 * weight_map; a line of SHA256SUMS starts with hexadecimal digits, of any number, so that a wrong number is told, as
 * letters that are none and a tab behind them are. */
static pare_status find_kind(const pare_map *file, input_kind *kind, pare_error *err)
{
    const char *text = (const char *)file->data;
    size_t n = file->size < PARE_LOCK_MAX_BYTES ? (size_t)file->size : PARE_LOCK_MAX_BYTES, at = 0;
    *kind = INPUT_MODEL;
    if ((n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) || is_utf16(text, n))
        return pare_fail(err, PARE_ERR_FORMAT,
                         "%s: offset 0: starts with a byte order mark, which neither a lock nor SHA256SUMS may have",
                         file->path);
    if (n >= 8 && memchr(text, '\0', 8) != NULL) /* no text: safetensors starts with a length below 2^32 */
        return PARE_OK;
    while (at < n && memchr(" \t\r\n", text[at], 4) != NULL)
        at++;
    if (at < n && text[at] == '{' && pare_store_is_manifest(text, n))
        *kind = INPUT_MODEL;
    else if (at < n && text[at] == '{')
        *kind = memmem(text, n, "\"weight_map\"", 12) != NULL && memmem(text, n, "\"schema\"", 8) == NULL ? INPUT_MODEL
                                                                                                          : INPUT_LOCK;
    else if (n > 0) {
        size_t start = text[0] == '\\' || text[0] == '#', digits = start;
        while (digits < n && digits < 200 && isalnum((unsigned char)text[digits]))
            digits++;
        if ((digits - start >= 32 && digits < n && (text[digits] == ' ' || text[digits] == '\t')) || text[0] == '#')
            *kind = INPUT_SUMS;
    }
    return PARE_OK;
}

static pare_status verify_file(const pare_map *file, const char *path, const pare_verify_options *options,
                               pare_verify_report *r, pare_error *err)
{
    input_kind kind;
    pare_lock lock = {0};
    pare_status st = find_kind(file, &kind, err);
    if (st != PARE_OK)
        return st;
    if (kind == INPUT_LOCK && options != NULL && options->any_file &&
        memmem(file->data, (size_t)file->size, "\"schema\"", 8) == NULL) /* some other JSON that is signed */
        kind = INPUT_MODEL;
    if (kind == INPUT_MODEL || pare_store_is_blob(path)) {
        pare_error fault = {0};
        st = verify_stored(path, options, r, &fault);
        if (st == PARE_ERR_FORMAT && is_unknown(file))
            return pare_fail(err, st, "%s; is no lock and no SHA256SUMS either", fault.text);
        if (st != PARE_OK && err != NULL)
            *err = fault;
        return st;
    }
    if (file->size > PARE_LOCK_MAX_BYTES)
        return pare_fail(err, PARE_ERR_RANGE, "%s: %" PRIu64 " bytes, at most %d are allowed", path, file->size,
                         PARE_LOCK_MAX_BYTES);
    st = kind == INPUT_LOCK ? pare_lock_parse(&lock, path, file->data, (size_t)file->size, err)
                            : pare_sums_parse(&lock, path, file->data, (size_t)file->size, err);
    if (st == PARE_OK)
        st = verify_lock(&lock, options, r, err);
    pare_lock_close(&lock);
    return st;
}

pare_status pare_verify(const char *path, const pare_verify_options *options, pare_verify_report *r, pare_error *err)
{
    pare_map file = {0};
    *r = (pare_verify_report){.bytes = PARE_VERDICT_ABSENT,
                              .structure = PARE_VERDICT_ABSENT,
                              .signature = PARE_VERDICT_ABSENT,
                              .seal = PARE_VERDICT_ABSENT};
    pare_status st;
    if (pare_path_is_folder(path))
        st = verify_stored(path, options, r, err);
    else if ((st = pare_map_open_content(&file, path, err)) == PARE_OK)
        st = verify_file(&file, path, options, r, err);
    else
        st = pare_model_judge_front(path, st, err);
    pare_map_close(&file);
    if (st != PARE_OK)
        pare_verify_report_close(r);
    return st;
}
