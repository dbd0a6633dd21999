"""libsrtp on plain sockets (RTP/SAVP with SDES keys) as many publishers and viewers; see clients.rs.

A publisher sends the Opus packets it is given; a viewer counts what libsrtp opens, sound by packets of
20 ms and pictures by marker bits. Argument: the address of ours.
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

from pylibsrtp import Error, Policy, Session

PROFILE = Policy.SRTP_PROFILE_AEAD_AES_128_GCM
SUITE, KEY_LEN = "AEAD_AES_128_GCM", 28
KINDS = {"audio": (111, "opus/48000/2"), "video": (96, "VP8/90000")}
PACKET_S = 0.02


def session(key, ssrc_type):
    return Session(Policy(key=key, ssrc_type=ssrc_type, srtp_profile=PROFILE))


class Leg:
    """One m-section: a socket and a session for each way."""

    def __init__(self, ip, kind):
        self.kind, self.key = kind, os.urandom(KEY_LEN)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((ip, 0))
        self.socket.setblocking(False)
        self.sealing = session(self.key, Policy.SSRC_ANY_OUTBOUND)
        self.opening = self.remote = None

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


class Member:
    def __init__(self, order, ip):
        self.opus = [base64.b64decode(packet) for packet in order.get("opus", [])]
        self.publishes, self.number, self.start = order["role"] == "publish", 0, None
        self.ssrc = int.from_bytes(os.urandom(4), "big") | 1
        self.legs = [Leg(ip, kind) for kind in (["audio"] if self.publishes else KINDS)]
        self.ip, self.opened, self.refused = ip, {"audio": 0, "video": 0}, []
        self.frames = 0

    def offer(self):
        way = ["a=sendonly", f"a=ssrc:{self.ssrc} cname:x"] if self.publishes else ["a=recvonly"]
        lines = ["v=0", f"o=- 1 1 IN IP4 {self.ip}", "s=-", f"c=IN IP4 {self.ip}", "t=0 0"]
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
            self.opened[leg.kind] += 1
            self.frames += leg.kind == "video" and packet[1] >> 7
        except Error as error:
            self.refused.append(str(error))

    def report(self):
        return {
            "state": "connected" if any(self.opened.values()) or self.number else "new",
            "frames": self.frames, "seconds": self.opened["audio"] * PACKET_S,
        }


def main(ip):
    members, rest = {}, b""
    while True:
        sockets = {leg.socket: (member, leg) for member in members.values() for leg in member.legs}
        for member in members.values():
            member.send()
        for ready in select.select([sys.stdin.fileno(), *sockets], [], [], PACKET_S / 4)[0]:
            if ready in sockets:
                member, leg = sockets[ready]
                member.receive(leg)
                continue
            data = os.read(ready, 1 << 16)
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                print(json.dumps(act(members, json.loads(line), ip)), flush=True)


def act(members, order, ip):
    if order["do"] == "join":
        members[order["name"]] = member = Member(order, ip)
        return member.offer()
    if order["do"] == "answer":
        return members[order["name"]].answer(order["sdp"])
    refused = [why for member in members.values() for why in member.refused]
    report = {name: member.report() for name, member in members.items()}
    return {"members": report, "refused": len(refused), "reasons": refused[:5]}


main(sys.argv[1])
