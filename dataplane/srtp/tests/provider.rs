//! One suite for every provider, and each provider against the other.

mod suite;

use proptest::prelude::*;
use srtp::{
    AesGcmProvider, EgressRtcpIndex, FanoutKey, FanoutProvider, Inbound, KeyMaterial, MasterKey,
    OpenError, OpenJob, Outbound, PacketIndex, Plaintext, Profile, Provider, RingProvider,
    RtcpIndex, SealError, SealJob,
};

/// One test per claim, provider and, for the claims of the first list, all profiles.
macro_rules! matrix {
    ($module:ident, $provider:ty) => {
        mod $module {
            use crate::suite;

            matrix!(@each $provider, suite,
                sealed_packets_open_at_every_length,
                shared_and_in_place_payloads_give_the_same_bytes,
                every_flipped_bit_of_rtp_is_refused,
                every_flipped_bit_of_rtcp_is_refused,
                another_index_ssrc_or_key_does_not_open,
                no_truncated_packet_opens_or_panics,
                mistakes_of_the_caller_are_refused,
                a_job_seals_once,
                one_job_that_is_different_keeps_no_other_from_being_sealed,
                rtcp_opens_with_its_index_at_every_length,
                rtcp_without_the_e_flag_is_refused,
                the_last_indices_of_a_key_still_work);
            matrix!(@each $provider, suite::stream,
                forged_packets_never_cost_a_good_one,
                a_replayed_session_is_refused_whole,
                lost_late_and_wrapping_packets_are_followed,
                a_late_joiner_at_65530_crosses_the_wrap,
                a_forger_cannot_keep_a_new_sender_out,
                a_sender_first_heard_after_its_wrap_is_found);

            #[test]
            fn a_burst_of_many_keys_gives_each_job_its_own_result() {
                suite::a_burst_of_many_keys_gives_each_job_its_own_result::<$provider>();
            }

            #[test]
            fn rfc_packets_seal_and_open_to_the_same_bytes() {
                suite::rfc_packets_seal_and_open_to_the_same_bytes::<$provider>();
            }
        }
    };
    (@each $provider:ty, $path:path, $($claim:ident),+) => {$(
        #[test]
        fn $claim() {
            use $path as claims;
            for profile in srtp::Profile::ALL {
                claims::$claim::<$provider>(profile);
            }
        }
    )+};
}

matrix!(ring, srtp::RingProvider);
matrix!(aes_gcm, srtp::AesGcmProvider);
matrix!(fanout, crate::Fastest);
matrix!(fanout_aesni, crate::OnAesNi);

/// The fan-out provider on one path of this CPU: 0 the fastest, 1 AES-NI.
struct OnPath<const PATH: u8>(FanoutProvider);
type Fastest = OnPath<0>;
type OnAesNi = OnPath<1>;

impl<const PATH: u8> Default for OnPath<PATH> {
    fn default() -> OnPath<PATH> {
        OnPath(match PATH {
            0 => FanoutProvider::detect().expect("a CPU with AES instructions"),
            _ => FanoutProvider::with_path("aesni").expect("a CPU with AES instructions"),
        })
    }
}

impl<const PATH: u8> Provider for OnPath<PATH> {
    type Key = FanoutKey;

    fn new_key(&self, material: &KeyMaterial) -> FanoutKey {
        self.0.new_key(material)
    }

    fn open_many(&self, jobs: &mut [OpenJob<'_, FanoutKey>]) {
        self.0.open_many(jobs);
    }

    fn seal_many(&self, plaintext: Plaintext<'_>, jobs: &mut [SealJob<'_, FanoutKey>]) {
        self.0.seal_many(plaintext, jobs);
    }

    fn seal_rtcp_with(
        &self,
        profile: Profile,
        key: &FanoutKey,
        index: EgressRtcpIndex,
        buf: &mut [u8],
        len: usize,
    ) -> Result<usize, SealError> {
        self.0.seal_rtcp_with(profile, key, index, buf, len)
    }

    fn open_rtcp_with(
        &self,
        profile: Profile,
        key: &FanoutKey,
        buf: &mut [u8],
    ) -> Result<(usize, RtcpIndex), OpenError> {
        self.0.open_rtcp_with(profile, key, buf)
    }
}

fn profiles() -> impl Strategy<Value = Profile> {
    proptest::sample::select(&Profile::ALL[..])
}

/// Seals with `S`, opens with `O`; returns the sealed RTP and RTCP packets.
fn across<S: Provider + Default, O: Provider + Default>(
    master: &MasterKey,
    packet: &[u8],
    header_len: usize,
    index: PacketIndex,
) -> (Vec<u8>, Vec<u8>) {
    let (sealer, opener) = (S::default(), O::default());
    let outbound = Outbound::new(&sealer, master);
    let inbound = Inbound::new(&opener, master);
    let sealed = suite::seal_with(&sealer, &outbound, packet, header_len, index).unwrap();
    let opened = suite::open_with(&opener, &inbound, &sealed, header_len, index);
    assert_eq!(opened.as_deref(), Ok(packet));

    // Any bytes of at least 8 will do for a compound here.
    let mut compound = packet.to_vec();
    compound.resize(packet.len() + master.profile().rtcp_overhead(), 0);
    let number = RtcpIndex::new(index.value() as u32 >> 1).unwrap();
    let egress = EgressRtcpIndex::new(number);
    let len = sealer.seal_rtcp(&outbound, egress, &mut compound, packet.len()).unwrap();
    let mut buf = compound[..len].to_vec();
    assert_eq!(opener.open_rtcp(&inbound, &mut buf), Ok((packet.len(), number)));
    assert_eq!(&buf[..packet.len()], packet);
    (sealed, compound)
}

proptest! {
    #![proptest_config(suite::seeds::config(1024))]

    #[test]
    fn all_providers_seal_to_the_same_bytes_and_open_each_other(
        profile in profiles(),
        key: [u8; 44],
        ssrc: u32,
        index in 0u64..(1 << 48),
        csrcs in 0usize..16,
        payload in proptest::collection::vec(any::<u8>(), 0..1500),
    ) {
        let master = MasterKey::new(profile, &key[..profile.master_len()]).unwrap();
        let index = PacketIndex::new(index).unwrap();
        let (mut packet, header_len) = suite::rtp(ssrc, index.seq(), csrcs, 0);
        packet.extend(payload);
        let one = across::<RingProvider, AesGcmProvider>(&master, &packet, header_len, index);
        let two = across::<AesGcmProvider, RingProvider>(&master, &packet, header_len, index);
        let three = across::<Fastest, RingProvider>(&master, &packet, header_len, index);
        let four = across::<AesGcmProvider, OnAesNi>(&master, &packet, header_len, index);
        prop_assert_eq!(&one, &two);
        prop_assert_eq!(&one, &three);
        prop_assert_eq!(&one, &four);
    }
}
