//! Encoded pictures and sounds with a publisher's mark, made and read by ffmpeg; `clients/marks.py` says
//! what a mark is and has the same numbers.

use std::io::Write;
use std::process::{Command, Stdio};

/// Pixels a line.
const WIDTH: usize = 160;
/// Lines.
const HEIGHT: usize = 120;
/// Pictures a second.
pub const FPS: u32 = 15;
/// Pictures of a clip.
const FRAMES: usize = 60;
/// Bytes of the file header and of a frame's header of IVF.
const IVF: (usize, usize) = (32, 12);

/// A few seconds to repeat.
#[derive(Debug, Clone, Default)]
pub struct Clip {
    /// The publisher's number.
    pub mark: u8,
    /// VP8, a picture each, the first of them whole.
    pub vp8: Vec<Vec<u8>>,
    /// Opus packets of 20 ms.
    pub opus: Vec<Vec<u8>>,
}

/// What a viewer made of pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pictures {
    /// Decoded.
    pub frames: usize,
    /// Of those, other than the one before.
    pub moved: usize,
    /// Of the last one's middle.
    pub cb: Option<u8>,
}

/// Cb of a publisher's pictures.
pub fn cb(mark: u8) -> u8 {
    50 + 25 * mark
}

/// Frequency of a publisher's tone.
pub fn hz(mark: u8) -> u32 {
    400 + 150 * u32::from(mark)
}

impl Clip {
    /// Makes one.
    ///
    /// # Errors
    /// ffmpeg's words.
    pub fn new(mark: u8) -> Result<Clip, String> {
        let raw: Vec<u8> = (0..FRAMES).flat_map(|number| picture(mark, number)).collect();
        let size = format!("{WIDTH}x{HEIGHT}");
        let rate = FPS.to_string();
        let input = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", &size, "-r", &rate, "-i", "-"];
        let coder = ["-c:v", "libvpx", "-g", "15", "-b:v", "300k", "-deadline", "realtime"];
        let ivf = ffmpeg(&[&input[..], &coder, &["-f", "ivf", "-"]].concat(), &raw)?;
        let tone = format!("sine=frequency={}:sample_rate=48000:duration=4", hz(mark));
        let coder = ["-c:a", "libopus", "-frame_duration", "20", "-f", "ogg", "-"];
        let ogg = ffmpeg(&[&["-f", "lavfi", "-i", &tone][..], &coder].concat(), &[])?;
        let (vp8, opus) = (read_ivf(&ivf), read_ogg(&ogg));
        Ok(Clip { mark, vp8, opus })
    }
}

/// Decodes VP8, to pictures of our size.
///
/// # Errors
/// ffmpeg's words.
pub fn decode(vp8: &[Vec<u8>]) -> Result<Pictures, String> {
    let size = format!("{WIDTH}x{HEIGHT}");
    let raw =
        ffmpeg(&["-f", "ivf", "-i", "-", "-s", &size, "-f", "rawvideo", "-"], &write_ivf(vp8))?;
    let luma = |picture: &[u8]| picture[WIDTH * (HEIGHT / 2) + WIDTH * 3 / 4];
    let cb = |picture: &[u8]| picture[WIDTH * HEIGHT + WIDTH / 2 * (HEIGHT / 4) + WIDTH / 4];
    let pictures: Vec<_> = raw.chunks_exact(WIDTH * HEIGHT * 3 / 2).collect();
    let moved = pictures.windows(2).filter(|pair| luma(pair[0]).abs_diff(luma(pair[1])) > 3);
    let (frames, moved) = (pictures.len(), moved.count());
    Ok(Pictures { frames, moved, cb: pictures.last().map(|picture| cb(picture)) })
}

/// I420: grey on the left, other on the right each time, and the mark as Cb.
fn picture(mark: u8, number: usize) -> Vec<u8> {
    let half = WIDTH / 2;
    let right = 40 + (number * 8 % 160) as u8;
    let row = [vec![128; half], vec![right; half]].concat();
    let quarter = half * HEIGHT / 2;
    [row.repeat(HEIGHT), vec![cb(mark); quarter], vec![128; quarter]].concat()
}

fn ffmpeg(words: &[&str], input: &[u8]) -> Result<Vec<u8>, String> {
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-loglevel", "error", "-threads", "1"]).args(words);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("ffmpeg: {error}"))?;
    let mut stdin = child.stdin.take().expect("piped");
    let out = std::thread::scope(|scope| {
        // It may have read enough before the end.
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output()
    });
    let out = out.map_err(|error| format!("ffmpeg: {error}"))?;
    match out.status.success() {
        true => Ok(out.stdout),
        false => Err(format!("ffmpeg: {}", String::from_utf8_lossy(&out.stderr).trim())),
    }
}

fn read_ivf(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = vec![];
    bytes = &bytes[IVF.0..];
    while bytes.len() > IVF.1 {
        let len = u32::from_le_bytes(bytes[..4].try_into().expect("four")) as usize;
        frames.push(bytes[IVF.1..IVF.1 + len].to_vec());
        bytes = &bytes[IVF.1 + len..];
    }
    frames
}

fn write_ivf(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = b"DKIF\0\0\x20\0VP80".to_vec();
    bytes.extend((WIDTH as u16).to_le_bytes());
    bytes.extend((HEIGHT as u16).to_le_bytes());
    bytes.extend(FPS.to_le_bytes());
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend((frames.len() as u64).to_le_bytes());
    for (number, frame) in frames.iter().enumerate() {
        bytes.extend((frame.len() as u32).to_le_bytes());
        bytes.extend((number as u64).to_le_bytes());
        bytes.extend(frame);
    }
    bytes
}

/// Packets of an Ogg stream (RFC 3533) behind the two that are headers (RFC 7845).
fn read_ogg(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let (mut packets, mut packet) = (vec![], vec![]);
    while bytes.starts_with(b"OggS") {
        let count = usize::from(bytes[26]);
        let (lacing, mut rest) = bytes[27..].split_at(count);
        for len in lacing {
            let (part, behind) = rest.split_at(usize::from(*len));
            packet.extend_from_slice(part);
            rest = behind;
            if *len < 255 {
                packets.push(std::mem::take(&mut packet));
            }
        }
        bytes = rest;
    }
    packets.split_off(2)
}

#[test]
fn a_clip_is_decoded_to_what_was_drawn() {
    let clip = match Clip::new(3) {
        Ok(clip) => clip,
        Err(why) => return roomlane_tests::netns::skip(&why),
    };
    let pictures = decode(&clip.vp8).expect("it decodes what it encodes");
    assert_eq!((pictures.frames, clip.vp8.len()), (FRAMES, FRAMES));
    assert!(pictures.moved > FRAMES * 3 / 4, "{pictures:?}");
    assert!(pictures.cb.is_some_and(|seen| seen.abs_diff(cb(3)) < 4), "{pictures:?}");
    assert!((200..=202).contains(&clip.opus.len()), "{} packets", clip.opus.len());
}
