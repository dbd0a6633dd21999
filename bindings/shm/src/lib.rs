//! Sealed shared memory: regions, a byte ring, a snapshot cell, descriptor passing.
