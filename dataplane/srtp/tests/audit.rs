//! The nonce auditor finds what it is there to find. Needs the feature `audit`.
#![cfg(feature = "audit")]

use srtp::audit::{Audited, NonceAuditor};
use srtp::{
    EgressIndex, EgressRtcpIndex, Inbound, KeyMaterial, MasterKey, OpenJob, Outbound, PacketIndex,
    Plaintext, Profile, Provider, RingProvider, RtcpIndex, SealJob, SessionKeys,
};

type Under = Audited<RingProvider>;

fn master(profile: Profile, fill: u8) -> MasterKey {
    MasterKey::new(profile, &vec![fill; profile.master_len()]).unwrap()
}

fn seal(provider: &Under, outbound: &Outbound<Under>, ssrc: u32, index: u64) {
    let index = PacketIndex::new(index).unwrap();
    let mut out = [0; 64];
    out[2..4].copy_from_slice(&index.seq().to_be_bytes());
    out[8..12].copy_from_slice(&ssrc.to_be_bytes());
    let egress = EgressIndex::new(index);
    let mut jobs = [SealJob::new(outbound, ssrc, egress, 12, &mut out)];
    provider.seal_many(Plaintext::InPlace(20), &mut jobs);
    assert!(jobs[0].result.is_ok());
}

fn seal_rtcp(provider: &Under, outbound: &Outbound<Under>, index: u32) {
    let mut buf = [0; 64];
    let egress = EgressRtcpIndex::new(RtcpIndex::new(index).unwrap());
    provider.seal_rtcp(outbound, egress, &mut buf, 28).unwrap();
}

#[test]
fn distinct_indices_ssrcs_and_keys_are_no_repeats() {
    let auditor = NonceAuditor::new();
    let provider = Audited::new(RingProvider::new(), &auditor);
    for profile in Profile::ALL {
        for fill in [1, 2] {
            let outbound = Outbound::new(&provider, &master(profile, fill));
            for ssrc in [1, 2, 0xffff_ffff] {
                (65_000..66_100).for_each(|index| seal(&provider, &outbound, ssrc, index));
            }
            (0..1_100).for_each(|index| seal_rtcp(&provider, &outbound, index));
        }
    }
    assert_eq!((auditor.seals(), auditor.repeats()), (3 * 2 * (3 * 1_100 + 1_100), 0));
}

#[test]
fn a_restarted_shard_that_repeats_an_index_is_caught() {
    for profile in Profile::ALL {
        let auditor = NonceAuditor::new();
        for life in 0..2 {
            let provider = Audited::new(RingProvider::new(), &auditor);
            let outbound = Outbound::new(&provider, &master(profile, 3));
            seal(&provider, &outbound, 9, 100 + life);
            seal(&provider, &outbound, 9, 101 + life);
            seal_rtcp(&provider, &outbound, 7);
        }
        assert_eq!(auditor.repeats(), 2, "{profile}: index 101 and the SRTCP index");
    }
}

/// SSRC and index differ, but the salts make the IVs equal.
#[test]
fn the_iv_counts_and_not_the_index() {
    let auditor = NonceAuditor::new();
    let provider = Audited::new(RingProvider::new(), &auditor);
    for (salt_bit, index) in [(0u8, 4u64), (1, 5)] {
        let mut salt = [0; 12];
        salt[11] = salt_bit;
        let material = || KeyMaterial::from_parts(Profile::AeadAes128Gcm, &[6; 16], &[], &salt);
        let keys = SessionKeys { rtp: material(), rtcp: material() };
        seal(&provider, &Outbound::from_session_keys(&provider, keys), 1, index);
    }
    assert_eq!(auditor.repeats(), 1);
}

#[test]
fn the_same_iv_under_another_key_is_no_repeat() {
    let auditor = NonceAuditor::new();
    let provider = Audited::new(RingProvider::new(), &auditor);
    for key in [[6; 16], [7; 16]] {
        let material = || KeyMaterial::from_parts(Profile::AeadAes128Gcm, &key, &[], &[0; 12]);
        let keys = SessionKeys { rtp: material(), rtcp: material() };
        seal(&provider, &Outbound::from_session_keys(&provider, keys), 1, 1);
    }
    assert_eq!((auditor.seals(), auditor.repeats()), (2, 0));
}

#[test]
fn what_the_audited_provider_seals_opens() {
    let provider = Audited::new(RingProvider::new(), &NonceAuditor::new());
    let master = master(Profile::AeadAes256Gcm, 5);
    let outbound = Outbound::new(&provider, &master);
    let inbound = Inbound::new(&provider, &master);
    let mut buf = [0x11; 12 + 30 + 16];
    let (ssrc, index) = (0x1111_1111, PacketIndex::from_parts(0, 0x1111));
    let plaintext = Plaintext::InPlace(30);
    let mut jobs = [SealJob::new(&outbound, ssrc, EgressIndex::new(index), 12, &mut buf)];
    provider.seal_many(plaintext, &mut jobs);
    let mut jobs = [OpenJob::new(&inbound, ssrc, index, 12, &mut buf)];
    provider.open_many(&mut jobs);
    assert_eq!(jobs[0].payload(), Some(&[0x11; 30][..]));
}
