#!/bin/sh
# Installs the optional real servers that tests can use (Debian packages): InfluxDB behind nginx, Chromium, Slurm with
# munge, and a NUT server. Nothing is started here; the tests start their own copies on free loopback ports. Quick when
# all is there.
set -eu

wanted=""
want() {
    # nginx, influxd, munged and the Slurm daemons live in sbin, which an ordinary user's PATH may lack.
    PATH="$PATH:/usr/sbin:/sbin:/lib/nut:/usr/lib/nut" command -v "$1" >/dev/null 2>&1 || wanted="$wanted $2"
}
want influxd influxdb
want influx influxdb-client
want nginx nginx-light
want chromium chromium
want slurmctld slurm-wlm
want munged munge
want upsd nut-server
want upsc nut-client
ls /usr/lib/*/slurm*/acct_gather_profile_influxdb.so >/dev/null 2>&1 || wanted="$wanted slurm-wlm-influxdb-plugin"

if [ -z "$wanted" ]; then
    echo "servers: influxd, nginx, chromium, slurm, munge and nut are already installed"
    exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "servers: missing$wanted; this script knows only Debian's apt-get, install them by your own means" >&2
    exit 1
fi
as_root=""
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 || { echo "servers: missing$wanted; run as root: apt-get install$wanted" >&2; exit 1; }
    as_root="sudo"
fi

# A package must not start a service of its own on the machine's ports: Debian asks this file first.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
    $as_root chmod 755 "$policy"
    trap '$as_root rm -f "$policy"' EXIT INT TERM
fi

export DEBIAN_FRONTEND=noninteractive
# Another apt may be at work: wait for its lock instead of failing.
apt="apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3"
# shellcheck disable=SC2086
$as_root $apt update -qq
# shellcheck disable=SC2086
$as_root $apt install -y -qq --no-install-recommends $wanted >/dev/null
echo "servers: installed$wanted"
