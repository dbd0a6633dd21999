//! Why a packet was dropped: one table for counters, metrics, consoles and the handbook.

macro_rules! drop_reasons {
    ($($variant:ident $name:literal $sentence:literal;)*) => {
        /// The reason of a drop. Each has a counter, a sentence for the operator and a test.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum DropReason { $(#[doc = $sentence] $variant,)* }

        impl DropReason {
            /// Every reason, in the order of the counters.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$variant,)*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The name in metrics and tables.
            pub const fn name(self) -> &'static str {
                match self { $(DropReason::$variant => $name,)* }
            }

            /// What it means, for the operator.
            pub const fn sentence(self) -> &'static str {
                match self { $(DropReason::$variant => $sentence,)* }
            }
        }
    };
}

drop_reasons! {
    // below UDP, counted by the port
    BadFrame "bad_frame" "The Ethernet frame or ARP/NDP/ICMP message is malformed.";
    WrongVlan "wrong_vlan" "The frame's VLAN tag is not the configured one.";
    NotOurs "not_ours" "The frame, address or protocol is not meant for this node.";
    BadIp "bad_ip" "The IP header is malformed.";
    Fragment "fragment" "The packet is an IP fragment; fragments are never reassembled.";
    BadLength "bad_length" "A length field contradicts the bytes that arrived.";
    BadChecksum "bad_checksum" "A checksum that the device or we could check is wrong.";
    NoPort "no_port" "No shard listens on the UDP port.";
    PingLimit "ping_limit" "A ping, ARP or NDP request above the answer rate.";
    NoNeighbour "no_neighbour" "The next hop's link address is not resolved yet.";
    Oversize "oversize" "The packet is larger than the MTU or a buffer.";
    NoMbuf "no_mbuf" "The buffer pool is empty.";
    TxFull "tx_full" "The transmit queue stayed full for 50 microseconds.";
    SteerFull "steer_full" "The ring to another shard is full.";
    RelayFull "relay_full" "The ring of opened copies to another shard is full.";
    // before authentication
    UnknownClass "unknown_class" "Neither STUN, DTLS, RTP nor RTCP by its first bytes.";
    Malformed "malformed" "The RTP, RTCP or DTLS header is truncated or contradicts itself.";
    NoSession "no_session" "No session has this address, and no publisher declared this SSRC.";
    NotServed "not_served" "STUN or DTLS, which this session does not use.";
    SourceBudget "source_budget" "The unknown source spent its budget of authentication attempts.";
    BadStun "bad_stun" "Malformed STUN, or no Binding request with USERNAME, MESSAGE-INTEGRITY and FINGERPRINT.";
    UnknownUfrag "unknown_ufrag" "The connectivity check names no session and ICE generation that are alive here.";
    StunReplay "stun_replay" "A connectivity check that was seen before, from an address that is not the session's.";
    StunLimit "stun_limit" "The session's connectivity checks are above the rate of answers.";
    PathTaken "path_taken" "The connectivity check's address belongs to another session that is alive.";
    NoKeys "no_keys" "The session's DTLS handshake is not finished.";
    PuntLimit "punt_limit" "The session's DTLS datagrams are above what is handed to the control daemon.";
    PuntFull "punt_full" "The ring of DTLS datagrams to the control daemon is full.";
    UnknownSsrc "unknown_ssrc" "The session did not declare this SSRC.";
    Revoked "revoked" "The session was kicked, or its room was ended.";
    GrantExpired "grant_expired" "The session's tokens have expired.";
    NoRight "no_right" "The grant does not allow sending or receiving this kind of media.";
    ForeignRoom "foreign_room" "Session and room do not belong together; nothing crosses rooms.";
    ForeignApp "foreign_app" "Session and room belong to different apps; nothing crosses apps.";
    Replay "replay" "The packet index was already accepted.";
    TooOld "too_old" "The packet index lies before the replay window.";
    FailureBudget "failure_budget" "The session is over its budget of failed authentications.";
    AppPackets "app_packets" "The app is over its quota of packets per second.";
    AppBytes "app_bytes" "The app is over its quota of bytes per second.";
    AuthFailed "auth_failed" "The authentication tag is wrong.";
    // after authentication
    BadPacket "bad_packet" "The authenticated packet's content is malformed (padding, extension, RTCP).";
    PayloadType "payload_type" "The authenticated packet's payload type is not the negotiated one.";
    LateAfterSwitch "late_after_switch" "The packet is older than the segment that its subscriber is in.";
    AwaitingKeyframe "awaiting_keyframe" "The subscriber's picture starts at a keyframe, and none has come yet.";
    NoPath "no_path" "The subscriber's address is not known yet.";
    KeyExhausted "key_exhausted" "The key has protected as many packets as RFC 3711 allows.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_snake_case_and_indexed() {
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
            assert!(reason.name().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
            assert!(reason.sentence().ends_with('.'));
            let twins = DropReason::ALL.iter().filter(|r| r.name() == reason.name()).count();
            assert_eq!(twins, 1, "{}", reason.name());
        }
    }
}
