# Installs the Debian packages of missing commands. ./demo and ./check source this file.

# need COMMAND PACKAGE ...: collects the packages whose commands are missing.
missing=()
need() {
  while [ $# -ge 2 ]; do
    PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null || missing+=("$2")
    shift 2
  done
}

install_missing() {
  if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
    export PATH="$HOME/.cargo/bin:$PATH"
  fi
  command -v cargo >/dev/null || { echo "Rust is missing; help: https://rustup.rs" >&2; exit 1; }
  [ "$(id -u)" = 0 ] || { echo "root is needed for network namespaces and nftables; help: sudo $0" >&2; exit 1; }
  export PATH="$PATH:/usr/sbin:/sbin"
  [ ${#missing[@]} -gt 0 ] || return 0
  echo "installing ${missing[*]}"
  # Only the sshd binary is needed, so do not let its installation start a server.
  local policy=/usr/sbin/policy-rc.d guarded=no
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && guarded=yes
  fi
  local done=yes output
  output=$(mktemp)
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}"; } \
    </dev/null >"$output" 2>&1 || done=no
  [ "$guarded" = no ] || rm -f "$policy"
  [ "$done" = yes ] || { cat "$output" >&2; rm -f "$output"; exit 1; }
  rm -f "$output"
  case " ${missing[*]} " in
    *" openssh-server "*) systemctl disable --quiet ssh.service ssh.socket 2>/dev/null || true ;;
  esac
}
