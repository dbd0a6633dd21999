//! The null provider moves lengths and indices as the real ones do. Needs the feature `null`.
#![cfg(feature = "null")]

#[path = "suite/mod.rs"]
#[allow(dead_code, reason = "the parts that are claims are run by tests/provider.rs")]
mod suite;

use srtp::{NullProvider, OpenError, PacketIndex, Profile, RingProvider};
use suite::{Leg, SSRC, rtcp, rtp};

#[test]
fn lengths_and_indices_are_those_of_a_real_provider() {
    for profile in Profile::ALL {
        let (null, ring) =
            (Leg::<NullProvider>::new(profile, 1), Leg::<RingProvider>::new(profile, 1));
        let (packet, header_len) = rtp(SSRC, 5, 2, 160);
        let index = PacketIndex::from_parts(0, 5);
        let sealed = null.seal(&packet, header_len, index);
        assert_eq!(sealed.len(), ring.seal(&packet, header_len, index).len());
        assert_eq!(null.open(&sealed, header_len, index).as_ref(), Ok(&packet));
        assert_eq!(null.open(&sealed[..20], header_len, index), Err(OpenError::TooShort));

        let compound = rtcp(SSRC, 6);
        let sealed = null.seal_rtcp(&compound, 9);
        assert_eq!(sealed.len(), ring.seal_rtcp(&compound, 9).len());
        let (opened, index) = null.open_rtcp(&sealed).unwrap();
        assert_eq!((opened, index.value()), (compound, 9));
    }
}
