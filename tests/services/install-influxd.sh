#!/usr/bin/env bash
# Builds a real InfluxDB 2 server (influxd) from its released source, for tests/test_archive.py.
#
#   tests/services/install-influxd.sh [DIR]     DIR/influxd; by default where the tests look for it:
#                                               ${XDG_CACHE_HOME:-~/.cache}/kapok/influxd-2.7.12
#
# About 5 minutes and 2 GB of scratch space the first time; a second run returns at once.
# Needs go (1.22 or newer), cargo and a C compiler. The query engine (Flux) is a Rust library, which
# influxdata's own pkg-config wrapper builds while the Go build asks for its flags.
set -euo pipefail

VERSION=v2.7.12
PKG_CONFIG_VERSION=v0.2.14
DEST=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/kapok/influxd-${VERSION#v}}
MODULE=github.com/influxdata/influxdb/v2

mkdir -p "$DEST"
DEST=$(cd "$DEST" && pwd)
if [[ -x $DEST/influxd ]] && "$DEST/influxd" version 2>/dev/null | grep -qF "$VERSION"; then
    echo "$DEST/influxd is there already"
    exit 0
fi
for tool in go cargo cc; do
    command -v "$tool" >/dev/null || { echo "install-influxd: needs $tool: install it and run this again" >&2; exit 3; }
done

work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
cd "$work"

export GOTOOLCHAIN=local CGO_ENABLED=1 GOFLAGS="-mod=mod -buildvcs=false"
# The Flux library brings a toolchain file of its own; build it with the one that is installed.
if command -v rustup >/dev/null; then
    RUSTUP_TOOLCHAIN=$(cd / && rustup show active-toolchain | cut -d' ' -f1)
    export RUSTUP_TOOLCHAIN
fi

# A module that requires influxdb: `go install` of it alone would refuse its replace directive.
go_version=$(go env GOVERSION | sed -E 's/^go([0-9]+\.[0-9]+).*/\1/')
cat > go.mod <<MOD
module install

go $go_version.0

require $MODULE $VERSION

replace github.com/nats-io/nats-streaming-server v0.11.2 => github.com/influxdata/nats-streaming-server v0.11.3-0.20201112040610-c277f7560803
MOD

mkdir bin
GOBIN=$work/bin go install "github.com/influxdata/pkg-config@$PKG_CONFIG_VERSION"

# Newer rustc has lints that the library turns into errors.
cat > bin/rustc-lenient <<'SH'
#!/bin/sh
rustc=$1
shift
case " $* " in
    *" --cap-lints"*) exec "$rustc" "$@" ;;
    *) exec "$rustc" "$@" --cap-lints warn ;;
esac
SH
chmod +x bin/rustc-lenient
export RUSTC_WRAPPER=$work/bin/rustc-lenient PKG_CONFIG=$work/bin/pkg-config PATH=$work/bin:$PATH

go build -tags sqlite_foreign_keys,sqlite_json -ldflags "-s -w -X main.version=$VERSION" \
    -o influxd "$MODULE/cmd/influxd"
./influxd version
# Into place in one step, so that a test never finds half a server.
cp influxd "$DEST/influxd.$$"
mv "$DEST/influxd.$$" "$DEST/influxd"
echo "installed $DEST/influxd"
