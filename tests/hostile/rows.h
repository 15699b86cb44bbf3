/* rows.h - ROW(007) { ... } defines the test row_007; the numbers are those of docs/formats/HOSTILE.md */
#ifndef PARE_TESTS_HOSTILE_ROWS_H
#define PARE_TESTS_HOSTILE_ROWS_H

#define ROW(number)                                                                                                    \
    static void check_row_##number(void);                                                                              \
    static void row_##number(void **state)                                                                             \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        check_row_##number();                                                                                          \
    }                                                                                                                  \
    static void check_row_##number(void)

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#endif
