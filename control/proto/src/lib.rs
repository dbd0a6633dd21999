//! The vocabulary shared by data plane, control plane and consoles: plain data.
