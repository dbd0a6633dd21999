//! UserSig and PrivateMapKey: parse, verify, make.
