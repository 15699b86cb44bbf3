#include "formats/ec_key.h"
#include "core/map.h"

#include <inttypes.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <string.h>

enum { MAX_PEM_BYTES = 1 << 20 };

/* libcrypto's names of the curves, and what hashes a message for them. */
static const struct curve {
    const char *group, *name;
    const EVP_MD *(*digest)(void);
} curves[] = {
    {"prime256v1", "P-256", EVP_sha256}, {"secp384r1", "P-384", EVP_sha384}, {"secp521r1", "P-521", EVP_sha512}};

enum { N_CURVES = sizeof curves / sizeof curves[0] };

static pare_status no_memory(pare_error *err)
{
    ERR_clear_error();
    return pare_fail(err, PARE_ERR_MEMORY, "libcrypto: no memory for a key or a signature");
}

void pare_ec_key_close(pare_ec_key *k)
{
    EVP_PKEY_free(k->key);
    *k = (pare_ec_key){0};
}

/* Nobody is asked for a password. */
static int refuse_password(char *buffer, int size, int writing, void *asked)
{
    (void)buffer, (void)size, (void)writing;
    *(bool *)asked = true;
    return -1;
}

static bool holds(const pare_map *file, const char *text)
{
    return file->size > 0 && memmem(file->data, (size_t)file->size, text, strlen(text)) != NULL;
}

/* Why the file gave no key. */
static pare_status blame_file(const pare_map *file, pare_ec_use use, bool encrypted, pare_error *err)
{
    const char *wanted = use == PARE_EC_SIGN ? "private" : "public", *found = "is no PEM file";
    if (encrypted || holds(file, "ENCRYPTED"))
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "%s: the key is encrypted; openssl pkey -in KEY -out PLAIN writes one that is not",
                         file->path);
    if (holds(file, "-----BEGIN CERTIFICATE"))
        found = "is a certificate";
    else if (use == PARE_EC_SIGN && holds(file, "-----BEGIN PUBLIC KEY"))
        found = "is a public key";
    else if (use == PARE_EC_VERIFY && holds(file, "PRIVATE KEY-----"))
        found = "is a private key (openssl pkey -in KEY -pubout writes its public one)";
    else if (holds(file, "-----BEGIN "))
        found = "holds no key that can be read";
    return pare_fail(err, PARE_ERR_FORMAT, "%s: %s, expected the PEM file of a %s elliptic-curve key", file->path,
                     found, wanted);
}

static pare_status read_pem(EVP_PKEY **out, const pare_map *file, pare_ec_use use, pare_error *err)
{
    bool encrypted = false;
    if (file->size > MAX_PEM_BYTES)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: %" PRIu64 " bytes, a key has at most %d", file->path, file->size,
                         MAX_PEM_BYTES);
    BIO *bio = BIO_new_mem_buf(file->size > 0 ? (const void *)file->data : "", (int)file->size);
    if (bio == NULL)
        return no_memory(err);
    *out = use == PARE_EC_SIGN ? PEM_read_bio_PrivateKey(bio, NULL, refuse_password, &encrypted)
                               : PEM_read_bio_PUBKEY(bio, NULL, refuse_password, &encrypted);
    BIO_free(bio);
    ERR_clear_error();
    return *out != NULL ? PARE_OK : blame_file(file, use, encrypted, err);
}

static const struct curve *find_curve(const EVP_PKEY *key)
{
    char group[64] = "";
    size_t n = 0;
    if (EVP_PKEY_get_group_name(key, group, sizeof group, &n) == 1)
        for (size_t i = 0; i < N_CURVES; i++)
            if (strcmp(group, curves[i].group) == 0)
                return &curves[i];
    return NULL;
}

/* The key's file spells its curve out: RFC 5480 forbids that, and the hint of the same key with a name is another. */
static bool gives_parameters(const EVP_PKEY *key)
{
    int spelled_out = 0;
    return EVP_PKEY_get_int_param(key, OSSL_PKEY_PARAM_EC_DECODED_FROM_EXPLICIT_PARAMS, &spelled_out) != 1 ||
           spelled_out != 0;
}

