//! Passwords: argon2id (RFC 9106) on a blocking pool behind fair queues, so that a flood of sign-ins takes neither the
//! memory nor the processors of issuance. Looking up nobody costs the same work as a wrong password.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use zeroize::Zeroizing;

use super::fair_queue::{FairQueue, QueueLimits, Turn};

use crate::entropy::{Entropy, random};
use crate::error::{Error, ErrorKind, Result};
use crate::model::user::UserName;

/// OWASP's first choice: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Shorter than the time limit of a request, and than most people wait.
const PATIENCE: Duration = Duration::from_secs(25);
const SHORTEST: usize = 12;
/// In bytes: hashing is not made longer by a longer password, reading it is.
const LONGEST: usize = 1_000;

/// What somebody typed. Does not print.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl Password {
    pub fn new(text: impl Into<String>) -> Self {
        Password(Zeroizing::new(text.into()))
    }

    /// May it become the password of `name`? Length and what everybody guesses; no rules of composition.
    pub fn check_new(&self, name: &UserName) -> Result<()> {
        let refuse = |wrong: &str, value: &str, allowed: &str, fix: &str| {
            Err(Error::refused(ErrorKind::Unprocessable, "user.password", value, allowed, fix).explained(wrong))
        };
        let length = self.0.chars().count();
        if length < SHORTEST {
            let value = format!("a password of {length} characters");
            let wrong = format!("the password has {length} characters; it needs {SHORTEST} or more");
            return refuse(&wrong, &value, &format!("{SHORTEST} or more"), "several words are easy to remember");
        }
        if self.0.len() > LONGEST {
            let wrong = format!("the password has {} bytes; it may have {LONGEST}", self.0.len());
            return refuse(
                &wrong,
                "a password that long",
                &format!("at most {LONGEST} bytes"),
                "choose a shorter one",
            );
        }
        if self.is_guessable(name) {
            let fix = "several words that do not belong together are easy to remember";
            let value = "a password that is among the first to be guessed";
            return refuse("this password is among the first to be guessed", value, "one that is not", fix);
        }
        Ok(())
    }

    fn is_guessable(&self, name: &UserName) -> bool {
        let letters: String = self.0.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect();
        let without = |word: &str| letters.replace(word, "");
        let rest = COMMON.iter().fold(without(name.as_str()), |rest, word| rest.replace(word, ""));
        // what is left beside the well-known words decides: `Password2026!!` leaves `2026`
        let distinct: std::collections::HashSet<char> = rest.chars().collect();
        rest.chars().count() < 6 || distinct.len() < 4 || is_run(&rest)
    }
}

/// Words with which guessed passwords are made, longest first.
const COMMON: &[&str] = &[
    "administrator",
    "correcthorsebatterystaple",
    "qwertyuiop",
    "asdfghjkl",
    "password",
    "passwort",
    "passw0rd",
    "p4ssword",
    "certificate",
    "chancery",
    "iloveyou",
    "changeme",
    "letmein",
    "welcome",
    "sunshine",
    "princess",
    "football",
    "baseball",
    "superman",
    "trustno1",
    "zxcvbnm",
    "1234567890",
    "qwertz",
    "qwerty",
    "azerty",
    "monkey",
    "dragon",
    "master",
    "secret",
    "default",
    "admin",
    "login",
    "guest",
    "hello",
    "root",
    "test",
    "pass",
];

/// Each character follows the one before: `abcdef`, `987654`.
fn is_run(text: &str) -> bool {
    let codes: Vec<u32> = text.chars().map(u32::from).collect();
    let step = |by: i64| codes.windows(2).all(|w| i64::from(w[1]) - i64::from(w[0]) == by);
    codes.len() > 1 && (step(1) || step(-1) || step(0))
}

/// Hashes and compares, a few at a time: one or two of strangers and one of people who are known, 19 MiB each.
#[derive(Debug)]
pub struct Passwords {
    /// By the network of the client.
    pub strangers: Arc<FairQueue>,
    /// By user: known browsers, people who are signed in, and holders of a one-time link.
    pub known: Arc<FairQueue>,
}

impl Default for Passwords {
    fn default() -> Self {
        let at_once = std::thread::available_parallelism().map_or(1, |n| (n.get() / 2).clamp(1, 2));
        let strangers = QueueLimits { at_once, per_client: 64, waiting: 512, patience: PATIENCE };
        let known = QueueLimits { at_once: 1, per_client: 8, waiting: 128, patience: PATIENCE };
        Passwords { strangers: FairQueue::new("strangers", strangers), known: FairQueue::new("known", known) }
    }
}

impl Passwords {
    /// In PHC form, as it is stored. `user` is whose turn it is: the user's id, or who acts.
    pub async fn hash(&self, user: &str, password: &Password, entropy: &dyn Entropy) -> Result<String> {
        let turn = self.known.enter(user).await?;
        let salt = random::<16>(entropy)?;
        let password = password.clone();
        in_turn(turn, move || {
            Phc { memory: MEMORY_KIB, passes: PASSES, lanes: LANES, salt: salt.to_vec() }.seal(&password)
        })
        .await
    }

