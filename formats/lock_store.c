/* What the stores of other programs know of the files that are verified (formats/store.h) */
#include "core/bytes.h"
#include "formats/lock_compare.h"
#include "formats/git_blob.h"
#include "formats/pin_scan.h"
#include "formats/store_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pare_status add_fault(const char *kind, const char *name, const char *text, void *user, pare_error *err)
{
    return pare_verification_add(user, PARE_FOUND_BYTES, kind, name, "", text, err);
}

pare_status pare_verify_store(pare_verification *v, const char *path, pare_error *err)
{
    pare_store_list list;
    uint64_t n_bytes = 0;
    pare_status st = pare_store_list_read(&list, path, err);
    if (st == PARE_OK && list.n > 0) {
        v->report->bytes = PARE_VERDICT_OK;
        v->report->store = list.store;
        v->report->n_stored = list.n;
        st = pare_store_check(&list, &n_bytes, add_fault, v, err);
    }
    pare_store_list_close(&list);
    return st;
}

/* The store's hash is of the whole file: it says nothing of one that was verified by its parts, and whose own hash is
 * the lock's word, until it is computed. */
static pare_status check_content(pare_verification *v, size_t i, pare_error *err)
{
    const pare_pin_file *expected = &v->lock->pin.files[i];
    pare_pin_file *f = &v->actual.files[i];
    if (v->kind == PARE_HASH_XXH3 || v->what[i] == 0 || (v->what[i] & PARE_PIN_WHOLE))
        return PARE_OK;
    v->what[i] |= PARE_PIN_WHOLE;
    pare_status st = pare_pin_hash(f, 1, &(uint8_t){PARE_PIN_WHOLE}, PARE_HASH_SHA256, err);
    if (st != PARE_OK || memcmp(f->digest.sha256, expected->digest.sha256, sizeof f->digest.sha256) == 0)
        return st;
    return pare_verification_add(v, PARE_FOUND_BYTES, "sha256", f->name, "", "differs from the lock", err);
}

/* A hash that the store names the file by, and what the lock says. */
static pare_status compare_entry(pare_verification *v, const pare_store_list *list, size_t i, pare_error *err)
{
    const pare_store_entry *e = &list->entries[0];
    const pare_pin_file *f = &v->lock->pin.files[i], content = {.path = e->path, .digest = v->actual.files[i].digest};
    uint8_t sha1[20];
    char hex[PARE_SHA256_HEX], text[PARE_SHA256_HEX + 96];
    v->report->store = list->store;
    v->report->n_stored++;
    pare_status st = e->git ? pare_git_blob_sha1(&content, sha1, err) : check_content(v, i, err);
    if (st != PARE_OK || memcmp(e->git ? sha1 : f->digest.sha256, e->hash, e->git ? 20 : 32) == 0)
        return st;
    pare_hex(hex, e->hash, e->git ? 20 : 32);
    snprintf(text, sizeof text, "%s names it %s, which is not the hash of %s", list->store, hex,
             e->git ? "its content" : "the pinned content");
    return pare_verification_add(v, PARE_FOUND_BYTES, "etag", f->name, "", text, err);
}

pare_status pare_compare_store(pare_verification *v, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < v->actual.n_files && st == PARE_OK; i++) {
        pare_store_list list = {0};
        if (v->states[i].missing || v->states[i].refused)
            continue;
        st = pare_store_list_file(&list, v->lock->folder, v->lock->pin.files[i].name, err);
        if (st == PARE_OK && list.n > 0)
            st = compare_entry(v, &list, i, err);
        pare_store_list_close(&list);
    }
    return st;
}
