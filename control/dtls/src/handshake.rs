//! One association with one peer, from its ClientHello to close_notify.

use std::collections::VecDeque;
use std::sync::Arc;

use openssl::pkey::Id;
use openssl::ssl::{ShutdownState, Ssl, SslStream, SslVerifyMode, SslVersion};
use openssl::x509::X509Ref;

use crate::datagrams::Datagrams;
use crate::filter::{Filter, Phase};
use crate::keys::{Keys, Profile};
use crate::limits::{
    DATAGRAM_BYTES_MAX, FINGERPRINTS_MAX, MTU_MAX, MTU_MIN, OUTGOING_MAX, REPEATS_MAX,
    RSA_BITS_MIN, TURNS_PER_DATAGRAM,
};
use crate::{Fingerprint, Identity, Refusal, SetupError, refusal};

/// What came of a datagram.
#[derive(Debug)]
pub enum Progress {
    /// Nothing the caller must know of. There may be datagrams to send.
    InProgress,
    /// The peer is authenticated. Yielded once; the association lives on to repeat our last flight
    /// and to learn of the end.
    Done(Keys),
    /// The peer ended the association, authenticated; or [`Handshake::close`] has.
    Closed,
}

/// An association in the making, or made. We are the server.
///
/// After each call, send what [`poll_transmit`](Self::poll_transmit) yields. While no
/// [`Progress::Done`] was seen, call [`on_timeout`](Self::on_timeout) about every 50 ms. How long a
/// handshake may take in all is the caller's to decide.
pub struct Handshake {
    identity: Arc<Identity>,
    expected: Arc<[Fingerprint]>,
    mtu: u16,
    tls: SslStream<Datagrams>,
    filter: Filter,
    outgoing: VecDeque<Vec<u8>>,
    /// Our answer to the ClientHello, to be repeated.
    flight: Vec<Vec<u8>>,
    repeats: usize,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Handshaking,
    Done,
    /// The library gave up after the handshake; the keys are good all the same.
    Deaf,
    Closed,
    Refused(Refusal),
}

impl Handshake {
    /// Awaits a ClientHello. `expected` is what the peer's session description announced; its
    /// certificate must match one of them. No datagram we send is larger than `mtu` bytes.
    ///
    /// # Errors
    /// No fingerprint or too many, an MTU outside the limits, or a failure of the library.
    pub fn server(
        identity: &Arc<Identity>,
        expected: &[Fingerprint],
        mtu: u16,
    ) -> Result<Self, SetupError> {
        if !(1..=FINGERPRINTS_MAX).contains(&expected.len()) {
            return Err(SetupError::Fingerprints(expected.len()));
        }
        if !(MTU_MIN..=MTU_MAX).contains(&mtu) {
            return Err(SetupError::Mtu(mtu));
        }
        let expected: Arc<[Fingerprint]> = expected.into();
        Ok(Self {
            tls: stream(identity, &expected, mtu)?,
            identity: Arc::clone(identity),
            expected,
            mtu,
            filter: Filter::new(),
            outgoing: VecDeque::new(),
            flight: vec![],
            repeats: 0,
            state: State::Handshaking,
        })
    }

    /// Takes a datagram from the peer's path. What is no part of the handshake is dropped.
    ///
    /// # Errors
    /// A ClientHello or the handshake is refused. If [`is_over`](Self::is_over) then, every further
    /// call says the same; if not, the refused ClientHello is forgotten and another one may come:
    /// it was not authenticated.
    pub fn receive(&mut self, datagram: &[u8]) -> Result<Progress, Refusal> {
        match self.state {
            State::Refused(refusal) => return Err(refusal),
            State::Closed => return Ok(Progress::Closed),
            State::Deaf => return Ok(Progress::InProgress),
            State::Handshaking | State::Done => {}
        }
        if datagram.len() > DATAGRAM_BYTES_MAX {
            return Ok(Progress::InProgress);
        }
        let admitted = self.filter.admit(datagram);
        if admitted.is_repeated_hello {
            self.repeat_flight();
        }
        if admitted.is_new_hello {
            self.begin_anew()?;
        }
        if admitted.records.is_empty() {
            return Ok(Progress::InProgress);
        }
        self.tls.get_mut().offer(admitted.records);
        match self.state {
            State::Done => Ok(self.after()),
            _ => self.advance(),
        }
    }

