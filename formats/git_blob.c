#include "formats/git_blob.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pare_status failed(pare_error *err)
{
    return pare_fail(err, PARE_ERR_MEMORY, "cannot start a hash");
}

static pare_status add_pointer(const pare_pin_file *f, EVP_MD_CTX *sha1, pare_error *err)
{
    char text[256], head[64], hex[PARE_SHA256_HEX];
    pare_hex(hex, f->digest.sha256, sizeof f->digest.sha256);
    int n = snprintf(text, sizeof text, "version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %" PRIu64 "\n",
                     hex, f->digest.n_bytes);
    int n_head = snprintf(head, sizeof head, "blob %d", n) + 1;
    bool ok = EVP_DigestUpdate(sha1, head, (size_t)n_head) == 1 && EVP_DigestUpdate(sha1, text, (size_t)n) == 1;
    return ok ? PARE_OK : failed(err);
}

static pare_status add_content(const pare_pin_file *f, EVP_MD_CTX *sha1, pare_error *err)
{
    char head[64], buffer[65536];
    uint64_t total = 0;
    FILE *file = fopen(f->stored_at != NULL ? f->stored_at : f->path, "rb");
    if (file == NULL)
        return pare_fail_open(err, f->path, errno);
    int n_head = snprintf(head, sizeof head, "blob %" PRIu64, f->digest.n_bytes) + 1;
    bool ok = EVP_DigestUpdate(sha1, head, (size_t)n_head) == 1;
    for (size_t n; ok && (n = fread(buffer, 1, sizeof buffer, file)) > 0; total += n)
        ok = EVP_DigestUpdate(sha1, buffer, n) == 1;
    bool same = ferror(file) == 0 && total == f->digest.n_bytes;
    fclose(file);
    if (ok && !same)
        return pare_fail(err, PARE_ERR_IO,
                         "%s: had %" PRIu64 " bytes when it was hashed, now %" PRIu64 " could be read", f->path,
                         f->digest.n_bytes, total);
    return ok ? PARE_OK : failed(err);
}

pare_status pare_git_blob_sha1(const pare_pin_file *f, uint8_t sha1[20], pare_error *err)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    pare_status st = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha1(), NULL) == 1 ? PARE_OK : failed(err);
    if (st == PARE_OK)
        st = f->n_tensors > 0 ? add_pointer(f, ctx, err) : add_content(f, ctx, err);
    if (st == PARE_OK && EVP_DigestFinal_ex(ctx, sha1, NULL) != 1)
        st = failed(err);
    EVP_MD_CTX_free(ctx);
    return st;
}

bool pare_git_pointer_read(const char *path, pare_digest *content)
{
    enum { MOST = 1024 }; /* bytes that a pointer may have */
    static const char start[] = "version https://git-lfs", oid[] = "\noid sha256:", size[] = "\nsize ";
    char text[MOST + 1], hex[PARE_SHA256_HEX] = "";
    FILE *file = fopen(path, "rb");
    size_t n = file != NULL ? fread(text, 1, sizeof text, file) : 0;
    if (file != NULL)
        fclose(file);
    if (n > MOST || n < sizeof start - 1 || memcmp(text, start, sizeof start - 1) != 0)
        return false;
    text[n] = '\0';
    const char *hash = strstr(text, oid), *bytes = strstr(text, size);
    *content = (pare_digest){0};
    if (hash == NULL || bytes == NULL || strlen(hash + sizeof oid - 1) < 64)
        return false;
    memcpy(hex, hash + sizeof oid - 1, 64);
    content->n_bytes = strtoull(bytes + sizeof size - 1, NULL, 10);
    return pare_unhex(content->sha256, 32, hex);
}
