/* Books against the grids that they are made of, and blocks that are taken apart and put together again. */
#include "check.h"

#include "core/half.h"
#include "quant/rows.h"
#include "quant/unit_book.h"

#include <string.h>

static pare_unit_book book;

static void every_entry_is_there_once(void **state)
{
    (void)state;
    int n_types = 0;
    for (int t = 0; t < PARE_TYPE_COUNT; t++) {
        const pare_grid_shape *shape = pare_unit_shape((pare_type)t);
        bool seen[PARE_UNIT_ENTRIES] = {false};
        if (shape == NULL)
            continue;
        n_types++;
        pare_unit_book_init(&book, shape);
        CHECK(book.entry_len == shape->entry_len && book.even == shape->even);
        CHECK(book.n_levels == (shape->entry_len == 8 ? 3 : 8) && book.n_heads == (shape->entry_len == 8 ? 81 : 64));
        CHECK(book.first[0] == 0 && book.first[book.n_heads] == shape->n_entries);
        for (int h = 0; h < book.n_heads; h++)
            for (int e = book.first[h]; e < book.first[h + 1]; e++) {
                const float *value = book.value + e * shape->entry_len;
                unsigned number = pare_unit_book_find(&book, value);
                CHECK(number < (unsigned)shape->n_entries && !seen[number]);
                seen[number] = true;
                int pattern = 0; /* all levels as one number, base n_levels */
                for (int i = 0; i < shape->entry_len; i++) {
                    int digit = 0;
                    CHECK(value[i] == (float)shape->level(shape->grid(number), i));
                    while (book.level[digit] != value[i])
                        digit++;
                    pattern = pattern * book.n_levels + digit;
                }
                CHECK(pattern == h * book.n_heads + book.tail[e]);
            }
    }
    CHECK(n_types == 7);
}

/* Any bytes are a block, and packing what was read of it gives it back. */
static void blocks_are_put_together_again(void **state)
{
    (void)state;
    uint32_t seed = 3;
    for (int t = 0; t < PARE_TYPE_COUNT; t++) {
        const pare_grid_shape *shape = pare_unit_shape((pare_type)t);
        for (int n = 0; shape != NULL && n < 20; n++) {
            uint8_t block[128], again[128];
            float y[PARE_GRID_LEN];
            pare_grid_fit fit;
            for (size_t i = 0; i < shape->block_bytes; i++)
                block[i] = (uint8_t)(unit_random(&seed) * 256);
            shape->unpack(block, &fit);
            memset(again, 0xee, sizeof again);
            shape->pack(&fit, again);
            CHECK(memcmp(block, again, shape->block_bytes) == 0);
            fit.d &= 0x3fff; /* finite */
            shape->pack(&fit, block);
            pare_type_get((pare_type)t)->decode(block, y, 1);
            for (int i = 0; i < PARE_GRID_LEN; i++) {
                int cell = i / 8, j = i % 8, scale = fit.scale[i / (PARE_GRID_LEN / shape->n_blocks)];
                unsigned entry = shape->grid(fit.entry[cell][j / shape->entry_len]);
                float level = (float)shape->level(entry, j % shape->entry_len) * shape->unit;
                bool minus = fit.signs[cell] >> j & 1;
                if (shape->shift != 0)
                    level += minus ? -shape->shift : shape->shift;
                else if (minus)
                    level = -level;
                CHECK(y[i] == pare_f16_to_f32(fit.d) * (float)(2 * scale + 1) * level);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_entry_is_there_once),
        cmocka_unit_test(blocks_are_put_together_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
