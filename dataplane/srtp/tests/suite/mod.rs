//! What every provider must do, written once; `tests/provider.rs` runs it for each.
//! The claims are generic functions, each runs over all profiles.

pub mod seeds;
pub mod stream;
pub mod vectors;

use srtp::{
    EgressIndex, EgressRtcpIndex, Inbound, MasterKey, OpenError, OpenJob, Outbound, PacketIndex,
    Plaintext, Profile, Provider, RtcpIndex, SealError, SealJob,
};

pub const SSRC: u32 = 0x5501_a0b2;

/// Both ends of one direction under the same master key.
pub struct Leg<P: Provider> {
    pub provider: P,
    pub outbound: Outbound<P>,
    pub inbound: Inbound<P>,
}

impl<P: Provider + Default> Leg<P> {
    pub fn new(profile: Profile, fill: u8) -> Leg<P> {
        let bytes: Vec<u8> =
            (0..profile.master_len()).map(|at| fill ^ (at as u8).wrapping_mul(7)).collect();
        let master = MasterKey::new(profile, &bytes).unwrap();
        let provider = P::default();
        let outbound = Outbound::new(&provider, &master);
        let inbound = Inbound::new(&provider, &master);
        Leg { provider, outbound, inbound }
    }

    pub fn seal(&self, packet: &[u8], header_len: usize, index: PacketIndex) -> Vec<u8> {
        seal_with(&self.provider, &self.outbound, packet, header_len, index).unwrap()
    }

    /// The whole opened packet, header included.
    pub fn open(
        &self,
        sealed: &[u8],
        header_len: usize,
        index: PacketIndex,
    ) -> Result<Vec<u8>, OpenError> {
        open_with(&self.provider, &self.inbound, sealed, header_len, index)
    }

    pub fn seal_rtcp(&self, compound: &[u8], index: u32) -> Vec<u8> {
        let mut buf = compound.to_vec();
        buf.resize(compound.len() + self.outbound.profile().rtcp_overhead(), 0xEE);
        let index = EgressRtcpIndex::new(RtcpIndex::new(index).unwrap());
        let len = self.provider.seal_rtcp(&self.outbound, index, &mut buf, compound.len()).unwrap();
        assert_eq!(len, buf.len());
        buf
    }

    pub fn open_rtcp(&self, sealed: &[u8]) -> Result<(Vec<u8>, RtcpIndex), OpenError> {
        let mut buf = sealed.to_vec();
        let (len, index) = self.provider.open_rtcp(&self.inbound, &mut buf)?;
        buf.truncate(len);
        Ok((buf, index))
    }
}

pub fn seal_with<P: Provider>(
    provider: &P,
    outbound: &Outbound<P>,
    packet: &[u8],
    header_len: usize,
    index: PacketIndex,
) -> Result<Vec<u8>, SealError> {
    let mut out = packet[..header_len].to_vec();
    out.resize(packet.len() + outbound.profile().rtp_tag_len(), 0xEE);
    let ssrc = u32::from_be_bytes(packet[8..12].try_into().unwrap());
    let plaintext = Plaintext::Shared(&packet[header_len..]);
    let egress = EgressIndex::new(index);
    let mut jobs = [SealJob::new(outbound, ssrc, egress, header_len, &mut out)];
    provider.seal_many(plaintext, &mut jobs);
    let len = jobs[0].result?;
    assert_eq!(len, out.len());
    Ok(out)
}

pub fn open_with<P: Provider>(
    provider: &P,
    inbound: &Inbound<P>,
    sealed: &[u8],
    header_len: usize,
    index: PacketIndex,
) -> Result<Vec<u8>, OpenError> {
    let ssrc = sealed.get(8..12).map_or(0, |bytes| u32::from_be_bytes(bytes.try_into().unwrap()));
    let mut buf = sealed.to_vec();
    let mut jobs = [OpenJob::new(inbound, ssrc, index, header_len, &mut buf)];
    provider.open_many(&mut jobs);
    let len = jobs[0].result?;
    assert_eq!(jobs[0].payload().map(<[u8]>::len), Some(len));
    buf.truncate(header_len + len);
    Ok(buf)
}

