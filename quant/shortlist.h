/* quant/shortlist.h - the most promising values of a scan */
#ifndef PARE_QUANT_SHORTLIST_H
#define PARE_QUANT_SHORTLIST_H

enum { PARE_SHORTLIST_MAX = 32 };

/* By rising loss; of equal ones the first comes first. */
typedef struct pare_shortlist {
    int room, n; /* room: at most PARE_SHORTLIST_MAX */
    float loss[PARE_SHORTLIST_MAX], value[PARE_SHORTLIST_MAX];
} pare_shortlist;

static inline void pare_shortlist_add(pare_shortlist *list, float loss, float value)
{
    if (list->n == list->room && !(loss < list->loss[list->n - 1]))
        return;
    int i = list->n < list->room ? list->n++ : list->n - 1;
    for (; i > 0 && loss < list->loss[i - 1]; i--) {
        list->loss[i] = list->loss[i - 1];
        list->value[i] = list->value[i - 1];
    }
    list->loss[i] = loss;
    list->value[i] = value;
}

#endif
