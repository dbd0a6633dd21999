//! Which media addresses an offer may name.

use super::*;

fn node() -> MediaAddresses {
    MediaAddresses {
        own: vec!["198.18.1.2/24".parse().unwrap(), "2001:db8:1::2/64".parse().unwrap()],
        advertise: vec!["203.0.113.77".parse().unwrap()],
        exclusive: true,
        allow: vec!["198.51.100.0/24".parse().unwrap(), "2001:db8:a::/48".parse().unwrap()],
        udp: 8000..8002,
    }
}

fn judge(ip: &str, client: &str) -> Option<Endpoint> {
    node().judge(ip.parse().unwrap(), 5004, Some(client.parse().unwrap()))
}

#[test]
fn the_clients_own_address_is_allowed_in_every_spelling() {
    for (ip, client) in [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("192.0.2.7", "::ffff:192.0.2.7"),
        ("::ffff:c000:207", "192.0.2.7"),
        ("0:0:0:0:0:FFFF:192.0.2.7", "::ffff:c000:0207"),
        ("2001:db8:5::1", "2001:0DB8:0005:0:0:0:0:1"),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("10.1.2.3", "10.1.2.3"),
        ("fd00::7", "fd00::7"),
    ] {
        assert!(judge(ip, client).is_some(), "{ip} for {client}");
    }
    let v4 = Some(Endpoint::v4([192, 0, 2, 7], 5004));
    assert_eq!(judge("::ffff:192.0.2.7", "192.0.2.7"), v4);
}

#[test]
fn another_address_needs_the_operators_leave() {
    assert_eq!(judge("192.0.2.8", "192.0.2.7"), None);
    assert_eq!(judge("127.0.0.1", "192.0.2.7"), None);
    assert_eq!(judge("::ffff:127.0.0.1", "192.0.2.7"), None);
    assert_eq!(judge("::1", "127.0.0.1"), None);
    assert_eq!(judge("10.0.0.1", "192.0.2.7"), None);
    assert!(judge("198.51.100.9", "192.0.2.7").is_some());
    assert!(judge("::ffff:198.51.100.9", "192.0.2.7").is_some());
    assert!(judge("2001:db8:a::9", "192.0.2.7").is_some());
    assert_eq!(judge("2001:db8:b::9", "192.0.2.7"), None);
    let nobody = node().judge("192.0.2.7".parse().unwrap(), 5004, None);
    assert_eq!(nobody, None, "a client on a Unix socket has no address");
}

/// Special addresses are refused even to a client that has them, and even where the operator allows
/// everything.
#[test]
fn special_addresses_are_never_allowed() {
    let mut open = node();
    open.allow = vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
    for ip in [
        // unspecified and this network
        "0.0.0.0",
        "::",
        "::ffff:0.0.0.0",
        "0.1.2.3",
        "0:0:0:0:0:0:0:0",
        // multicast
        "224.0.0.1",
        "239.255.255.250",
        "::ffff:224.0.0.1",
        "ff02::1",
        "ff05::1:3",
        "ff0e::1",
        // broadcast, ours too, and reserved
        "255.255.255.255",
        "::ffff:255.255.255.255",
        "198.18.1.255",
        "::ffff:198.18.1.255",
        "240.0.0.1",
        // link local (cloud metadata lives there) and site local
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "::ffff:a9fe:a9fe",
        "fe80::1",
        "febf::1",
        "fec0::1",
        // IPv4 hidden in IPv6
        "::127.0.0.1",
        "::192.0.2.7",
        "64:ff9b::7f00:1",
        "64:ff9b::192.0.2.7",
        "2002:7f00:1::1",
        "2001:0:7f00:1::1",
        "100::1",
        // our own port and what stands for it
        "198.18.1.2",
        "::ffff:198.18.1.2",
        "2001:db8:1::2",
        "203.0.113.77",
    ] {
        let ip: IpAddr = ip.parse().unwrap();
        assert_eq!(open.judge(ip, 5004, Some(ip)), None, "{ip}");
    }
    assert!(open.judge("192.0.2.7".parse().unwrap(), 5004, None).is_some());
    assert_eq!(open.judge("192.0.2.7".parse().unwrap(), 0, None), None);
}

/// On a kernel port, peers may live on the node's own host; its media ports are still no peers.
#[test]
fn a_shared_address_is_allowed_except_for_the_media_ports() {
    let mut shared = node();
    shared.exclusive = false;
    shared.own.push("127.0.0.1/8".parse().unwrap());
    for ip in ["198.18.1.2", "127.0.0.1", "127.5.5.5"] {
        let ip: IpAddr = ip.parse().unwrap();
        assert!(shared.judge(ip, 5004, Some(ip)).is_some(), "{ip}");
        assert!(shared.judge(ip, 8000, Some(ip)).is_none(), "{ip}");
        assert!(shared.judge(ip, 8001, Some(ip)).is_none(), "{ip}");
        assert!(shared.judge(ip, 8002, Some(ip)).is_some(), "{ip}");
    }
}

#[test]
fn peers_are_told_an_address_of_their_family() {
    let node = node();
    let (own, told) = node.local("192.0.2.7".parse().unwrap(), 8001).unwrap();
    assert_eq!(own, Endpoint::v4([198, 18, 1, 2], 8001));
    assert_eq!(told.to_string(), "203.0.113.77:8001");
    let (_, told) = node.local("::ffff:192.0.2.7".parse().unwrap(), 8001).unwrap();
    assert!(told.is_ipv4());
    let (_, told) = node.local("2001:db8:5::1".parse().unwrap(), 8001).unwrap();
    assert_eq!(told.to_string(), "[2001:db8:1::2]:8001");
    let v4_only = MediaAddresses { own: node.own[..1].to_vec(), ..node };
    assert!(v4_only.local("2001:db8:5::1".parse().unwrap(), 1).is_none());
}