    /// The next datagram to send to the peer.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.outgoing.pop_front()
    }

    /// Repeats our flight if it is due by the library's clock: after 1 s, 2 s, 4 s and so on. (A
    /// repeated ClientHello and a repeated Finished are answered without waiting.) Records that came
    /// out of order may be worked off here, so a handshake may even end here.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub fn on_timeout(&mut self) -> Result<Progress, Refusal> {
        match self.state {
            State::Refused(refusal) => Err(refusal),
            State::Closed => Ok(Progress::Closed),
            State::Handshaking if self.filter.phase() == Phase::Answered => self.advance(),
            State::Handshaking | State::Done | State::Deaf => Ok(Progress::InProgress),
        }
    }

    /// Ends the association: close_notify is queued if there is anybody to tell. What was not yet
    /// sent of a handshake is not sent any more.
    pub fn close(&mut self) {
        if self.state == State::Done {
            // An error means that it could not be said; we close either way.
            let _ = self.tls.shutdown();
            self.collect();
        } else {
            self.outgoing.clear();
        }
        if !matches!(self.state, State::Refused(_)) {
            self.state = State::Closed;
        }
    }

    /// Whether nothing can come of this association any more.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Closed | State::Refused(_))
    }

    /// Lets the library work until it wants another datagram.
    fn advance(&mut self) -> Result<Progress, Refusal> {
        for _ in 0..TURNS_PER_DATAGRAM {
            self.tls.get_mut().is_starved = false;
            let turn = self.tls.do_handshake();
            if self.collect() && self.filter.phase() == Phase::Hello {
                self.answered()?;
            }
            match turn {
                Ok(()) => return self.finish().map(Progress::Done),
                Err(error) if has_failed(&self.tls) => {
                    return Err(self.refuse(refusal::of(error.ssl_error())));
                }
                // A record that was dropped also ends a turn; the next ones still wait.
                Err(_) if !self.tls.get_ref().is_starved => {}
                Err(_) => break,
            }
        }
        Ok(Progress::InProgress)
    }

    /// The library answered a ClientHello: with a flight that may lead to keys, or not.
    fn answered(&mut self) -> Result<(), Refusal> {
        if has_failed(&self.tls) {
            // The answer is an alert.
            return Ok(());
        }
        if Profile::of(self.tls.ssl()).is_none() {
            self.outgoing.clear();
            return Err(self.refuse(Refusal::NoProfile));
        }
        let cipher = self.tls.ssl().current_cipher();
        let is_chacha20 = cipher.is_some_and(|cipher| cipher.name().contains("CHACHA20"));
        self.filter.answered(is_chacha20);
        Ok(())
    }

    /// The library is content; we look ourselves before we give out keys.
    fn finish(&mut self) -> Result<Keys, Refusal> {
        let keys = self.verified();
        match keys {
            Ok(_) => {
                self.filter.done();
                self.flight.clear();
                self.state = State::Done;
            }
            Err(refusal) => {
                // The peer shall not believe that it is connected.
                self.outgoing.clear();
                self.state = State::Refused(refusal);
            }
        }
        keys
    }

    fn verified(&self) -> Result<Keys, Refusal> {
        let ssl = self.tls.ssl();
        if ssl.version2() != Some(SslVersion::DTLS1_2) {
            return Err(Refusal::Version);
        }
        if ssl.extms_support() != Some(true) {
            return Err(Refusal::NoExtendedMasterSecret);
        }
        let certificate = ssl.peer_certificate().ok_or(Refusal::NoCertificate)?;
        if !is_accepted(&certificate, &self.expected) {
            return Err(Refusal::Certificate);
        }
        let profile = Profile::of(ssl).ok_or(Refusal::NoProfile)?;
        Keys::export(ssl, profile).map_err(|stack| refusal::of(Some(&stack)))
    }

    /// After the handshake: the library repeats our last flight if the peer's comes again, and
    /// learns of the end.
    fn after(&mut self) -> Progress {
        for _ in 0..TURNS_PER_DATAGRAM {
            self.tls.get_mut().is_starved = false;
            let read = self.tls.ssl_read(&mut [0; 64]);
            self.collect();
            let is_closed = self.tls.get_shutdown().contains(ShutdownState::RECEIVED);
            match read {
                _ if is_closed => {
                    self.state = State::Closed;
                    return Progress::Closed;
                }
                Err(_) if has_failed(&self.tls) => {
                    self.state = State::Deaf;
                    break;
                }
                Err(_) if self.tls.get_ref().is_starved => break,
                Ok(_) | Err(_) => {}
            }
        }
        Progress::InProgress
    }

    /// A refused ClientHello is forgotten; anything later ends the handshake. An alert that the
    /// library wrote is sent.
    fn refuse(&mut self, refusal: Refusal) -> Refusal {
        if self.filter.phase() == Phase::Hello && self.begin_anew().is_ok() {
            self.filter.forget_hello();
        } else {
            self.state = State::Refused(refusal);
        }
        refusal
    }

    /// Forgets all of the library's state, before anything was answered.
    fn begin_anew(&mut self) -> Result<(), Refusal> {
        let made = stream(&self.identity, &self.expected, self.mtu);
        self.tls = made.map_err(|_| Refusal::Protocol("out of memory"))?;
        Ok(())
    }

    /// Takes what the library wrote. Whether that was anything.
    fn collect(&mut self) -> bool {
        let mut written = vec![];
        while let Some(datagram) = self.tls.get_mut().pop() {
            written.push(datagram);
        }
        if written.is_empty() {
            return false;
        }
        self.send(&written);
        if self.filter.phase() == Phase::Hello {
            self.flight = written;
        }
        true
    }

    /// The peer asks again: most likely our answer was lost. It gets the very same datagrams, which
    /// it takes for duplicates if it has them. This is quicker than the library's timer.
    fn repeat_flight(&mut self) {
        if self.repeats < REPEATS_MAX {
            self.repeats += 1;
            let flight = std::mem::take(&mut self.flight);
            self.send(&flight);
            self.flight = flight;
        }
    }

    fn send(&mut self, datagrams: &[Vec<u8>]) {
        let room = OUTGOING_MAX.saturating_sub(self.outgoing.len());
        self.outgoing.extend(datagrams.iter().take(room).cloned());
    }
}

