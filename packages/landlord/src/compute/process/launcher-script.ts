/**
 * The only code that changes a tenant's fence and state, always under the kernel's lock on the tenant's `lock`
 * file. It is a shell script because the kernel lock must be held by the very process that becomes the
 * workload: it records its own identity and then turns into the workload without changing its pid, so a worker
 * that is killed at any line leaves either nothing or a recorded process.
 *
 * Modes:
 * - `begin`   raises the fence to (generation, hash)
 * - `launch`  checks fence and recorded process, records itself, becomes the workload
 * - `destroy` raises the fence so that nothing up to the generation starts again
 * - `clean`   moves what is left of the tenant out of the way, once nothing runs
 *
 * Answers one line on fd 3; `launch` answers nothing when it succeeds. Tested with dash and bash.
 */
export const LAUNCHER_SCRIPT = String.raw`
set -uf
umask 077
mode=$1 dir=$2 generation=$3 hash=$4 launch=$5 lock_wait=$6 trash=$7
shift 7
cgroup_parents="$*"

report() { printf '%s\n' "$*" >&3; exit 0; }

# Sets state, group, threads and start of a pid, or fails. The name stands in parentheses and may hold anything,
# line feeds included, so what counts starts after the last parenthesis.
look_at() {
  text=
  { while read -r line || [ -n "$line" ]; do text="$text $line"; done <"/proc/$1/stat"; } 2>/dev/null
  [ -n "$text" ] || return 1
  text=${"$"}{text##*) }
  set -- $text
  [ "$#" -ge 20 ] || return 1
  state=$1 group=$3 threads=${"$"}{18} start=${"$"}{20}
}

# A zombie with other threads is a process whose first thread has ended.
runs() { case $state in Z) [ "$threads" -gt 1 ] ;; X | x) return 1 ;; *) return 0 ;; esac; }

read_recorded() {
  r_pid= r_start= r_boot= r_generation= r_hash= r_launch=
  [ -f run/state ] || return 1
  read -r r_version r_pid r_start r_boot r_generation r_hash r_launch <run/state || report error state
  case "$r_version $r_pid $r_generation" in v1\ *[0-9]\ *[0-9]) : ;; *) report error state ;; esac
}

leader_runs() {
  [ "$r_boot" = "$boot" ] && look_at "$r_pid" && [ "$start" = "$r_start" ] && runs
}

# Processes that the ended leader left behind, by its cgroups, then by its group.
leftovers_run() {
  [ "$r_boot" = "$boot" ] || return 1
  for parent in $cgroup_parents; do
    if [ -f "$parent/$r_launch/cgroup.procs" ] && read -r member <"$parent/$r_launch/cgroup.procs"; then return 0; fi
  done
  # A pid is not given out again while it names a group, so another process of this pid means an empty group.
  if look_at "$r_pid" && [ "$start" != "$r_start" ]; then return 1; fi
  kill -s 0 -- "-$r_pid" 2>/dev/null || return 1
  set +f
  for entry in /proc/[0-9]*; do
    if look_at "${"$"}{entry#/proc/}" && [ "$group" = "$r_pid" ] && runs; then set -f; return 0; fi
  done
  set -f
  return 1
}

# Written beside and renamed, so a reader sees the old or the new. The sync keeps a power cut from leaving an empty file.
write_fence() {
  printf 'v1 %s %s %s\n' "$generation" "$1" "$2" >fence.new && sync fence.new && mv -f fence.new fence || report error fence
}

cd "$dir" || report error dir
exec 9>>lock
flock -x -w "$lock_wait" 9 || report busy
read -r boot </proc/sys/kernel/random/boot_id

f_generation=0 f_kind=apply f_hash=
if [ -e fence ]; then
  read -r f_version f_generation f_kind f_hash <fence || report error fence
  case "$f_version $f_generation" in v1\ *[0-9]) : ;; *) report error fence ;; esac
fi

case $mode in
  begin | launch)
    [ "$f_generation" -le "$generation" ] || report stale "$f_generation"
    if [ "$f_generation" -eq "$generation" ]; then
      [ "$f_kind" = apply ] && [ "$f_hash" = "$hash" ] || report stale "$f_generation"
    else
      write_fence apply "$hash"
    fi
    [ "$mode" = launch ] || report ok
    ;;
  destroy)
    [ "$f_generation" -le "$generation" ] || report newer "$f_generation"
    [ "$f_generation" -eq "$generation" ] && [ "$f_kind" = destroy ] || write_fence destroy -
    report ok
    ;;
  clean)
    [ "$f_kind" = destroy ] && [ "$f_generation" -le "$generation" ] || report newer "$f_generation"
    if read_recorded; then
      if leader_runs || leftovers_run; then report alive; fi
    fi
    if [ -e run ]; then mv run "$trash" || report error clean; fi
    report ok
    ;;
esac

if read_recorded; then
  if leader_runs; then report alive; fi
  if leftovers_run; then report leftovers; fi
fi
# Another worker's tidying, or a destroy, may have taken the files of this launch.
[ -f "run/launch-$launch.sh" ] || report retry
for parent in $cgroup_parents; do
  printf '%s\n' "$$" >"$parent/$launch/cgroup.procs" || report error cgroup
done
look_at "$$" || report error identity
printf 'v1 %s %s %s %s %s %s\n' "$$" "$start" "$boot" "$generation" "$hash" "$launch" >run/state.new || report error state
mv -f run/state.new run/state || report error state
# The workload must inherit neither the lock (it would hold it for its life) nor the answer's pipe.
exec 9>&- 3>&-
. "./run/launch-$launch.sh"
`;
