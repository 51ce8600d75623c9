//! Colours by sense. They repeat what a word says, so that nothing is lost without them.

/// How a piece of text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Plain,
    Heading,
    Good,
    Caution,
    Bad,
    /// What is over and no fault.
    Over,
}

impl Style {
    const fn code(self) -> &'static str {
        match self {
            Style::Plain => "",
            Style::Heading => "1",
            Style::Good => "32",
            Style::Caution => "33",
            Style::Bad => "31",
            Style::Over => "2",
        }
    }

    /// The text with this style, or as it is where there are no colours.
    pub fn paint(self, text: &str, color: bool) -> String {
        match self.code() {
            code if color && !code.is_empty() && !text.is_empty() => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            _ => text.to_owned(),
        }
    }

    /// Of a status: the first word decides, and a word of doubt behind it.
    pub fn of_state(state: &str) -> Style {
        const STATES: &[(&[&str], Style)] = &[
            (&["active", "valid", "good", "ok", "success", "trusted", "current", "yes"], Style::Good),
            (
                &[
                    "expiring",
                    "warning",
                    "pending",
                    "processing",
                    "ready",
                    "prepared",
                    "retiring",
                    "intended",
                    "on",
                    "unknown",
                    "locked",
                    "unknown:",
                    "suspended",
                ],
                Style::Caution,
            ),
            (
                &[
                    "revoked", "failed", "critical", "invalid", "refused", "broken", "failure", "denied", "error",
                    "NO",
                ],
                Style::Bad,
            ),
            (&["expired", "removed", "deactivated", "disabled", "cancelled", "over", "used", "offline"], Style::Over),
        ];
        let mut words = state.split([' ', ',']);
        let first = words.next().unwrap_or_default();
        let found = STATES.iter().find(|(words, _)| words.contains(&first)).map_or(Style::Plain, |(_, style)| *style);
        match found {
            Style::Good if words.next().is_some() => Style::Caution,
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_has_its_colour_and_a_valid_certificate_below_a_revoked_issuer_is_not_green() {
        assert_eq!(Style::of_state("valid"), Style::Good);
        assert_eq!(Style::of_state("valid (issuer tls-1 is revoked)"), Style::Caution);
        assert_eq!(Style::of_state("active, known browsers only"), Style::Caution);
        assert_eq!(Style::of_state("revoked (on hold)"), Style::Bad);
        assert_eq!(Style::of_state("critical"), Style::Bad);
        assert_eq!(Style::of_state("expired"), Style::Over);
        assert_eq!(Style::of_state("-"), Style::Plain);
    }

    #[test]
    fn without_colours_a_text_is_as_it_was() {
        assert_eq!(Style::Bad.paint("revoked", false), "revoked");
        assert_eq!(Style::Bad.paint("revoked", true), "\u{1b}[31mrevoked\u{1b}[0m");
    }
}
