//! What a shard keeps for us with each session, so that a restarted control process knows its rooms
//! again. SRTP keys are not in it: they never come back up.
//!
//! It is sealed (AES-256-GCM): ids of people cross shared memory and lie in the data plane as ciphertext
//! only, wherever copies of it remain. The key is kept beside the sockets for the next life of this
//! process, for its user alone.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use proto::command::BLOB_MAX;
use proto::{Endpoint, List, MemberNo, SdkAppId, codec};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use token::{RoomId, UserId};
use zeroize::{Zeroize, Zeroizing};

use crate::directory::ids::{Entropy, EventsId, ResourceId, random};
use crate::signalling::{Role, Stream};

const VERSION: u8 = 3;
const PUBLISHES: u8 = 1;
const SUBSTREAM: u8 = 2;
const NUMBER_ROOM: u8 = 4;
const ICE: u8 = 8;

/// The key's file beside the sockets.
const KEY_FILE: &str = "blob.key";

/// The encoded form, behind its length in a byte: version, app, resource, its number, flags, bytes of
/// user, room and watched publisher, number of that, remote address, our RTCP SSRC, event stream or
/// zeros. The three texts follow: on the heap alone, which is wiped.
type Wire = (u8, u32, [u8; 16], u32, u8, [u8; 3], u64, Endpoint, u32, [u8; 16]);

/// Seals blobs. Nonces are random: a node would have to serve some billions of joins under one key
/// before two being equal became likely enough to speak of.
#[derive(Clone)]
pub struct BlobKey([u8; 32]);

impl std::fmt::Debug for BlobKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BlobKey(hidden)")
    }
}

impl Drop for BlobKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl BlobKey {
    /// A new one.
    pub fn new(entropy: &mut dyn Entropy) -> BlobKey {
        BlobKey(random(entropy))
    }

    /// The one that an earlier life of this process kept in `run_dir`, or a new one that is kept there.
    ///
    /// # Errors
    /// The host's.
    pub fn keep(run_dir: &Path, entropy: &mut dyn Entropy) -> io::Result<BlobKey> {
        let path = run_dir.join(KEY_FILE);
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let mut key = BlobKey([0; 32]);
        match file.read_exact(&mut key.0) {
            Ok(()) => Ok(key),
            // Nothing in it, or cut off: nobody has used it.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                key = BlobKey::new(entropy);
                io::Seek::rewind(&mut file)?;
                file.write_all(&key.0)?;
                Ok(key)
            }
            Err(error) => Err(error),
        }
    }

    /// A key for another purpose that lasts as long as this one.
    pub fn derive(&self, purpose: &[u8]) -> [u8; 32] {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &self.0);
        let tag = ring::hmac::sign(&key, purpose);
        tag.as_ref().try_into().expect("SHA-256 has 32 bytes")
    }

    fn cipher(&self) -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &self.0).expect("a key of 32 bytes"))
    }
}

/// One session's part of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Tenant.
    pub app: SdkAppId,
    /// The resource it belongs to.
    pub resource: ResourceId,
    /// The resource's number within its room.
    pub number: u32,
    /// What the resource does.
    pub role: Role,
    /// Main or substream.
    pub stream: Stream,
    /// Its transport has ICE.
    pub is_ice: bool,
    /// Whose it is.
    pub user: UserId,
    /// Where.
    pub room: RoomId,
    /// The only publisher it wants, and its number in the room.
    pub publisher: Option<(UserId, MemberNo)>,
    /// The signalled media address.
    pub remote: Endpoint,
    /// Our RTCP SSRC.
    pub rtcp_ssrc: u32,
    /// The resource's event stream.
    pub events: Option<EventsId>,
}

impl Blob {
    /// The bytes that travel: nonce, ciphertext, tag.
    pub fn seal(&self, key: &BlobKey, entropy: &mut dyn Entropy) -> List<u8, BLOB_MAX> {
        let (number_room, room) = match &self.room {
            RoomId::Number(number) => (NUMBER_ROOM, Zeroizing::new(number.to_string())),
            RoomId::Text(name) => (0, Zeroizing::new(name.clone())),
        };
        let publishes = if self.role == Role::Publish { PUBLISHES } else { 0 };
        let substream = if self.stream == Stream::Substream { SUBSTREAM } else { 0 };
        let (publisher, publisher_no) = match &self.publisher {
            Some((user, no)) => (user.as_str(), no.0),
            None => ("", 0),
        };
        let ice = if self.is_ice { ICE } else { 0 };
        let texts = [self.user.as_str(), &room, publisher];
        let wire: Wire = (
            VERSION,
            self.app.0,
            self.resource.0,
            self.number,
            number_room | publishes | substream | ice,
            texts.map(|text| text.len() as u8),
            publisher_no,
            self.remote,
            self.rtcp_ssrc,
            self.events.map_or([0; 16], |events| events.0.0),
        );
        let mut bytes = Zeroizing::new(vec![0; BLOB_MAX]);
        let len = codec::encode(&wire, &mut bytes[1..]).expect("a fixed part fits");
        bytes[0] = len as u8;
        bytes.truncate(1 + len);
        for text in texts {
            bytes.extend_from_slice(text.as_bytes());
        }
        let nonce: [u8; NONCE_LEN] = random(entropy);
        let sealed = Nonce::assume_unique_for_key(nonce);
        let sealed = key.cipher().seal_in_place_append_tag(sealed, Aad::empty(), &mut *bytes);
        sealed.expect("so few bytes can be sealed");
        let whole = [&nonce[..], &bytes[..]].concat();
        List::from_slice(&whole).expect("the longest names fit: see the test")
    }

