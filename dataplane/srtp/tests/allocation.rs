//! Sealing, opening and the windows allocate nothing, under any profile and provider.

#[path = "suite/mod.rs"]
#[allow(dead_code, reason = "the parts that are claims are run by tests/provider.rs")]
mod suite;

use srtp::{
    AesGcmProvider, EgressIndex, EgressRtcpIndex, FanoutProvider, Inbound, MasterKey, OpenJob,
    Outbound, PacketIndex, Plaintext, Profile, Provider, ReplayWindow, RingProvider, RtcpIndex,
    SealJob,
};
use suite::{Leg, SSRC};

fn packets_cost_no_allocation<P: Provider + Default>(profile: Profile) {
    packets_of(Leg::<P>::new(profile, 1), profile);
}

fn packets_of<P: Provider>(leg: Leg<P>, profile: Profile) {
    let mut window = ReplayWindow::new();
    let payload = [0x33; 1200];
    let mut buf = [0; 12 + 1200 + 24];
    let mut opened = 0;
    let counted = allocation_counter::measure(|| {
        for number in 1..2_000u32 {
            let index = PacketIndex::new(65_000 + u64::from(number)).expect("far below 2^48");
            buf[2..4].copy_from_slice(&index.seq().to_be_bytes());
            buf[8..12].copy_from_slice(&SSRC.to_be_bytes());
            let shared = Plaintext::Shared(&payload);
            let egress = EgressIndex::new(index);
            let mut jobs = [SealJob::new(&leg.outbound, SSRC, egress, 12, &mut buf)];
            leg.provider.seal_many(shared, &mut jobs);
            let len = jobs[0].result.unwrap_or(0);
            let estimate = window.estimate(index.seq());
            let mut jobs = [OpenJob::new(&leg.inbound, SSRC, estimate, 12, &mut buf[..len])];
            leg.provider.open_many(&mut jobs);
            opened += usize::from(jobs[0].result == Ok(1200) && window.commit(estimate).is_ok());

            let index = EgressRtcpIndex::new(RtcpIndex::new(number).expect("far below 2^31"));
            let len = leg.provider.seal_rtcp(&leg.outbound, index, &mut buf, 60).unwrap_or(0);
            let compound = leg.provider.open_rtcp(&leg.inbound, &mut buf[..len]);
            opened += usize::from(compound.is_ok_and(|(len, _)| len == 60));
        }
    });
    assert_eq!(opened, 2 * 1_999, "everything must have opened");
    assert_eq!(counted.count_total, 0, "{profile}");
}

#[test]
fn ring_packets_cost_no_allocation() {
    Profile::ALL.into_iter().for_each(packets_cost_no_allocation::<RingProvider>);
}

#[test]
fn aes_gcm_packets_cost_no_allocation() {
    Profile::ALL.into_iter().for_each(packets_cost_no_allocation::<AesGcmProvider>);
}

#[test]
fn packets_of_the_kernel_cost_no_allocation() {
    for profile in Profile::ALL {
        let provider = FanoutProvider::detect().expect("a CPU with AES instructions");
        let master = MasterKey::new(profile, &[9; 44][..profile.master_len()]).unwrap();
        let outbound = Outbound::new(&provider, &master);
        let inbound = Inbound::new(&provider, &master);
        packets_of(Leg { provider, outbound, inbound }, profile);
    }
}

#[test]
fn the_counter_counts() {
    let counted = allocation_counter::measure(|| drop(std::hint::black_box(vec![1u8; 100])));
    assert_eq!(counted.count_total, 1);
}