/// An RTP packet with `csrcs` CSRCs and a payload that depends on the sequence number.
pub fn rtp(ssrc: u32, seq: u16, csrcs: usize, payload_len: usize) -> (Vec<u8>, usize) {
    let mut packet = vec![0x80 | csrcs as u8, 96];
    packet.extend(seq.to_be_bytes());
    packet.extend((u32::from(seq) * 960).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend((0..csrcs * 4).map(|at| at as u8));
    let header_len = packet.len();
    packet.extend((0..payload_len).map(|at| (at as u8).wrapping_mul(31) ^ seq as u8));
    (packet, header_len)
}

/// An RTCP receiver report with `extra` words behind it.
pub fn rtcp(ssrc: u32, extra: usize) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1 + extra as u8];
    packet.extend(ssrc.to_be_bytes());
    packet.extend((0..extra * 4).map(|at| at as u8 ^ 0x5A));
    packet
}

fn index(roc: u32, seq: u16) -> PacketIndex {
    PacketIndex::from_parts(roc, seq)
}

pub fn sealed_packets_open_at_every_length<P: Provider + Default>(profile: Profile) {
    let leg = Leg::<P>::new(profile, 1);
    for len in (0..=260).chain([1100, 1200, 1399, 1400, 4000]) {
        for csrcs in [0, 1, 15] {
            let (packet, header_len) = rtp(SSRC, len as u16, csrcs, len);
            let sealed = leg.seal(&packet, header_len, index(3, len as u16));
            assert_eq!(sealed.len(), packet.len() + profile.rtp_tag_len());
            assert_eq!(sealed[..header_len], packet[..header_len], "the header stays clear");
            if len >= 16 {
                assert_ne!(sealed[header_len..header_len + len], packet[header_len..]);
            }
            assert_eq!(leg.open(&sealed, header_len, index(3, len as u16)), Ok(packet));
        }
    }
}

pub fn shared_and_in_place_payloads_give_the_same_bytes<P: Provider + Default>(profile: Profile) {
    let leg = Leg::<P>::new(profile, 2);
    for len in [0, 1, 15, 16, 17, 100, 1200] {
        let (packet, header_len) = rtp(SSRC, 9, 2, len);
        let shared = leg.seal(&packet, header_len, index(0, 9));
        // More room than needed: what lies behind the tag must stay as it is.
        let mut out = packet.clone();
        out.resize(shared.len() + 5, 0x77);
        let egress = EgressIndex::new(index(0, 9));
        let plaintext = Plaintext::InPlace(len);
        let mut jobs = [SealJob::new(&leg.outbound, SSRC, egress, header_len, &mut out)];
        leg.provider.seal_many(plaintext, &mut jobs);
        assert_eq!(jobs[0].packet(), Some(&shared[..]));
        assert_eq!(out[shared.len()..], [0x77; 5]);
    }
}

pub fn every_flipped_bit_of_rtp_is_refused<P: Provider + Default>(profile: Profile) {
    let leg = Leg::<P>::new(profile, 3);
    let (packet, header_len) = rtp(SSRC, 40_000, 1, 33);
    let sealed = leg.seal(&packet, header_len, index(1, 40_000));
    for bit in 0..sealed.len() * 8 {
        let mut forged = sealed.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        let opened = leg.open(&forged, header_len, index(1, 40_000));
        assert_eq!(opened, Err(OpenError::BadTag), "bit {bit}");
    }
}

pub fn every_flipped_bit_of_rtcp_is_refused<P: Provider + Default>(profile: Profile) {
    let leg = Leg::<P>::new(profile, 4);
    let sealed = leg.seal_rtcp(&rtcp(SSRC, 6), 77);
    for bit in 0..sealed.len() * 8 {
        let mut forged = sealed.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        let refused = leg.open_rtcp(&forged).unwrap_err();
        assert!(matches!(refused, OpenError::BadTag | OpenError::NotEncrypted), "bit {bit}");
    }
}

