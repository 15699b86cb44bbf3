#include "cmd/doc.h"

pare_status cmd_help(const cmd_args *args, pare_error *err)
{
    const cmd_verb *verb = NULL;
    if (cmd_has(args, OPT_COMPLETION)) {
        cmd_doc_completion(stdout, cmd_text(args, OPT_COMPLETION));
        return PARE_OK;
    }
    pare_status st = args->n_operands > 0 ? cmd_verb_require(&verb, args->operands[0], err) : PARE_OK;
    if (st != PARE_OK)
        return st;
    if (cmd_has(args, OPT_MAN))
        cmd_doc_man(stdout, verb);
    else if (verb != NULL)
        cmd_doc_verb(stdout, verb);
    else
        cmd_doc_overview(stdout);
    return PARE_OK;
}
