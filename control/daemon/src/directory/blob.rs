//! What a shard keeps for us with each session, so that a restarted control process knows its rooms
//! again. Keys are not in it: they never come back up.

use proto::command::BLOB_MAX;
use proto::{Endpoint, List, MemberNo, SdkAppId, codec};
use token::{RoomId, UserId};

use crate::directory::ids::{EventsId, ResourceId};
use crate::signalling::{Role, Stream};

const VERSION: u8 = 2;
const PUBLISHES: u8 = 1;
const SUBSTREAM: u8 = 2;
const NUMBER_ROOM: u8 = 4;
const ICE: u8 = 8;

type Text<const N: usize> = List<u8, N>;

/// The encoded form: version, app, resource, its number, flags, user, room, watched publisher and its
/// number, remote address, our RTCP SSRC, event stream or zeros.
type Wire =
    (u8, u32, [u8; 16], u32, u8, Text<32>, Text<64>, Text<32>, u64, Endpoint, u32, [u8; 16]);

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

fn text<const N: usize>(value: &str) -> Text<N> {
    List::from_slice(value.as_bytes()).expect("users and rooms are checked for their length")
}

impl Blob {
    /// The bytes that travel.
    pub fn encode(&self) -> List<u8, BLOB_MAX> {
        let (number_room, room) = match &self.room {
            RoomId::Number(number) => (NUMBER_ROOM, number.to_string()),
            RoomId::Text(name) => (0, name.clone()),
        };
        let publishes = if self.role == Role::Publish { PUBLISHES } else { 0 };
        let substream = if self.stream == Stream::Substream { SUBSTREAM } else { 0 };
        let (publisher, publisher_no) = match &self.publisher {
            Some((user, no)) => (user.as_str(), no.0),
            None => ("", 0),
        };
        let ice = if self.is_ice { ICE } else { 0 };
        let wire: Wire = (
            VERSION,
            self.app.0,
            self.resource.0,
            self.number,
            number_room | publishes | substream | ice,
            text(self.user.as_str()),
            text(&room),
            text(publisher),
            publisher_no,
            self.remote,
            self.rtcp_ssrc,
            self.events.map_or([0; 16], |events| events.0.0),
        );
        let mut bytes = [0; BLOB_MAX];
        let len = codec::encode(&wire, &mut bytes).expect("the longest names fit: see the test");
        List::from_slice(&bytes[..len]).expect("not longer than its buffer")
    }

    /// Reads it; `None` when it is not ours.
    pub fn decode(bytes: &[u8]) -> Option<Blob> {
        let wire: Wire = codec::decode(bytes).ok()?;
        let (version, app, resource, number, flags, user, room, publisher, publisher_no, ..) =
            &wire;
        let (.., remote, rtcp_ssrc, events) = &wire;
        let room = std::str::from_utf8(room).ok()?;
        let room = match flags & NUMBER_ROOM {
            0 => RoomId::text(room),
            _ => RoomId::number(room.parse().ok()?),
        };
        let user_of = |text: &[u8]| UserId::new(std::str::from_utf8(text).ok()?).ok();
        let publisher = match publisher.is_empty() {
            true => None,
            false => Some((user_of(publisher)?, MemberNo(*publisher_no))),
        };
        (*version == VERSION).then_some(Blob {
            app: SdkAppId(*app),
            resource: ResourceId(*resource),
            number: *number,
            role: if flags & PUBLISHES != 0 { Role::Publish } else { Role::Subscribe },
            stream: if flags & SUBSTREAM != 0 { Stream::Substream } else { Stream::Main },
            is_ice: flags & ICE != 0,
            user: user_of(user)?,
            room: room.ok()?,
            publisher,
            remote: *remote,
            rtcp_ssrc: *rtcp_ssrc,
            events: (*events != [0; 16]).then_some(EventsId(ResourceId(*events))),
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

    #[test]
    fn the_longest_blob_fits_and_returns_whole() {
        let blob = longest();
        let bytes = blob.encode();
        assert!(bytes.len() <= BLOB_MAX, "{}", bytes.len());
        assert_eq!(Blob::decode(&bytes), Some(blob));
        let number = Blob { room: RoomId::Number(7), publisher: None, ..longest() };
        assert_eq!(Blob::decode(&number.encode()), Some(number));
    }

    #[test]
    fn foreign_and_truncated_blobs_are_none() {
        let bytes = longest().encode();
        for cut in 0..bytes.len() {
            assert_eq!(Blob::decode(&bytes[..cut]), None, "{cut}");
        }
        let mut other = bytes;
        other[0] = VERSION + 1;
        assert_eq!(Blob::decode(&other), None);
    }
}
