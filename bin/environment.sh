# Sourced by the launchers, which have set $root and $lock: makes sure that .venv holds
# exactly what bin/$lock pins, then sets $python.  Quick when it does: it compares two
# files and starts nothing.
# shellcheck shell=sh disable=SC2154

venv=$root/.venv
python=$venv/bin/python

# The locked packages and this checkout, nothing else: what the user has in PYTHONPATH
# could shadow a package, and so could a file in the current directory.
unset PYTHONHOME
PYTHONPATH=$root
PYTHONSAFEPATH=1
export PYTHONPATH PYTHONSAFEPATH

is_installed() {
    [ -x "$python" ] && [ ! -e "$venv/setup-is-running" ] && [ -f "$venv/$lock" ] &&
        [ "$(cat "$venv/$lock")" = "$(cat "$root/bin/$lock")" ]
}

# The first of these that is of a version for which every package has binaries, else the
# first that is new enough.  Each is tried, because a name may be there and not work.
find_python() {
    for newest in 15 99; do
        for candidate in "${PYTHON:-python3}" \
            python3.14 python3.13 python3.12 python3.11 python; do
            if "$candidate" -c "import sys
sys.exit(not (3, 11) <= sys.version_info < (3, $newest))" 2>/dev/null; then
                printf '%s\n' "$candidate"
                return
            fi
        done
    done
    {
        printf 'greeks_trio needs Python 3.11 or later, and there is none here'
        command -v python3 >/dev/null 2>&1 && printf ' (%s)' "$(python3 -V 2>&1)"
        printf '.\nInstall it, or name it: PYTHON=/path/to/python3 %s\n' "$0"
    } >&2
    return 1
}

if ! is_installed; then
    base_python=$(find_python) || exit 1
    # Replaces this shell, and is replaced by the launcher when it is done, so that there
    # is one process for signals all the way.
    exec "$base_python" -I "$root/bin/setup-environment" "$root" "$lock" "$0" "$@"
fi
