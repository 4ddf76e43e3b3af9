#!/usr/bin/env bash
# Builds the compose specification's own reader (compose-go, what `docker compose config` is made of) for
# tests/test_docker.py. It checks a file by the specification's schema and by what its parts say of each other.
#
#   tests/services/install-compose-go.sh [DIR]    DIR/compose-go; by default where the tests look for it:
#                                                 ${XDG_CACHE_HOME:-~/.cache}/kapok/compose-go-2.9.1
#
# Half a minute the first time; a second run returns at once. Needs go (1.23 or newer).
set -euo pipefail

VERSION=v2.9.1
DEST=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/kapok/compose-go-${VERSION#v}}

[[ -x $DEST/compose-go ]] && exit 0
command -v go >/dev/null || { echo "install-compose-go: needs go: install it and run this again" >&2; exit 3; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
GOTOOLCHAIN=local GOBIN=$work go install "github.com/compose-spec/compose-go/v2/cmd@$VERSION"
mkdir -p "$DEST"
mv "$work/cmd" "$DEST/compose-go" # into place in one step
echo "installed $DEST/compose-go"