pub fn another_index_ssrc_or_key_does_not_open<P: Provider + Default>(profile: Profile) {
    let (leg, other) = (Leg::<P>::new(profile, 5), Leg::<P>::new(profile, 6));
    let (packet, header_len) = rtp(SSRC, 500, 0, 100);
    let sealed = leg.seal(&packet, header_len, index(8, 500));
    for wrong in [index(7, 500), index(9, 500), index(0, 500)] {
        assert_eq!(leg.open(&sealed, header_len, wrong), Err(OpenError::BadTag), "{wrong:?}");
    }
    assert_eq!(other.open(&sealed, header_len, index(8, 500)), Err(OpenError::BadTag));
    let compound = leg.seal_rtcp(&rtcp(SSRC, 6), 1);
    assert_eq!(other.open_rtcp(&compound), Err(OpenError::BadTag));
}

pub fn no_truncated_packet_opens_or_panics<P: Provider + Default>(profile: Profile) {
    let leg = Leg::<P>::new(profile, 7);
    let (packet, header_len) = rtp(SSRC, 1, 3, 40);
    let sealed = leg.seal(&packet, header_len, index(0, 1));
    let compound = leg.seal_rtcp(&rtcp(SSRC, 4), 1);
    for len in 0..sealed.len() {
        let opened = leg.open(&sealed[..len], header_len, index(0, 1));
        let short = len < header_len + profile.rtp_tag_len();
        assert_eq!(
            opened,
            Err(if short { OpenError::TooShort } else { OpenError::BadTag }),
            "{len}"
        );
    }
    for len in 0..compound.len() {
        assert!(leg.open_rtcp(&compound[..len]).is_err(), "{len}");
    }
    for header_len in [0, 11, sealed.len(), sealed.len() + 1, usize::MAX] {
        assert_eq!(leg.open(&sealed, header_len, index(0, 1)), Err(OpenError::TooShort));
    }
}

pub fn a_burst_of_many_keys_gives_each_job_its_own_result<P: Provider + Default>() {
    let legs: Vec<Leg<P>> = (0..32).map(|at| Leg::new(Profile::ALL[at % 3], at as u8)).collect();
    let (packet, header_len) = rtp(SSRC, 7, 0, 123);
    let mut outs: Vec<Vec<u8>> = legs
        .iter()
        .map(|leg| {
            let mut out = packet[..header_len].to_vec();
            out.resize(packet.len() + leg.outbound.profile().rtp_tag_len(), 0);
            out
        })
        .collect();
    let mut jobs: Vec<SealJob<'_, P::Key>> = legs
        .iter()
        .zip(&mut outs)
        .map(|(leg, out)| {
            SealJob::new(&leg.outbound, SSRC, EgressIndex::new(index(0, 7)), header_len, out)
        })
        .collect();
    legs[0].provider.seal_many(Plaintext::Shared(&packet[header_len..]), &mut jobs);
    assert!(jobs.iter().all(|job| job.result == Ok(job.packet().unwrap().len())));
    drop(jobs);

    // Every fifth packet is damaged; the others must not notice.
    for out in outs.iter_mut().step_by(5) {
        out[header_len] ^= 0x80;
    }
    let mut jobs: Vec<OpenJob<'_, P::Key>> = legs
        .iter()
        .zip(&mut outs)
        .map(|(leg, out)| OpenJob::new(&leg.inbound, SSRC, index(0, 7), header_len, out))
        .collect();
    legs[0].provider.open_many(&mut jobs);
    for (at, job) in jobs.iter().enumerate() {
        if at % 5 == 0 {
            assert_eq!((job.result, job.payload()), (Err(OpenError::BadTag), None), "job {at}");
        } else {
            assert_eq!(job.payload(), Some(&packet[header_len..]), "job {at}");
        }
    }
}

