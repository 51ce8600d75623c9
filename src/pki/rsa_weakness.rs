//! Known weaknesses of RSA moduli, by arithmetic alone: small factors, a prime modulus, close primes
//! (CVE-2022-26320) and the ROCA fingerprint (CVE-2017-15361). Lists of known keys (Debian 2008) are not carried.

use num_bigint::BigUint;

use super::key_policy::KeyRefusal;

/// Judges the content octets of the modulus.
pub fn check(modulus: &[u8]) -> Result<(), KeyRefusal> {
    if modulus.last().is_none_or(|b| b & 1 == 0) {
        return Err(KeyRefusal::RsaEven);
    }
    if let Some(prime) = primes().find(|p| remainder(modulus, *p) == 0) {
        return Err(KeyRefusal::RsaSmallFactor(prime));
    }
    if has_roca_fingerprint(modulus) {
        return Err(KeyRefusal::RsaRoca);
    }
    if has_close_primes(&BigUint::from_bytes_be(modulus)) {
        return Err(KeyRefusal::RsaClosePrimes);
    }
    if is_prime(modulus) {
        return Err(KeyRefusal::RsaPrime);
    }
    Ok(())
}

/// Rounds of Miller and Rabin. A sound modulus fails the first; each further one is for a prime alone.
const PRIME_ROUNDS: i32 = 8;

/// With one prime factor anybody computes the private key. False also when there is no memory for the answer.
fn is_prime(modulus: &[u8]) -> bool {
    let mut prime = 0;
    // SAFETY: `number` and `context` are made here, checked for null, used by this call alone, and freed once; the
    // library copies the octets of the slice, whose length is given.
    unsafe {
        let number = aws_lc_sys::BN_bin2bn(modulus.as_ptr(), modulus.len(), std::ptr::null_mut());
        let context = aws_lc_sys::BN_CTX_new();
        if !number.is_null() && !context.is_null() {
            aws_lc_sys::BN_primality_test(&raw mut prime, number, PRIME_ROUNDS, context, 0, std::ptr::null_mut());
        }
        aws_lc_sys::BN_CTX_free(context);
        aws_lc_sys::BN_free(number);
    }
    prime == 1
}

/// The odd primes below 1000; BR §6.1.6 asks for no factor below 752.
fn primes() -> impl Iterator<Item = u32> {
    (3u32..1000).step_by(2).filter(|n| (3u32..).take_while(|d| d * d <= *n).all(|d| n % d != 0))
}

fn remainder(modulus: &[u8], prime: u32) -> u32 {
    modulus.iter().fold(0, |rest, b| (rest << 8 | u32::from(*b)) % prime)
}

/// ROCA primes are k·M + 65537^a mod M with M the product of the first primes, so the modulus lies in the
/// subgroup that 65537 generates, modulo every prime up to 167. A sound modulus does once in 2^27.
fn has_roca_fingerprint(modulus: &[u8]) -> bool {
    primes().take_while(|p| *p <= 167).all(|p| {
        let (rest, step) = (remainder(modulus, p), 65537 % p);
        std::iter::successors(Some(1), |power| Some(power * step % p)).take(p as usize).any(|power| power == rest)
    })
}

const FERMAT_ROUNDS: usize = 110;

/// Fermat's factorisation from the square root upwards.
fn has_close_primes(n: &BigUint) -> bool {
    let mut a = n.sqrt();
    if &a * &a < *n {
        a += 1u32;
    }
    let mut difference = &a * &a - n;
    for _ in 0..FERMAT_ROUNDS {
        if is_square(&difference) {
            return true;
        }
        // (a + 1)² - n = (a² - n) + 2a + 1
        difference += &a << 1u32;
        difference += 1u32;
        a += 1u32;
    }
    false
}

/// Residues first: they spare nearly every square root.
fn is_square(n: &BigUint) -> bool {
    let residue_of = |m: u32| {
        let rest = (n % m).iter_u32_digits().next().unwrap_or(0);
        (0..m).any(|x| x * x % m == rest)
    };
    if ![64, 63, 65, 11, 17, 19].into_iter().all(residue_of) {
        return false;
    }
    let root = n.sqrt();
    &root * &root == *n
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primes_are_primes() {
        let found: Vec<u32> = primes().collect();
        assert_eq!(found[..6], [3, 5, 7, 11, 13, 17]);
        assert_eq!(found.len(), 167);
    }

    #[test]
    fn close_primes_are_found_and_far_ones_are_not() {
        let p = (BigUint::from(1u32) << 1024u32) + 643u32;
        let near = &p * (&p + 2048u32);
        assert!(has_close_primes(&near));
        let far = &p * ((&p << 3u32) + 5u32);
        assert!(!has_close_primes(&far));
        assert!(has_close_primes(&(&p * &p)), "a square is the closest of all");
    }

    #[test]
    fn a_prime_is_told_from_a_product_of_primes() {
        // 2^127 - 1 and 2^521 - 1 are prime
        let mersenne = |n: u32| (BigUint::from(1u32) << n) - 1u32;
        assert!(is_prime(&mersenne(127).to_bytes_be()) && is_prime(&mersenne(521).to_bytes_be()));
        assert!(!is_prime(&(mersenne(127) * mersenne(521)).to_bytes_be()));
        // 561 is a Carmichael number: Fermat's test alone takes it for a prime
        assert!(!is_prime(&[2, 49]));
    }

    #[test]
    fn a_power_of_65537_has_the_roca_fingerprint() {
        // 65537^k is in the subgroup modulo every prime, as a ROCA modulus is
        let n = BigUint::from(65537u32).pow(121);
        assert!(has_roca_fingerprint(&n.to_bytes_be()));
        assert!(!has_roca_fingerprint(&(n + 2u32).to_bytes_be()));
    }
}
