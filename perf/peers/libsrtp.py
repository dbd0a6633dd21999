"""How long libsrtp takes to protect a packet: what `roomlane-perf seal` is compared with.

usage: python libsrtp.py [--seconds S]

Needs pylibsrtp, whose wheel has libsrtp built on OpenSSL. Calls libsrtp itself through the wheel's binding,
takes the time of a call that it refuses off, and prints JSON lines like those of `roomlane-perf seal --json`.
"""

import argparse
import json
import statistics
import time

import pylibsrtp
from pylibsrtp._binding import ffi, lib

HEADER = 12
PAYLOADS = (100, 200, 400, 1200)
CALLS = 2000
# srtp_err_status_ok, srtp_err_status_bad_param
OK, BAD_PARAMETER = 0, 2
PROFILES = {
    "AES_CM_128_HMAC_SHA1_80": (pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 30),
    "AEAD_AES_128_GCM": (pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 28),
}


def per_call(call):
    """Nanoseconds of one call, of a few thousand in a row."""
    began = time.perf_counter_ns()
    for _ in range(CALLS):
        call()
    return (time.perf_counter_ns() - began) / CALLS


def protector(profile, key_len, total, wanted):
    """A call that protects `total` bytes, and ends with the status `wanted`."""
    policy = pylibsrtp.Policy(
        key=bytes(range(key_len)), ssrc_type=pylibsrtp.Policy.SSRC_ANY_OUTBOUND, srtp_profile=profile
    )
    # The same packet again and again: its index does not matter to the time.
    policy.allow_repeat_tx = True
    session = pylibsrtp.Session(policy)
    header = bytes.fromhex("80600001000000005501a0b2")
    packet, length = ffi.new("unsigned char[2048]", header), ffi.new("int *")
    protect, handle = lib.srtp_protect, session._srtp[0]

    def call():
        length[0] = total
        assert protect(handle, packet, length) == wanted

    call.kept = session
    return call


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=6)
    seconds = parser.parse_args().seconds
    # No packet at all is refused at once.
    nothing = ("nothing", 0)
    lanes = {nothing: protector(*PROFILES["AES_CM_128_HMAC_SHA1_80"], 0, BAD_PARAMETER)}
    for name, (profile, key_len) in PROFILES.items():
        for payload in PAYLOADS:
            lanes[name, payload] = protector(profile, key_len, HEADER + payload, OK)
    samples = {lane: [] for lane in lanes}
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for lane, call in lanes.items():
            samples[lane].append(per_call(call))
    call_ns = statistics.median(samples.pop(nothing))
    for (profile, payload), taken in samples.items():
        line = {
            "rung": "seal_only",
            "provider": "libsrtp",
            "path": "openssl",
            "profile": profile,
            "payload_bytes": payload,
            "fanout": 1,
            "ns_per_packet": statistics.median(taken) - call_ns,
            "call_ns": call_ns,
        }
        print(json.dumps(line))


main()
