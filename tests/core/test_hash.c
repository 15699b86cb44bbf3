#include "check.h"

#include "core/hash.h"
#include "core/xxh3.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static pare_error err;

/* SHA-256: FIPS 180-4 examples. XXH3-128: the xxHash project's values, in canonical form. */
static const struct {
    const char *text, *sha256, *xxh3;
} vectors[] = {
    {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "99aa06d3014798d86001c324468d497f"},
    {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "06b05ab6733a618578af5f94892f3950"},
    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1", NULL},
};

static void known_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        pare_digest d;
        char sha[PARE_SHA256_HEX], xxh[PARE_XXH3_HEX];
        size_t n = strlen(vectors[i].text);
        CHECK_OK(pare_hash_bytes(vectors[i].text, n, PARE_HASH_BOTH, &d, &err), &err);
        pare_hex(sha, d.sha256, 32);
        pare_hex(xxh, d.xxh3_128, 16);
        assert_string_equal(sha, vectors[i].sha256);
        if (vectors[i].xxh3 != NULL)
            assert_string_equal(xxh, vectors[i].xxh3);
        assert_int_equal(d.n_bytes, n);
    }
}

static void pieces_give_the_same_digest(void **state)
{
    (void)state;
    enum { N = 1000000 };
    uint8_t *data = check_malloc(N);
    memset(data, 'a', N); /* FIPS 180-4: one million repetitions of "a" */
    pare_digest whole, parts;
    char sha[PARE_SHA256_HEX];
    CHECK_OK(pare_hash_bytes(data, N, PARE_HASH_BOTH, &whole, &err), &err);
    pare_hex(sha, whole.sha256, 32);
    assert_string_equal(sha, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    pare_hasher h;
    CHECK_OK(pare_hasher_open(&h, PARE_HASH_BOTH, &err), &err);
    for (size_t at = 0, n = 0; at < N; at += n, n = n * 2 + 1) {
        n = n < N - at ? n : N - at;
        CHECK_OK(pare_hasher_add(&h, data + at, n, &err), &err);
    }
    CHECK_OK(pare_hasher_finish(&h, &parts, &err), &err);
    pare_hasher_close(&h);
    CHECK(memcmp(&whole, &parts, sizeof whole) == 0);
    free(data);
}

/* Lengths and offsets around the block of 64 bytes, against libcrypto and the library's own XXH3. */
static void two_at_once_are_as_two(void **state)
{
    (void)state;
    enum { N = 4096 };
    uint8_t data[N], sha256[32];
    for (size_t i = 0; i < N; i++)
        data[i] = (uint8_t)(i * 37 + i / 61);
    for (size_t n = 0; n < 400; n++) {
        const uint8_t *bytes[2] = {data, data + 1500};
        size_t len[2] = {2 * n + n % 67, 2 * n + n % 13};
        pare_hasher h[2];
        pare_digest d;
        for (int k = 0; k < 2; k++) {
            CHECK_OK(pare_hasher_open(&h[k], PARE_HASH_BOTH, &err), &err);
            CHECK_OK(pare_hasher_add(&h[k], bytes[k], len[k] - 2 * n, &err), &err);
        }
        for (int step = 0; step < 2; step++)
            CHECK_OK(pare_hasher_add_two(&h[0], bytes[0] + len[0] - 2 * n + (size_t)step * n, &h[1],
                                         bytes[1] + len[1] - 2 * n + (size_t)step * n, n, &err),
                     &err);
        for (int k = 0; k < 2; k++) {
            CHECK_OK(pare_hasher_finish(&h[k], &d, &err), &err);
            pare_hasher_close(&h[k]);
            CHECK(EVP_Digest(bytes[k], len[k], sha256, NULL, EVP_sha256(), NULL) == 1);
            CHECK(memcmp(d.sha256, sha256, 32) == 0 && d.n_bytes == len[k]);
            XXH128_canonical_t canonical;
            XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes[k], len[k]));
            CHECK(memcmp(d.xxh3_128, canonical.digest, 16) == 0);
        }
    }
}

/* The same digest on all CPUs, whether bytes come at once or in pieces. */
static void every_instruction_set_gives_the_same_xxh3(void **state)
{
    (void)state;
    enum { N = 300000 };
    uint8_t *data = check_malloc(N), digest[16];
    for (size_t i = 0; i < N; i++)
        data[i] = (uint8_t)(i * 2654435761u >> 11);
    CHECK(pare_xxh3_get(0) != NULL && strcmp(pare_xxh3_get(0)->name, "baseline") == 0);
    for (int i = 0; pare_xxh3_get(i) != NULL; i++) {
        const pare_xxh3 *x = pare_xxh3_get(i);
        for (size_t n = 0; n <= N; n += n < 600 ? 1 : 24950) {
            XXH128_canonical_t canonical;
            XXH128_canonicalFromHash(&canonical, XXH3_128bits(data, n));
            x->hash(data, n, digest);
            CHECK(memcmp(digest, canonical.digest, 16) == 0);
            void *h = x->start();
            CHECK(h != NULL);
            x->add(h, data, n / 3);
            x->add(h, data + n / 3, n - n / 3);
            x->finish(h, digest);
            x->free(h);
            CHECK(memcmp(digest, canonical.digest, 16) == 0);
        }
    }
    free(data);
}

static void only_the_hashes_asked_for(void **state)
{
    (void)state;
    static const uint8_t zeros[32];
    pare_digest both, sha, xxh;
    CHECK_OK(pare_hash_bytes("x", 1, PARE_HASH_BOTH, &both, &err), &err);
    CHECK_OK(pare_hash_bytes("x", 1, PARE_HASH_SHA256, &sha, &err), &err);
    CHECK_OK(pare_hash_bytes("x", 1, PARE_HASH_XXH3, &xxh, &err), &err);
    CHECK(memcmp(sha.sha256, both.sha256, 32) == 0 && memcmp(sha.xxh3_128, zeros, 16) == 0);
    CHECK(memcmp(xxh.xxh3_128, both.xxh3_128, 16) == 0 && memcmp(xxh.sha256, zeros, 32) == 0);
}

static void hexadecimal(void **state)
{
    (void)state;
    const uint8_t bytes[3] = {0x00, 0xaf, 0xf9};
    uint8_t back[3];
    char text[7];
    pare_hex(text, bytes, 3);
    assert_string_equal(text, "00aff9");
    CHECK(pare_unhex(back, 3, text) && memcmp(back, bytes, 3) == 0);
    static const char *const wrong[] = {"",        "00aff",  "00aff9 ", "00aff9\n", "00AFF9",
                                        "00aff90", "0xaff9", "00afg9",  " 0aff9"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CHECK(!pare_unhex(back, 3, wrong[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_vectors),
        cmocka_unit_test(pieces_give_the_same_digest),
        cmocka_unit_test(two_at_once_are_as_two),
        cmocka_unit_test(every_instruction_set_gives_the_same_xxh3),
        cmocka_unit_test(only_the_hashes_asked_for),
        cmocka_unit_test(hexadecimal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
