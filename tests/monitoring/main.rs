//! Metrics, alarms and dashboard as an operator runs them: a real node in namespaces, scraped by a real
//! Prometheus on the node's loopback, with its alarms sent by a real Alertmanager.
//!
//! Debian's packages `prometheus` and `prometheus-alertmanager` have the programs; a test that lacks
//! them says so and skips itself.
#![forbid(unsafe_code)]

mod alarms;
mod dumps;
mod files;
mod live;
mod memory;
mod tools;
mod webhook;
