#include "cmd/fit_room.h"
#include "memory/place_search.h"

#include <stdlib.h>

pare_status cmd_fit_room_open(cmd_fit_room *r, const cmd_fit_request *request, const pare_model *m, pare_error *err)
{
    *r = (cmd_fit_room){.request = request};
    return pare_memory_model_of(&r->m, m, err);
}

void cmd_fit_room_close(cmd_fit_room *r)
{
    pare_memory_model_close(&r->m);
    *r = (cmd_fit_room){0};
}

static pare_status take_types(cmd_fit_room *r, const pare_type *types, pare_place_query *query, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < r->m.n_tensors && st == PARE_OK; i++)
        if (r->m.tensors[i].type != types[i])
            st = pare_memory_retype(&r->m, r->m.tensors[i].name, types[i], err);
    cmd_fit_query(query, r->request, &r->m);
    return st;
}

pare_status cmd_fit_room_has(cmd_fit_room *r, const pare_type *types, bool *yes, pare_error *err)
{
    pare_place_query query;
    pare_placement *p = malloc(sizeof *p);
    *yes = false;
    pare_status st = p != NULL ? take_types(r, types, &query, err) : pare_fail(err, PARE_ERR_MEMORY, "no memory");
    if (st == PARE_OK)
        st = pare_place_check(&query, err);
    if (st == PARE_OK)
        st = pare_place_search(&query, p, yes, err);
    free(p);
    return st;
}

pare_status cmd_fit_room_check(cmd_fit_room *r, const pare_type *types, pare_error *err)
{
    pare_place_query query;
    pare_placement *p = malloc(sizeof *p);
    pare_status st = p != NULL ? take_types(r, types, &query, err) : pare_fail(err, PARE_ERR_MEMORY, "no memory");
    if (st == PARE_OK)
        st = pare_place(&query, p, err);
    free(p);
    return st;
}
