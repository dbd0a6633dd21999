//! Why a token is refused: one variant, one stable code, one sentence per reason.

/// Why a token was refused. No variant carries anything from the token or a secret, so a refusal
/// can be logged and sent to the peer as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Longer than [`crate::limits::TOKEN_MAX_BYTES`].
    #[error("the token is longer than 1024 bytes")]
    TooLong,
    /// Not base64 in the alphabet `A-Za-z0-9*-` padded with `_`.
    #[error("the token is not base64 with the letters * and - and the padding _")]
    NotBase64,
    /// The decoded bytes are not a complete zlib stream.
    #[error("the token does not hold a complete zlib stream")]
    NotZlib,
    /// Inflates to more than [`crate::limits::INFLATED_MAX_BYTES`].
    #[error("the token inflates to more than 4096 bytes")]
    InflatedTooLarge,
    /// Bytes follow the zlib stream.
    #[error("bytes follow the token's zlib stream")]
    TrailingBytes,
    /// Not a flat JSON object in UTF-8.
    #[error("the token's content is not a flat JSON object")]
    MalformedJson,
    /// A field appears twice.
    #[error("a field of the token appears twice")]
    DuplicateField,
    /// A field that version 2.0 does not have.
    #[error("the token has a field that version 2.0 does not know")]
    UnknownField,
    /// A required field is absent.
    #[error("a field is missing from the token")]
    MissingField,
    /// A field has the wrong type, or a number is not a plain non-negative integer.
    #[error("a field of the token has the wrong type or is not a plain non-negative integer")]
    WrongFieldType,
    /// A number is above [`crate::limits::INTEGER_MAX`], or issue time plus lifetime is.
    #[error("a number in the token is out of range")]
    NumberOutOfRange,
    /// `TLS.ver` is not `2.0`, or the token has the fields of the older ECDSA format.
    #[error("the token's version is not 2.0")]
    UnsupportedVersion,
    /// `TLS.userbuf` is not base64.
    #[error("the token's userbuf is not base64")]
    MalformedUserbuf,
    /// `TLS.sig` is not the MAC under any of the app's secrets.
    #[error("the token's signature does not match: another secret made it, or it was changed")]
    BadSignature,
    /// The user id is not 1 to 32 characters of `A-Za-z0-9_-`.
    #[error("the token's user id is not 1 to 32 characters of A-Z a-z 0-9 _ -")]
    MalformedUser,
    /// Signed for another SdkAppId.
    #[error("the token was made for another SdkAppId")]
    WrongApp,
    /// Signed for another user.
    #[error("the token was made for another user")]
    WrongUser,
    /// Issue time plus lifetime has passed.
    #[error("the token has expired")]
    Expired,
    /// The issue time lies in the future by more than the skew.
    #[error("the token's issue time lies in the future; compare the clocks of both hosts")]
    NotYetValid,
    /// A PrivateMapKey was shown where a UserSig is due.
    #[error("this is a PrivateMapKey where a UserSig is due")]
    NotAUserSig,
    /// A UserSig without userbuf was shown where a PrivateMapKey is due.
    #[error("this is a UserSig where a PrivateMapKey is due")]
    NotAPrivateMapKey,
    /// The binary inside the PrivateMapKey has a wrong length or an unknown cVer.
    #[error("the PrivateMapKey's content has a wrong length or an unknown version")]
    TicketMalformed,
    /// The account inside is not the token's user.
    #[error("the account inside the PrivateMapKey is not the token's user")]
    TicketWrongUser,
    /// The SdkAppId inside is not the token's.
    #[error("the SdkAppId inside the PrivateMapKey is not the token's")]
    TicketWrongApp,
    /// The room inside is not a legal room: number 0, an empty or illegal name, or both kinds.
    #[error("the PrivateMapKey does not name a legal room")]
    TicketMalformedRoom,
    /// A numeric room where the string room is due, or the other way round.
    #[error("the PrivateMapKey is for a room of the other kind (number or string)")]
    TicketWrongRoomKind,
    /// Another room of the same kind.
    #[error("the PrivateMapKey is for another room")]
    TicketWrongRoom,
    /// The expiry inside has passed.
    #[error("the expiry inside the PrivateMapKey has passed")]
    TicketExpired,
    /// Bits above the eight known ones are set.
    #[error("the PrivateMapKey has privilege bits that do not exist")]
    TicketUnknownPrivileges,
    /// The account type is not 0.
    #[error("the PrivateMapKey's account type is not 0")]
    TicketAccountType,
    /// The room that was asked for is not a legal room.
    #[error("the requested room is not a legal room number or name")]
    MalformedRoom,
    /// The app demands a PrivateMapKey and none was shown.
    #[error("this app requires a PrivateMapKey beside the UserSig")]
    PrivateMapKeyRequired,
    /// The PrivateMapKey lacks the bit to enter its room.
    #[error("the PrivateMapKey does not allow entering the room")]
    EnterNotAllowed,
}

