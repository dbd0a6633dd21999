//! Which records of a datagram the library gets to see.
//!
//! Until the peer's Finished nothing in DTLS 1.2 is authenticated, and the library ends a handshake
//! over much that anybody could have sent: alerts, misplaced messages, record numbers far ahead. So
//! only records pass that the peer may send at this point. A client of ours sends exactly this:
//!
//! | epoch | record | message, its number | when |
//! |---|---|---|---|
//! | 0 | handshake | ClientHello, 0 (there is no cookie exchange: consent has shown the path) | at first |
//! | 0 | handshake | Certificate, 1; ClientKeyExchange, 2; CertificateVerify, 3 | after our answer |
//! | 0 | ChangeCipherSpec | | after our answer |
//! | 1 | handshake, alert | Finished and what follows, authenticated by the library | from then on |
//!
//! Alerts of epoch 0 are dropped (RFC 6347 section 4.1.2.7 allows it), so is application data.

use crate::limits::{
    CERTIFICATE_BYTES_MAX, CLIENT_HELLO_BYTES_MAX, EARLY_RECORDS_MAX, KEY_EXCHANGE_BYTES_MAX,
    VERIFY_BYTES_MAX,
};

const RECORD_HEADER: usize = 13;
const MESSAGE_HEADER: usize = 12;
const RANDOM: std::ops::Range<usize> = 2..34;
/// No record of an AEAD is shorter than its tag, and under GCM not than the nonce that it carries and that (RFC 5288
/// section 3). OpenSSL 3.0.19 ends the association over one that is, which anybody could send.
const SEALED_BYTES_MIN: usize = 8 + 16;
const SEALED_BYTES_MIN_CHACHA20: usize = 16;

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

const CLIENT_HELLO: u8 = 1;
const CERTIFICATE: u8 = 11;
const KEY_EXCHANGE: u8 = 16;
const VERIFY: u8 = 15;

/// How far a handshake is, as far as it decides what may come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// A ClientHello, perhaps in fragments, is awaited.
    Hello,
    /// Our first flight is out.
    Answered,
    /// The peer is authenticated.
    Done,
}

/// What a datagram was good for.
#[derive(Default)]
pub(crate) struct Admitted {
    /// The records for the library.
    pub(crate) records: Vec<u8>,
    /// The records begin another ClientHello than the fragments before: forget those.
    pub(crate) is_new_hello: bool,
    /// The ClientHello we have answered came again: the peer may not have our answer.
    pub(crate) is_repeated_hello: bool,
}

pub(crate) struct Filter {
    phase: Phase,
    /// Number of the next record of epoch 0.
    next: u64,
    /// Length of the ClientHello in progress, and its random once the first fragment is there.
    hello: Option<(usize, Option<[u8; 32]>)>,
    verify_seen: bool,
    change_seen: bool,
    early: usize,
    sealed_bytes_min: usize,
}

struct Record<'a> {
    kind: u8,
    epoch: u16,
    bytes: &'a [u8],
    body: &'a [u8],
}

struct Message<'a> {
    kind: u8,
    number: u16,
    length: usize,
    offset: usize,
    fragment: &'a [u8],
}