    /// Is it the password of this hash? Without a hash the same work is done, and the answer is no.
    pub async fn verify(turn: Turn, password: &Password, stored: Option<&str>) -> Result<bool> {
        let known = stored.map(Phc::parse).transpose()?;
        let password = password.clone();
        in_turn(turn, move || {
            let nobody = Phc { memory: MEMORY_KIB, passes: PASSES, lanes: LANES, salt: vec![0; 16] };
            let (phc, expected) = match &known {
                Some((phc, expected)) => (phc, expected.as_slice()),
                None => (&nobody, [0; 32].as_slice()),
            };
            let made = phc.compute(&password)?;
            Ok(verify_slices_are_equal(made.as_slice(), expected).is_ok() && known.is_some())
        })
        .await
    }
}

/// The turn goes with the work: a client that leaves does not give it to another while its work goes on.
async fn in_turn<T: Send + 'static>(turn: Turn, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let task = tokio::task::spawn_blocking(move || {
        let outcome = work();
        drop(turn);
        outcome
    });
    task.await.map_err(|e| Error::internal("hashing a password ended early", e))?
}

/// `$argon2id$v=19$m=19456,t=2,p=1$salt$hash`
#[derive(Debug, PartialEq, Eq)]
struct Phc {
    memory: u32,
    passes: u32,
    lanes: u32,
    salt: Vec<u8>,
}

impl Phc {
    fn seal(&self, password: &Password) -> Result<String> {
        let hash = self.compute(password)?;
        let (salt, hash) = (STANDARD_NO_PAD.encode(&self.salt), STANDARD_NO_PAD.encode(hash.as_slice()));
        Ok(format!("$argon2id$v=19$m={},t={},p={}${salt}${hash}", self.memory, self.passes, self.lanes))
    }

    fn parse(text: &str) -> Result<(Phc, Vec<u8>)> {
        read(text).ok_or_else(|| Error::inconsistent("the hash of a password is not argon2id in PHC form"))
    }

    fn compute(&self, password: &Password) -> Result<Zeroizing<[u8; 32]>> {
        let wrong =
            |e: argon2::Error| Error::inconsistent(format!("argon2id cannot be run with these parameters: {e}"));
        let params = Params::new(self.memory, self.passes, self.lanes, Some(32)).map_err(wrong)?;
        let mut out = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(password.0.as_bytes(), &self.salt, out.as_mut_slice())
            .map_err(wrong)?;
        Ok(out)
    }
}

fn read(text: &str) -> Option<(Phc, Vec<u8>)> {
    let mut parts = text.strip_prefix("$argon2id$v=19$")?.split('$');
    let (params, salt, hash) = (parts.next()?, parts.next()?, parts.next()?);
    let mut numbers =
        params.split(',').zip(["m=", "t=", "p="]).map(|(text, name)| text.strip_prefix(name)?.parse().ok());
    let (memory, passes, lanes) = (numbers.next()??, numbers.next()??, numbers.next()??);
    let (salt, hash) = (STANDARD_NO_PAD.decode(salt).ok()?, STANDARD_NO_PAD.decode(hash).ok()?);
    parts.next().is_none().then_some((Phc { memory, passes, lanes, salt }, hash))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    #[tokio::test]
    async fn a_password_is_its_own_and_nobodys() {
        let passwords = Passwords::default();
        let (right, wrong) = (Password::new("violet harbour nine"), Password::new("violet harbour ten"));
        let stored = passwords.hash("a", &right, &SeededEntropy::new(1)).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        let verify = async |password, stored| {
            Passwords::verify(passwords.strangers.enter("10.0.0.1").await.unwrap(), password, stored).await
        };
        assert!(verify(&right, Some(stored.as_str())).await.unwrap());
        assert!(!verify(&wrong, Some(stored.as_str())).await.unwrap());
        assert!(!verify(&right, None).await.unwrap());
        assert_eq!(verify(&right, Some("$2b$x")).await.unwrap_err().kind, ErrorKind::Inconsistent);
    }

    #[test]
    fn a_new_password_is_long_and_not_the_first_to_be_guessed() {
        let name = UserName::parse("alice").unwrap();
        let fits = |text: &str| Password::new(text).check_new(&name).is_ok();
        for good in ["violet harbour nine", "gT7#kq2!vLw9", "été à la montagne"] {
            assert!(fits(good), "{good}");
        }
        let long = "a b c d e f".repeat(200);
        for bad in [
            "",
            "short",
            "password1234",
            "Password2026!!",
            "aliceAlice1234",
            "aaaaaaaaaaaaaa",
            "abcdefghijklmnop",
            &long,
        ] {
            assert!(!fits(bad), "{bad}");
        }
        assert!(!format!("{:?}", Password::new("hunter2")).contains("hunter2"));
    }
}
