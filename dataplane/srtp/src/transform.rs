//! The key contexts of one session, one type per direction, so that nobody seals with a key
//! that the peer seals with.

use std::fmt;

use crate::key::MasterKey;
use crate::profile::Profile;
use crate::provider::Provider;

macro_rules! direction {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub struct $name<P: Provider> {
            profile: Profile,
            pub(crate) rtp: P::Key,
            pub(crate) rtcp: P::Key,
        }

        impl<P: Provider> $name<P> {
            /// Derives the session keys and prepares both contexts.
            pub fn new(provider: &P, master: &MasterKey) -> $name<P> {
                let keys = master.session_keys();
                $name {
                    profile: master.profile(),
                    rtp: provider.new_key(&keys.rtp),
                    rtcp: provider.new_key(&keys.rtcp),
                }
            }

            /// From session keys that are known already, as the vectors of the RFCs have them.
            pub fn from_session_keys(provider: &P, keys: &crate::SessionKeys) -> $name<P> {
                $name {
                    profile: keys.rtp.profile(),
                    rtp: provider.new_key(&keys.rtp),
                    rtcp: provider.new_key(&keys.rtcp),
                }
            }

            /// The profile of both contexts.
            pub fn profile(&self) -> Profile {
                self.profile
            }
        }

        impl<P: Provider> fmt::Debug for $name<P> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({}, masked)"), self.profile)
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