impl Filter {
    pub(crate) fn new() -> Self {
        Self {
            phase: Phase::Hello,
            next: 0,
            hello: None,
            verify_seen: false,
            change_seen: false,
            early: 0,
            sealed_bytes_min: SEALED_BYTES_MIN,
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// Our first flight is on its way; it says with which cipher.
    pub(crate) fn answered(&mut self, is_chacha20: bool) {
        self.phase = Phase::Answered;
        if is_chacha20 {
            self.sealed_bytes_min = SEALED_BYTES_MIN_CHACHA20;
        }
    }

    /// The peer is who it should be.
    pub(crate) fn done(&mut self) {
        self.phase = Phase::Done;
    }

    /// The ClientHello came to nothing.
    pub(crate) fn forget_hello(&mut self) {
        self.hello = None;
    }

    /// Keeps of a datagram what may pass. Whatever follows a record that cannot be read is lost.
    pub(crate) fn admit(&mut self, mut datagram: &[u8]) -> Admitted {
        let mut admitted = Admitted::default();
        while let Some((record, rest)) = Record::split(datagram) {
            datagram = rest;
            match record.epoch {
                0 if self.admits_plain(&record, &mut admitted) => {
                    self.renumber(&record, &mut admitted.records);
                }
                1 if self.admits_sealed(&record) => admitted.records.extend(record.bytes),
                _ => {}
            }
        }
        admitted
    }

    /// Copies a record of epoch 0 under a number of ours. The number is not authenticated, and the
    /// library would take everything after a forged high one for a replay.
    fn renumber(&mut self, record: &Record<'_>, out: &mut Vec<u8>) {
        let (head, tail) = (&record.bytes[..5], &record.bytes[11..]);
        out.extend(head);
        out.extend(&self.next.to_be_bytes()[2..]);
        out.extend(tail);
        self.next += 1;
    }

    fn admits_plain(&mut self, record: &Record<'_>, admitted: &mut Admitted) -> bool {
        match (record.kind, self.phase) {
            (_, Phase::Done) => false,
            (CHANGE_CIPHER_SPEC, Phase::Answered) if record.body == [1] => {
                self.change_seen |= self.verify_seen;
                true
            }
            (HANDSHAKE, _) => self.admits_messages(record.body, admitted),
            _ => false,
        }
    }

    /// A record passes whole or not at all.
    fn admits_messages(&mut self, mut body: &[u8], admitted: &mut Admitted) -> bool {
        if body.is_empty() {
            return false;
        }
        while !body.is_empty() {
            let Some((message, rest)) = Message::split(body) else { return false };
            body = rest;
            let passes = match (self.phase, message.kind, message.number) {
                (Phase::Hello, CLIENT_HELLO, 0) => {
                    message.length <= CLIENT_HELLO_BYTES_MAX
                        && self.admits_hello(&message, admitted)
                }
                (Phase::Answered, CLIENT_HELLO, 0) => {
                    admitted.is_repeated_hello |= self.repeats_hello(&message);
                    false
                }
                (Phase::Answered, CERTIFICATE, 1) => message.length <= CERTIFICATE_BYTES_MAX,
                (Phase::Answered, KEY_EXCHANGE, 2) => message.length <= KEY_EXCHANGE_BYTES_MAX,
                (Phase::Answered, VERIFY, 3) => {
                    let fits = message.length <= VERIFY_BYTES_MAX;
                    self.verify_seen |= fits;
                    fits
                }
                _ => false,
            };
            if !passes {
                return false;
            }
        }
        true
    }

    /// Fragments of one ClientHello gather; the beginning of another one begins anew.
    fn admits_hello(&mut self, message: &Message<'_>, admitted: &mut Admitted) -> bool {
        let random = message.random();
        if message.offset == 0 && random.is_none() {
            return false;
        }
        self.hello = match (self.hello, random) {
            (None, _) => Some((message.length, random)),
            (Some((length, known)), None) if length == message.length => Some((length, known)),
            (Some(_), None) => return false,
            (Some((length, known)), Some(new)) => {
                admitted.is_new_hello |=
                    length != message.length || known.is_some_and(|known| known != new);
                if admitted.is_new_hello {
                    admitted.records.clear();
                }
                Some((message.length, Some(new)))
            }
        };
        true
    }

    fn repeats_hello(&self, message: &Message<'_>) -> bool {
        let known = self.hello.and_then(|(_, random)| random);
        known.is_some() && message.random() == known
    }

    fn admits_sealed(&mut self, record: &Record<'_>) -> bool {
        let is_known = matches!(record.kind, HANDSHAKE | ALERT);
        if !is_known || record.body.len() < self.sealed_bytes_min {
            return false;
        }
        match self.phase {
            Phase::Hello => false,
            Phase::Answered if !self.change_seen => {
                self.early += 1;
                self.early <= EARLY_RECORDS_MAX
            }
            Phase::Answered | Phase::Done => true,
        }
    }
}

impl<'a> Record<'a> {
    /// The first record of a datagram and what follows, if the first is one of DTLS 1.x.
    fn split(datagram: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let header = datagram.first_chunk::<RECORD_HEADER>()?;
        let [kind, major, minor, epoch_high, epoch_low, .., length_high, length_low] = *header;
        let length = usize::from(u16::from_be_bytes([length_high, length_low]));
        let is_dtls = major == 0xfe && matches!(minor, 0xff | 0xfd);
        let bytes = datagram.get(..RECORD_HEADER + length)?;
        let rest = &datagram[bytes.len()..];
        let epoch = u16::from_be_bytes([epoch_high, epoch_low]);
        is_dtls.then_some((Self { kind, epoch, bytes, body: &bytes[RECORD_HEADER..] }, rest))
    }
}

impl<'a> Message<'a> {
    /// The first message, or fragment of one, of a record's body and what follows.
    fn split(body: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let header = body.first_chunk::<MESSAGE_HEADER>()?;
        let at = |at: usize| usize::from(header[at]);
        let three = |i: usize| at(i) << 16 | at(i + 1) << 8 | at(i + 2);
        let (length, offset, fragment_length) = (three(1), three(6), three(9));
        let fragment = body.get(MESSAGE_HEADER..MESSAGE_HEADER + fragment_length)?;
        // An empty fragment carries nothing; none of the messages that pass is empty.
        let fits = !fragment.is_empty() && offset + fragment_length <= length;
        let rest = &body[MESSAGE_HEADER + fragment_length..];
        let number = u16::from_be_bytes([header[4], header[5]]);
        fits.then_some((Self { kind: header[0], number, length, offset, fragment }, rest))
    }

    /// The random of a ClientHello, if this is its beginning.
    fn random(&self) -> Option<[u8; 32]> {
        let is_first = self.offset == 0;
        is_first.then(|| self.fragment.get(RANDOM)?.try_into().ok()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, epoch: u8, body: &[u8]) -> Vec<u8> {
        let head = [kind, 0xfe, 0xfd, 0, epoch, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0];
        [&head[..], &[body.len() as u8], body].concat()
    }

    fn message(kind: u8, number: u8) -> Vec<u8> {
        record(HANDSHAKE, 0, &[kind, 0, 0, 2, 0, number, 0, 0, 0, 0, 0, 2, 7, 7])
    }

    /// How many of `count` such datagrams pass.
    fn passes(filter: &mut Filter, datagram: &[u8], count: usize) -> usize {
        (0..count).filter(|_| !filter.admit(datagram).records.is_empty()).count()
    }

    #[test]
    fn a_sealed_record_is_as_long_as_its_cipher_makes_it() {
        for (is_chacha20, least) in [(false, 24), (true, 16)] {
            let mut filter = Filter::new();
            filter.answered(is_chacha20);
            assert_eq!(passes(&mut filter, &record(ALERT, 1, &vec![0; least - 1]), 1), 0);
            assert_eq!(passes(&mut filter, &record(ALERT, 1, &vec![0; least]), 1), 1);
        }
    }

    #[test]
    fn early_encrypted_records_are_few_until_the_peer_changed_its_cipher() {
        let mut filter = Filter::new();
        let (sealed, change) =
            (record(HANDSHAKE, 1, &[0; 40]), record(CHANGE_CIPHER_SPEC, 0, &[1]));
        assert_eq!(passes(&mut filter, &sealed, 10), 0);
        filter.answered(false);
        assert_eq!(passes(&mut filter, &change, 1), 1);
        assert_eq!(passes(&mut filter, &sealed, 100), EARLY_RECORDS_MAX);
        assert_eq!(passes(&mut filter, &message(VERIFY, 3), 1), 1);
        assert_eq!(passes(&mut filter, &change, 1), 1);
        assert_eq!(passes(&mut filter, &sealed, 100), 100);
    }

    #[test]
    fn a_message_passes_only_in_its_phase_and_under_its_number() {
        let mut filter = Filter::new();
        let clients = [(CERTIFICATE, 1), (KEY_EXCHANGE, 2), (VERIFY, 3)];
        let passing = |filter: &mut Filter| {
            let all = (0..=255_u8).flat_map(|kind| (0..8_u8).map(move |number| (kind, number)));
            all.filter(|&(kind, n)| passes(filter, &message(kind, n), 1) == 1).collect::<Vec<_>>()
        };
        // A ClientHello of two bytes has no random, so not even that passes.
        assert_eq!(passing(&mut filter), []);
        filter.answered(false);
        let mut found = passing(&mut filter);
        found.sort_by_key(|&(_, number)| number);
        assert_eq!(found, clients);
        filter.done();
        assert_eq!(passing(&mut filter), []);
    }

    #[test]
    fn records_of_epoch_0_get_our_numbers() {
        let mut filter = Filter::new();
        filter.answered(false);
        for number in 0..3 {
            let admitted = filter.admit(&message(CERTIFICATE, 1));
            assert_eq!(admitted.records[3..11], [0, 0, 0, 0, 0, 0, 0, number]);
        }
    }
}