    /// Opens it; `None` when it is not ours.
    pub fn open(bytes: &[u8], key: &BlobKey) -> Option<Blob> {
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LEN>()?;
        let mut sealed = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = key.cipher().open_in_place(nonce, Aad::empty(), &mut sealed).ok()?;
        Blob::decode(plain)
    }

    fn decode(plain: &[u8]) -> Option<Blob> {
        let (len, rest) = plain.split_first()?;
        let (fixed, texts) = rest.split_at_checked((*len).into())?;
        let wire: Wire = codec::decode(fixed).ok()?;
        let (version, app, resource, number, flags, lens, publisher_no, ..) = wire;
        let (.., remote, rtcp_ssrc, events) = wire;
        let (user, rest) = texts.split_at_checked(lens[0].into())?;
        let (room, publisher) = rest.split_at_checked(lens[1].into())?;
        let room = std::str::from_utf8(room).ok()?;
        let room = match flags & NUMBER_ROOM {
            0 => RoomId::text(room),
            _ => RoomId::number(room.parse().ok()?),
        };
        let user_of = |text: &[u8]| UserId::new(std::str::from_utf8(text).ok()?).ok();
        let publisher = match publisher.is_empty() {
            true => None,
            false => Some((user_of(publisher)?, MemberNo(publisher_no))),
        };
        (version == VERSION).then_some(Blob {
            app: SdkAppId(app),
            resource: ResourceId(resource),
            number,
            role: if flags & PUBLISHES != 0 { Role::Publish } else { Role::Subscribe },
            stream: if flags & SUBSTREAM != 0 { Stream::Substream } else { Stream::Main },
            is_ice: flags & ICE != 0,
            user: user_of(user)?,
            room: room.ok()?,
            publisher,
            remote,
            rtcp_ssrc,
            events: (events != [0; 16]).then_some(EventsId(ResourceId(events))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn longest() -> Blob {
        Blob {
            app: SdkAppId(u32::MAX),
            resource: ResourceId([255; 16]),
            number: u32::MAX,
            role: Role::Publish,
            stream: Stream::Substream,
            is_ice: true,
            user: UserId::new(&"u".repeat(32)).unwrap(),
            room: RoomId::text(&"r".repeat(64)).unwrap(),
            publisher: Some((UserId::new(&"p".repeat(32)).unwrap(), MemberNo(u64::MAX))),
            remote: Endpoint { ip: [255; 16], port: u16::MAX },
            rtcp_ssrc: u32::MAX,
            events: Some(EventsId(ResourceId([254; 16]))),
        }
    }

    /// Bytes that differ from each other, and a key made of them.
    struct Counting(u8);

    impl Entropy for Counting {
        fn fill(&mut self, bytes: &mut [u8]) {
            for byte in bytes {
                self.0 = self.0.wrapping_add(1);
                *byte = self.0;
            }
        }
    }

    #[test]
    fn the_longest_blob_fits_and_returns_whole_and_shows_no_name() {
        let entropy = &mut Counting(0);
        let key = BlobKey::new(entropy);
        let blob = longest();
        let bytes = blob.seal(&key, entropy);
        for name in ["uuuu", "rrrr", "pppp"] {
            assert!(!bytes.windows(4).any(|part| part == name.as_bytes()), "{name}");
        }
        let again = blob.seal(&key, entropy);
        assert_ne!(bytes[..NONCE_LEN], again[..NONCE_LEN], "no nonce twice");
        assert_eq!(Blob::open(&bytes, &key), Some(blob));
        let number = Blob { room: RoomId::Number(7), publisher: None, ..longest() };
        assert_eq!(Blob::open(&number.seal(&key, entropy), &key), Some(number));
        assert_eq!(Blob::open(&bytes, &BlobKey::new(entropy)), None, "another key");
    }

    #[test]
    fn foreign_truncated_and_changed_blobs_are_none() {
        let entropy = &mut Counting(0);
        let key = BlobKey::new(entropy);
        let bytes = longest().seal(&key, entropy);
        for at in 0..bytes.len() {
            assert_eq!(Blob::open(&bytes[..at], &key), None, "{at}");
            let mut changed = bytes.to_vec();
            changed[at] ^= 1;
            assert_eq!(Blob::open(&changed, &key), None, "{at}");
        }
    }

    #[test]
    fn the_next_life_has_the_same_key_and_nobody_else_may_read_it() {
        use std::os::unix::fs::MetadataExt;
        let dir = std::env::temp_dir().join(format!("roomlane-blob-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let first = BlobKey::keep(&dir, &mut Counting(0)).unwrap();
        let second = BlobKey::keep(&dir, &mut Counting(99)).unwrap();
        assert_eq!(first.0, second.0);
        assert_eq!(std::fs::metadata(dir.join(KEY_FILE)).unwrap().mode() & 0o777, 0o600);
        std::fs::write(dir.join(KEY_FILE), [1; 31]).unwrap();
        assert_ne!(BlobKey::keep(&dir, &mut Counting(99)).unwrap().0, first.0, "one cut off");
        std::fs::remove_dir_all(dir).unwrap();
    }
}
