//! What a handshake agrees on, and with whom it refuses to.

mod common;

use openssl::ssl::{SslOptions, SslVersion};

use common::{ALL_PROFILES, Client, Credentials, Link, MTU, To, identity};
use dtls::{Algorithm, Handshake, Profile, Progress, Refusal, SetupError};

#[test]
fn our_order_of_profiles_decides() {
    let peer = Credentials::ecdsa();
    for (offered, wanted) in [
        (ALL_PROFILES, Profile::AeadAes128Gcm),
        ("SRTP_AES128_CM_SHA1_80:SRTP_AEAD_AES_256_GCM", Profile::AeadAes256Gcm),
        ("SRTP_AES128_CM_SHA1_32:SRTP_AES128_CM_SHA1_80", Profile::AesCm128HmacSha1_80),
    ] {
        let mut link = Link::new(Client::new(Some(&peer), offered), &[peer.sha256()]);
        link.run();
        assert_eq!(link.keys.as_ref().unwrap().profile, wanted);
        link.assert_equal_keys();
    }
}

#[test]
fn peers_with_ecdsa_and_rsa_certificates_are_known_by_any_announced_fingerprint() {
    let stranger = Credentials::ecdsa().sha256();
    for peer in [Credentials::ecdsa(), Credentials::rsa(2048)] {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512] {
            let expected = [stranger.clone(), peer.fingerprint(algorithm)];
            let mut link = Link::new(Client::new(Some(&peer), ALL_PROFILES), &expected);
            link.run();
            link.assert_equal_keys();
        }
    }
}

#[test]
fn no_datagram_is_larger_than_it_may_be() {
    let peer = Credentials::rsa(2048);
    for mtu in [256, 300, 576, 1200, 1500] {
        let server = Handshake::server(&identity(), &[peer.sha256()], mtu).unwrap();
        let mut link = Link::with(Client::new(Some(&peer), ALL_PROFILES), server);
        link.run();
        link.assert_equal_keys();
        let ours = link.seen.iter().filter(|(to, _)| *to == To::Client);
        let largest = ours.map(|(_, datagram)| datagram.len()).max().unwrap();
        assert!(largest <= mtu.into(), "{largest} > {mtu}");
    }
}

#[test]
fn a_stranger_gets_no_keys_and_does_not_believe_that_it_is_connected() {
    for (stranger, announced) in [
        (Some(Credentials::ecdsa()), Credentials::ecdsa()),
        (Some(Credentials::rsa(2048)), Credentials::ecdsa()),
        (None, Credentials::ecdsa()),
    ] {
        let client = Client::new(stranger.as_ref(), ALL_PROFILES);
        let mut link = Link::new(client, &[announced.sha256()]);
        link.run();
        let wanted = if stranger.is_some() { Refusal::Certificate } else { Refusal::NoCertificate };
        assert_eq!(link.refused, Some(wanted));
        assert!(link.keys.is_none() && link.server.is_over());
        link.client.turn();
        assert!(!link.client.is_done);
        // It stays refused, whatever comes.
        let datagrams = link.seen.clone();
        for (_, datagram) in datagrams {
            assert_eq!(link.server.receive(&datagram).unwrap_err(), wanted);
        }
    }
}

#[test]
fn a_weak_rsa_key_is_refused_though_its_fingerprint_matches() {
    let weak = Credentials::rsa(1024);
    let mut link = Link::new(Client::new(Some(&weak), ALL_PROFILES), &[weak.sha256()]);
    link.run();
    assert_eq!(link.refused, Some(Refusal::Certificate));
    assert!(link.keys.is_none());
}

#[test]
fn downgrades_are_refused_and_do_not_end_the_handshake_of_a_better_client() {
    let peer = Credentials::ecdsa();
    let client = |profiles: &str| Client::new(Some(&peer), profiles);
    let with = |change: fn(&mut openssl::ssl::SslContextBuilder)| {
        Client::with(Some(&peer), ALL_PROFILES, change)
    };
    let matrix = [
        (client(""), Refusal::NoProfile),
        (client("SRTP_AES128_CM_SHA1_32"), Refusal::NoProfile),
        (
            with(|context| context.set_max_proto_version(Some(SslVersion::DTLS1)).unwrap()),
            Refusal::Version,
        ),
        (
            with(|context| context.set_cipher_list("ECDHE-ECDSA-AES128-SHA").unwrap()),
            Refusal::NoCommonAlgorithm,
        ),
        (
            with(|context| context.set_cipher_list("ECDHE-ECDSA-NULL-SHA").unwrap()),
            Refusal::NoCommonAlgorithm,
        ),
        (
            with(|context| context.set_cipher_list("AES128-GCM-SHA256").unwrap()),
            Refusal::NoCommonAlgorithm,
        ),
        (with(|context| context.set_groups_list("P-384").unwrap()), Refusal::NoCommonAlgorithm),
    ];
    let mut server = Handshake::server(&identity(), &[peer.sha256()], MTU).unwrap();
    for (at, (client, wanted)) in matrix.into_iter().enumerate() {
        let mut link = Link::with(client, server);
        link.run();
        assert_eq!(link.refused, Some(wanted), "row {at}");
        assert!(link.keys.is_none() && !link.server.is_over(), "row {at}");
        server = link.server;
    }
    let mut link = Link::with(client(ALL_PROFILES), server);
    link.run();
    link.assert_equal_keys();
}