fn stream(
    identity: &Identity,
    expected: &Arc<[Fingerprint]>,
    mtu: u16,
) -> Result<SslStream<Datagrams>, SetupError> {
    let mut ssl = Ssl::new(&identity.context)?;
    ssl.set_mtu(u32::from(mtu))?;
    ssl.set_accept_state();
    let expected = Arc::clone(expected);
    let mode = SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT;
    // The library asks for each certificate of the chain, and for each fault it finds in one. Who
    // issued the peer's certificate and when it ends means nothing here (RFC 5763 section 5).
    ssl.set_verify_callback(mode, move |_, context| match context.error_depth() {
        0 => context.current_cert().is_some_and(|found| is_accepted(found, &expected)),
        _ => true,
    });
    Ok(SslStream::new(ssl, Datagrams::default())?)
}

fn is_accepted(certificate: &X509Ref, expected: &[Fingerprint]) -> bool {
    let is_strong = certificate.public_key().is_ok_and(|key| match key.id() {
        Id::RSA | Id::RSA_PSS => key.bits() >= RSA_BITS_MIN,
        _ => true,
    });
    is_strong && expected.iter().any(|print| print.matches(certificate))
}

/// Whether the library's state machine has ended in failure. Other errors pass: it wants more, or
/// has dropped a record.
pub(crate) fn has_failed(tls: &SslStream<Datagrams>) -> bool {
    tls.ssl().state_string_long() == "error"
}

/// An association may be moved to another thread.
const fn is_send<T: Send>() {}
const _: () = is_send::<Handshake>();
