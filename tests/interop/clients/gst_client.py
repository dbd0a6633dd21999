"""GStreamer's webrtcbin as many publishers and viewers; see members.rs for the lines, marks.py for media."""

import array
import json
import sys
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstWebRTC", "1.0")
gi.require_version("GstSdp", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

from marks import FPS, HEIGHT, RATE, WIDTH, Seen, picture  # noqa: E402

VP8 = "application/x-rtp,media=video,encoding-name=VP8,clock-rate=90000,payload=96"
OPUS = "application/x-rtp,media=audio,encoding-name=OPUS,clock-rate=48000,encoding-params=(string)2,payload=111"
PUBLISHER = f"""
  webrtcbin name=rtc bundle-policy=max-bundle
  audiotestsrc is-live=true freq={{hz}} volume=0.25 ! audio/x-raw,rate={RATE},channels=1 ! opusenc !
  rtpopuspay pt=111 ! {OPUS} ! rtc.
  appsrc name=picture is-live=true do-timestamp=true format=time
  caps=video/x-raw,format=I420,width={WIDTH},height={HEIGHT},framerate={FPS}/1 !
  vp8enc deadline=1 keyframe-max-dist={FPS * 3} target-bitrate=300000 ! rtpvp8pay pt=96 mtu=1180 ! {VP8} ! rtc.
"""
VIDEO = "rtpvp8depay ! vp8dec ! videoconvert ! video/x-raw,format=I420 ! appsink name=sink emit-signals=true sync=false"
AUDIO = f"""rtpopusdepay ! opusdec ! audioconvert ! audioresample ! audio/x-raw,format=S16LE,channels=1,rate={RATE} !
  appsink name=sink emit-signals=true sync=false"""


def ask(element, signal, *arguments):
    """Waits for what a signal of webrtcbin promises."""
    promise = Gst.Promise.new()
    element.emit(signal, *arguments, promise)
    promise.wait()
    return promise.get_reply()


class Member:
    def __init__(self, role, mark):
        self.seen, self.number, self.mark, self.error = Seen(), 0, mark, None
        if role == "publish":
            self.pipeline = Gst.parse_launch(PUBLISHER.format(hz=400 + 150 * mark))
            GLib.timeout_add(1000 // FPS, self.push)
        else:
            self.pipeline = Gst.Pipeline()
            self.pipeline.add(Gst.parse_launch("webrtcbin name=rtc bundle-policy=max-bundle"))
        self.rtc = self.pipeline.get_by_name("rtc")
        direction = GstWebRTC.WebRTCRTPTransceiverDirection
        if role == "publish":
            for at in range(2):
                self.rtc.emit("get-transceiver", at).set_property("direction", direction.SENDONLY)
        else:
            for caps in (OPUS, VP8):
                self.rtc.emit("add-transceiver", direction.RECVONLY, Gst.Caps.from_string(caps))
            self.rtc.connect("pad-added", self.added)
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::error", self.failed)
        self.pipeline.set_state(Gst.State.PLAYING)

    def failed(self, _, message):
        self.error = str(message.parse_error())

    def push(self):
        data = picture(self.mark, self.number)
        self.number += 1
        self.pipeline.get_by_name("picture").emit("push-buffer", Gst.Buffer.new_wrapped(data))
        return True

    def added(self, _, pad):
        if pad.direction != Gst.PadDirection.SRC:
            return
        video = pad.get_current_caps().get_structure(0).get_string("media") == "video"
        decoder = Gst.parse_bin_from_description(VIDEO if video else AUDIO, True)
        decoder.get_by_name("sink").connect("new-sample", self.take, video)
        self.pipeline.add(decoder)
        decoder.sync_state_with_parent()
        pad.link(decoder.get_static_pad("sink"))

    def take(self, sink, video):
        buffer = sink.emit("pull-sample").get_buffer()
        data = buffer.extract_dup(0, buffer.get_size())
        if video:
            # I420 with lines padded to four bytes; both numbers divide by eight.
            right = WIDTH * (HEIGHT // 2) + WIDTH * 3 // 4
            middle = WIDTH * HEIGHT + WIDTH // 2 * (HEIGHT // 4) + WIDTH // 4
            self.seen.video(data[right], data[middle])
        else:
            self.seen.audio(array.array("h", data))
        return Gst.FlowReturn.OK

    def offer(self):
        reply = ask(self.rtc, "create-offer", None)
        offer = reply.get_value("offer")
        ask(self.rtc, "set-local-description", offer)
        return {"offer": offer.sdp.as_text()}

    def answer(self, sdp):
        _, message = GstSdp.SDPMessage.new_from_text(sdp)
        kind = GstWebRTC.WebRTCSDPType.ANSWER
        answer = GstWebRTC.WebRTCSessionDescription.new(kind, message)
        ask(self.rtc, "set-remote-description", answer)
        return {}

    def report(self):
        state = self.rtc.get_property("connection-state").value_nick
        return {"state": state, "lost": 0, "error": self.error} | self.seen.report()


def serve(loop):
    members = {}
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "join":
            members[order["name"]] = member = Member(order["role"], order["mark"])
            said = member.offer()
        elif order["do"] == "answer":
            said = members[order["name"]].answer(order["sdp"])
        else:
            said = {"members": {name: member.report() for name, member in members.items()}}
        print(json.dumps(said), flush=True)
    for member in members.values():
        member.pipeline.set_state(Gst.State.NULL)
    loop.quit()


Gst.init(None)
main_loop = GLib.MainLoop()
threading.Thread(target=serve, args=(main_loop,), daemon=True).start()
main_loop.run()
