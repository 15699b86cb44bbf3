/* Compiled once an instruction set, with PARE_XXH3 its name and the compiler's options for it. */
#include "core/xxh3.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <string.h>

#define TEXT_OF(name) #name
#define TEXT(name) TEXT_OF(name)
#define JOIN_OF(a, b) a##b
#define JOIN(a, b) JOIN_OF(a, b)

static void *start(void)
{
    XXH3_state_t *state = XXH3_createState();
    if (state != NULL)
        XXH3_128bits_reset(state);
    return state;
}

static void add(void *state, const void *data, size_t n)
{
    XXH3_128bits_update(state, data, n);
}

static void put(XXH128_hash_t hash, uint8_t digest[16])
{
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, hash);
    memcpy(digest, canonical.digest, sizeof canonical.digest);
}

static void finish(const void *state, uint8_t digest[16])
{
    put(XXH3_128bits_digest(state), digest);
}

static void free_state(void *state)
{
    XXH3_freeState(state);
}

static void hash(const void *data, size_t n, uint8_t digest[16])
{
    put(XXH3_128bits(data, n), digest);
}

extern const pare_xxh3 JOIN(pare_xxh3_, PARE_XXH3);
const pare_xxh3 JOIN(pare_xxh3_, PARE_XXH3) = {TEXT(PARE_XXH3), start, add, finish, free_state, hash};
