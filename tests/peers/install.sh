#!/bin/sh
# Installs the programs that the peer tests talk to, where that is possible without asking anybody.
set -eu
cd "$(dirname "$0")"
needed=""
command -v Orthanc >/dev/null 2>&1 || needed="$needed orthanc orthanc-dicomweb"
command -v dcmdump >/dev/null 2>&1 || needed="$needed dcmtk"
command -v chromium >/dev/null 2>&1 || needed="$needed chromium"
if [ -n "$needed" ]; then
    if [ "$(id -u)" = 0 ] && [ -f /etc/debian_version ]; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $needed >/dev/null
    else
        echo "left out: the peer tests that need$needed (install them, or run as root on Debian)"
    fi
fi
if [ node_modules/.of-package.json -nt package.json ]; then exit 0; fi
# No lock file: it would hold addresses of one registry. What is asked for is pinned in package.json.
if command -v npm >/dev/null 2>&1 && npm install --no-package-lock --no-audit --no-fund --silent; then
    touch node_modules/.of-package.json
else
    echo "left out: the peer tests that need oidc-provider or the proxy of JupyterHub (npm could not install them)"
fi
