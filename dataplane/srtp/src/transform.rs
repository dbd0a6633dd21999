//! The keys of one session, one type per direction, so that nobody seals with a key
//! that the peer seals with.
//!
//! A context is a key expanded for its cipher, which takes half a kibibyte. That of RTP is kept. That of
//! RTCP, of which there are a few packets per second at most, is prepared for each of them from the session
//! key: a session takes a kibibyte less, and a compound a fraction of a microsecond more.

use std::cell::OnceCell;
use std::fmt;

use crate::key::{KeyMaterial, MasterKey, SessionKeys};
use crate::profile::Profile;
use crate::provider::Provider;

macro_rules! direction {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub struct $name<P: Provider> {
            pub(crate) rtp: P::Key,
            /// In a cell, inside of which the compiler may not mark the absence of all this: then the key of RTP
            /// tells it, of which every packet needs the first line anyway, and none needs this one.
            rtcp: OnceCell<KeyMaterial>,
        }

        impl<P: Provider> $name<P> {
            /// Derives the session keys and prepares the context of RTP.
            pub fn new(provider: &P, master: &MasterKey) -> $name<P> {
                $name::from_session_keys(provider, master.session_keys())
            }

            /// From session keys that are known already, as the vectors of the RFCs have them.
            pub fn from_session_keys(provider: &P, keys: SessionKeys) -> $name<P> {
                $name { rtp: provider.new_key(&keys.rtp), rtcp: OnceCell::from(keys.rtcp) }
            }

            /// The profile of both keys.
            pub fn profile(&self) -> Profile {
                self.rtcp().profile()
            }

            /// What the context of RTCP is made of.
            pub(crate) fn rtcp(&self) -> &KeyMaterial {
                self.rtcp.get().expect("it was set when this was made")
            }
        }

        impl<P: Provider> fmt::Debug for $name<P> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({}, masked)"), self.profile())
            }
        }
    };
}

direction! {
    /// Opens what the peer sends: the keys for its RTP and RTCP.
    Inbound
}
direction! {
    /// Seals what we send to the peer: the keys for our RTP and RTCP.
    Outbound
}
