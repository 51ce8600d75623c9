//! Chance as a value that is passed in: serials, ids, tokens, nonces. Key generation inside aws-lc-rs is the
//! one exception.

use std::fmt;
use std::sync::Mutex;

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};

use crate::error::{Error, ErrorKind, Result};

/// A source of random bytes. An error means that nothing may be signed now.
pub trait Entropy: Send + Sync + fmt::Debug {
    fn fill(&self, buffer: &mut [u8]) -> Result<()>;
}

/// `N` random bytes.
pub fn random<const N: usize>(entropy: &dyn Entropy) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes)?;
    Ok(bytes)
}

/// The operating system's generator through aws-lc.
#[derive(Debug)]
pub struct SystemEntropy(SystemRandom);

impl SystemEntropy {
    pub fn new() -> Self {
        SystemEntropy(SystemRandom::new())
    }
}

impl Default for SystemEntropy {
    fn default() -> Self {
        Self::new()
    }
}

impl Entropy for SystemEntropy {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's randomness")]
    fn fill(&self, buffer: &mut [u8]) -> Result<()> {
        self.0.fill(buffer).map_err(|_| Error::new(ErrorKind::Unavailable, "the system gave no random bytes"))
    }
}

/// A repeatable stream for tests: SHA-256 over seed and counter.
#[derive(Debug)]
pub struct SeededEntropy {
    seed: u64,
    counter: Mutex<u64>,
}

impl SeededEntropy {
    pub fn new(seed: u64) -> Self {
        SeededEntropy { seed, counter: Mutex::new(0) }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, buffer: &mut [u8]) -> Result<()> {
        // guards the counter alone: two callers never get the same block
        let mut counter =
            self.counter.lock().map_err(|_| Error::new(ErrorKind::Internal, "poisoned test entropy"))?;
        for chunk in buffer.chunks_mut(32) {
            let mut context = Context::new(&SHA256);
            context.update(&self.seed.to_be_bytes());
            context.update(&counter.to_be_bytes());
            *counter += 1;
            chunk.copy_from_slice(&context.finish().as_ref()[..chunk.len()]);
        }
        Ok(())
    }
}