/// Who is asked to act on a refusal; the signalling maps it to a status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalClass {
    /// The request itself is malformed: HTTP 400.
    Request,
    /// Who the peer is was not proven: HTTP 401.
    Unauthenticated,
    /// The peer is known and may not do this: HTTP 403.
    Forbidden,
}

impl Refusal {
    /// Every reason, for tables and for the test that keeps codes distinct.
    pub const ALL: &[Refusal] = &[
        Refusal::TooLong,
        Refusal::NotBase64,
        Refusal::NotZlib,
        Refusal::InflatedTooLarge,
        Refusal::TrailingBytes,
        Refusal::MalformedJson,
        Refusal::DuplicateField,
        Refusal::UnknownField,
        Refusal::MissingField,
        Refusal::WrongFieldType,
        Refusal::NumberOutOfRange,
        Refusal::UnsupportedVersion,
        Refusal::MalformedUserbuf,
        Refusal::BadSignature,
        Refusal::MalformedUser,
        Refusal::WrongApp,
        Refusal::WrongUser,
        Refusal::Expired,
        Refusal::NotYetValid,
        Refusal::NotAUserSig,
        Refusal::NotAPrivateMapKey,
        Refusal::TicketMalformed,
        Refusal::TicketWrongUser,
        Refusal::TicketWrongApp,
        Refusal::TicketMalformedRoom,
        Refusal::TicketWrongRoomKind,
        Refusal::TicketWrongRoom,
        Refusal::TicketExpired,
        Refusal::TicketUnknownPrivileges,
        Refusal::TicketAccountType,
        Refusal::MalformedRoom,
        Refusal::PrivateMapKeyRequired,
        Refusal::EnterNotAllowed,
    ];

    /// The stable code of this reason, in snake_case. Codes never change their meaning.
    pub const fn code(self) -> &'static str {
        match self {
            Refusal::TooLong => "too_long",
            Refusal::NotBase64 => "not_base64",
            Refusal::NotZlib => "not_zlib",
            Refusal::InflatedTooLarge => "inflated_too_large",
            Refusal::TrailingBytes => "trailing_bytes",
            Refusal::MalformedJson => "malformed_json",
            Refusal::DuplicateField => "duplicate_field",
            Refusal::UnknownField => "unknown_field",
            Refusal::MissingField => "missing_field",
            Refusal::WrongFieldType => "wrong_field_type",
            Refusal::NumberOutOfRange => "number_out_of_range",
            Refusal::UnsupportedVersion => "unsupported_version",
            Refusal::MalformedUserbuf => "malformed_userbuf",
            Refusal::BadSignature => "bad_signature",
            Refusal::MalformedUser => "malformed_user",
            Refusal::WrongApp => "wrong_app",
            Refusal::WrongUser => "wrong_user",
            Refusal::Expired => "expired",
            Refusal::NotYetValid => "not_yet_valid",
            Refusal::NotAUserSig => "not_a_user_sig",
            Refusal::NotAPrivateMapKey => "not_a_private_map_key",
            Refusal::TicketMalformed => "ticket_malformed",
            Refusal::TicketWrongUser => "ticket_wrong_user",
            Refusal::TicketWrongApp => "ticket_wrong_app",
            Refusal::TicketMalformedRoom => "ticket_malformed_room",
            Refusal::TicketWrongRoomKind => "ticket_wrong_room_kind",
            Refusal::TicketWrongRoom => "ticket_wrong_room",
            Refusal::TicketExpired => "ticket_expired",
            Refusal::TicketUnknownPrivileges => "ticket_unknown_privileges",
            Refusal::TicketAccountType => "ticket_account_type",
            Refusal::MalformedRoom => "malformed_room",
            Refusal::PrivateMapKeyRequired => "private_map_key_required",
            Refusal::EnterNotAllowed => "enter_not_allowed",
        }
    }

    /// Whether the request, the proof of identity or the rights are at fault.
    pub const fn class(self) -> RefusalClass {
        match self {
            Refusal::MalformedRoom => RefusalClass::Request,
            Refusal::TicketWrongRoom
            | Refusal::TicketWrongRoomKind
            | Refusal::PrivateMapKeyRequired
            | Refusal::EnterNotAllowed => RefusalClass::Forbidden,
            _ => RefusalClass::Unauthenticated,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_distinct_snake_case_and_have_a_sentence() {
        let codes: HashSet<_> = Refusal::ALL.iter().map(|refusal| refusal.code()).collect();
        assert_eq!(codes.len(), Refusal::ALL.len());
        for refusal in Refusal::ALL {
            let code = refusal.code();
            assert!(
                code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
                "{code}"
            );
            assert!(refusal.to_string().len() > 20, "{code}");
        }
    }
}
