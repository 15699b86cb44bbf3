/* formats/ec_key.h - elliptic-curve keys that sign and verify: PEM files, the curves P-256, P-384 and P-521 of FIPS
 * 186-5
 *
 * ECDSA over a message hashed with SHA-256, SHA-384 or SHA-512, by the curve's size; signatures are DER (RFC
 * 3279, 2.2.3). That is what OpenSSF Model Signing calls elliptic-curve keys (docs/formats/SIGNATURES.md). The
 * arithmetic is libcrypto's. */
#ifndef PARE_FORMATS_EC_KEY_H
#define PARE_FORMATS_EC_KEY_H

#include "core/hash.h"
#include "core/text.h"

typedef enum pare_ec_use { PARE_EC_SIGN, PARE_EC_VERIFY } pare_ec_use;

/* Zeroed is closed. Not changed by its uses: threads may share one. */
typedef struct pare_ec_key {
    void *key;         /* libcrypto's */
    const char *curve; /* "P-256", "P-384" or "P-521" */
    /* SHA-256 of the public key written as SubjectPublicKeyInfo PEM with an uncompressed point, whatever form the file
     * has: by this hint a bundle tells whose key it was made with */
    char hint[PARE_SHA256_HEX];
} pare_ec_key;

/* Read the private key that PARE_EC_SIGN needs (PKCS #8 or SEC 1) or the public key for PARE_EC_VERIFY. The key is
 * checked to be a point of its curve, and a private one to belong to its public one.
 * Errors: PARE_ERR_FORMAT       absent, no regular file, longer than 1 MiB, no PEM, damaged, a public key where a
 *                               private one is needed or the other way round, a certificate, parameters of a curve
 *                               in place of its name
 *         PARE_ERR_UNSUPPORTED  encrypted, RSA or another kind of key, another curve
 *         PARE_ERR_MEMORY */
pare_status pare_ec_key_load(pare_ec_key *k, const char *path, pare_ec_use use, pare_error *err);
void pare_ec_key_close(pare_ec_key *k);

/* Append the DER signature of n bytes. Two signatures of one message differ. Errors: PARE_ERR_MEMORY */
pare_status pare_ec_key_sign(const pare_ec_key *k, const void *data, size_t n, pare_buf *signature, pare_error *err);

/* *valid: these bytes were signed with the private half of k. A signature that is no DER is not valid.
 * Errors: PARE_ERR_MEMORY */
pare_status pare_ec_key_verify(const pare_ec_key *k, const void *data, size_t n, const void *signature,
                               size_t n_signature, bool *valid, pare_error *err);

#endif
