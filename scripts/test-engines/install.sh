#!/usr/bin/env bash
# Installs the engines that some tests need: a Docker daemon (Debian's, as root), and emulators of Step Functions and ECS
# (from PyPI, each in a virtual environment of its own under .cache). What is there already is left as it is.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=$here/../../.cache/test-engines

packages=()
command -v dockerd >/dev/null || packages+=(docker.io)
command -v openssl >/dev/null || packages+=(openssl)
command -v iptables >/dev/null || packages+=(iptables)
command -v ip >/dev/null || packages+=(iproute2)
[[ -x /bin/busybox ]] || packages+=(busybox-static)
command -v python3 >/dev/null || packages+=(python3)
python3 -c 'import ensurepip' 2>/dev/null || packages+=(python3-venv)
if ((${#packages[@]} > 0)); then
  if ! command -v apt-get >/dev/null || [[ $(id -u) != 0 ]]; then
    echo "error: missing ${packages[*]}: install them, or run this as root on Debian" >&2
    exit 1
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get install -y -q --no-install-recommends "${packages[@]}" >/dev/null 2>&1 || {
    # The lists of packages are missing or old.
    apt-get update -q >/dev/null
    apt-get install -y -q --no-install-recommends "${packages[@]}" >/dev/null
  }
  echo "installed ${packages[*]}"
fi

for name in step-functions ecs; do
  list=$here/$name.txt
  stamp=$cache/$name/.installed
  if cmp -s "$list" "$stamp"; then continue; fi
  rm -rf "${cache:?}/$name"
  mkdir -p "$cache"
  python3 -m venv "$cache/$name"
  "$cache/$name/bin/pip" install -q --disable-pip-version-check --no-input -r "$list"
  cp "$list" "$stamp"
  echo "installed the emulator of $name"
done
