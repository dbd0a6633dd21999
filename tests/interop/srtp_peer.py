"""Peers made of libsrtp (through pylibsrtp) and ordinary sockets, which share no line with the node.

Reads a plan as JSON on standard input: `ip` of ours, `profile`, `packets` per publisher and `rooms`,
each with `socket` (signalling), `app`, `room`, and the `publisher`'s and the `viewer`'s authorization.
Joins a publisher and a viewer in every room, sends, receives until nothing more comes, leaves, and
writes what the viewers heard as one JSON object. It judges nothing: the test does.
"""

import base64
import http.client
import json
import os
import re
import select
import signal
import socket
import struct
import sys
import time

from pylibsrtp import Error, Policy, Session

PROFILES = {
    "AEAD_AES_128_GCM": (Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 28),
    "AES_CM_128_HMAC_SHA1_80": (Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 30),
}
PAYLOAD_TYPE = 111
PAYLOAD_LEN = 400
INTERVAL_S = 0.01  # between packets of one publisher
QUIET_S = 1.0  # after which nothing more is expected
TIME_MAX_S = 60


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=15)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def request(room, method, path, authorization, body, wanted):
    connection = UnixConnection(room["socket"])
    headers = {"Authorization": authorization, "Content-Type": "application/sdp"}
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    if answer.status != wanted:
        sys.exit(f"{method} {path}: {answer.status} {text}")
    return answer, text


class Member:
    """A joined member: its socket, where the node is, and one libsrtp session per direction."""

    def __init__(self, plan, room, verb, authorization, lines):
        self.room, self.authorization = room, authorization
        self.profile, key_len = PROFILES[plan["profile"]]
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.socket.bind((plan["ip"], 0))
        self.socket.setblocking(False)
        ip, port = self.socket.getsockname()
        ours = os.urandom(key_len)
        offer = [
            "v=0", f"o=- 1 1 IN IP4 {ip}", "s=-", f"c=IN IP4 {ip}", "t=0 0",
            f"m=audio {port} RTP/SAVP {PAYLOAD_TYPE}", f"a=rtpmap:{PAYLOAD_TYPE} opus/48000/2",
            "a=rtcp-mux", f"a=crypto:1 {plan['profile']} inline:{base64.b64encode(ours).decode()}",
        ]
        path = f"/{verb}/{room['app']}/{room['room']}"
        offer = "".join(line + "\r\n" for line in offer + lines)
        answer, sdp = request(room, "POST", path, authorization, offer, 201)
        self.location = answer.getheader("Location")
        crypto = re.search(r"^a=crypto:\d+ (\S+) inline:([A-Za-z0-9+/=]+)", sdp, re.M)
        if crypto[1] != plan["profile"]:
            sys.exit(f"another suite was answered: {sdp}")
        self.theirs = base64.b64decode(crypto[2])
        self.sealing = self.session(ours, Policy.SSRC_ANY_OUTBOUND)
        self.opening = self.opener()
        media = re.search(r"^m=audio (\d+) \S+ (\d+)", sdp, re.M)
        self.remote = (re.search(r"^c=IN IP4 (\S+)", sdp, re.M)[1], int(media[1]))
        ssrc = re.search(r"^a=ssrc:(\d+)", sdp, re.M)
        self.told = {"ssrc": ssrc and int(ssrc[1]), "payload_type": int(media[2]), "port": port}
        self.rtp, self.rtcp, self.refused, self.strange, self.first = [], 0, [], [], None

    def session(self, key, ssrc_type):
        return Session(Policy(key=key, ssrc_type=ssrc_type, srtp_profile=self.profile))

    def opener(self):
        """A fresh session under the node's key, without any history."""
        return self.session(self.theirs, Policy.SSRC_ANY_INBOUND)

    def receive(self):
        """Takes what is there; true when there was something."""
        try:
            sealed, source = self.socket.recvfrom(2048)
        except BlockingIOError:
            return False
        if source != self.remote:
            self.strange.append(f"from {source}")
        elif len(sealed) >= 12 and 192 <= sealed[1] <= 223:
            try:
                self.opening.unprotect_rtcp(sealed)
                self.rtcp += 1
            except Error as error:
                self.refused.append(f"RTCP: {error}")
        else:
            self.first = self.first or sealed
            try:
                self.take(self.opening.unprotect(sealed))
            except Error as error:
                self.refused.append(f"RTP: {error}")
        return True

    def take(self, packet):
        first, second, sequence, _, ssrc = struct.unpack_from(">BBHII", packet)
        sources, payload = first & 0x0F, packet[12 + 4 * (first & 0x0F) :]
        if first & 0xF0 != 0x80:
            self.strange.append(f"neither padding nor an extension was sent: {first:#x}")
            return
        mark, number = payload.rstrip(b".").decode().rsplit("#", 1)
        csrcs = list(struct.unpack_from(f">{sources}I", packet, 12))
        self.rtp.append([mark, int(number), sequence, ssrc, second & 0x7F, csrcs, len(payload)])

    def leave(self):
        request(self.room, "DELETE", self.location, self.authorization, None, 200)
        self.socket.close()


