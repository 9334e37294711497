#!/bin/sh
# Installs the Debian or Ubuntu packages that Gatehouse needs to build, run and
# test, and that are missing; nothing else. Needs root or sudo only when
# something is missing.
set -eu

fail() { echo "deps: $*" >&2; exit 1; }

# libopencv-*-dev one by one: the full libopencv-dev would bring 90 packages more.
# stitching, ml and flann are not linked, but opencv.hpp includes their headers.
wanted="gcc g++ libc6-dev fonts-droid-fallback mosquitto mosquitto-clients"
for module in core imgproc imgcodecs videoio highgui objdetect calib3d features2d video photo dnn stitching ml flann; do
    wanted="$wanted libopencv-$module-dev"
done
command -v npm >/dev/null 2>&1 || wanted="$wanted npm"

command -v go >/dev/null 2>&1 || fail "Go 1.26 or newer is missing; install it from go.dev/dl, it is not taken from Debian (too old there)"
command -v dpkg-query >/dev/null 2>&1 || fail "this is no Debian or Ubuntu; install OpenCV 4.6 with headers, mosquitto, npm and the Droid fallback font by hand"

missing=
for package in $wanted; do
    case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true) in
    "install ok installed") ;;
    *) missing="$missing $package" ;;
    esac
done
# A compiler that did not come from a Debian package serves as well.
command -v gcc >/dev/null 2>&1 && missing=$(echo "$missing " | sed 's/ gcc / /; s/ libc6-dev / /')
command -v g++ >/dev/null 2>&1 && missing=$(echo "$missing " | sed 's/ g++ / /')
missing=$(echo $missing)
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null 2>&1 || fail "missing packages, and neither root nor sudo is here; as root run: apt-get install --no-install-recommends $missing"
    as_root=sudo
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "deps: installing $(echo $missing | wc -w) Debian packages and what they need (a few minutes on a bare system):"
echo "deps:   $missing"
echo "deps: reading the package lists"
$as_root apt-get update -qq >"$log" 2>&1 || { tail -n 5 "$log" >&2; fail "apt-get update failed (above); is the network up and are you allowed to use sudo?"; }
echo "deps: downloading and unpacking"
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >"$log" 2>&1 ||
    { tail -n 5 "$log" >&2; fail "apt-get install failed (above)"; }
echo "deps: done"
