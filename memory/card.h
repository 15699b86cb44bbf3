/* memory/card.h - graphics cards by name: their memory, and how fast it is read */
#ifndef PARE_MEMORY_CARD_H
#define PARE_MEMORY_CARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct pare_card {
    const char *name;  /* "rtx-4090" */
    const char *title; /* "NVIDIA GeForce RTX 4090" */
    uint64_t bytes;    /* all of its memory */
    bool nominal;      /* bytes is what the maker states; else what the driver reports, which may be less */
    uint64_t usable;   /* what one program may take of it: less than bytes where it is the host's memory */
    double bandwidth;  /* bytes a second, as the maker states it */
    double half_rate;  /* multiplications and additions of 16-bit floats a second, both counted; 0: not known */
    uint32_t compute;  /* CUDA compute capability times 10; 0: not a CUDA device */
} pare_card;

/* Walk the cards: NULL behind the last one. */
const pare_card *pare_card_at(size_t i);

/* By name; case, spaces, '-' and '_' do not count, nor do the words nvidia, geforce, amd, radeon, apple and intel: "RTX
 * 4090" is rtx-4090. NULL when there is none. */
const pare_card *pare_card_find(const char *name);

#endif
