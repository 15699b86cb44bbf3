#include "memory/card.h"

#include "memory/cards.h"

#include <ctype.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)
#define D false
#define N true
#define CARD(name_, title_, mib, nominal_, percent, gbs, tflops, compute_)                                             \
    {.name = (name_),                                                                                                  \
     .title = (title_),                                                                                                \
     .bytes = (mib)*MIB,                                                                                               \
     .nominal = (nominal_),                                                                                            \
     .usable = (mib)*MIB * (percent) / 100,                                                                            \
     .bandwidth = (gbs)*1e9,                                                                                           \
     .half_rate = (tflops)*1e12,                                                                                       \
     .compute = (compute_)},
static const pare_card cards[] = {PARE_CARDS(CARD)};
#undef CARD
#undef D
#undef N

const pare_card *pare_card_at(size_t i)
{
    return i < sizeof cards / sizeof *cards ? &cards[i] : NULL;
}

enum { KEY_SIZE = 48 };

/* name without what does not count; false: it is longer than any card's name. */
static bool make_key(const char *name, char key[KEY_SIZE])
{
    static const char *const makers[] = {"nvidia", "geforce", "amd", "radeon", "apple", "intel"};
    size_t n = 0;
    for (; *name != '\0'; name++) {
        if (*name == ' ' || *name == '-' || *name == '_')
            continue;
        if (n == KEY_SIZE - 1)
            return false;
        key[n++] = (char)tolower((unsigned char)*name);
        for (size_t i = 0; i < sizeof makers / sizeof *makers; i++) {
            const size_t len = strlen(makers[i]);
            if (n == len && memcmp(key, makers[i], len) == 0)
                n = 0;
        }
    }
    key[n] = '\0';
    return n > 0;
}

const pare_card *pare_card_find(const char *name)
{
    char wanted[KEY_SIZE], key[KEY_SIZE];
    if (!make_key(name, wanted))
        return NULL;
    for (size_t i = 0; i < sizeof cards / sizeof *cards; i++)
        if (make_key(cards[i].name, key) && strcmp(key, wanted) == 0)
            return &cards[i];
    return NULL;
}
