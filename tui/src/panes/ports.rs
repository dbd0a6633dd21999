//! The port: the device, and what happens below UDP on each worker.

use proto::DropReason;

use crate::app::App;
use crate::grid::{Column, Grid, Row, Tone, number, rest, short};

pub(super) const COLUMNS: [Column; 8] = [
    number("worker", 6, 0),
    number("in", 12, 0),
    number("out", 12, 0),
    number("in/s", 6, 1),
    number("out/s", 6, 1),
    number("answered", 8, 3),
    number("dropped", 8, 0),
    rest("by reason", 8, 2),
];

pub fn grid(app: &App) -> Grid {
    let Some(seen) = &app.seen else { return Grid::default() };
    let rows = seen.snapshot.shards.iter().filter_map(|view| {
        let worker = view.worker.as_ref()?;
        let rates = app.rates.workers.get(view.shard).copied().unwrap_or_default();
        let drops = DropReason::ALL.iter().zip(worker.port_drops).filter(|(_, count)| *count > 0);
        let reasons: Vec<String> =
            drops.map(|(r, count)| format!("{} {count}", r.name())).collect();
        let dropped: u64 = worker.port_drops.iter().sum();
        let cells = vec![
            view.shard.to_string(),
            worker.port_rx_packets.to_string(),
            worker.port_tx_packets.to_string(),
            short(rates.rx_pps),
            short(rates.tx_pps),
            worker.port_answered.to_string(),
            dropped.to_string(),
            reasons.join(", "),
        ];
        Some(Row::toned(cells, if dropped > 0 { Tone::Bad } else { Tone::Plain }))
    });
    let rows = rows.collect();
    let fact = |key: &str| super::text(&app.about[key]);
    let mut title = format!("Port {}", fact("port"));
    if app.about["driver"].as_str().is_some_and(|driver| !driver.is_empty()) {
        title += &format!(" ({})", fact("driver"));
    }
    if let Some(link) = app.about["link"].as_str() {
        title += &format!(" link {}", crate::grid::plain(link));
    }
    let port = &seen.snapshot.port;
    if port.link_changes > 0 {
        let since_s = seen.snapshot.taken_ns.saturating_sub(port.link_since_ns) / 1_000_000_000;
        title += &format!(" for {since_s} s");
    }
    if port.has_totals == 1 {
        let (missed, none) = (port.rx_missed, port.rx_no_mbuf);
        let errors = port.rx_errors + port.tx_errors;
        title += &format!(" imissed {missed} errors {errors} rx_nombuf {none}");
    }
    title += &format!(" udp {} mtu {} {}", fact("udp_base"), fact("mtu"), fact("addresses"));
    Grid { title, columns: &COLUMNS, rows }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Msg;
    use crate::app::tests::{seen, watching};

    #[test]
    fn the_title_tells_the_links_age_and_what_the_device_lost() {
        let mut app = watching();
        assert!(grid(&app).title.contains("link up udp 8000"), "{}", grid(&app).title);
        let mut look = seen(102);
        let port = &mut look.snapshot.port;
        (port.link_changes, port.link_since_ns) = (2, 95_000_000_000);
        (port.has_totals, port.rx_missed, port.tx_errors, port.rx_no_mbuf) = (1, 7, 2, 3);
        app.update(Msg::Seen(Box::new(look)));
        let title = grid(&app).title;
        let words = "link up for 7 s imissed 7 errors 2 rx_nombuf 3 udp 8000";
        assert!(title.contains(words), "{title}");
    }
}
