#include "cmd/doc.h"

pare_status cmd_help(const cmd_args *args, pare_error *err)
{
    const cmd_verb *verb = NULL;
    if (cmd_has(args, OPT_COMPLETION)) {
        cmd_doc_completion(stdout, cmd_text(args, OPT_COMPLETION));
        return PARE_OK;
    }
    if (args->n_operands > 0 && (verb = cmd_verb_find(args->operands[0])) == NULL)
        return pare_fail(err, PARE_ERR_USAGE, "help: unknown command '%s'", args->operands[0]);
    if (cmd_has(args, OPT_MAN))
        cmd_doc_man(stdout, verb);
    else if (verb != NULL)
        cmd_doc_verb(stdout, verb);
    else
        cmd_doc_overview(stdout);
    return PARE_OK;
}
