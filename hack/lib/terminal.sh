# shellcheck shell=bash
# How hack/demo and hack/test speak: colours on a terminal and nowhere else, errors in one sentence.

# shellcheck disable=SC2034 # Not every script uses every colour.
if [[ -t 1 && -z ${NO_COLOR:-} && ${TERM:-dumb} != dumb ]]; then
    bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' yellow=$'\e[33m' blue=$'\e[34m' plain=$'\e[0m'
else
    bold='' dim='' red='' green='' yellow='' blue='' plain=''
fi

# A headline over what follows.
headline() {
    printf '\n%s== %s ==%s\n' "$bold$blue" "$*" "$plain"
}

# A remark of the script itself, as opposed to the output of what it runs.
remark() {
    printf '%s%s%s\n' "$dim" "$*" "$plain"
}

warn() {
    printf '%swarning:%s %s\n' "$yellow" "$plain" "$*" >&2
}

# Ends the script with one sentence: what is wrong, and what to do.
fail() {
    printf '%serror:%s %s\n' "$bold$red" "$plain" "$*" >&2
    exit 1
}

# 75 -> "1m15s"
in_words() {
    local seconds=$1
    if ((seconds >= 60)); then
        printf '%dm%02ds' $((seconds / 60)) $((seconds % 60))
    else
        printf '%ds' "$seconds"
    fi
}
