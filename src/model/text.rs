//! Text that others wrote, for terminals and pages. Characters that move the cursor, turn the reading order, take no
//! space or stand for nothing can make one name look like another; they are shown as an escape such as `\u202e`.
//! Names of ours refuse them. Everything that is printed passes through here once more, for what was stored before
//! or was written by another CA.

use std::borrow::Cow;

/// A control, a bidirectional mark, a character without width (Unicode's Default_Ignorable_Code_Point), a separator
/// of lines, or a noncharacter.
pub fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fdd0}'..='\u{fdef}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
        || u32::from(c) & 0xfffe == 0xfffe
}

/// Text on one line: a line break is escaped too.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, |c, _| is_deceptive(c))
}

/// Text of several lines: line breaks (CRLF too, which browsers send in forms and get back in them) and tabs stay. The
/// escape is one of JSON, so JSON keeps its meaning.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c, next| is_deceptive(c) && !matches!((c, next), ('\n' | '\t', _) | ('\r', Some('\n'))))
}

/// `hidden` decides by a character and the one after it.
fn escaped(text: &str, hidden: impl Fn(char, Option<char>) -> bool) -> Cow<'_, str> {
    let pairs = || text.char_indices().zip(text.chars().skip(1).map(Some).chain([None]));
    let Some(((first, _), _)) = pairs().find(|((_, c), next)| hidden(*c, *next)) else { return Cow::Borrowed(text) };
    let mut out = text.split_at(first).0.to_owned();
    for ((_, c), next) in pairs().skip_while(|((at, _), _)| *at < first) {
        if hidden(c, next) {
            // above U+FFFF a surrogate pair, as in JSON
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// A number of things: "1 audit event", "3 audit events".
pub fn counted(count: impl TryInto<u64>, thing: &str) -> String {
    let count = count.try_into().unwrap_or_default();
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hides_or_turns_text_is_deceptive_and_letters_are_not() {
        for c in [
            '\u{1b}', '\u{9b}', '\u{7f}', '\0', '\u{202e}', '\u{61c}', '\u{200b}', '\u{200d}', '\u{2066}', '\u{feff}',
        ]
        .into_iter()
        .chain([
            '\u{ad}',
            '\u{2028}',
            '\u{3164}',
            '\u{fe0f}',
            '\u{fdd0}',
            '\u{ffff}',
            '\u{1fffe}',
            '\u{e0041}',
        ]) {
            assert!(is_deceptive(c), "{c:?}");
        }
        for c in "Zürich Köln Ελλάς Київ 東京 شركة ख़ 🔑 o'Neill–Łódź … \u{202f}\u{a0}\u{fffd}".chars()
        {
            assert!(!is_deceptive(c), "{c:?}");
        }
    }

    #[test]
    fn escapes_are_visible_and_keep_json_whole() {
        assert_eq!(printable("a\u{202e}b\n\u{1b}[31m"), "a\\u202eb\\u000a\\u001b[31m");
        assert_eq!(printable_lines("a\n\tb\r"), "a\n\tb\\u000d");
        assert_eq!(printable_lines("a\r\nb\rc\r\n"), "a\r\nb\\u000dc\r\n", "what a form sends comes back in it");
        assert!(matches!(printable("plain ü"), Cow::Borrowed("plain ü")));
        let value = serde_json::json!({"n": "x\u{202e}y\u{e0041}\u{1b}"});
        let text = value.to_string();
        let shown = printable_lines(&text);
        assert!(!shown.chars().any(is_deceptive));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
