//! SRTP and SRTCP: profiles, key derivation, index, replay, providers.
