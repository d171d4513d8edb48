#!/usr/bin/env bash
# Runs systemd-nspawn on a tree that nothing changes: what is written goes to a layer above
# it. Mounts and control groups are its own, and end with it.
# nspawn.sh TREE WORK NAME OPTION...   (WORK: the layer's directory, on the same machine)
set -euo pipefail
tree=$1 work=$2 name=$3
shift 3
for root in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
  [ -w "$root/cgroup.procs" ] || continue
  mkdir -p "$root/$name"
  echo $$ >"$root/$name/cgroup.procs"
done
mkdir -p "$work/upper" "$work/work" "$work/root"
# shellcheck disable=SC2016 # expanded by the shell inside
exec unshare --mount --propagation private bash -euc '
  tree=$1 work=$2 name=$3
  shift 3
  mount -t tmpfs -o mode=755 tmpfs /run/systemd
  mount -t overlay -o "lowerdir=$tree,upperdir=$work/upper,workdir=$work/work" spalab "$work/root"
  exec systemd-nspawn --quiet --register=no --keep-unit --machine="$name" --directory="$work/root" \
    --console=pipe --link-journal=no --resolv-conf=off --timezone=off \
    --capability=CAP_NET_ADMIN,CAP_IPC_LOCK "$@"
' nspawn "$tree" "$work" "$name" "$@"
