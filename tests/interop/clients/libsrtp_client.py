"""libsrtp on plain sockets (RTP/SAVP with SDES keys) as many publishers and viewers; see members.rs.

A publisher sends the Opus packets it is given; a viewer decodes what libsrtp opens. Arguments: the address
of ours, the crypto suite.
"""

import base64
import json
import os
import re
import select
import socket
import struct
import sys
import time

from aiortc.codecs.vpx import VpxPayloadDescriptor
from aiortc.rtp import RtpPacket
from av import AudioCodecContext, CodecContext, Packet
from av.error import InvalidDataError
from marks import RATE, SAMPLES, Seen
from pylibsrtp import Error, Policy, Session

# By suite: libsrtp's profile, and the bytes of key and salt (RFC 7714 section 14.2, RFC 4568 section 6.2).
SUITES = {
    "AEAD_AES_128_GCM": (Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 28),
    "AES_CM_128_HMAC_SHA1_80": (Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 30),
}
IP, SUITE = sys.argv[1:]
PROFILE, KEY_LEN = SUITES[SUITE]
KINDS = {"audio": (111, "opus/48000/2"), "video": (96, "VP8/90000")}
PACKET_S = SAMPLES / RATE


def decoder(kind):
    if kind == "video":
        return CodecContext.create("libvpx", "r")
    codec = AudioCodecContext.create("libopus", "r")
    codec.format, codec.layout, codec.sample_rate = "s16", "stereo", RATE
    return codec


def session(key, ssrc_type):
    return Session(Policy(key=key, ssrc_type=ssrc_type, srtp_profile=PROFILE))


class Leg:
    """One m-section: a socket and a session for each way."""

    def __init__(self, kind):
        self.kind, self.key = kind, os.urandom(KEY_LEN)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((IP, 0))
        self.socket.setblocking(False)
        self.sealing = session(self.key, Policy.SSRC_ANY_OUTBOUND)
        self.opening = self.remote = None
        self.decoder, self.payload = decoder(kind), b""
        self.opened, self.first, self.last = 0, None, None

    def offer(self, line):
        number, name = KINDS[self.kind]
        key = base64.b64encode(self.key).decode()
        return [
            f"m={self.kind} {self.socket.getsockname()[1]} RTP/SAVP {number}", "a=rtcp-mux",
            f"a=rtpmap:{number} {name}", f"a=crypto:1 {SUITE} inline:{key}", *line,
        ]

    def answer(self, section, ip):
        self.remote = ip, int(re.match(r"\S+ (\d+)", section)[1])
        key = re.search(rf"^a=crypto:\d+ {SUITE} inline:(\S+)", section, re.M)[1]
        self.opening = session(base64.b64decode(key), Policy.SSRC_ANY_INBOUND)

    def take(self, packet, seen):
        """Decodes what is whole: a packet of sound, the packets of a picture up to its marker bit."""
        packet = RtpPacket.parse(packet)
        number = packet.sequence_number
        if self.opened == 0:
            self.first = self.last = number
        # On from the highest so far, by the shorter way round.
        self.last += max(0, (number - self.last + 0x8000 & 0xFFFF) - 0x8000)
        self.opened += 1
        is_video = self.kind == "video"
        self.payload += VpxPayloadDescriptor.parse(packet.payload)[1] if is_video else packet.payload
        if not is_video or packet.marker:
            whole, self.payload = self.payload, b""
            try:
                for frame in self.decoder.decode(Packet(whole)):
                    seen.frame(frame)
            except InvalidDataError:
                # A picture that lost a packet; what was lost is told by its numbers.
                pass

    def lost(self):
        """Numbers between the first packet and the last under which none came."""
        return self.last - self.first + 1 - self.opened if self.opened else 0


class Member:
    def __init__(self, order):
        self.opus = [base64.b64decode(packet) for packet in order.get("opus", [])]
        self.publishes, self.number, self.start = order["role"] == "publish", 0, None
        self.ssrc = int.from_bytes(os.urandom(4), "big") | 1
        self.legs = [Leg(kind) for kind in (["audio"] if self.publishes else KINDS)]
        self.seen, self.refused = Seen(), []

    def offer(self):
        way = ["a=sendonly", f"a=ssrc:{self.ssrc} cname:x"] if self.publishes else ["a=recvonly"]
        lines = ["v=0", f"o=- 1 1 IN IP4 {IP}", "s=-", f"c=IN IP4 {IP}", "t=0 0"]
        lines += [line for leg in self.legs for line in leg.offer(way)]
        return {"offer": "".join(line + "\r\n" for line in lines)}

    def answer(self, sdp):
        ip = re.search(r"^c=IN IP4 (\S+)", sdp, re.M)[1]
        for leg, section in zip(self.legs, re.split(r"^m=", sdp, flags=re.M)[1:]):
            leg.answer(section, ip)
        self.start = time.monotonic()
        return {}

    def send(self):
        """What is due by now, and a sender report each second (RFC 3550, section 6.4.1)."""
        leg = self.legs[0]
        while self.opus and self.start and time.monotonic() >= self.start + self.number * PACKET_S:
            stamp = self.number * 960 & 0xFFFFFFFF
            head = struct.pack(">BBHII", 0x80, 111, self.number & 0xFFFF, stamp, self.ssrc)
            packet = head + self.opus[self.number % len(self.opus)]
            leg.socket.sendto(leg.sealing.protect(packet), leg.remote)
            if self.number % 50 == 0:
                now = int((time.time() + 2208988800) * 2**32)
                report = struct.pack(">BBHIQIII", 0x80, 200, 6, self.ssrc, now, stamp, self.number, 0)
                report += struct.pack(">BBHIBBcx", 0x81, 202, 2, self.ssrc, 1, 1, b"x")
                leg.socket.sendto(leg.sealing.protect_rtcp(report), leg.remote)
            self.number += 1

    def receive(self, leg):
        sealed = leg.socket.recv(2048)
        try:
            if len(sealed) >= 12 and 192 <= sealed[1] <= 223:
                leg.opening.unprotect_rtcp(sealed)
                return
            packet = leg.opening.unprotect(sealed)
        except Error as error:
            self.refused.append(str(error))
            return
        leg.take(packet, self.seen)

    def report(self):
        came = self.number or any(leg.opened for leg in self.legs)
        lost = sum(leg.lost() for leg in self.legs)
        return {"state": "connected" if came else "new", "profile": SUITE, "lost": lost} | self.seen.report()


def main():
    members, rest = {}, b""
    while True:
        legs = [(member, leg) for member in members.values() for leg in member.legs]
        # What comes before the answer waits in the socket.
        sockets = {leg.socket: (member, leg) for member, leg in legs if leg.opening}
        for member in members.values():
            member.send()
        for ready in select.select([sys.stdin.fileno(), *sockets], [], [], PACKET_S / 4)[0]:
            if ready in sockets:
                Member.receive(*sockets[ready])
                continue
            data = os.read(ready, 1 << 16)
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                print(json.dumps(act(members, json.loads(line))), flush=True)


def act(members, order):
    if order["do"] == "join":
        members[order["name"]] = member = Member(order)
        return member.offer()
    if order["do"] == "answer":
        return members[order["name"]].answer(order["sdp"])
    refused = [why for member in members.values() for why in member.refused]
    report = {name: member.report() for name, member in members.items()}
    return {"members": report, "refused": len(refused), "reasons": refused[:5]}


main()
