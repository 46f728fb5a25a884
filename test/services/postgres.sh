#!/usr/bin/env bash
# A PostgreSQL server for the tests: `postgres.sh start` prints the line to evaluate, `postgres.sh stop` ends it. Both may be called again.
# It listens on 127.0.0.1 (POSTGRES_PORT, 15432), keeps its data in the temporary folder, and needs Debian's package postgresql.
set -euo pipefail
port=${POSTGRES_PORT:-15432}
data=${TMPDIR:-/tmp}/penstock-postgres-$port
bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
[ -n "$bin" ] || { echo 'There is no PostgreSQL: apt-get install -y postgresql' >&2; exit 1; }

as_owner() { # PostgreSQL refuses to run as root
  if [ "$(id -u)" -eq 0 ]; then (cd / && runuser -u postgres -- "$@"); else "$@"; fi
}

running() { [ -d "$data/server" ] && as_owner "$bin/pg_ctl" -D "$data/server" status >/dev/null 2>&1; }

case ${1:-} in
start)
  if ! running; then
    if [ ! -f "$data/server/PG_VERSION" ]; then
      rm -rf "$data" && mkdir -p "$data"
      printf 'test-secret' >"$data/password"
      openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=penstock-test -addext subjectAltName=IP:127.0.0.1 \
        -keyout "$data/key.pem" -out "$data/cert.pem" 2>/dev/null
      chmod 600 "$data/key.pem"
      [ "$(id -u)" -ne 0 ] || chown -R postgres "$data"
      as_owner "$bin/initdb" -D "$data/server" -U test --auth=scram-sha-256 --pwfile="$data/password" -E UTF8 --no-sync >/dev/null
    fi
    as_owner "$bin/pg_ctl" -D "$data/server" -l "$data/log" -w -t 60 \
      -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off -c ssl=on -c ssl_cert_file=$data/cert.pem -c ssl_key_file=$data/key.pem" start >/dev/null
  fi
  echo "export POSTGRES_URL=postgres://test:test-secret@127.0.0.1:$port/postgres POSTGRES_CA=$data/cert.pem"
  ;;
stop)
  if running; then as_owner "$bin/pg_ctl" -D "$data/server" -m immediate -w stop >/dev/null; fi
  rm -rf "$data"
  ;;
*)
  echo 'postgres.sh start|stop' >&2
  exit 2
  ;;
esac
