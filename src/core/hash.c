#include "core/hash.h"
#include "core/xxh3.h"

#include <openssl/evp.h>

pare_status pare_hasher_open(pare_hasher *h, pare_hash_kind kind, pare_error *err)
{
    *h = (pare_hasher){.kind = kind};
    bool ok = true;
    if ((kind & PARE_HASH_SHA256) && pare_sha256_available())
        pare_sha256_start(&h->sha);
    else if (kind & PARE_HASH_SHA256)
        ok = (h->evp = EVP_MD_CTX_new()) != NULL && EVP_DigestInit_ex(h->evp, EVP_sha256(), NULL) == 1;
    if (ok && (kind & PARE_HASH_XXH3))
        ok = (h->xxh = pare_xxh3_best()->start()) != NULL;
    if (ok)
        return PARE_OK;
    pare_hasher_close(h);
    return pare_fail(err, PARE_ERR_MEMORY, "cannot start a hash");
}

/* n bytes but for SHA-256 without libcrypto. */
static pare_status add_others(pare_hasher *h, const void *data, size_t n, pare_error *err)
{
    if (h->evp != NULL && EVP_DigestUpdate(h->evp, data, n) != 1)
        return pare_fail(err, PARE_ERR_MEMORY, "hashing failed");
    if (h->xxh != NULL)
        pare_xxh3_best()->add(h->xxh, data, n);
    h->n_bytes += n;
    return PARE_OK;
}

static bool is_ours(const pare_hasher *h)
{
    return (h->kind & PARE_HASH_SHA256) && h->evp == NULL;
}

pare_status pare_hasher_add(pare_hasher *h, const void *data, size_t n, pare_error *err)
{
    if (n == 0)
        return PARE_OK;
    if (is_ours(h))
        pare_sha256_add(&h->sha, data, n);
    return add_others(h, data, n, err);
}

pare_status pare_hasher_add_two(pare_hasher *a, const void *a_data, pare_hasher *b, const void *b_data, size_t n,
                                pare_error *err)
{
    if (n == 0 || !is_ours(a) || !is_ours(b)) {
        pare_status st = pare_hasher_add(a, a_data, n, err);
        return st == PARE_OK ? pare_hasher_add(b, b_data, n, err) : st;
    }
    pare_sha256_add_two(&a->sha, a_data, &b->sha, b_data, n);
    pare_status st = add_others(a, a_data, n, err);
    return st == PARE_OK ? add_others(b, b_data, n, err) : st;
}

pare_status pare_hasher_finish(pare_hasher *h, pare_digest *out, pare_error *err)
{
    *out = (pare_digest){.n_bytes = h->n_bytes};
    if (h->evp != NULL && EVP_DigestFinal_ex(h->evp, out->sha256, NULL) != 1)
        return pare_fail(err, PARE_ERR_MEMORY, "hashing failed");
    if (is_ours(h))
        pare_sha256_finish(&h->sha, out->sha256);
    if (h->xxh != NULL)
        pare_xxh3_best()->finish(h->xxh, out->xxh3_128);
    return PARE_OK;
}

void pare_hasher_close(pare_hasher *h)
{
    EVP_MD_CTX_free(h->evp);
    if (h->xxh != NULL)
        pare_xxh3_best()->free(h->xxh);
    *h = (pare_hasher){0};
}

pare_status pare_hash_bytes(const void *data, size_t n, pare_hash_kind kind, pare_digest *out, pare_error *err)
{
    pare_hasher h;
    pare_status st = pare_hasher_open(&h, kind & PARE_HASH_SHA256, err);
    if (st == PARE_OK && (st = pare_hasher_add(&h, data, n, err)) == PARE_OK)
        st = pare_hasher_finish(&h, out, err);
    if (st == PARE_OK && (kind & PARE_HASH_XXH3)) {
        out->n_bytes = n;
        pare_xxh3_best()->hash(data, n, out->xxh3_128);
    }
    pare_hasher_close(&h);
    return st;
}

void pare_hex(char *dst, const uint8_t *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        dst[2 * i] = digits[bytes[i] >> 4];
        dst[2 * i + 1] = digits[bytes[i] & 15];
    }
    dst[2 * n] = '\0';
}

bool pare_unhex(uint8_t *dst, size_t n, const char *text)
{
    for (size_t i = 0; i < 2 * n; i++) {
        char c = text[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0)
            return false;
        dst[i / 2] = (uint8_t)(i % 2 == 0 ? digit << 4 : dst[i / 2] | digit);
    }
    return text[2 * n] == '\0';
}
