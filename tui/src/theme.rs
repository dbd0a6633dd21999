//! Colours and signs. State is never told by colour alone: a sign and a word go with it.

use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::border;

/// How things look on this terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Theme {
    colour: bool,
    ascii: bool,
}

impl Theme {
    /// By `NO_COLOR`, `TERM` and `ROOMLANE_ASCII`.
    pub fn of_environment() -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Theme { colour: !set("NO_COLOR") && !dumb, ascii: set("ROOMLANE_ASCII") }
    }

    /// For text: no colours, and no signs beyond ASCII where asked.
    pub fn plain(ascii: bool) -> Self {
        Theme { colour: false, ascii }
    }

    fn style(self, colour: Color, modifier: Modifier) -> Style {
        let style = Style::new().add_modifier(modifier);
        if self.colour { style.fg(colour) } else { style }
    }

    /// Names of columns and boxes.
    pub fn title(self) -> Style {
        self.style(Color::LightBlue, Modifier::BOLD)
    }

    /// All is well.
    pub fn good(self) -> Style {
        self.style(Color::LightBlue, Modifier::empty())
    }

    /// Look here.
    pub fn bad(self) -> Style {
        self.style(Color::Indexed(208), Modifier::BOLD)
    }

    /// Old or unimportant.
    pub fn dim(self) -> Style {
        self.style(Color::DarkGray, Modifier::DIM)
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
