//! Faults that the tests must find. `tests/run faults` builds with the feature `planted-faults`, plants one fault after the
//! other by its name in CHANCERY_PLANTED_FAULT, and expects a test to fail each time; tests/faults.txt says which. In every
//! other build the macros leave the right code alone and nothing else.

/// `planted!("name", wrong, right)` is `right`, and `wrong` while the fault is planted; `planted!("name", { … })` does
/// something while it is planted.
#[cfg(feature = "planted-faults")]
macro_rules! planted {
    ($name:literal, $fault:block) => {
        if $crate::planted::is($name) $fault
    };
    ($name:literal, $fault:expr, $right:expr) => {
        if $crate::planted::is($name) { $fault } else { $right }
    };
}
#[cfg(not(feature = "planted-faults"))]
macro_rules! planted {
    ($name:literal, $fault:block) => {};
    ($name:literal, $fault:expr, $right:expr) => {
        $right
    };
}

/// The text of a statement, without its row lock while the fault `no-lock FILE::NAME` is planted.
#[cfg(feature = "planted-faults")]
macro_rules! without_lock {
    ($name:expr, $text:expr) => {
        $crate::planted::without_lock($name, $text)
    };
}
#[cfg(not(feature = "planted-faults"))]
macro_rules! without_lock {
    ($name:expr, $text:expr) => {
        $text
    };
}

#[cfg(feature = "planted-faults")]
mod planting {
    use std::sync::OnceLock;

    fn fault() -> &'static str {
        static FAULT: OnceLock<String> = OnceLock::new();
        FAULT.get_or_init(|| std::env::var("CHANCERY_PLANTED_FAULT").unwrap_or_default())
    }

    pub fn is(name: &str) -> bool {
        fault() == name
    }

    /// A process has one fault, and so one text to keep.
    pub fn without_lock(name: &str, text: &'static str) -> &'static str {
        static TEXT: OnceLock<&'static str> = OnceLock::new();
        let Some(planted) = fault().strip_prefix("no-lock ") else { return text };
        if name.strip_prefix("chancery::store::") != Some(planted) {
            return text;
        }
        TEXT.get_or_init(|| {
            let lock = [" FOR UPDATE", " FOR SHARE"].into_iter().find_map(|lock| text.rfind(lock));
            Box::leak(text[..lock.unwrap_or(text.len())].to_owned().into_boxed_str())
        })
    }
}
#[cfg(feature = "planted-faults")]
pub use planting::{is, without_lock};
