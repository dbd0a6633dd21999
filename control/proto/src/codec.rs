//! Commands and events as bytes: the only caller of `bincode`, so that it can be replaced here alone.

use bincode::config::{Configuration, standard};
use bincode::{Decode, Encode};

/// Largest encoded message, in bytes; the rings are sized by it.
pub const MESSAGE_MAX: usize = 4096;

/// A message did not fit or did not parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodecError;

impl std::fmt::Display for CodecError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a control message is malformed or too large")
    }
}

impl std::error::Error for CodecError {}

const CONFIG: Configuration = standard();

/// Writes `message` to the front of `out`; returns its length in bytes.
pub fn encode<M: Encode>(message: &M, out: &mut [u8]) -> Result<usize, CodecError> {
    bincode::encode_into_slice(message, out, CONFIG).map_err(|_| CodecError)
}

/// Reads one message; bytes left over are an error.
pub fn decode<M: Decode<()>>(bytes: &[u8]) -> Result<M, CodecError> {
    match bincode::decode_from_slice(bytes, CONFIG) {
        Ok((message, used)) if used == bytes.len() => Ok(message),
        _ => Err(CodecError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::*;

    fn full_session() -> OpenSession {
        let token = List::from_slice(&[b'm'; command::TOKEN_MAX]).unwrap();
        let publication = PublicationSpec {
            extensions: List::from_slice(&[ExtensionId::default(); command::EXTENSIONS_MAX])
                .unwrap(),
            clock_rate: u32::MAX,
            ssrc: u32::MAX,
            publication: PublicationNo(u32::MAX),
            mid: token,
            layers: List::from_slice(&[token; command::LAYERS_MAX]).unwrap(),
            rtx: Some(RtxSpec { payload_type: 127, ssrc: u32::MAX }),
            ..Default::default()
        };
        let slot = SlotSpec {
            ssrc: u32::MAX,
            timestamp_offset: u32::MAX,
            codecs: List::from_slice(
                &[SlotCodec { codec: CodecId(u16::MAX), payload_type: 127, rtx_payload_type: 127 };
                    command::SLOT_CODECS_MAX],
            )
            .unwrap(),
            extensions: publication.extensions,
            publisher: Some(MemberNo(u64::MAX)),
            mid: token,
            rtx_ssrc: u32::MAX,
            ..Default::default()
        };
        OpenSession {
            session: SessionId(u64::MAX),
            rx_key: KeyMaterial { bytes: List::from_slice(&[9; command::KEY_MAX]).unwrap() },
            tx_key: KeyMaterial { bytes: List::from_slice(&[9; command::KEY_MAX]).unwrap() },
            ice: Some(IceCredentials {
                generation: u16::MAX,
                password: List::from_slice(&[b'p'; command::ICE_PASSWORD_MAX]).unwrap(),
            }),
            remote: Endpoint { ip: [255; 16], port: u16::MAX },
            publications: List::from_slice(&[publication; command::PUBLICATIONS_MAX]).unwrap(),
            slots: List::from_slice(&[slot; command::SLOTS_MAX]).unwrap(),
            blob: List::from_slice(&[7; command::BLOB_MAX]).unwrap(),
            ..Default::default()
        }
    }

    #[test]
    fn the_largest_command_fits_and_returns_whole() {
        let mut bytes = [0; MESSAGE_MAX];
        let command = Command::OpenSession(full_session());
        let len = encode(&command, &mut bytes).unwrap();
        assert_eq!(decode::<Command>(&bytes[..len]), Ok(command));
    }

    #[test]
    fn truncated_and_padded_messages_are_refused() {
        let mut bytes = [0; MESSAGE_MAX];
        let event = Event::ResyncDone { sessions: 70_000 };
        let len = encode(&event, &mut bytes).unwrap();
        for cut in 0..len {
            assert_eq!(decode::<Event>(&bytes[..cut]), Err(CodecError));
        }
        assert_eq!(decode::<Event>(&bytes[..len + 1]), Err(CodecError));
    }

    #[test]
    fn golden_bytes_of_one_command_hold_the_schema_still() {
        let mut bytes = [0; 64];
        let grant = GrantWord::new(1, 2, Privileges(3));
        let command = Command::SetGrant { session: SessionId(5), grant };
        let len = encode(&command, &mut bytes).unwrap();
        assert_eq!(&bytes[..len], [7, 5, 253, 3, 2, 0, 0, 1, 0, 0, 0]);
    }

    #[test]
    fn keys_do_not_appear_in_debug() {
        let text = format!("{:?}", full_session());
        assert!(text.contains("KeyMaterial(46 bytes)"), "{text}");
    }
}
