"""The other end of tests/libsrtp.rs: libsrtp, through pylibsrtp, driven over standard input.

A batch is a 4-byte length and that many bytes of requests; its answer has the same form.
A request is: operation (1 byte), length (2 bytes), bytes. A reply is: 0 and the packet, or 1 and
libsrtp's reason, with a 2-byte length between. Numbers are big-endian.
"""

import struct
import sys

from pylibsrtp import Error, Policy, Session

PROFILES = {
    b"AEAD_AES_128_GCM": Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    b"AEAD_AES_256_GCM": Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
    b"AES_CM_128_HMAC_SHA1_80": Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
}


class Peer:
    def __init__(self):
        self.operations = {}

    def create(self, request):
        """Request: profile name, a space, master key with salt. Forgets what was before."""
        name, key = request.split(b" ", 1)

        def session(ssrc_type):
            policy = Policy(key=key, ssrc_type=ssrc_type, srtp_profile=PROFILES[name])
            policy.window_size = 1024
            return Session(policy)

        sealing = session(Policy.SSRC_ANY_OUTBOUND)
        opening = session(Policy.SSRC_ANY_INBOUND)
        self.operations = {
            ord("S"): sealing.protect,
            ord("s"): sealing.protect_rtcp,
            ord("O"): opening.unprotect,
            ord("o"): opening.unprotect_rtcp,
        }
        return b""

    def answer(self, operation, request):
        work = self.create if operation == ord("C") else self.operations[operation]
        try:
            status, body = 0, work(request)
        except Error as error:
            status, body = 1, str(error).encode()
        return struct.pack(">BH", status, len(body)) + body


def main():
    source, sink, peer = sys.stdin.buffer, sys.stdout.buffer, Peer()
    while head := source.read(4):
        batch = source.read(struct.unpack(">I", head)[0])
        at, replies = 0, []
        while at < len(batch):
            operation, length = struct.unpack_from(">BH", batch, at)
            at += 3
            replies.append(peer.answer(operation, batch[at : at + length]))
            at += length
        out = b"".join(replies)
        sink.write(struct.pack(">I", len(out)) + out)
        sink.flush()


main()
