//! One thing as people read it: a title, and below it a line for each of its facts.

use super::style::Style;
use super::terminal::{self, Terminal};
use super::{stream, words};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::error::Result;
use crate::model::text::printable;
use crate::model::times::relative;

#[derive(Debug)]
pub struct Sheet {
    title: String,
    lines: Vec<(&'static str, String, Style)>,
}

impl Sheet {
    pub fn new(title: String) -> Self {
        Sheet { title, lines: Vec::new() }
    }

    /// A fact; one that is unknown or empty has no line.
    pub fn line(&mut self, label: &'static str, text: &str) {
        if !text.is_empty() && text != "-" {
            self.lines.push((label, printable(text).into_owned(), Style::Plain));
        }
    }

    pub fn state(&mut self, label: &'static str, text: &str) {
        let style = Style::of_state(text);
        self.line(label, text);
        self.lines.iter_mut().rev().take(1).filter(|line| line.0 == label).for_each(|line| line.2 = style);
    }

    /// A time in RFC 3339, with its distance from now.
    pub fn time(&mut self, label: &'static str, text: &str) {
        let near = Timestamp::parse_rfc3339(text).map(|at| format!("{text} ({})", relative(at, SystemClock.now())));
        self.line(label, near.as_deref().unwrap_or(text));
    }

    pub fn print(&self) -> Result<()> {
        stream::write(&self.render(terminal::stdout()))
    }

    fn render(&self, to: Terminal) -> String {
        let side = self.lines.iter().map(|(label, ..)| words::width(label)).max().unwrap_or(0);
        let rest = to.columns.map_or(usize::MAX, |columns| columns.saturating_sub(side + 4).max(8));
        let mut text = String::new();
        for line in words::wrapped(&printable(&self.title), to.columns.unwrap_or(usize::MAX)) {
            text.push_str(&format!("{}\n", Style::Heading.paint(&line, to.color)));
        }
        for (label, fact, style) in &self.lines {
            for (at, piece) in words::wrapped(fact, rest).iter().enumerate() {
                let label = if at == 0 { *label } else { "" };
                text.push_str(&format!("  {label:<side$}  {}\n", style.paint(piece, to.color)));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_stand_under_each_other_and_wrap() {
        let mut sheet = Sheet::new("certificate web.example".into());
        sheet.line("Names", "web.example, www.example");
        sheet.line("Profile", "-");
        sheet.state("Status", "revoked");
        let plain = sheet.render(Terminal { columns: None, color: false });
        assert_eq!(plain, "certificate web.example\n  Names   web.example, www.example\n  Status  revoked\n");
        let narrow = sheet.render(Terminal { columns: Some(23), color: true });
        assert!(narrow.contains("  Names   web.example,\n          www.example\n"), "{narrow:?}");
        assert!(narrow.contains("\u{1b}[31mrevoked\u{1b}[0m"), "{narrow:?}");
    }
}