class Publisher(Member):
    def __init__(self, plan, room, ssrc):
        lines = ["a=sendonly", f"a=ssrc:{ssrc} cname:x"]
        super().__init__(plan, room, "whip", room["publisher"], lines)
        self.ssrc, self.number = ssrc, 0
        self.start = int.from_bytes(os.urandom(2), "big") >> 1

    def send(self):
        """One packet that says where it belongs, and which it is."""
        mark = f"{self.room['app']}/{self.room['room']}#{self.number}".encode()
        sequence = self.start + self.number & 0xFFFF
        head = struct.pack(">BBHII", 0x80, PAYLOAD_TYPE, sequence, self.number * 480, self.ssrc)
        packet = self.sealing.protect(head + mark.ljust(PAYLOAD_LEN, b"."))
        self.socket.sendto(packet, self.remote)
        if self.number % 50 == 0:
            self.report()
        self.number += 1

    def report(self):
        """A sender report (RFC 3550, section 6.4.1) and the CNAME that must go with it."""
        now = int((time.time() + 2208988800) * 2**32)
        counts = (self.number * 480, self.number + 1, (self.number + 1) * PAYLOAD_LEN)
        compound = struct.pack(">BBHIQIII", 0x80, 200, 6, self.ssrc, now, *counts)
        compound += struct.pack(">BBHIBBcx", 0x81, 202, 2, self.ssrc, 1, 1, b"x")
        self.socket.sendto(self.sealing.protect_rtcp(compound), self.remote)


def flow(publishers, viewers, packets):
    members = publishers + viewers
    poll = {member.socket.fileno(): member for member in members}
    due, last, sent = time.monotonic(), time.monotonic(), 0
    while sent < packets or time.monotonic() - last < QUIET_S:
        if sent < packets and time.monotonic() >= due:
            for publisher in publishers:
                publisher.send()
            sent, last = sent + 1, time.monotonic()
            due += INTERVAL_S
        wait = max(0, due - time.monotonic()) if sent < packets else 0.05
        for ready in select.select(list(poll), [], [], wait)[0]:
            while poll[ready].receive():
                # Reports go on for ever; media must stop.
                if poll[ready] in viewers:
                    last = last if sent == packets else time.monotonic()


def opened_by_others(viewer, viewers):
    """How many others' keys open what this viewer got: the proof that opening proves something."""
    count = 0
    for other in viewers:
        if other is not viewer and viewer.first:
            try:
                other.opener().unprotect(viewer.first)
                count += 1
            except Error:
                pass
    return count


def main():
    # Whatever happens, this ends.
    signal.alarm(TIME_MAX_S)
    plan = json.load(sys.stdin)
    rooms = plan["rooms"]
    publishers = [Publisher(plan, room, 0x5000 + at) for at, room in enumerate(rooms)]
    viewers = [Member(plan, room, "whep", room["viewer"], ["a=recvonly"]) for room in rooms]
    flow(publishers, viewers, plan["packets"])
    report = []
    for publisher, viewer in zip(publishers, viewers):
        report.append({
            "told": viewer.told, "heard": viewer.rtp, "rtcp": viewer.rtcp,
            "refused": viewer.refused + publisher.refused,
            "strange": viewer.strange + publisher.strange,
            "publisher_heard": len(publisher.rtp), "publisher_rtcp": publisher.rtcp,
            "opened_by_others": opened_by_others(viewer, viewers), "sent": publisher.number,
        })
    for member in publishers + viewers:
        member.leave()
    json.dump({"rooms": report}, sys.stdout)


main()