pub fn mistakes_of_the_caller_are_refused<P: Provider + Default>(profile: Profile) {
    let leg = Leg::<P>::new(profile, 8);
    let (packet, header_len) = rtp(SSRC, 20, 0, 50);
    let payload = &packet[header_len..];
    let seal = |ssrc, at: PacketIndex, header_len, plaintext, out: &mut [u8]| {
        let egress = EgressIndex::new(at);
        let mut jobs = [SealJob::new(&leg.outbound, ssrc, egress, header_len, out)];
        assert_eq!(jobs[0].result, Err(SealError::Pending));
        leg.provider.seal_many(plaintext, &mut jobs);
        jobs[0].result
    };
    let room = packet.len() + profile.rtp_tag_len();
    let mut out = packet.clone();
    out.resize(room, 0);
    let shared = Plaintext::Shared(payload);
    assert_eq!(seal(SSRC, index(0, 20), 12, shared, &mut out.clone()), Ok(room));
    assert_eq!(seal(SSRC, index(0, 20), 12, shared, &mut out[..room - 1]), Err(SealError::NoRoom));
    let huge = Plaintext::InPlace(usize::MAX);
    assert_eq!(seal(SSRC, index(0, 20), 12, huge, &mut out), Err(SealError::NoRoom));
    assert_eq!(seal(SSRC, index(0, 20), 11, shared, &mut out), Err(SealError::TooShort));
    assert_eq!(seal(SSRC, index(0, 21), 12, shared, &mut out), Err(SealError::HeaderMismatch));
    assert_eq!(seal(SSRC + 1, index(0, 20), 12, shared, &mut out), Err(SealError::HeaderMismatch));

    let index = || EgressRtcpIndex::new(RtcpIndex::new(1).unwrap());
    let mut compound = rtcp(SSRC, 2);
    let len = compound.len();
    compound.resize(len + profile.rtcp_overhead() - 1, 0);
    let sealed = leg.provider.seal_rtcp(&leg.outbound, index(), &mut compound, len);
    assert_eq!(sealed, Err(SealError::NoRoom));
    let sealed = leg.provider.seal_rtcp(&leg.outbound, index(), &mut compound, usize::MAX);
    assert_eq!(sealed, Err(SealError::NoRoom));
    let sealed = leg.provider.seal_rtcp(&leg.outbound, index(), &mut compound, 7);
    assert_eq!(sealed, Err(SealError::TooShort));
}

pub fn a_job_seals_once<P: Provider + Default>(profile: Profile) {
    let leg = Leg::<P>::new(profile, 9);
    let (mut packet, header_len) = rtp(SSRC, 20, 0, 50);
    packet.resize(packet.len() + profile.rtp_tag_len(), 0);
    let egress = EgressIndex::new(index(0, 20));
    let plaintext = Plaintext::InPlace(50);
    let mut jobs = [SealJob::new(&leg.outbound, SSRC, egress, header_len, &mut packet)];
    leg.provider.seal_many(plaintext, &mut jobs);
    assert!(jobs[0].result.is_ok());
    leg.provider.seal_many(plaintext, &mut jobs);
    assert_eq!(jobs[0].result, Err(SealError::Spent));
}

/// A mistake in one, and a header longer than the fan-out kernel takes in another.
pub fn one_job_that_is_different_keeps_no_other_from_being_sealed<P: Provider + Default>(
    profile: Profile,
) {
    let legs: Vec<Leg<P>> = (0..4).map(|fill| Leg::new(profile, fill)).collect();
    let payload = [0x5a; 70];
    let header_lens = [12, 12, 120, 16];
    let mut outs: Vec<Vec<u8>> = header_lens
        .iter()
        .map(|header_len| {
            let (mut out, _) = rtp(SSRC, 7, 0, header_len - 12);
            out.resize(header_len + payload.len() + profile.rtp_tag_len(), 0);
            out
        })
        .collect();
    outs[1][3] ^= 1;
    let places = legs.iter().zip(&mut outs).zip(header_lens);
    let mut jobs: Vec<SealJob<'_, P::Key>> = places
        .map(|((leg, out), header_len)| {
            SealJob::new(&leg.outbound, SSRC, EgressIndex::new(index(0, 7)), header_len, out)
        })
        .collect();
    legs[0].provider.seal_many(Plaintext::Shared(&payload), &mut jobs);
    let results: Vec<_> = jobs.iter().map(|job| job.result.err()).collect();
    assert_eq!(results, [None, Some(SealError::HeaderMismatch), None, None]);
    drop(jobs);
    for ((leg, out), header_len) in legs.iter().zip(&outs).zip(header_lens) {
        let opened = leg.open(out, header_len, index(0, 7));
        match out[3] {
            7 => assert_eq!(opened.unwrap()[header_len..], payload),
            _ => assert_eq!(opened, Err(OpenError::BadTag)),
        }
    }
}

