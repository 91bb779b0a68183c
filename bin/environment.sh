# The launchers set $root and $lock, and source this file.  It makes .venv hold exactly the
# packages that bin/$lock pins, then sets $python.  If .venv holds them already, it only
# compares two files.
# shellcheck shell=sh disable=SC2154

venv=$root/.venv
python=$venv/bin/python

# Python finds only the locked packages and this checkout.  Otherwise a file in the user's
# PYTHONPATH or in the current directory could hide a package.
unset PYTHONHOME
PYTHONPATH=$root
PYTHONSAFEPATH=1
export PYTHONPATH PYTHONSAFEPATH

is_installed() {
    [ -x "$python" ] && [ ! -e "$venv/setup-is-running" ] && [ -f "$venv/$lock" ] &&
        [ "$(cat "$venv/$lock")" = "$(cat "$root/bin/$lock")" ]
}

# Prints the first Python of a version for which every package has binaries.  If there is
# none, prints the first Python that is new enough.  Starts each of them, because a name
# may exist and not work.
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
        printf 'greeks_trio needs Python 3.11 or later, and this machine has none'
        command -v python3 >/dev/null 2>&1 && printf ' (%s)' "$(python3 -V 2>&1)"
        printf '.\nInstall one, or set its path: PYTHON=/path/to/python3 %s\n' "$0"
    } >&2
    return 1
}

if ! is_installed; then
    base_python=$(find_python) || exit 1
    # The setup replaces this shell, and at its end the launcher replaces the setup.  So
    # signals always reach the one process.
    exec "$base_python" -I "$root/bin/setup-environment" "$root" "$lock" "$0" "$@"
fi
