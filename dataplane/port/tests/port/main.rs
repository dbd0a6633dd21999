//! Claims about ports, one module per part.
#![forbid(unsafe_code)]
