"""What the clients publish and how they know it again: a colour and a tone of each publisher's own.

A picture is grey on its left, moves on its right, and its Cb is the publisher's mark; the sound is a sine
whose frequency is the mark. `wrtc_client.mjs` and `media.rs` have the same numbers.
"""

import array
import math

WIDTH, HEIGHT, FPS = 160, 120, 15
RATE, SAMPLES = 48000, 960
# Of so many samples one is looked at: tones are low, and interpreters slow.
STEP = 8


def picture(mark, number):
    """A picture in I420."""
    half = WIDTH // 2
    row = bytes([128]) * half + bytes([40 + number * 8 % 160]) * half
    quarter = half * HEIGHT // 2
    return row * HEIGHT + bytes([50 + 25 * mark]) * quarter + bytes([128]) * quarter


def sound(mark, number):
    """20 ms of mono, 16 bits."""
    step = 2 * math.pi * (400 + 150 * mark) / RATE
    first = number * SAMPLES
    return array.array("h", (int(8000 * math.sin(step * (first + at))) for at in range(SAMPLES)))


class Seen:
    """What a viewer has decoded so far."""

    def __init__(self):
        self.frames, self.moved, self.cb, self.luma = 0, 0, None, None
        self.seconds, self.hz, self.samples, self.crossings, self.last = 0.0, None, 0, 0, 0

    def frame(self, frame):
        """A decoded frame of PyAV's: a picture in I420, or 16-bit samples whose channels take turns."""
        if frame.__class__.__name__ == "AudioFrame":
            channels = len(frame.layout.channels)
            # The plane is longer than what is in it.
            samples = array.array("h", bytes(frame.planes[0])[: frame.samples * channels * 2])
            self.audio(samples[::channels])
            return
        luma, cb = frame.planes[0], frame.planes[1]
        right = luma.line_size * (luma.height // 2) + luma.width * 3 // 4
        middle = cb.line_size * (cb.height // 2) + cb.width // 2
        self.video(bytes(luma)[right], bytes(cb)[middle])

    def video(self, luma, cb):
        """A picture, by its luma on the right and its Cb in the middle."""
        self.frames += 1
        self.moved += self.luma is not None and abs(luma - self.luma) > 3
        self.luma, self.cb = luma, cb

    def audio(self, samples):
        """Mono samples. The frequency is that of the last whole half second."""
        for sample in samples[::STEP]:
            self.crossings += self.last < 0 <= sample
            self.last = sample
        self.samples += len(samples)
        if self.samples >= RATE // 2:
            self.hz = self.crossings * RATE / self.samples
            self.seconds += self.samples / RATE
            self.samples = self.crossings = 0

    def report(self):
        return {
            "frames": self.frames, "moved": self.moved, "cb": self.cb,
            "seconds": self.seconds, "hz": self.hz,
        }
