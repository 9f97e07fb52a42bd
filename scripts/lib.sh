# shellcheck shell=bash
# shellcheck disable=SC2034  # some variables are for the scripts that source this
#
# Shared by the scripts of this folder: source it, do not run it.
#
# Sets `root` (the top of the project) and goes there. Every script is quiet while things go well; what a step
# prints goes to a log under build/logs and is shown where the step fails.

set -euo pipefail
export LC_ALL=C.UTF-8
unset CDPATH
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
script_path=$(readlink -f "$0")
readonly root script_path
readonly script_name=${script_path##*/} start_folder=$PWD log_folder=$root/build/logs
cd "$root"

readonly rooms=(core datasets methods metrics results models experiments)

say() { printf '%s: %s\n' "$script_name" "$*"; }

die() {
  printf '%s: %s\n' "$script_name" "$*" >&2
  exit 1
}

# from_start PATHS...: absolute, read as the caller of the script meant them; one a line.
from_start() { (cd "$start_folder" && realpath -e -- "$@"); }

# usage_on_help "$@": prints the comment at the head of the script when -h or --help is asked for.
usage_on_help() {
  local argument
  for argument in "$@"; do
    case $argument in
      --) return ;;
      -h | --help)
        awk 'NR > 1 && !/^#/ { exit } NR > 1 { sub(/^# ?/, ""); print }' "$script_path"
        exit 0
        ;;
    esac
  done
}

# Compilers to run at once: CMAKE_BUILD_PARALLEL_LEVEL, or a processor and 1.5 GiB of free memory each.
jobs() {
  if [[ -n ${CMAKE_BUILD_PARALLEL_LEVEL:-} ]]; then
    echo "$CMAKE_BUILD_PARALLEL_LEVEL"
    return
  fi
  local processors by_memory
  processors=$(nproc)
  by_memory=$processors
  [[ ! -r /proc/meminfo ]] ||
    by_memory=$(awk '/^MemAvailable:/ { n = int($2 / 1572864); print (n < 1 ? 1 : n) }' /proc/meminfo)
  echo $((by_memory < processors ? by_memory : processors))
}

# new_log NAME: an empty log file; prints its path.
new_log() {
  if ! { mkdir -p "$log_folder" && : >"$log_folder/$1.log"; } 2>/dev/null; then
    die "cannot write to build/logs; does the folder belong to another user (an earlier start as root)?"
  fi
  echo "$log_folder/$1.log"
}

# show_failure LOG: the part of a log that matters, from the first error on.
show_failure() {
  local first
  first=$(grep -n -m 1 -E '^FAILED:|^CMake Error|^E: |(^|[: ])(fatal )?error:' "$1" | cut -d: -f1 || true)
  if [[ -n $first ]]; then
    sed -n "${first},$((first + 60))p" "$1" >&2
  else
    tail -n 40 "$1" >&2
  fi
  echo "(all of it: $1)" >&2
}

# quietly NAME COMMAND...: runs the command into the log NAME; shows the log and returns the status on failure.
quietly() {
  local log status=0
  log=$(new_log "$1")
  shift
  "$@" >"$log" 2>&1 </dev/null || status=$?
  # 130: the user pressed Ctrl-C and knows why it stopped.
  [[ $status == 0 || $status == 130 ]] || show_failure "$log"
  return "$status"
}

# packages_of GROUP...: names from scripts/packages.txt, one a line.
packages_of() {
  local group
  for group in "$@"; do
    awk -v group="$group" '{ sub(/#.*/, "") } NF >= 2 { n = split($2, in_groups, ",");
      for (i = 1; i <= n; i++) if (in_groups[i] == group) print $1 }' scripts/packages.txt
  done
}

missing_packages() {
  {
    dpkg-query -W -f '${Package} ${db:Status-Status}\n' 2>/dev/null
    packages_of "$@" | sort -u
  } | awk 'NF == 2 && $2 == "installed" { installed[$1] } NF == 1 && !($1 in installed)'
}

