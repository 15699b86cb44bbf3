#!/usr/bin/env bash
# Kill pare at random moments, and look at what is left.
#   scripts/kill_test.sh [N [PARE [SEED]]]    N kills (200) in turn of convert, quantize, quantize --pin, convert --pin
#                                             of a folder and of a set of GGUF files, pin, imatrix --full --resume and
#                                             quantize --resume;
#                                             every 20th is of fit, which takes long (WITHOUT_FIT=1: none)
# Each command runs undisturbed once: T seconds, these bytes. A trial then starts it with --force over an older output
# (or, every other time, over nothing) and ends it with SIGKILL after a random part of 1.2 T. Then
#   - the model is the old one or the new one, whole (a folder: file by file), or as before absent; or some parts of a
#     set have their names, a journal beside them says so, and who reads the set is told or finds no first part
#   - a lock that stands beside a model holds: pare verify, which may tell of files of the run that was killed, by their
#     names, but of nothing else
#   - a second run, undisturbed, gives the bytes of the first, and nothing else is in the folder; where the command has
#     --resume it goes on with what the killed one kept.
# Trials in which the command was done before its end are repeated and do not count. Exit code 1: a trial failed.
set -euo pipefail
cd "$(dirname "$0")/.."
n=${1:-200}
pare=$(realpath "${2:-build/pare}")
seed=${3:-$((SRANDOM % 32768))}
RANDOM=$seed
demo=$PWD/tests/data/demo
work=$(mktemp -d "${TMPDIR:-/tmp}/pare-kill.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
head -c 24000 "$demo/text.txt" >text.txt
"$pare" convert "$demo" -o f16.gguf -q >/dev/null
"$pare" imatrix f16.gguf -f text.txt -o products.gguf --full -c 128 --chunks 8 -q >/dev/null

# names of commands; what they do, in a folder of their own; $old: over what
in_turn=(convert quantize quantize-pin folder-pin set-pin pin imatrix-resume quantize-resume)
commands=("${in_turn[@]}" fit)
[ -z "${WITHOUT_FIT:-}" ] || commands=("${in_turn[@]}")
act() { # command, old or new
    local type=q8_0 dtype=f16 half=bf16 size=2300K chunks=96
    [ "$2" = old ] && type=q4_0 dtype=f32 half=f16 size=1500K chunks=40
    case $1 in
    convert) exec "$pare" convert "$demo" -o m.gguf --dtype "$dtype" --force -q ;;
    quantize) exec "$pare" quantize ../f16.gguf -t "$type" -o m.gguf --force -q ;;
    quantize-pin) exec "$pare" quantize ../f16.gguf -t "$type" -o m.gguf --pin --force -q ;;
    folder-pin) exec "$pare" convert ../f16.gguf -o m --format safetensors --dtype "$dtype" --pin --force -q ;;
    set-pin) exec "$pare" convert ../f16.gguf -o m.gguf --split-size 1M --dtype "$half" --pin --force -q ;;
    pin) exec "$pare" pin f.gguf -o pare.lock --force -q ;;
    imatrix-resume) exec "$pare" imatrix ../f16.gguf -f ../text.txt -o m.gguf --full --resume --keep-every 1 \
        -c 64 --chunks "$chunks" --force -q ;;
    quantize-resume) exec "$pare" quantize ../f16.gguf -t "$type" --imatrix ../products.gguf --resume -o m.gguf --force -q ;;
    fit) exec "$pare" fit "$demo" --size "$size" -f ../text.txt --types q8_0,q4_0 --effort fast -o m.gguf --pin --force -q ;;
    esac
}
prepare() { # folder, command
    mkdir -p "$1"
    [ "$2" != pin ] || cp f16.gguf "$1/f.gguf"
}
run() { # folder, command, old or new
    (cd "$1" && act "$2" "$3" >/dev/null 2>../err) || { cat err >&2; echo "kill_test: $2 failed" >&2; exit 1; }
}
# The files of a folder with their SHA-256; the name of a folder that lies in it counts, its own does not. What fit has
# measured so far depends on all runs before, whichever way they ended.
state() { (cd "$1" && find . -mindepth 1 ! -path './m.gguf.fit/divergences' | LC_ALL=C sort | while read -r f; do
    [ -d "$f" ] && echo "folder $f" || sha256sum "$f"; done); }
