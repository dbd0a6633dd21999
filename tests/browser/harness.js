// Put into every page before its own script: a camera that draws the time, a reader of that time, and
// the acts of a test. The page's own functions (`window.roomlane`) do all that is tested.
'use strict';
window.harness = (() => {
  // Two rows of cells across the picture: 32 bits of time, 8 of the sender's number, 8 of a checksum.
  const COLUMNS = 24, ROWS = 2, BITS = COLUMNS * ROWS, HEIGHT_SHARE = 0.15;

  const now = () => performance.timeOrigin + performance.now();
  const checksum = (bytes) => bytes.reduce((sum, byte) => (sum * 7 + byte) & 0xff, 0x5a);
  const bytesOf = (time) => [0, 8, 16, 24].map((shift) => (time >>> shift) & 0xff);

  function drawTimecode(context, id) {
    const { width, height } = context.canvas;
    const bytes = [...bytesOf(Math.round(now())), id];
    bytes.push(checksum(bytes));
    const [w, h] = [width / COLUMNS, height * HEIGHT_SHARE / ROWS];
    for (let bit = 0; bit < BITS; bit++) {
      context.fillStyle = (bytes[bit >> 3] >> (bit & 7)) & 1 ? '#fff' : '#000';
      context.fillRect((bit % COLUMNS) * w, Math.floor(bit / COLUMNS) * h, w, h);
    }
  }

  /** {time, id} in a picture, or null where there is none that its checksum confirms. */
  function readTimecode(video) {
    if (!video.videoWidth) return null;
    const canvas = new OffscreenCanvas(COLUMNS * 4, ROWS * 4);
    const context = canvas.getContext('2d', { willReadFrequently: true });
    context.drawImage(video, 0, 0, video.videoWidth, video.videoHeight * HEIGHT_SHARE, 0, 0, canvas.width, canvas.height);
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
    const bytes = Array(BITS / 8).fill(0);
    for (let bit = 0; bit < BITS; bit++) {
      const at = ((Math.floor(bit / COLUMNS) * 4 + 2) * canvas.width + (bit % COLUMNS) * 4 + 2) * 4;
      if (pixels[at] + pixels[at + 1] + pixels[at + 2] > 384) bytes[bit >> 3] |= 1 << (bit & 7);
    }
    if (bytes.pop() !== checksum(bytes)) return null;
    const id = bytes.pop();
    return { id, time: bytes.reduce((value, byte, at) => value | (byte << (at * 8)), 0) >>> 0 };
  }

  /** Milliseconds since a picture was drawn. */
  const latencyOf = (code) => (code ? ((Math.round(now()) >>> 0) - code.time) | 0 : null);

  function noise(width, height) {
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext('2d');
    const image = context.createImageData(width, height);
    for (let at = 0; at < image.data.length; at += 65536) crypto.getRandomValues(image.data.subarray(at, at + 65536));
    for (let at = 3; at < image.data.length; at += 4) image.data[at] = 255;
    context.putImageData(image, 0, 0);
    return canvas;
  }

  /** A picture that moves: the time above, a drifting texture, a label and fresh noise below. */
  function camera({ label = '', id = 0, width = 640, fps = 30 } = {}) {
    const height = width * 9 / 16;
    const canvas = Object.assign(document.createElement('canvas'), { width, height });
    const context = canvas.getContext('2d', { alpha: false });
    const texture = noise(160, 90), speckle = noise(512, 256);
    let frame = 0;
    const draw = () => {
      frame++;
      context.drawImage(texture, -(frame * 2) % (width / 4), 0, width * 1.25, height);
      context.fillStyle = `hsl(${210 + id * 67} 60% 40% / 70%)`;
      context.fillRect(0, 0, width, height);
      const [x, y] = [(frame * 53) % 320, (frame * 31) % 160];
      const [w, h] = [width * 0.3, height * 0.27];
      context.drawImage(speckle, x, y, w, h, (frame * 5) % (width - w), height * 0.6, w, h);
      context.fillStyle = '#fff';
      context.font = `bold ${height / 9}px sans-serif`;
      context.fillText(`${label} ${frame}`, width / 24, height * 0.37);
      drawTimecode(context, id);
    };
    draw();
    setInterval(draw, 1000 / fps);
    return canvas.captureStream(fps).getVideoTracks()[0];
  }

  async function source(given) {
    const stream = new MediaStream();
    if (given.video !== false) stream.addTrack(camera(given));
    if (given.audio !== false) {
      const fake = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
      stream.addTrack(fake.getAudioTracks()[0]);
    }
    return stream;
  }

  const calls = new Map();
  const refused = ({ name, message, status, code }) => ({ refused: { name, message, status, code } });

  async function join(act, name, options) {
    try {
      const call = await act(options);
      calls.set(name, call);
      return { path: new URL(call.resource.url).pathname, state: call.state };
    } catch (error) {
      return refused(error);
    }
  }

  /** Publishes, and leaves as soon as the offer is on its way. */
  async function hurry({ name, source: given = {}, ...options }) {
    const { fetch } = window;
    window.fetch = (...request) => {
      window.fetch = fetch;
      const answer = fetch(...request);
      for (const call of window.roomlane.calls) call.leave();
      return answer;
    };
    return join(window.roomlane.publish, name, { ...options, stream: await source(given) });
  }

  /** The button that mutes the microphone, and whether a call's microphone is live. */
  function microphone({ name }) {
    const button = document.querySelector('#mute-audio');
    const track = calls.get(name)?.stream.getAudioTracks()[0];
    return { disabled: button.disabled, pressed: button.ariaPressed, live: track?.enabled ?? null };
  }

  /** What each picture on the page shows: its heading, its note, its time. */
  const tiles = () => [...document.querySelectorAll('#tiles > li')].map((item) => {
    const code = readTimecode(item.querySelector('video'));
    const text = (tag) => item.querySelector(tag)?.textContent ?? '';
    return { user: text('h3'), note: text('.note'), id: code?.id ?? null, latency: latencyOf(code) };
  });

  /** A call between two connections of this page, sealed with one passphrase and opened with another. */
  async function loopback({ passphrase, other = passphrase }) {
    const { roomKey, Frames, figuresOf } = window.roomlane;
    const [sender, receiver] = [new RTCPeerConnection(), new RTCPeerConnection()];
    const frames = new Frames();
    for (const [from, to] of [[sender, receiver], [receiver, sender]]) {
      from.onicecandidate = ({ candidate }) => to.addIceCandidate(candidate);
    }
    const [seal, open] = [await roomKey(passphrase, '1', 'r'), await roomKey(other, '1', 'r')];
    const video = document.createElement('video');
    Object.assign(video, { autoplay: true, srcObject: new MediaStream() });
    receiver.ontrack = ({ track, receiver: end }) => {
      frames.attach(end, 'open', track.kind, `open-${track.kind}`, open);
      video.srcObject.addTrack(track);
      video.play();
    };
    for (const track of (await source({ label: 'loop', id: 9 })).getTracks()) {
      const transceiver = sender.addTransceiver(track, { direction: 'sendonly' });
      const kind = track.kind === 'audio' ? /opus/ : /VP8/;
      transceiver.setCodecPreferences(RTCRtpSender.getCapabilities(track.kind).codecs.filter((c) => kind.test(c.mimeType)));
      if (seal) await frames.attach(transceiver.sender, 'seal', track.kind, `seal-${track.kind}`, seal);
    }
    await sender.setLocalDescription();
    await receiver.setRemoteDescription(sender.localDescription);
    await receiver.setLocalDescription();
    await sender.setRemoteDescription(receiver.localDescription);
    calls.set('loopback', {
      async figures() {
        const { streams } = await figuresOf(receiver);
        for (const stream of streams) stream.frames = frames.counts.get(`open-${stream.kind}`);
        const code = readTimecode(video);
        return { id: code?.id ?? null, latency: latencyOf(code), streams };
      },
    });
    return {};
  }

  return {
    publish: async ({ name, source: given = {}, ...options }) =>
      join(window.roomlane.publish, name, { ...options, stream: await source(given) }),
    watch: ({ name, ...options }) => join(window.roomlane.watch, name, options),
    hurry,
    microphone,
    click: ({ id }) => document.getElementById(id).click(),
    iceServers: ({ name }) => calls.get(name).pc.getConfiguration().iceServers,
    loopback,
    figures: ({ name }) => calls.get(name).figures(),
    tiles,
    slots: ({ name }) => [...calls.get(name).slots.values()],
    leave: ({ name }) => calls.get(name).leave(),
    renew: ({ name, userSig, key }) => calls.get(name).renew(userSig, key).then(() => ({}), refused),
    mute: ({ name, kind, muted }) => calls.get(name).setMuted(kind, muted),
    restart: ({ name }) => calls.get(name).restart(),
    said: () => ({ status: document.querySelector('#status').textContent, error: document.querySelector('#error').textContent }),
  };
})();