apt() {
  # --no-install-recommends: the list names everything. Lock::Timeout: another apt may be at work.
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -y -q -o DPkg::Lock::Timeout=600 \
    -o Acquire::Retries=2 -o Acquire::http::Timeout=60 --no-install-recommends "$@"
}

# ensure_packages GROUP...: installs what is missing of these groups; silent when nothing is.
ensure_packages() {
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    say "no apt here, so the packages of scripts/packages.txt ($*) are taken as installed"
    return 0
  fi
  local missing
  missing=$(missing_packages "$@")
  [[ -n $missing ]] || return 0
  missing=${missing//$'\n'/ }

  local as_root=()
  if [[ $(id -u) != 0 ]]; then
    local by_hand="As root: apt-get update && apt-get install --no-install-recommends $missing"
    command -v sudo >/dev/null ||
      die "packages are missing, and this is neither root nor a machine with sudo. $by_hand"
    as_root=(sudo)
    if [[ ! -t 0 ]]; then
      as_root=(sudo -n) # nobody can type a password
      sudo -n true 2>/dev/null || die "packages are missing, and sudo wants a password. $by_hand"
    fi
  fi
  say "installing $(wc -w <<<"$missing") packages: $missing"
  local log
  log=$(new_log packages)
  # apt-get update is content with servers that do not answer, so the verdict is install's.
  apt update >"$log" 2>&1 </dev/null || true
  # shellcheck disable=SC2086  # one word a package
  if apt install $missing >>"$log" 2>&1 </dev/null; then
    return 0
  fi
  if grep -qE 'Could not resolve|Temporary failure|Could not connect|Cannot initiate|Network is unreachable|Connection (timed out|refused|failed)|Failed to fetch' "$log"; then
    grep -m 3 -E '^(E|Err|W):' "$log" >&2 || true
    die "the package servers cannot be reached. Connect this machine to the network, or install by hand: $missing (log: $log)"
  fi
  if grep -q 'Unable to locate package' "$log"; then
    grep 'Unable to locate package' "$log" >&2
    die "these packages are in Debian 12's 'main'; look at the sources in /etc/apt (log: $log)"
  fi
  show_failure "$log"
  die "apt-get could not install the packages above"
}

# configure PRESET [CMAKE ARGUMENTS...]
configure() {
  quietly "configure-$1" cmake --preset "$@" || die "configuring failed (preset $1)"
}

# build PRESET [TARGET...]: a terminal sees the compiler at work, others see failures only. Sets `built` to
# whether any program or library is new.
build() {
  local preset=$1 started log
  local command=(cmake --build "build/$1" --parallel "$(jobs)")
  shift
  [[ $# == 0 ]] || command+=(--target "$@")
  log=$(new_log "build-$preset")
  started=$log_folder/build-$preset.started
  touch "$started"
  if [[ -t 1 && -z ${CI:-} ]]; then
    "${command[@]}" </dev/null || die "the build failed (build/$preset)"
  elif ! "${command[@]}" >"$log" 2>&1 </dev/null; then
    show_failure "$log"
    die "the build failed (build/$preset)"
  fi
  built=false
  [[ -z $(find "build/$preset/bin" "build/$preset/lib" -type f -newer "$started" 2>/dev/null) ]] || built=true
}

# project_files [GLOB...]: files of the project as paths from its top, one a line: what git tracks or would
# track; without git (an unpacked archive) all but the build folders.
project_files() {
  local patterns=("$@")
  [[ $# -gt 0 ]] || patterns=('*')
  if [[ -e .git ]] && command -v git >/dev/null; then
    # safe.directory: a checkout may belong to another user, as in a container.
    git -c safe.directory='*' -c core.quotePath=off ls-files --cached --others --exclude-standard -- "${patterns[@]}" |
      while IFS= read -r file; do [[ ! -f $file ]] || printf '%s\n' "$file"; done | sort
    return
  fi
  local pattern names=()
  for pattern in "${patterns[@]}"; do names+=(-o -name "$pattern"); done
  find . \( -path './.git' -o -path './build*' -o -path './results/output' -o -name __pycache__ \) -prune -o \
    -type f \( "${names[@]:1}" \) -print | sed 's|^\./||' | sort
}
