//! The other side of a [`Handshake`](crate::Handshake): what load generators and tests join with. The
//! node itself is never a client.

use std::collections::VecDeque;
use std::sync::Arc;

use openssl::ssl::{
    ShutdownState, Ssl, SslContext, SslMethod, SslOptions, SslStream, SslVerifyMode,
};

use crate::datagrams::Datagrams;
use crate::handshake::has_failed;
use crate::keys::{Keys, Profile};
use crate::limits::{MTU_MAX, MTU_MIN};
use crate::{Fingerprint, Identity, Progress, Refusal, SetupError, refusal};

/// A DTLS-SRTP client, without I/O. Its certificate is checked by the server as it checks the
/// server's.
///
/// After each call, send what [`poll_transmit`](Self::poll_transmit) yields.
pub struct Client {
    tls: SslStream<Datagrams>,
    outgoing: VecDeque<Vec<u8>>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Handshaking,
    Done,
    Closed,
    Refused(Refusal),
}

impl Client {
    /// Its ClientHello is there to be sent. `expected` is what the server's description announced,
    /// `profiles` what is offered, the dearest first.
    ///
    /// # Errors
    /// An MTU outside the limits, or a failure of the library.
    pub fn new(
        identity: &Identity,
        expected: &[Fingerprint],
        profiles: &[Profile],
        mtu: u16,
    ) -> Result<Self, SetupError> {
        if !(MTU_MIN..=MTU_MAX).contains(&mtu) {
            return Err(SetupError::Mtu(mtu));
        }
        let context = context(identity, profiles)?;
        let mut ssl = Ssl::new(&context)?;
        ssl.set_mtu(u32::from(mtu))?;
        ssl.set_connect_state();
        let expected: Arc<[Fingerprint]> = expected.into();
        ssl.set_verify_callback(SslVerifyMode::PEER, move |_, context| {
            let found = context.current_cert();
            found.is_some_and(|found| expected.iter().any(|print| print.matches(found)))
        });
        let tls = SslStream::new(ssl, Datagrams::default())?;
        let mut client = Self { tls, outgoing: VecDeque::new(), state: State::Handshaking };
        // What may come of a ClientHello comes later.
        let _ = client.on_timeout();
        Ok(client)
    }

    /// Takes a datagram of the server.
    ///
    /// # Errors
    /// The handshake has failed; every further call says the same.
    pub fn receive(&mut self, datagram: &[u8]) -> Result<Progress, Refusal> {
        self.tls.get_mut().offer(datagram.to_vec());
        self.advance()
    }

    /// Repeats what is due by the library's clock.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub fn on_timeout(&mut self) -> Result<Progress, Refusal> {
        self.advance()
    }

    /// The next datagram to send to the server.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.outgoing.pop_front()
    }

    /// Says close_notify, if the handshake is done.
    pub fn close(&mut self) {
        if self.state == State::Done {
            // An error means that it could not be said; we close either way.
            let _ = self.tls.shutdown();
            self.collect();
        }
        self.state = State::Closed;
    }

    fn advance(&mut self) -> Result<Progress, Refusal> {
        match self.state {
            State::Refused(refusal) => Err(refusal),
            State::Closed => Ok(Progress::Closed),
            State::Done => Ok(self.after()),
            State::Handshaking => self.shake(),
        }
    }

    fn shake(&mut self) -> Result<Progress, Refusal> {
        let turn = self.tls.do_handshake();
        self.collect();
        match turn {
            Ok(()) => {
                let profile = Profile::of(self.tls.ssl()).ok_or(Refusal::NoProfile);
                let keys = profile.and_then(|profile| {
                    Keys::export(self.tls.ssl(), profile).map_err(|stack| refusal::of(Some(&stack)))
                });
                self.state = match &keys {
                    Ok(_) => State::Done,
                    Err(refusal) => State::Refused(*refusal),
                };
                keys.map(Progress::Done)
            }
            Err(error) if has_failed(&self.tls) => {
                let refusal = refusal::of(error.ssl_error());
                self.state = State::Refused(refusal);
                Err(refusal)
            }
            Err(_) => Ok(Progress::InProgress),
        }
    }

    fn after(&mut self) -> Progress {
        // Nothing but alerts, and repeated flights, comes here.
        let _ = self.tls.ssl_read(&mut [0; 64]);
        self.collect();
        if self.tls.get_shutdown().contains(ShutdownState::RECEIVED) {
            self.state = State::Closed;
            return Progress::Closed;
        }
        Progress::InProgress
    }

    fn collect(&mut self) {
        while let Some(datagram) = self.tls.get_mut().pop() {
            self.outgoing.push_back(datagram);
        }
    }
}

fn context(identity: &Identity, profiles: &[Profile]) -> Result<SslContext, SetupError> {
    let mut context = SslContext::builder(SslMethod::dtls_client())?;
    context.set_options(SslOptions::NO_QUERY_MTU | SslOptions::NO_TICKET);
    let names: Vec<_> = profiles.iter().map(|profile| profile.library_name()).collect();
    if !names.is_empty() {
        context.set_tlsext_use_srtp(&names.join(":"))?;
    }
    let own = &identity.context;
    if let (Some(certificate), Some(key)) = (own.certificate(), own.private_key()) {
        context.set_certificate(certificate)?;
        context.set_private_key(key)?;
    }
    Ok(context.build())
}
