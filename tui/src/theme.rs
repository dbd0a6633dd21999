//! Colours and signs. State is never told by colour alone: a sign and a word go with it.

use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::border;

/// Which colours there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    /// Blue and orange of 256, told apart by everybody.
    Okabe,
    /// The terminal's own sixteen.
    Sixteen,
    /// None.
    Mono,
}

/// How things look on this terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Theme {
    scheme: Scheme,
    /// Nobody may turn colours on.
    is_mono: bool,
    ascii: bool,
}

impl Theme {
    /// By `NO_COLOR`, `TERM` and `ROOMLANE_ASCII`.
    pub fn of_environment() -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let term = std::env::var("TERM").unwrap_or_else(|_| "dumb".to_owned());
        let is_mono = set("NO_COLOR") || term == "dumb";
        let scheme = match (is_mono, term.contains("256") || set("COLORTERM")) {
            (true, _) => Scheme::Mono,
            (false, true) => Scheme::Okabe,
            (false, false) => Scheme::Sixteen,
        };
        Theme { scheme, is_mono, ascii: set("ROOMLANE_ASCII") }
    }

    /// For text: no colours, and no signs beyond ASCII where asked.
    pub fn plain(ascii: bool) -> Self {
        Theme { scheme: Scheme::Mono, is_mono: true, ascii }
    }

    /// After so many changes of colours. Where colours are unwanted there are none to change.
    pub fn turned(self, turns: usize) -> Self {
        const ALL: [Scheme; 3] = [Scheme::Okabe, Scheme::Sixteen, Scheme::Mono];
        let at = ALL.iter().position(|scheme| *scheme == self.scheme).unwrap_or(0);
        match self.is_mono {
            true => self,
            false => Theme { scheme: ALL[(at + turns) % ALL.len()], ..self },
        }
    }

    fn style(self, okabe: Color, sixteen: Color, modifier: Modifier) -> Style {
        let style = Style::new().add_modifier(modifier);
        match self.scheme {
            Scheme::Okabe => style.fg(okabe),
            Scheme::Sixteen => style.fg(sixteen),
            Scheme::Mono => style,
        }
    }

    /// Names of columns and boxes.
    pub fn title(self) -> Style {
        self.style(Color::Indexed(74), Color::LightBlue, Modifier::BOLD)
    }

    /// All is well.
    pub fn good(self) -> Style {
        self.style(Color::Indexed(74), Color::LightBlue, Modifier::empty())
    }

    /// Look here.
    pub fn bad(self) -> Style {
        self.style(Color::Indexed(208), Color::LightYellow, Modifier::BOLD)
    }

    /// Old or unimportant.
    pub fn dim(self) -> Style {
        self.style(Color::Indexed(245), Color::DarkGray, Modifier::DIM)
    }

    /// In front of a state that is well.
    pub fn good_sign(self) -> &'static str {
        if self.ascii { "*" } else { "●" }
    }

    /// In front of a state that is not.
    pub fn bad_sign(self) -> &'static str {
        if self.ascii { "!" } else { "▲" }
    }

    /// In front of the row that keys are about.
    pub fn cursor_sign(self) -> &'static str {
        if self.ascii { ">" } else { "▸" }
    }

    /// Ordinary text.
    pub fn plain_text(self) -> Style {
        Style::new()
    }

    /// A part of one as a bar of at most `width` characters; what is there at all shows.
    pub fn bar(self, part: f64, width: usize) -> String {
        let full = if self.ascii { "#" } else { "█" };
        let length = (part.clamp(0.0, 1.0) * width as f64).ceil() as usize;
        full.repeat(length)
    }

    /// Lines around boxes.
    pub fn border(self) -> border::Set<'static> {
        match self.ascii {
            false => border::PLAIN,
            true => border::Set {
                top_left: "+",
                top_right: "+",
                bottom_left: "+",
                bottom_right: "+",
                vertical_left: "|",
                vertical_right: "|",
                horizontal_top: "-",
                horizontal_bottom: "-",
            },
        }
    }

    /// Heights of a curve, lowest first.
    pub fn levels(self) -> &'static [char] {
        match self.ascii {
            false => &['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'],
            true => &['_', '.', ':', '-', '=', '+', '*', '#'],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_go_round_and_where_they_are_unwanted_there_are_none() {
        let theme = Theme { scheme: Scheme::Sixteen, is_mono: false, ascii: false };
        let turned = [1, 2, 3].map(|turns| theme.turned(turns).scheme);
        assert_eq!(turned, [Scheme::Mono, Scheme::Okabe, Scheme::Sixteen]);
        for turns in 0..4 {
            assert_eq!(Theme::plain(false).turned(turns).bad().fg, None);
        }
    }
}
