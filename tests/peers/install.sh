#!/bin/sh
# Installs the system programs that the peer tests talk to, where that is possible without asking anybody.
set -eu
needed=""
command -v Orthanc >/dev/null 2>&1 || needed="$needed orthanc orthanc-dicomweb"
command -v dcmdump >/dev/null 2>&1 || needed="$needed dcmtk"
if [ -z "$needed" ]; then exit 0; fi
if [ "$(id -u)" = 0 ] && [ -f /etc/debian_version ]; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $needed >/dev/null
else
    echo "left out: the peer tests that need$needed (install them, or run as root on Debian)"
fi
