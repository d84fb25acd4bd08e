#!/usr/bin/env bash
# A newcomer's path, timed: a new environment, an empty folder, and the commands of the README's first screen as they
# stand there. Fails if one of them fails, or after more than ten minutes.
#
#   tests/newcomer.sh [PYTHON]    # or: make newcomer
set -euo pipefail
python=${1:-python3}
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
most=600

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
stages=()

# stage NAME COMMAND: run a command and note how long it takes
stage() {
  local began=$SECONDS
  echo "== $1: $2"
  bash -ec "$2"
  stages+=("$(printf '%-24s%6d s' "$1" $((SECONDS - began)))")
  echo "${stages[-1]}"
}

# readme BEGINNING: the README's first command that begins so, without its comment
readme() { grep -m 1 "^$1" "$checkout/README.md" | sed 's/ *#.*//'; }

# What was committed, not what lies in the working tree.
mkdir "$work/matgl_ssl" "$work/empty"
git -C "$checkout" archive HEAD | tar -x -C "$work/matgl_ssl"
unset PYTHONPATH
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_QUIET=2
stage "environment" "$python -m venv $work/venv"
export PATH="$work/venv/bin:$PATH"
cd "$work/matgl_ssl"
stage "install" "$(readme 'pip install')"

# From here on the package is the installed one, and there are no caches.
cp -r "$work/matgl_ssl/examples" "$work/empty"
cd "$work/empty"
export HOME="$work" XDG_CACHE_HOME="$work/cache" HF_HOME="$work/hf"
for begins in 'python examples' 'mgl-ssl fit' 'mgl-ssl predict'; do
  stage "$begins" "$(readme "$begins")"
done

echo
echo "$(python --version), $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg) at the end"
printf '%s\n' "${stages[@]}"
printf '%-24s%6d s of %d\n' "all" "$SECONDS" "$most"
[ "$SECONDS" -le "$most" ]
