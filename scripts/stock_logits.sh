# Sourced by check_stock*.sh with their arguments, LLAMA_CPP_SOURCE LLAMA_CPP_BUILD PARE [FOLDER...]: sets $pare, $work (a
# folder that goes with the script) and "$@" (folders, tests/families/* unless some are given), and has a function.
source=$1 libraries=$(realpath "$2") pare=$(realpath "$3")
shift 3
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")/..
[ $# -gt 0 ] || set -- "$here"/tests/families/*/
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cc -O2 -I"$source/include" -I"$source/ggml/include" "$here/tests/interop/stock_logits.c" -L"$libraries" -lllama -lggml \
    -lggml-base -o "$work/stock_logits"

# stock_logits MODEL FOLDER OUT: stock's logits of the tokens of a folder.
stock_logits() {
    local sequences=2 length=24
    [ -f "$2/texts.json" ] && sequences=3 length=48
    LD_LIBRARY_PATH=$libraries "$work/stock_logits" "$1" "$2/tokens.i32" $sequences $length "$3"
}
