#include "core/hash.h"

#include <openssl/evp.h>
#include <string.h>
#include <xxhash.h>

pare_status pare_hasher_open(pare_hasher *h, pare_hash_kind kind, pare_error *err)
{
    *h = (pare_hasher){0};
    if (kind & PARE_HASH_SHA256) {
        EVP_MD_CTX *sha = EVP_MD_CTX_new();
        h->sha = sha;
        if (sha == NULL || EVP_DigestInit_ex(sha, EVP_sha256(), NULL) != 1)
            goto fail;
    }
    if (kind & PARE_HASH_XXH3) {
        XXH3_state_t *xxh = XXH3_createState();
        h->xxh = xxh;
        if (xxh == NULL || XXH3_128bits_reset(xxh) != XXH_OK)
            goto fail;
    }
    return PARE_OK;
fail:
    pare_hasher_close(h);
    return pare_fail(err, PARE_ERR_MEMORY, "cannot start a hash");
}

pare_status pare_hasher_add(pare_hasher *h, const void *data, size_t n, pare_error *err)
{
    if (n == 0)
        return PARE_OK;
    if ((h->sha != NULL && EVP_DigestUpdate(h->sha, data, n) != 1) ||
        (h->xxh != NULL && XXH3_128bits_update(h->xxh, data, n) != XXH_OK))
        return pare_fail(err, PARE_ERR_MEMORY, "hashing failed");
    h->n_bytes += n;
    return PARE_OK;
}

pare_status pare_hasher_finish(pare_hasher *h, pare_digest *out, pare_error *err)
{
    *out = (pare_digest){.n_bytes = h->n_bytes};
    if (h->sha != NULL && EVP_DigestFinal_ex(h->sha, out->sha256, NULL) != 1)
        return pare_fail(err, PARE_ERR_MEMORY, "hashing failed");
    if (h->xxh != NULL) {
        XXH128_canonical_t canonical;
        XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(h->xxh));
        memcpy(out->xxh3_128, canonical.digest, sizeof out->xxh3_128);
    }
    return PARE_OK;
}

void pare_hasher_close(pare_hasher *h)
{
    EVP_MD_CTX_free(h->sha);
    XXH3_freeState(h->xxh);
    *h = (pare_hasher){0};
}

pare_status pare_hash_bytes(const void *data, size_t n, pare_hash_kind kind, pare_digest *out, pare_error *err)
{
    pare_hasher h;
    pare_status st = pare_hasher_open(&h, kind, err);
    if (st == PARE_OK && (st = pare_hasher_add(&h, data, n, err)) == PARE_OK)
        st = pare_hasher_finish(&h, out, err);
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