static pare_status check_key(const pare_ec_key *k, const char *path, pare_ec_use use, pare_error *err)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, k->key, NULL);
    if (ctx == NULL)
        return no_memory(err);
    bool whole = (use == PARE_EC_SIGN ? EVP_PKEY_check(ctx) : EVP_PKEY_public_check(ctx)) == 1;
    EVP_PKEY_CTX_free(ctx);
    ERR_clear_error();
    return whole ? PARE_OK : pare_fail(err, PARE_ERR_FORMAT, "%s: is no valid key of the curve %s", path, k->curve);
}

static pare_status set_hint(pare_ec_key *k, pare_error *err)
{
    pare_digest digest;
    char *text = NULL;
    BIO *bio = BIO_new(BIO_s_mem());
    pare_status st = PARE_OK;
    if (bio == NULL ||
        EVP_PKEY_set_utf8_string_param(k->key, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, "uncompressed") != 1 ||
        PEM_write_bio_PUBKEY(bio, k->key) != 1)
        st = no_memory(err);
    if (st == PARE_OK) {
        long n = BIO_get_mem_data(bio, &text);
        st = pare_hash_bytes(text, (size_t)n, PARE_HASH_SHA256, &digest, err);
    }
    if (st == PARE_OK)
        pare_hex(k->hint, digest.sha256, sizeof digest.sha256);
    BIO_free(bio);
    return st;
}

static pare_status load(pare_ec_key *k, const pare_map *file, pare_ec_use use, pare_error *err)
{
    EVP_PKEY *key = NULL;
    pare_status st = read_pem(&key, file, use, err);
    if (st != PARE_OK)
        return st;
    k->key = key;
    const struct curve *curve = find_curve(key);
    if (EVP_PKEY_is_a(key, "EC") != 1) {
        const char *name = EVP_PKEY_get0_type_name(key);
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: is a key of kind %s, expected an elliptic-curve key",
                         file->path, name != NULL ? name : "unknown");
    }
    if (curve == NULL) {
        char group[64] = "that is not named";
        EVP_PKEY_get_group_name(key, group, sizeof group, NULL);
        ERR_clear_error();
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: the key is of the curve %s, expected P-256, P-384 or P-521",
                         file->path, group);
    }
    k->curve = curve->name;
    if (gives_parameters(key))
        return pare_fail(err, PARE_ERR_FORMAT,
                         "%s: writes out the parameters of its curve, expected the name %s (RFC 5480, 2.1.1)",
                         file->path, curve->name);
    st = check_key(k, file->path, use, err);
    return st == PARE_OK ? set_hint(k, err) : st;
}

pare_status pare_ec_key_load(pare_ec_key *k, const char *path, pare_ec_use use, pare_error *err)
{
    pare_map file;
    *k = (pare_ec_key){0};
    pare_status st = pare_map_open_content(&file, path, err);
    if (st == PARE_OK)
        st = load(k, &file, use, err);
    pare_map_close(&file);
    if (st != PARE_OK)
        pare_ec_key_close(k);
    return st;
}

pare_status pare_ec_key_sign(const pare_ec_key *k, const void *data, size_t n, pare_buf *signature, pare_error *err)
{
    size_t n_signature = 0;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    pare_status st = PARE_OK;
    if (ctx == NULL || EVP_DigestSignInit(ctx, NULL, find_curve(k->key)->digest(), NULL, k->key) != 1 ||
        EVP_DigestSign(ctx, NULL, &n_signature, data, n) != 1)
        st = no_memory(err);
    else if ((st = pare_buf_reserve(signature, n_signature, err)) == PARE_OK) {
        if (EVP_DigestSign(ctx, (uint8_t *)signature->data + signature->len, &n_signature, data, n) != 1)
            st = no_memory(err);
        else
            signature->len += n_signature;
    }
    EVP_MD_CTX_free(ctx);
    return st;
}

pare_status pare_ec_key_verify(const pare_ec_key *k, const void *data, size_t n, const void *signature,
                               size_t n_signature, bool *valid, pare_error *err)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    pare_status st = PARE_OK;
    *valid = false;
    if (ctx == NULL || EVP_DigestVerifyInit(ctx, NULL, find_curve(k->key)->digest(), NULL, k->key) != 1)
        st = no_memory(err);
    else /* 0 and below: not valid, or no signature at all */
        *valid = EVP_DigestVerify(ctx, signature, n_signature, data, n) == 1;
    ERR_clear_error();
    EVP_MD_CTX_free(ctx);
    return st;
}
