#include "core/sha256.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#include <stdatomic.h>
#include <string.h>

#define WITH_SHA __attribute__((target("sha,sse4.1,ssse3")))
#define INLINE static inline __attribute__((always_inline)) WITH_SHA

/* FIPS 180-4, section 4.2.2 */
static const uint32_t constants[64] __attribute__((aligned(16))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

/* Working variables in the order of sha256rnds2, the most significant first: A B E F and C D G H. */
typedef struct lane {
    __m128i abef, cdgh, w[4]; /* w: the last 16 words of the message schedule */
} lane;

INLINE void load_state(lane *l, const uint32_t state[8])
{
    __m128i dcba = _mm_loadu_si128((const __m128i *)state), hgfe = _mm_loadu_si128((const __m128i *)(state + 4));
    __m128i cdab = _mm_shuffle_epi32(dcba, 0xb1), efgh = _mm_shuffle_epi32(hgfe, 0x1b);
    l->abef = _mm_alignr_epi8(cdab, efgh, 8);
    l->cdgh = _mm_blend_epi16(efgh, cdab, 0xf0);
}

INLINE void store_state(const lane *l, uint32_t state[8])
{
    __m128i feba = _mm_shuffle_epi32(l->abef, 0x1b), dchg = _mm_shuffle_epi32(l->cdgh, 0xb1);
    _mm_storeu_si128((__m128i *)state, _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}

/* Rounds 4 i to 4 i + 3 of a lane. From i = 4 on, words w[i % 4] are made first, of the 16 before them. */
INLINE void four_rounds(lane *l, const uint8_t *block, int i)
{
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i *w = l->w;
    if (i < 4) {
        w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(block + 16 * i)), big_endian);
    } else {
        __m128i last = w[(i + 3) % 4], seven_back = _mm_alignr_epi8(last, w[(i + 2) % 4], 4);
        __m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(w[i % 4], w[(i + 1) % 4]), seven_back);
        w[i % 4] = _mm_sha256msg2_epu32(sum, last);
    }
    __m128i wk = _mm_add_epi32(w[i % 4], _mm_load_si128((const __m128i *)(constants + 4 * i)));
    l->cdgh = _mm_sha256rnds2_epu32(l->cdgh, l->abef, wk);
    l->abef = _mm_sha256rnds2_epu32(l->abef, l->cdgh, _mm_shuffle_epi32(wk, 0x0e));
}

/* n_blocks of each of n_lanes messages; inlined with n_lanes known. */
INLINE void add_blocks(uint32_t *const state[], const uint8_t *const data[], size_t n_lanes, size_t n_blocks)
{
    lane l[2];
    for (size_t k = 0; k < n_lanes; k++)
        load_state(&l[k], state[k]);
    for (size_t n = 0; n < n_blocks; n++) {
        __m128i abef[2], cdgh[2];
        for (size_t k = 0; k < n_lanes; k++) {
            abef[k] = l[k].abef;
            cdgh[k] = l[k].cdgh;
        }
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++)
            for (size_t k = 0; k < n_lanes; k++)
                four_rounds(&l[k], data[k] + n * PARE_SHA256_BLOCK, i);
        for (size_t k = 0; k < n_lanes; k++) {
            l[k].abef = _mm_add_epi32(l[k].abef, abef[k]);
            l[k].cdgh = _mm_add_epi32(l[k].cdgh, cdgh[k]);
        }
    }
    for (size_t k = 0; k < n_lanes; k++)
        store_state(&l[k], state[k]);
}

WITH_SHA static void add_blocks_one(uint32_t *state, const uint8_t *data, size_t n_blocks)
{
    add_blocks((uint32_t *const[]){state}, (const uint8_t *const[]){data}, 1, n_blocks);
}

WITH_SHA static void add_blocks_two(uint32_t *a, const uint8_t *a_data, uint32_t *b, const uint8_t *b_data,
                                    size_t n_blocks)
{
    add_blocks((uint32_t *const[]){a, b}, (const uint8_t *const[]){a_data, b_data}, 2, n_blocks);
}

static bool find_out(void)
{
    unsigned a, b, c, d;
    return __builtin_cpu_supports("sse4.1") && __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b >> 29 & 1) != 0;
}