# Names that a run of the command leaves or finds.
known() { sed -E 's/^(folder|[0-9a-f]{64}) +//' "$1.old.state" "$1.new.state"; }
# Of these only the model.
model() { grep -E '(m(-0000.-of-0000.)?\.gguf|\./m/(config|model).*)$' "$1" || true; }
is_between() { # the set of the trial: killed between two names?
    [ -n "$(find trial -name '*.pare.set.*')" ] || return 1
    [ -e trial/m-00001-of-00005.gguf ] || return 0
    "$pare" inspect trial/m-00001-of-00005.gguf 2>&1 >/dev/null | grep -q '\.pare\.set\.'
}
fail() { echo "kill_test: seed $seed, trial $trial, $command over $before: $1" >&2; state trial >&2; exit 1; }

declare -A seconds
for command in "${commands[@]}"; do
    prepare "$command.old" "$command"
    run "$command.old" "$command" old
    prepare "$command.new" "$command"
    start=$EPOCHREALTIME
    run "$command.new" "$command" new
    seconds[$command]=$(awk "BEGIN { print $EPOCHREALTIME - $start }")
    state "$command.old" >"$command.old.state"
    state "$command.new" >"$command.new.state"
done

export -f act
export pare demo
declare -A kills
trial=0 late=0 n_old=0 n_new=0 n_between=0 n_left=0 n_resumed=0
while [ "$trial" -lt "$n" ]; do
    command=${in_turn[trial % ${#in_turn[@]}]}
    [ $((trial % 20)) != 19 ] || [ -n "${WITHOUT_FIT:-}" ] || command=fit
    before=old
    [ $((RANDOM % 2)) = 0 ] && before=nothing
    rm -rf trial
    if [ "$before" = old ]; then cp -r "$command.old" trial; else prepare trial "$command"; fi
    state trial >before.state
    moment=$(awk "BEGIN { print ${seconds[$command]} * 1.2 * $RANDOM / 32768 + 0.0005 }")
    code=0
    (cd trial && exec timeout --foreground --signal=KILL "$moment" bash -c 'act "$@"' act "$command" new >/dev/null 2>&1) || code=$?
    if [ "$code" = 0 ] || [ "$code" = 124 ]; then # 124: done in the moment of the kill
        late=$((late + 1))
        [ "$late" -lt $((20 * n + 100)) ] || { echo "kill_test: no run lasts" >&2; exit 1; }
        continue
    fi
    [ "$code" = 137 ] || fail "exit code $code"
    trial=$((trial + 1))
    kills[$command]=$((${kills[$command]:-0} + 1))
    state trial >trial.state
    now=$(model trial.state)
    if [ "$now" = "$(model "$command.new.state")" ]; then n_new=$((n_new + 1))
    elif [ "$before" = old ] && [ "$now" = "$(model "$command.old.state")" ]; then n_old=$((n_old + 1))
    elif [ "$before" = nothing ] && [ -z "$now" ]; then n_old=$((n_old + 1))
    elif [ "$command" = set-pin ] && is_between; then n_between=$((n_between + 1)) now=''
    else fail "the model is neither the old nor the new one"; fi
    cmp -s trial.state "$command.new.state" || cmp -s trial.state before.state || n_left=$((n_left + 1))
    for lock in trial/pare.lock trial/m/pare.lock; do
        if [ -e "$lock" ] && { [ -n "$now" ] || [ "$command" = pin ]; }; then
            "$pare" verify "$lock" -q >/dev/null 2>err && continue
            grep -qE '\.pare\.(part|set)\.' trial.state && "$pare" verify "$lock" --allow-extra -q >/dev/null 2>err &&
                ! (cd trial && find . -mindepth 1) | grep -vE '\.pare\.(part|set)\.' | grep -vxFf <(known "$command") |
                grep -q . || fail "$lock does not hold: $(cat err)"
        fi
    done
    [ -z "$(find trial -name '*.pare-state*' -o -name '*.unfinished-*')" ] || n_resumed=$((n_resumed + 1))
    run trial "$command" new
    state trial >trial.state
    cmp -s trial.state "$command.new.state" || fail "the next run differs from an undisturbed one, or left something"
done
echo "kill_test: $trial of $trial kills survived (seed $seed): $n_old with what was there before, $n_new with the new output," \
    "$n_between between two names of a set," \
    "$n_left with temporaries, all gone with the next run; $n_resumed were resumed"
for command in "${commands[@]}"; do echo "  $command: ${kills[$command]:-0}, ${seconds[$command]} s undisturbed"; done
