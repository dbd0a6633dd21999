//! Batched UDP over io_uring.
