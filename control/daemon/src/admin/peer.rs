//! Who is at the other end of the admin socket, and what they may do.

use std::ffi::CString;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use shm::fdpass::Credentials;

/// What an act needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Looking.
    Read,
    /// Changing.
    Act,
}

impl Right {
    /// The group whose members have it.
    pub fn group(self) -> &'static str {
        match self {
            Right::Read => "roomlane",
            Right::Act => "roomlane-admin",
        }
    }
}

/// An identified peer.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    credentials: Credentials,
    reads: bool,
    acts: bool,
}

impl Peer {
    /// Asks the host's databases about the groups of a peer. Blocks.
    pub fn identify(credentials: Credentials) -> Peer {
        let own = Uid::effective().as_raw();
        let trusted = credentials.uid == 0 || credentials.uid == own;
        let acts = trusted || is_member(&credentials, Right::Act.group());
        let reads = acts || is_member(&credentials, Right::Read.group());
        Peer { credentials, reads, acts }
    }

    /// Whether it may.
    pub fn may(&self, right: Right) -> bool {
        match right {
            Right::Read => self.reads,
            Right::Act => self.acts,
        }
    }

    /// The kernel's word about it.
    pub fn credentials(&self) -> Credentials {
        self.credentials
    }
}

/// Whether the peer's process or its user belongs to a group. A group that does not exist has nobody.
fn is_member(peer: &Credentials, group: &str) -> bool {
    let Ok(Some(group)) = Group::from_name(group) else { return false };
    if Gid::from_raw(peer.gid) == group.gid {
        return true;
    }
    let Ok(Some(user)) = User::from_uid(Uid::from_raw(peer.uid)) else { return false };
    let Ok(name) = CString::new(user.name) else { return false };
    getgrouplist(&name, user.gid).is_ok_and(|groups| groups.contains(&group.gid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_our_own_user_may_all_and_a_stranger_nothing() {
        let of = |uid| Peer::identify(Credentials { pid: 1, uid, gid: 4_000_000_000 });
        for uid in [0, Uid::effective().as_raw()] {
            assert!(of(uid).may(Right::Read) && of(uid).may(Right::Act));
        }
        let stranger = of(3_999_999_999);
        assert!(!stranger.may(Right::Read) && !stranger.may(Right::Act));
    }

    #[test]
    fn a_user_is_a_member_of_its_own_group() {
        let own = Group::from_gid(Gid::effective()).unwrap().expect("our group has a name");
        let peer = Credentials { pid: 1, uid: 3_999_999_999, gid: own.gid.as_raw() };
        assert!(is_member(&peer, &own.name));
        assert!(!is_member(&Credentials { gid: 4_000_000_000, ..peer }, &own.name));
        assert!(!is_member(&peer, "no-such-group-here"));
    }
}