pub fn rtcp_opens_with_its_index_at_every_length<P: Provider + Default>(profile: Profile) {
    let leg = Leg::<P>::new(profile, 10);
    for extra in 0..=60 {
        let number = 1 + extra as u32 * 1000;
        let compound = rtcp(SSRC, extra);
        let sealed = leg.seal_rtcp(&compound, number);
        assert_eq!(sealed[..8], compound[..8], "the first header stays clear");
        let peek = srtp::peek_rtcp(profile, &sealed).unwrap();
        assert_eq!((peek.ssrc, peek.index.value()), (SSRC, number));
        let (opened, index) = leg.open_rtcp(&sealed).unwrap();
        assert_eq!((opened, index.value()), (compound, number));
    }
}

pub fn rtcp_without_the_e_flag_is_refused<P: Provider + Default>(profile: Profile) {
    let leg = Leg::<P>::new(profile, 11);
    let mut sealed = leg.seal_rtcp(&rtcp(SSRC, 3), 5);
    let behind = if profile == Profile::AesCm128HmacSha1_80 { 10 } else { 0 };
    let word = sealed.len() - behind - 4;
    assert_eq!(sealed[word..word + 4], [0x80, 0, 0, 5]);
    sealed[word] &= 0x7f;
    assert_eq!(leg.open_rtcp(&sealed), Err(OpenError::NotEncrypted));
    assert_eq!(srtp::peek_rtcp(profile, &sealed), Err(OpenError::NotEncrypted));
}

pub fn the_last_indices_of_a_key_still_work<P: Provider + Default>(profile: Profile) {
    let leg = Leg::<P>::new(profile, 12);
    let (packet, header_len) = rtp(SSRC, u16::MAX, 0, 20);
    let sealed = leg.seal(&packet, header_len, PacketIndex::MAX);
    assert_eq!(leg.open(&sealed, header_len, PacketIndex::MAX), Ok(packet));
    let compound = rtcp(SSRC, 1);
    let sealed = leg.seal_rtcp(&compound, RtcpIndex::MAX.value());
    assert_eq!(leg.open_rtcp(&sealed), Ok((compound, RtcpIndex::MAX)));
}

/// RFC 7714 sections 16 and 17, and libsrtp's own packets, in both directions.
pub fn rfc_packets_seal_and_open_to_the_same_bytes<P: Provider + Default>() {
    let files = [
        (include_str!("../../../../tests/vectors/rfc7714/packets.txt"), 6),
        (include_str!("../../../../tests/vectors/rfc3711/packets.txt"), 2),
    ];
    for (file, count) in files {
        let records = vectors::records(file);
        assert_eq!(records.len(), count);
        for record in records {
            rfc_packet::<P>(&record);
        }
    }
}

fn rfc_packet<P: Provider + Default>(record: &vectors::Record) {
    let source = record.text("source");
    let profile: Profile = record.text("profile").parse().unwrap();
    let provider = P::default();
    let keys = || {
        if record.has("master") {
            MasterKey::new(profile, &record.hex("master")).unwrap().session_keys()
        } else {
            let (key, salt) = (record.hex("key"), record.hex("salt"));
            let material = || srtp::KeyMaterial::from_parts(profile, &key, &[], &salt);
            srtp::SessionKeys { rtp: material(), rtcp: material() }
        }
    };
    let leg = Leg {
        outbound: Outbound::from_session_keys(&provider, keys()),
        inbound: Inbound::from_session_keys(&provider, keys()),
        provider,
    };
    let sealed = record.hex("sealed");
    match record.text("kind") {
        "rtp" => {
            let (plain, index) = (record.hex("plain"), record.number("index"));
            let index = PacketIndex::new(index).unwrap();
            assert_eq!(leg.seal(&plain, 12, index), sealed, "{source}");
            assert_eq!(leg.open(&sealed, 12, index), Ok(plain), "{source}");
        }
        "rtcp" => {
            let (plain, index) = (record.hex("plain"), record.number("index") as u32);
            assert_eq!(leg.seal_rtcp(&plain, index), sealed, "{source}");
            let index = RtcpIndex::new(index).unwrap();
            assert_eq!(leg.open_rtcp(&sealed), Ok((plain, index)), "{source}");
        }
        "rtcp-clear" => {
            assert_eq!(leg.open_rtcp(&sealed), Err(OpenError::NotEncrypted), "{source}");
        }
        kind => panic!("unknown kind {kind}"),
    }
}
