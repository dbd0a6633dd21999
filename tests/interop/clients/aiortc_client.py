"""aiortc as many publishers and viewers; the lines it reads and writes are described in members.rs."""

import asyncio
import json
import logging
import sys
import time
from fractions import Fraction

from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame, VideoFrame
from marks import FPS, HEIGHT, RATE, SAMPLES, WIDTH, Seen, picture, sound


class Refusals(logging.Handler):
    """Counts what libsrtp could not open; aiortc tells it to its log alone."""

    count = 0

    def emit(self, record):
        Refusals.count += "unprotect failed" in record.getMessage()


class Paced(MediaStreamTrack):
    """A track that makes `per_second` frames."""

    def __init__(self, mark, per_second):
        super().__init__()
        self.mark, self.per_second, self.number, self.start = mark, per_second, 0, time.time()

    async def next(self):
        number, self.number = self.number, self.number + 1
        await asyncio.sleep(max(0, self.start + number / self.per_second - time.time()))
        return number


class Picture(Paced):
    kind = "video"

    async def recv(self):
        number = await self.next()
        frame = VideoFrame(WIDTH, HEIGHT, "yuv420p")
        data, at = picture(self.mark, number), 0
        for plane in frame.planes:
            line = WIDTH if plane.width == WIDTH else WIDTH // 2
            rows = [data[at + row * line : at + (row + 1) * line] for row in range(plane.height)]
            plane.update(b"".join(row.ljust(plane.line_size, b"\0") for row in rows))
            at += line * plane.height
        frame.pts, frame.time_base = number, Fraction(1, FPS)
        return frame


class Sound(Paced):
    kind = "audio"

    async def recv(self):
        number = await self.next()
        frame = AudioFrame("s16", "mono", SAMPLES)
        frame.planes[0].update(sound(self.mark, number).tobytes())
        frame.pts, frame.sample_rate, frame.time_base = number * SAMPLES, RATE, Fraction(1, RATE)
        return frame


async def watch(track, seen):
    """Looks at what aiortc decodes until the track ends."""
    try:
        while True:
            seen.frame(await track.recv())
    except MediaStreamError:
        pass


class Member:
    def __init__(self, role, mark):
        self.pc, self.seen = RTCPeerConnection(RTCConfiguration(iceServers=[])), Seen()
        if role == "publish":
            self.pc.addTransceiver(Sound(mark, RATE / SAMPLES), "sendonly")
            self.pc.addTransceiver(Picture(mark, FPS), "sendonly")
        else:
            self.pc.addTransceiver("audio", "recvonly")
            self.pc.addTransceiver("video", "recvonly")
            self.pc.on("track", lambda track: asyncio.ensure_future(watch(track, self.seen)))

    async def offer(self):
        await self.pc.setLocalDescription(await self.pc.createOffer())
        return {"offer": self.pc.localDescription.sdp}

    async def answer(self, sdp):
        await self.pc.setRemoteDescription(RTCSessionDescription(sdp, "answer"))
        return {}

    async def report(self):
        stats = (await self.pc.getStats()).values()
        transport = self.pc.getTransceivers()[0].receiver.transport
        profile = transport._ssl and transport._ssl.get_selected_srtp_profile().decode()
        lost = sum(stat.packetsLost for stat in stats if stat.type == "inbound-rtp")
        state = {"state": self.pc.connectionState, "profile": profile, "lost": lost}
        return state | self.seen.report()


async def main():
    log = logging.getLogger("aiortc.rtcdtlstransport")
    log.setLevel(logging.DEBUG)
    log.propagate = False
    log.addHandler(Refusals())
    lines, members = asyncio.StreamReader(limit=1 << 20), {}
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        ask = json.loads(line)
        if ask["do"] == "join":
            members[ask["name"]] = member = Member(ask["role"], ask["mark"])
            said = await member.offer()
        elif ask["do"] == "answer":
            said = await members[ask["name"]].answer(ask["sdp"])
        else:
            said = {name: await member.report() for name, member in members.items()}
            said = {"members": said, "refused": Refusals.count}
        print(json.dumps(said), flush=True)
    await asyncio.gather(*(member.pc.close() for member in members.values()))


asyncio.run(main())
