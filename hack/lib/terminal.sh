# shellcheck shell=bash
# Terminal output of hack/demo and hack/test. Colours appear only on a terminal.

# shellcheck disable=SC2034 # A script need not use every colour.
if [[ -t 1 && -z ${NO_COLOR:-} && ${TERM:-dumb} != dumb ]]; then
    bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' yellow=$'\e[33m' blue=$'\e[34m' plain=$'\e[0m'
else
    bold='' dim='' red='' green='' yellow='' blue='' plain=''
fi

headline() {
    printf '\n%s== %s ==%s\n' "$bold$blue" "$*" "$plain"
}

# Prints a message of the script, as opposed to output of the commands that it runs.
note() {
    printf '%s%s%s\n' "$dim" "$*" "$plain"
}

warn() {
    printf '%swarning:%s %s\n' "$yellow" "$plain" "$*" >&2
}

# Exits with an error: one sentence with the problem and the remedy.
fail() {
    printf '%serror:%s %s\n' "$bold$red" "$plain" "$*" >&2
    exit 1
}

# Formats seconds: 75 -> "1m15s"
format_duration() {
    local seconds=$1
    if ((seconds >= 60)); then
        printf '%dm%02ds' $((seconds / 60)) $((seconds % 60))
    else
        printf '%ds' "$seconds"
    fi
}