#[test]
fn without_the_extended_master_secret_there_are_no_keys() {
    // SSL_OP_NO_EXTENDED_MASTER_SECRET of OpenSSL 3; the crate has no name for it.
    const NO_EXTENDED_MASTER_SECRET: u64 = 1;
    let peer = Credentials::ecdsa();
    let client = Client::with(Some(&peer), ALL_PROFILES, |context| {
        context.set_options(SslOptions::from_bits_retain(NO_EXTENDED_MASTER_SECRET));
    });
    let mut link = Link::new(client, &[peer.sha256()]);
    link.run();
    assert_eq!(link.refused, Some(Refusal::NoExtendedMasterSecret));
    assert!(link.keys.is_none() && link.server.is_over());
    link.client.turn();
    assert!(!link.client.is_done);
}

#[test]
fn a_second_handshake_is_no_resumption_of_the_first() {
    let (peer, identity) = (Credentials::ecdsa(), identity());
    let mut randoms = vec![];
    for _ in 0..2 {
        let server = Handshake::server(&identity, &[peer.sha256()], MTU).unwrap();
        let mut link = Link::with(Client::new(Some(&peer), ALL_PROFILES), server);
        link.run();
        let ssl = link.client.tls.ssl();
        // Nothing to resume by: neither an id nor a ticket.
        let session = ssl.session().unwrap();
        assert_eq!((session.id().len(), ssl.session_reused()), (0, false));
        randoms.push(common::joined(link.keys.as_ref().unwrap()));
    }
    assert_ne!(randoms[0], randoms[1]);
}

#[test]
fn close_notify_ends_the_association_on_both_sides() {
    let peer = Credentials::ecdsa();
    let done = || {
        let mut link = Link::new(Client::new(Some(&peer), ALL_PROFILES), &[peer.sha256()]);
        link.run();
        link
    };
    let mut link = done();
    link.client.tls.shutdown().unwrap();
    link.exchange(&mut |_, _, datagram| vec![datagram.to_vec()]);
    assert!(link.is_closed && link.server.is_over());
    assert!(matches!(link.server.receive(&[]), Ok(Progress::Closed)));

    let mut link = done();
    link.server.close();
    let notice = link.server.poll_transmit().expect("close_notify");
    link.client.tls.get_mut().incoming.push_back(notice);
    let read = link.client.tls.ssl_read(&mut [0; 16]).unwrap_err();
    assert_eq!(read.code(), openssl::ssl::ErrorCode::ZERO_RETURN);
}

#[test]
fn a_handshake_closed_early_says_nothing_more() {
    let peer = Credentials::ecdsa();
    let mut link = Link::new(Client::new(Some(&peer), ALL_PROFILES), &[peer.sha256()]);
    for datagram in link.client.sends() {
        link.give(&datagram);
    }
    link.server.close();
    assert!(link.server.is_over() && link.server.poll_transmit().is_none());
}

#[test]
fn application_data_is_ignored() {
    let peer = Credentials::ecdsa();
    let mut link = Link::new(Client::new(Some(&peer), ALL_PROFILES), &[peer.sha256()]);
    link.run();
    link.client.tls.ssl_write(b"data channels are not served").unwrap();
    let before = link.seen.len();
    link.exchange(&mut |_, _, datagram| vec![datagram.to_vec()]);
    assert_eq!(link.seen.len(), before + 1, "no answer");
    assert!(!link.is_closed && !link.server.is_over());
}

#[test]
fn a_handshake_without_a_fingerprint_or_with_an_odd_mtu_cannot_begin() {
    let (identity, print) = (identity(), Credentials::ecdsa().sha256());
    let begin = |expected: &[_], mtu| Handshake::server(&identity, expected, mtu).err();
    assert!(matches!(begin(&[], MTU), Some(SetupError::Fingerprints(0))));
    let many = vec![print.clone(); 9];
    assert!(matches!(begin(&many, MTU), Some(SetupError::Fingerprints(9))));
    for mtu in [0, 255, 1501] {
        assert!(matches!(begin(std::slice::from_ref(&print), mtu), Some(SetupError::Mtu(_))));
    }
}
