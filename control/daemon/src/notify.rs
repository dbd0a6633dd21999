//! The webhook: posts security events, signed, one after the other, and again when nobody took them.

use std::sync::Arc;

use anyhow::{Context, Result};
use axum::http::{Request, StatusCode, header};
use config::Notify;
use hmac::{Hmac, KeyInit, Mac};
use hyper_util::rt::TokioIo;
use proto::SecurityEvent;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::json;
use sha2::Sha256;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::export::Metrics;
use crate::limits::{NOTIFY_PAUSES, NOTIFY_QUEUE_MAX, NOTIFY_TIMEOUT};
use crate::security::Record;

/// Posts what is reported.
pub struct Notifier {
    to: Notify,
    node: String,
    secret: Zeroizing<String>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    metrics: Arc<Metrics>,
    records: mpsc::Receiver<Record>,
    /// Differs between any two lives of this process.
    life: String,
}

impl Notifier {
    /// For this webhook. From now on events wait for it.
    ///
    /// # Errors
    /// What is wrong with its files.
    pub fn new(to: &Notify, node: &str, metrics: &Arc<Metrics>) -> Result<Notifier> {
        let secret = to.secret_file.read().context("notify.secret_file")?;
        let tls = if to.is_tls { Some(connector(to)?) } else { None };
        let (sender, records) = mpsc::channel(NOTIFY_QUEUE_MAX);
        metrics.security.notify(sender);
        let mut life = [0; 8];
        getrandom::fill(&mut life).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
        Ok(Notifier {
            to: to.clone(),
            node: node.to_owned(),
            secret,
            tls,
            metrics: Arc::clone(metrics),
            records,
            life: hex(&life),
        })
    }

    /// Posts until `stop` turns true.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut number = 0u64;
        loop {
            let record = tokio::select! {
                record = self.records.recv() => record,
                _ = stop.changed() => None,
            };
            let Some(record) = record else { return };
            number += 1;
            let body = self.body(&record, number);
            tokio::select! {
                is_taken = self.deliver(&body) => {
                    self.metrics.security.notified(usize::from(!is_taken));
                    if !is_taken {
                        tracing::warn!(event = record.event.name(), "the webhook took no event");
                    }
                }
                _ = stop.changed() => return,
            }
        }
    }

    fn body(&self, record: &Record, number: u64) -> String {
        let event: SecurityEvent = record.event;
        json!({
            "schema": "roomlane.event.v1",
            "node": self.node,
            "id": format!("{}-{number}", self.life),
            "unix_ms": record.unix_ms,
            "event": event.name(),
            "category": event.category().name(),
            "severity": event.severity().name(),
            "sentence": event.sentence(),
            "action": event.action(),
            "about": record.about,
            "count": record.count,
            "runbook": event.runbook(),
        })
        .to_string()
    }

    /// Posts a body until it is taken or the attempts are used up.
    async fn deliver(&self, body: &str) -> bool {
        let mut pauses = NOTIFY_PAUSES.iter();
        loop {
            match tokio::time::timeout(NOTIFY_TIMEOUT, self.post(body)).await {
                Ok(Ok(status)) if status.is_success() => return true,
                Ok(Ok(status)) => tracing::debug!(%status, "the webhook took no event yet"),
                Ok(Err(error)) => tracing::debug!(%error, "the webhook took no event yet"),
                Err(_) => tracing::debug!("the webhook did not answer in time"),
            }
            let Some(pause) = pauses.next() else { return false };
            tokio::time::sleep(*pause).await;
        }
    }

    async fn post(&self, body: &str) -> Result<StatusCode> {
        let stream = TcpStream::connect((self.to.host.as_str(), self.to.port)).await?;
        match &self.tls {
            Some((tls, name)) => {
                self.exchange(tls.connect(name.clone(), stream).await?, body).await
            }
            None => self.exchange(stream, body).await,
        }
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        body: &str,
    ) -> Result<StatusCode> {
        let io = TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
        let unix_s = shm::clock::unix_ns() / 1_000_000_000;
        let host = match self.to.host.contains(':') {
            true => format!("[{}]:{}", self.to.host, self.to.port),
            false => format!("{}:{}", self.to.host, self.to.port),
        };
        let request = Request::post(&self.to.path)
            .header(header::HOST, host)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONNECTION, "close")
            .header("roomlane-signature", signature(&self.secret, unix_s, body))
            .body(body.to_owned())?;
        // The connection is driven only for as long as we wait, and closed with it. Its end says
        // nothing: the answer may have arrived with it.
        let drive = async {
            let _ = connection.await;
            std::future::pending().await
        };
        tokio::select! {
            answer = sender.send_request(request) => Ok(answer?.status()),
            () = drive => anyhow::bail!("the connection ended"),
        }
    }
}

/// `t=SECONDS,v1=HEX`: HMAC-SHA256 over the seconds, a dot and the body.
fn signature(secret: &str, unix_s: u64, body: &str) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(format!("{unix_s}.").as_bytes());
    mac.update(body.as_bytes());
    format!("t={unix_s},v1={}", hex(&mac.finalize().into_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn connector(to: &Notify) -> Result<(TlsConnector, ServerName<'static>)> {
    let at = || format!("notify.ca_file {}", to.ca_file.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&to.ca_file).with_context(at)? {
        // A host's bundle may hold old ones that the library does not take.
        let _ = roots.add(certificate.with_context(at)?);
    }
    anyhow::ensure!(!roots.is_empty(), "{}: no certificate", at());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(to.host.clone()).context("notify.url")?;
    Ok((TlsConnector::from(Arc::new(config)), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From `printf '1800000000.{"a":1}' | openssl dgst -sha256 -hmac secret`.
    #[test]
    fn a_signature_is_what_openssl_makes() {
        let expected =
            "t=1800000000,v1=440dfbb83aabca24d9e5027629cfd81cb45254690f8d410bb28f1cc17c990dbc";
        assert_eq!(signature("secret", 1_800_000_000, "{\"a\":1}"), expected);
    }
}
