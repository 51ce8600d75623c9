//! scrypt (RFC 7914), by which `openssl pkcs8 -scrypt` and others make a key out of a password. Checked against the
//! vectors of the RFC.

use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2;
use zeroize::Zeroizing;

/// More memory would only keep us busy: OpenSSL writes 16 MiB, and others up to this.
const MOST_OCTETS: u64 = 256 << 20;

/// Cost, block size and parallelism.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    cost: usize,
    block_size: usize,
    parallel: usize,
}

impl Parameters {
    /// None: they are not those of the RFC (a cost that is a power of two above 1), or need too much memory or time.
    pub fn new(cost: u32, block_size: u32, parallel: u32) -> Option<Self> {
        let octets = 128_u64.checked_mul(cost.into())?.checked_mul(block_size.into())?;
        let sound = cost > 1 && cost.is_power_of_two() && block_size > 0 && (1..=16).contains(&parallel);
        let [cost, block_size, parallel] = [cost, block_size, parallel].map(|n| usize::try_from(n).ok());
        Some(Parameters { cost: cost?, block_size: block_size?, parallel: parallel? })
            .filter(|_| sound && octets <= MOST_OCTETS)
    }
}

pub fn derive(parameters: Parameters, password: &[u8], salt: &[u8], key: &mut [u8]) {
    let length = 128 * parameters.block_size;
    let once = |salt: &[u8], out: &mut [u8]| {
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, NonZeroU32::MIN, salt, password, out);
    };
    let mut blocks = Zeroizing::new(vec![0; length * parameters.parallel]);
    once(salt, &mut blocks);
    blocks.chunks_mut(length).for_each(|block| mix(block, parameters.cost));
    once(&blocks, key);
}

/// RFC 7914 §5.
fn mix(block: &mut [u8], cost: usize) {
    let mut x: Zeroizing<Vec<u32>> = Zeroizing::new(block.chunks_exact(4).map(word).collect());
    let width = x.len();
    let mut all: Zeroizing<Vec<u32>> = Zeroizing::new(Vec::with_capacity(width * cost));
    for _ in 0..cost {
        all.extend_from_slice(&x);
        mix_blocks(&mut x);
    }
    for _ in 0..cost {
        let first = x.len().checked_sub(16).and_then(|at| x.get(at)).copied().unwrap_or_default();
        let at = (first as usize & (cost - 1)) * width;
        x.iter_mut().zip(all.iter().skip(at)).for_each(|(word, other)| *word ^= other);
        mix_blocks(&mut x);
    }
    for (octets, word) in block.chunks_exact_mut(4).zip(x.iter()) {
        octets.copy_from_slice(&word.to_le_bytes());
    }
}

fn word(octets: &[u8]) -> u32 {
    octets.try_into().map_or(0, u32::from_le_bytes)
}

/// RFC 7914 §4: blocks of 16 words, the even ones first in the result.
fn mix_blocks(words: &mut [u32]) {
    let mut last = [0; 16];
    if let Some(end) = words.len().checked_sub(16).and_then(|at| words.get(at..)) {
        last.copy_from_slice(end);
    }
    let mut halves: [Vec<u32>; 2] = Default::default();
    for (n, block) in words.chunks_exact(16).enumerate() {
        last.iter_mut().zip(block).for_each(|(word, other)| *word ^= other);
        salsa20_8(&mut last);
        if let Some(half) = halves.get_mut(n % 2) {
            half.extend_from_slice(&last);
        }
    }
    words.iter_mut().zip(halves.iter().flatten()).for_each(|(word, mixed)| *word = *mixed);
}

/// RFC 7914 §3.
fn salsa20_8(block: &mut [u32; 16]) {
    /// (target, first, second, rotation) of a double round.
    const STEPS: [(usize, usize, usize, u32); 32] = [
        (4, 0, 12, 7),
        (8, 4, 0, 9),
        (12, 8, 4, 13),
        (0, 12, 8, 18),
        (9, 5, 1, 7),
        (13, 9, 5, 9),
        (1, 13, 9, 13),
        (5, 1, 13, 18),
        (14, 10, 6, 7),
        (2, 14, 10, 9),
        (6, 2, 14, 13),
        (10, 6, 2, 18),
        (3, 15, 11, 7),
        (7, 3, 15, 9),
        (11, 7, 3, 13),
        (15, 11, 7, 18),
        (1, 0, 3, 7),
        (2, 1, 0, 9),
        (3, 2, 1, 13),
        (0, 3, 2, 18),
        (6, 5, 4, 7),
        (7, 6, 5, 9),
        (4, 7, 6, 13),
        (5, 4, 7, 18),
        (11, 10, 9, 7),
        (8, 11, 10, 9),
        (9, 8, 11, 13),
        (10, 9, 8, 18),
        (12, 15, 14, 7),
        (13, 12, 15, 9),
        (14, 13, 12, 13),
        (15, 14, 13, 18),
    ];
    let mut x = *block;
    for _ in 0..4 {
        for (target, first, second, by) in STEPS {
            x[target] ^= x[first].wrapping_add(x[second]).rotate_left(by);
        }
    }
    block.iter_mut().zip(x).for_each(|(word, mixed)| *word = word.wrapping_add(mixed));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::serial::to_hex;

    #[test]
    fn the_vectors_of_the_rfc() {
        let made = |password: &[u8], salt: &[u8], cost, block_size, parallel| {
            let mut key = [0; 64];
            derive(Parameters::new(cost, block_size, parallel).unwrap(), password, salt, &mut key);
            to_hex(&key)
        };
        let first = "77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442fcd0069ded0948f8326a753a0fc81f17e8d3e0fb2e0d3628cf35e20c38d18906";
        assert_eq!(made(b"", b"", 16, 1, 1), first);
        let second = "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b3731622eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640";
        assert_eq!(made(b"password", b"NaCl", 1024, 8, 16), second);
    }

    #[test]
    fn parameters_that_make_no_sense_or_too_much_work_are_none() {
        for (cost, block_size, parallel) in [
            (0, 8, 1),
            (1, 8, 1),
            (3, 8, 1),
            (16, 0, 1),
            (16, 8, 0),
            (16, 8, 17),
            (1 << 30, 8, 1),
            (1 << 31, u32::MAX, 1),
        ] {
            assert_eq!(Parameters::new(cost, block_size, parallel), None, "{cost} {block_size} {parallel}");
        }
        assert!(Parameters::new(1 << 20, 1, 1).is_some());
    }
}
