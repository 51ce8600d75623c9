//! Keys from a password as PKCS#12 derives them (RFC 7292 App. B.2).

use aws_lc_rs::digest::{self, digest};
use zeroize::Zeroizing;

/// A hash and the size of its blocks in octets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hash {
    pub algorithm: &'static digest::Algorithm,
    pub block: usize,
}

pub(super) const SHA1: Hash = Hash { algorithm: &digest::SHA1_FOR_LEGACY_USE_ONLY, block: 64 };
pub(super) const SHA256: Hash = Hash { algorithm: &digest::SHA256, block: 64 };
pub(super) const SHA384: Hash = Hash { algorithm: &digest::SHA384, block: 128 };
pub(super) const SHA512: Hash = Hash { algorithm: &digest::SHA512, block: 128 };

/// What the octets are for (App. B.3).
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    Key = 1,
    Iv = 2,
    Mac = 3,
}

/// `length` octets from a password that is a BMPString already.
pub(super) fn derive(
    hash: Hash,
    purpose: Purpose,
    password: &[u8],
    salt: &[u8],
    iterations: u32,
    length: usize,
) -> Zeroizing<Vec<u8>> {
    let fill = |bytes: &[u8], length: usize| -> Vec<u8> { bytes.iter().copied().cycle().take(length).collect() };
    let whole = |bytes: &[u8]| fill(bytes, bytes.len().div_ceil(hash.block) * hash.block);
    let diversifier = vec![purpose as u8; hash.block];
    let mut input = Zeroizing::new([whole(salt), whole(password)].concat());
    let mut out = Zeroizing::new(Vec::with_capacity(length + hash.algorithm.output_len()));
    loop {
        let first = Zeroizing::new([diversifier.as_slice(), input.as_slice()].concat());
        let mut round = digest(hash.algorithm, &first);
        for _ in 1..iterations {
            round = digest(hash.algorithm, round.as_ref());
        }
        out.extend_from_slice(round.as_ref());
        if out.len() >= length {
            out.truncate(length);
            return out;
        }
        let added = Zeroizing::new(fill(round.as_ref(), hash.block));
        for block in input.chunks_mut(hash.block) {
            add_with_one(block, &added);
        }
    }
}

/// `block + added + 1` as big-endian numbers, modulo their length.
fn add_with_one(block: &mut [u8], added: &[u8]) {
    let mut carry = 1;
    for (octet, more) in block.iter_mut().zip(added).rev() {
        let [high, low] = (u16::from(*octet) + u16::from(*more) + carry).to_be_bytes();
        (*octet, carry) = (low, u16::from(high));
    }
}
