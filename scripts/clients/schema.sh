#!/bin/sh
# Ask every described endpoint of a running studio at random, as /openapi.json describes it, and expect no failure of the server.
#
#     scripts/clients/schema.sh http://127.0.0.1:7860
set -eu
url=$1
# It keeps its examples in the folder where it runs.
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
schemathesis run "$url/openapi.json" --url "$url" --checks not_a_server_error --seed 14 --max-examples "${EXAMPLES:-20}" \
    --request-timeout 60 --workers 2 --no-color
