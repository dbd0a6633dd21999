//! The binary inside a PrivateMapKey.
//!
//! ```text
//! u8 cVer | u16 wAccountLen | account | u32 dwSdkAppid | u32 dwAuthId | u32 dwExpTime
//!   | u32 dwPrivilegeMap | u32 dwAccountType [ | u16 roomStrLen | roomStr ]      big-endian
//! ```
//! The official verifiers check none of it; the service does, and so must we.

use crate::limits::INTEGER_MAX;
use crate::mask::mask;
use crate::privileges::Privileges;
use crate::refusal::Refusal;
use crate::room::RoomId;

const NUMBER_ROOM: u8 = 0;
const TEXT_ROOM: u8 = 1;

/// The fields inside a PrivateMapKey as they stand there: **read, not verified**.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateMapKey {
    /// The user id, of any length and content.
    pub account: Vec<u8>,
    /// The SdkAppId.
    pub app: u32,
    /// The numeric room; 0 beside a string room.
    pub auth_id: u32,
    /// Its own expiry, absolute Unix seconds.
    pub expires_unix: u32,
    /// The privilege map; eight bits are known.
    pub privilege_map: u32,
    /// The account type; 0.
    pub account_type: u32,
    /// The name of the string room: present with cVer 1.
    pub room_text: Option<Vec<u8>>,
}

/// Which room a ticket claims to be for, before anything was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TicketRoom<'a> {
    /// cVer 0: a number, possibly 0.
    Number(u32),
    /// cVer 1: a name, possibly empty or illegal.
    Text(&'a [u8]),
}

impl std::fmt::Debug for PrivateMapKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrivateMapKey")
            .field("account", &mask(&String::from_utf8_lossy(&self.account)))
            .field("app", &self.app)
            .field("expires_unix", &self.expires_unix)
            .field("privilege_map", &self.privilege_map)
            .finish_non_exhaustive()
    }
}

impl PrivateMapKey {
    /// Splits the fields of a userbuf; the length must be exact.
    ///
    /// # Errors
    /// [`Refusal::TicketMalformed`] on a wrong length or an unknown cVer.
    pub fn parse(userbuf: &[u8]) -> Result<PrivateMapKey, Refusal> {
        let mut rest = Rest(userbuf);
        let c_ver = rest.u8()?;
        let account_len = rest.u16()?;
        let ticket = PrivateMapKey {
            account: rest.bytes(account_len)?,
            app: rest.u32()?,
            auth_id: rest.u32()?,
            expires_unix: rest.u32()?,
            privilege_map: rest.u32()?,
            account_type: rest.u32()?,
            room_text: match c_ver {
                NUMBER_ROOM => None,
                TEXT_ROOM => {
                    let len = rest.u16()?;
                    Some(rest.bytes(len)?)
                }
                _ => return Err(Refusal::TicketMalformed),
            },
        };
        if rest.0.is_empty() { Ok(ticket) } else { Err(Refusal::TicketMalformed) }
    }

    /// The room it claims to be for.
    pub fn room(&self) -> TicketRoom<'_> {
        match &self.room_text {
            None => TicketRoom::Number(self.auth_id),
            Some(name) => TicketRoom::Text(name),
        }
    }

    /// Writes the fields as the official libraries do.
    ///
    /// # Panics
    /// Never for a legal user and room; account or room name above 65535 bytes.
    pub(crate) fn emit(&self) -> Vec<u8> {
        let len_u16 = |bytes: &[u8]| {
            u16::try_from(bytes.len())
                .expect("user ids and room names are at most 64 bytes")
                .to_be_bytes()
        };
        let mut out = vec![if self.room_text.is_some() { TEXT_ROOM } else { NUMBER_ROOM }];
        out.extend(len_u16(&self.account));
        out.extend(&self.account);
        for field in
            [self.app, self.auth_id, self.expires_unix, self.privilege_map, self.account_type]
        {
            out.extend(field.to_be_bytes());
        }
        if let Some(name) = &self.room_text {
            out.extend(len_u16(name));
            out.extend(name);
        }
        out
    }

    /// Checks everything inside against the verified envelope and the room that was asked for.
    pub(crate) fn check(
        &self,
        user: &str,
        app: u32,
        room: Option<&RoomId>,
        now_unix: u64,
        skew_s: u64,
    ) -> Result<(RoomId, Privileges), Refusal> {
        if self.account != user.as_bytes() {
            return Err(Refusal::TicketWrongUser);
        }
        if self.app != app {
            return Err(Refusal::TicketWrongApp);
        }
        let named = self.legal_room()?;
        if let Some(room) = room {
            match (&named, room) {
                (RoomId::Number(named), RoomId::Number(asked)) if named == asked => {}
                (RoomId::Text(named), RoomId::Text(asked)) if named == asked => {}
                (RoomId::Number(_), RoomId::Number(_)) | (RoomId::Text(_), RoomId::Text(_)) => {
                    return Err(Refusal::TicketWrongRoom);
                }
                _ => return Err(Refusal::TicketWrongRoomKind),
            }
        }
        if now_unix > u64::from(self.expires_unix).saturating_add(skew_s) {
            return Err(Refusal::TicketExpired);
        }
        if self.account_type != 0 {
            return Err(Refusal::TicketAccountType);
        }
        let bits =
            u8::try_from(self.privilege_map).map_err(|_| Refusal::TicketUnknownPrivileges)?;
        Ok((named, Privileges::from_bits(bits)))
    }

    fn legal_room(&self) -> Result<RoomId, Refusal> {
        let malformed = Refusal::TicketMalformedRoom;
        match self.room() {
            TicketRoom::Number(number) => RoomId::number(number.into()).map_err(|_| malformed),
            TicketRoom::Text(_) if self.auth_id != 0 => Err(malformed),
            TicketRoom::Text(name) => {
                let name = std::str::from_utf8(name).map_err(|_| malformed)?;
                RoomId::text(name).map_err(|_| malformed)
            }
        }
    }
}

/// Whether a userbuf is, or begins like, a ticket for `user`: such a token is no UserSig.
pub(crate) fn resembles_ticket(userbuf: &[u8], user: &str) -> bool {
    let begins_for_user = || {
        let mut rest = Rest(userbuf);
        let known = rest.u8().is_ok_and(|c_ver| c_ver <= TEXT_ROOM);
        known && rest.u16().and_then(|len| rest.bytes(len)).is_ok_and(|a| a == user.as_bytes())
    };
    PrivateMapKey::parse(userbuf).is_ok() || begins_for_user()
}

struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(Refusal::TicketMalformed)?;
        self.0 = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, Refusal> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, Refusal> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, Refusal> {
        self.array().map(u32::from_be_bytes)
    }

    fn bytes(&mut self, len: u16) -> Result<Vec<u8>, Refusal> {
        let (head, rest) =
            self.0.split_at_checked(usize::from(len)).ok_or(Refusal::TicketMalformed)?;
        self.0 = rest;
        Ok(head.to_vec())
    }
}

// The deadline of an entry is the earlier of two numbers of different width.
const _: () = assert!(u32::MAX as u64 <= INTEGER_MAX);
