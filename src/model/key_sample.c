#include "model/key_sample.h"

#include "core/checked.h"

#include <inttypes.h>
#include <stdlib.h>

pare_status pare_key_sample_open(pare_key_sample *s, uint32_t room, uint32_t width, pare_error *err)
{
    size_t n = 0;
    *s = (pare_key_sample){.room = room, .width = width};
    if (pare_mul_size(room, width, &n)) {
        s->k = calloc(n + 1, sizeof *s->k);
        s->q2 = calloc((size_t)width + 1, sizeof *s->q2);
    }
    if (s->k != NULL && s->q2 != NULL)
        return PARE_OK;
    return pare_fail(err, PARE_ERR_MEMORY, "no memory for %" PRIu32 " keys of %" PRIu32 " elements", room, width);
}

void pare_key_sample_close(pare_key_sample *s)
{
    free(s->k);
    free(s->q2);
    *s = (pare_key_sample){0};
}
