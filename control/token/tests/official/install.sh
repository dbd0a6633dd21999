#!/bin/sh
# Installs the official token libraries, at the versions the tests compare with, into a folder:
#   install.sh FOLDER
set -eu
folder=$1
mkdir -p "$folder/py" "$folder/js"
if [ ! -f "$folder/py/TLSSigAPIv2.py" ]; then
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
        --no-deps --target "$folder/py" tls-sig-api-v2==1.1
fi
if [ ! -d "$folder/js/node_modules/tls-sig-api-v2" ]; then
    npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$folder/js" \
        tls-sig-api-v2@1.0.2
fi
