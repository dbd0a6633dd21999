//! AES-CM with SHA-NI: packets are encrypted one by one and authenticated two at a time.

use aead::cm::{CRYPT_MAX, Cm, Message};
use arrayvec::ArrayVec;

use super::{Cipher, FanoutKey, FanoutProvider};
use crate::provider::{OpenError, OpenJob, Plaintext, RTP_HEADER_MIN, SealError, SealJob, cm};

impl FanoutProvider {
    /// Seals jobs under AES-CM: all are encrypted, then two at a time are authenticated.
    pub(super) fn seal_fast_cm(
        &self,
        plaintext: Plaintext<'_>,
        jobs: &mut [SealJob<'_, FanoutKey>],
    ) {
        let Some(cm) = self.cm else { return };
        for pair in jobs.chunks_mut(2) {
            let mut rocs = [None; 2];
            for (job, roc) in pair.iter_mut().zip(&mut rocs) {
                let Cipher::FastCm { salt, context } = &job.key.0 else { continue };
                let len = plaintext.len();
                let fits = |index| (len <= CRYPT_MAX).then_some(index).ok_or(SealError::NoRoom);
                job.result = job.prepare(plaintext, cm::TAG).and_then(fits).map(|index| {
                    let end = job.header_len + len;
                    let iv = cm::iv(**salt, job.ssrc, index.value());
                    cm.crypt(context, &iv, &mut job.out[job.header_len..end]);
                    *roc = Some(index.roc().to_be_bytes());
                    end + cm::TAG
                });
            }
            let mut messages = ArrayVec::<Message<'_>, 2>::new();
            for (job, roc) in pair.iter().zip(&rocs) {
                let (Cipher::FastCm { context, .. }, Some(roc), Ok(total)) =
                    (&job.key.0, roc, job.result)
                else {
                    continue;
                };
                messages.push(Message { context, bytes: &job.out[..total - cm::TAG], suffix: roc });
            }
            let macs = macs(cm, &messages);
            drop(messages);
            let sealed = pair.iter_mut().filter_map(|job| Some((job.result.ok()?, job)));
            for ((total, job), mac) in sealed.zip(macs) {
                job.out[total - cm::TAG..total].copy_from_slice(&mac[..cm::TAG]);
            }
        }
    }

    /// Opens jobs under AES-CM: two at a time are authenticated, and what is authentic is decrypted.
    pub(super) fn open_fast_cm(&self, jobs: &mut [OpenJob<'_, FanoutKey>]) {
        let Some(cm) = self.cm else { return };
        for pair in jobs.chunks_mut(2) {
            let rocs: ArrayVec<[u8; 4], 2> =
                pair.iter().map(|job| job.index.roc().to_be_bytes()).collect();
            let mut messages = ArrayVec::<Message<'_>, 2>::new();
            for (job, roc) in pair.iter_mut().zip(&rocs) {
                let whole = job.buf.len().checked_sub(cm::TAG);
                let fits = |end: &usize| {
                    let len = end.checked_sub(job.header_len);
                    job.header_len >= RTP_HEADER_MIN && len.is_some_and(|len| len <= CRYPT_MAX)
                };
                // Pending until its tag is known.
                job.result = match whole.filter(fits) {
                    Some(_) => Err(OpenError::Pending),
                    None => Err(OpenError::TooShort),
                };
                let (Some(end), Err(OpenError::Pending)) = (whole, job.result) else { continue };
                let Cipher::FastCm { context, .. } = &job.key.0 else { continue };
                messages.push(Message { context, bytes: &job.buf[..end], suffix: roc });
            }
            let macs = macs(cm, &messages);
            drop(messages);
            let waiting = pair.iter_mut().filter(|job| job.result == Err(OpenError::Pending));
            for (job, mac) in waiting.zip(macs) {
                let Cipher::FastCm { salt, context } = &job.key.0 else { continue };
                let end = job.buf.len() - cm::TAG;
                let (packet, tag) = job.buf.split_at_mut(end);
                job.result = cm::holds(&mac, tag).map(|()| {
                    let iv = cm::iv(**salt, job.ssrc, job.index.value());
                    cm.crypt(context, &iv, &mut packet[job.header_len..]);
                    end - job.header_len
                });
            }
        }
    }
}

/// The MACs of up to two messages.
fn macs(cm: Cm, messages: &[Message<'_>]) -> ArrayVec<[u8; aead::cm::MAC], 2> {
    match *messages {
        [a, b] => ArrayVec::from(cm.mac_two([a, b])),
        [a] => core::iter::once(cm.mac(a)).collect(),
        _ => ArrayVec::new(),
    }
}