bool pare_sha256_available(void)
{
    static atomic_int known; /* the instruction that asks costs microseconds in a virtual machine. 0: not asked yet */
    int now = atomic_load_explicit(&known, memory_order_relaxed);
    if (now == 0)
        atomic_store_explicit(&known, now = find_out() ? 1 : -1, memory_order_relaxed);
    return now > 0;
}

static size_t tail_bytes(const pare_sha256 *m)
{
    return (size_t)(m->n_bytes % PARE_SHA256_BLOCK);
}

void pare_sha256_start(pare_sha256 *m)
{
    static const uint32_t initial[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}; /* section 5.3.3 */
    memcpy(m->state, initial, sizeof initial);
    m->n_bytes = 0;
}

void pare_sha256_add(pare_sha256 *m, const uint8_t *data, size_t n)
{
    size_t held = tail_bytes(m), room = PARE_SHA256_BLOCK - held;
    m->n_bytes += n;
    if (held > 0 && n >= room) {
        memcpy(m->tail + held, data, room);
        add_blocks_one(m->state, m->tail, 1);
        data += room;
        n -= room;
        held = 0;
    }
    if (held == 0 && n >= PARE_SHA256_BLOCK) {
        size_t n_blocks = n / PARE_SHA256_BLOCK;
        add_blocks_one(m->state, data, n_blocks);
        data += n_blocks * PARE_SHA256_BLOCK;
        n -= n_blocks * PARE_SHA256_BLOCK;
    }
    if (n > 0)
        memcpy(m->tail + held, data, n);
}

void pare_sha256_add_two(pare_sha256 *a, const uint8_t *a_data, pare_sha256 *b, const uint8_t *b_data, size_t n)
{
    size_t a_room = (PARE_SHA256_BLOCK - tail_bytes(a)) % PARE_SHA256_BLOCK,
           b_room = (PARE_SHA256_BLOCK - tail_bytes(b)) % PARE_SHA256_BLOCK, room = a_room > b_room ? a_room : b_room;
    size_t n_blocks = n > room ? (n - room) / PARE_SHA256_BLOCK : 0, n_bytes = n_blocks * PARE_SHA256_BLOCK;
    if (n_blocks > 0) {
        pare_sha256_add(a, a_data, a_room);
        pare_sha256_add(b, b_data, b_room);
        add_blocks_two(a->state, a_data + a_room, b->state, b_data + b_room, n_blocks);
        a->n_bytes += n_bytes;
        b->n_bytes += n_bytes;
        a_data += a_room + n_bytes;
        b_data += b_room + n_bytes;
    } else
        a_room = b_room = 0;
    pare_sha256_add(a, a_data, n - a_room - n_bytes);
    pare_sha256_add(b, b_data, n - b_room - n_bytes);
}

void pare_sha256_finish(const pare_sha256 *m, uint8_t digest[32])
{
    pare_sha256 end = *m;
    uint8_t padding[2 * PARE_SHA256_BLOCK] = {0x80}, length[8];
    size_t held = tail_bytes(m), n = (held < PARE_SHA256_BLOCK - 8 ? 1 : 2) * (size_t)PARE_SHA256_BLOCK - 8 - held;
    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)(8 * m->n_bytes >> (56 - 8 * i));
    pare_sha256_add(&end, padding, n);
    pare_sha256_add(&end, length, sizeof length);
    for (int i = 0; i < 32; i++)
        digest[i] = (uint8_t)(end.state[i / 4] >> (24 - 8 * (i % 4)));
}

#else

bool pare_sha256_available(void)
{
    return false;
}

void pare_sha256_start(pare_sha256 *m)
{
    (void)m;
}

void pare_sha256_add(pare_sha256 *m, const uint8_t *data, size_t n)
{
    (void)m, (void)data, (void)n;
}

void pare_sha256_finish(const pare_sha256 *m, uint8_t digest[32])
{
    (void)m, (void)digest;
}

void pare_sha256_add_two(pare_sha256 *a, const uint8_t *a_data, pare_sha256 *b, const uint8_t *b_data, size_t n)
{
    (void)a, (void)a_data, (void)b, (void)b_data, (void)n;
}

#endif
