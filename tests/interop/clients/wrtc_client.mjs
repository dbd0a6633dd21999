// libwebrtc in Node as many publishers and viewers; the lines it reads and writes are described in
// members.rs, the marks in marks.py. Its packages are those of the browser tests.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const require = createRequire(new URL('../../browser/package.json', import.meta.url));
const wrtc = require('@roamhq/wrtc');
const { RTCVideoSource, RTCAudioSource, RTCVideoSink, RTCAudioSink } = wrtc.nonstandard;

const WIDTH = 160, HEIGHT = 120, FPS = 15, RATE = 48000, SAMPLES = RATE / 100;

function picture(mark, number) {
  const luma = WIDTH * HEIGHT, quarter = luma / 4;
  const data = new Uint8ClampedArray(luma + 2 * quarter).fill(128);
  for (let row = 0; row < HEIGHT; row++) {
    data.fill(40 + (number * 8) % 160, row * WIDTH + WIDTH / 2, (row + 1) * WIDTH);
  }
  data.fill(50 + 25 * mark, luma, luma + quarter);
  return { width: WIDTH, height: HEIGHT, data };
}

function sound(mark, number) {
  const samples = new Int16Array(SAMPLES), step = (2 * Math.PI * (400 + 150 * mark)) / RATE;
  for (let at = 0; at < SAMPLES; at++) samples[at] = 8000 * Math.sin(step * (number * SAMPLES + at));
  return { samples, sampleRate: RATE, channelCount: 1, numberOfFrames: SAMPLES };
}

/** Calls `make` with 0, 1, 2 .. `perSecond` times a second, made up for when late. */
function paced(perSecond, make) {
  const start = performance.now();
  let number = 0;
  return setInterval(() => {
    while (number < ((performance.now() - start) / 1000) * perSecond) make(number++);
  }, 1000 / perSecond);
}

class Member {
  constructor(role, mark) {
    this.pc = new wrtc.RTCPeerConnection({ iceServers: [], bundlePolicy: 'max-bundle' });
    this.sinks = [];
    this.timers = [];
    Object.assign(this, { frames: 0, moved: 0, cb: null, luma: null });
    Object.assign(this, { seconds: 0, hz: null, samples: 0, crossings: 0, last: 0 });
    if (role === 'publish') {
      const video = new RTCVideoSource(), audio = new RTCAudioSource();
      for (const source of [audio, video]) {
        this.pc.addTransceiver(source.createTrack(), { direction: 'sendonly' });
      }
      this.timers.push(paced(FPS, (number) => video.onFrame(picture(mark, number))));
      this.timers.push(paced(100, (number) => audio.onData(sound(mark, number))));
    } else {
      for (const kind of ['audio', 'video']) this.pc.addTransceiver(kind, { direction: 'recvonly' });
      this.pc.ontrack = ({ track }) => this.watch(track);
    }
  }

  watch(track) {
    const sink = track.kind === 'video' ? new RTCVideoSink(track) : new RTCAudioSink(track);
    if (track.kind === 'video') sink.onframe = ({ frame }) => this.video(frame);
    else sink.ondata = (data) => this.audio(data);
    this.sinks.push(sink);
  }

  video({ width, height, data }) {
    const luma = data[width * (height >> 1) + ((width * 3) >> 2)];
    const half = (width + 1) >> 1;
    this.frames++;
    if (this.luma !== null && Math.abs(luma - this.luma) > 3) this.moved++;
    this.luma = luma;
    this.cb = data[width * height + half * (height >> 2) + (half >> 1)];
  }

  audio({ samples, sampleRate, channelCount }) {
    for (let at = 0; at < samples.length; at += channelCount) {
      if (this.last < 0 && samples[at] >= 0) this.crossings++;
      this.last = samples[at];
      this.samples++;
    }
    if (this.samples >= sampleRate / 2) {
      this.hz = (this.crossings * sampleRate) / this.samples;
      // Its mixer makes silence for ever; only a tone is sound.
      if (this.crossings > 0) this.seconds += this.samples / sampleRate;
      this.samples = this.crossings = 0;
    }
  }

  async offer() {
    await this.pc.setLocalDescription(await this.pc.createOffer());
    return { offer: this.pc.localDescription.sdp };
  }

  async report() {
    const { frames, moved, cb, seconds, hz } = this;
    const report = { state: this.pc.connectionState, lost: 0, frames, moved, cb, seconds, hz };
    for (const stat of (await this.pc.getStats()).values()) {
      if (stat.type === 'transport') report.profile = stat.srtpCipher;
      if (stat.type === 'inbound-rtp') report.lost += stat.packetsLost ?? 0;
    }
    return report;
  }

  close() {
    this.timers.forEach(clearInterval);
    this.sinks.forEach((sink) => sink.stop());
    this.pc.close();
  }
}

const members = new Map();
const acts = {
  async join({ name, role, mark }) {
    members.set(name, new Member(role, mark));
    return members.get(name).offer();
  },
  async answer({ name, sdp }) {
    await members.get(name).pc.setRemoteDescription({ type: 'answer', sdp });
    return {};
  },
  async look() {
    const said = {};
    for (const [name, member] of members) said[name] = await member.report();
    return { members: said };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const ask = JSON.parse(line);
  console.log(JSON.stringify(await acts[ask.do](ask)));
}
for (const member of members.values()) member.close();
// Threads of libwebrtc would keep the process.
process.exit(0);
