//! Ports: devices that move datagrams in bursts.
