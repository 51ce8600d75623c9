//! The key policy against sound keys of OpenSSL's making and one weak key for every rule.

use chancery::error::{Error, ErrorKind};
use chancery::model::key::KeyAlgorithm;
use chancery::pki::key_policy::{KeyPolicy, KeyRefusal, spki_from_ec, spki_from_ed25519, spki_from_rsa};
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey, PointConversionForm};
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;

const E: [u8; 3] = [1, 0, 1];

fn judge(spki: &[u8]) -> Result<KeyAlgorithm, KeyRefusal> {
    KeyPolicy::default().check(spki).map(|key| key.algorithm())
}

fn judge_modulus(n: &BigNum) -> Result<KeyAlgorithm, KeyRefusal> {
    judge(&spki_from_rsa(&n.to_vec(), &E).unwrap())
}

fn prime(bits: i32) -> BigNum {
    let mut p = BigNum::new().unwrap();
    p.generate_prime(bits, false, None, None).unwrap();
    p
}

fn product(a: &BigNum, b: &BigNum) -> BigNum {
    let mut n = BigNum::new().unwrap();
    n.checked_mul(a, b, &mut BigNumContext::new().unwrap()).unwrap();
    n
}

#[test]
fn sound_keys_pass_and_keep_their_bytes() {
    let rsa = |bits| PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap().public_key_to_der().unwrap();
    let ec = |nid| {
        let group = EcGroup::from_curve_name(nid).unwrap();
        PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap().public_key_to_der().unwrap()
    };
    for (spki, algorithm) in [
        (rsa(2048), KeyAlgorithm::Rsa(2048)),
        (rsa(3072), KeyAlgorithm::Rsa(3072)),
        (ec(Nid::X9_62_PRIME256V1), KeyAlgorithm::P256),
        (ec(Nid::SECP384R1), KeyAlgorithm::P384),
        (ec(Nid::SECP521R1), KeyAlgorithm::P521),
        (PKey::generate_ed25519().unwrap().public_key_to_der().unwrap(), KeyAlgorithm::Ed25519),
    ] {
        let key = KeyPolicy::default().check(&spki).unwrap();
        assert_eq!((key.algorithm(), key.spki()), (algorithm, spki.as_slice()));
        assert_eq!(key.sha256().as_slice(), openssl::sha::sha256(&spki));
    }
}

#[test]
fn rsa_lengths_are_bounded() {
    for bits in [512, 1024, 2040, 2047, 2049, 2050, 4104, 8192] {
        let mut n = BigNum::new().unwrap();
        n.rand(bits, openssl::bn::MsbOption::ONE, true).unwrap();
        assert_eq!(judge_modulus(&n), Err(KeyRefusal::RsaBits(bits as u32)));
    }
    // 2056 bits: sound, and accepted only where any length is
    let n = product(&prime(1028), &prime(1028));
    assert_eq!(judge_modulus(&n), Err(KeyRefusal::RsaBits(2056)));
    let spki = spki_from_rsa(&n.to_vec(), &E).unwrap();
    assert_eq!(KeyPolicy::with_any_rsa_length().check(&spki).unwrap().algorithm(), KeyAlgorithm::Rsa(2056));
}

#[test]
fn weak_moduli_are_refused_each_by_its_rule() {
    let mut even = Rsa::generate(2048).unwrap().n().to_owned().unwrap();
    even.sub_word(1).unwrap();
    assert_eq!(judge_modulus(&even), Err(KeyRefusal::RsaEven));

    for factor in [3, 5, 167, 751, 997] {
        assert_eq!(judge_modulus(&with_factor(factor)), Err(KeyRefusal::RsaSmallFactor(factor)));
    }

    // neighbouring primes: p, and the next one after it
    let p = prime(1024);
    let mut q = p.to_owned().unwrap();
    let mut context = BigNumContext::new().unwrap();
    q.add_word(2).unwrap();
    while !q.is_prime(20, &mut context).unwrap() {
        q.add_word(2).unwrap();
    }
    assert_eq!(judge_modulus(&product(&p, &q)), Err(KeyRefusal::RsaClosePrimes));
}

#[test]
fn a_prime_modulus_is_refused() {
    assert_eq!(judge_modulus(&prime(2048)), Err(KeyRefusal::RsaPrime));
    let error = Error::from(KeyRefusal::RsaPrime);
    assert_eq!((error.kind, error.rule.unwrap().name.as_str()), (ErrorKind::BadKey, "key.rsa_prime"));
}

/// 2048 bits, and no smaller odd factor than this one.
fn with_factor(factor: u32) -> BigNum {
    let small = BigNum::from_u32(factor).unwrap();
    loop {
        let mut cofactor = BigNum::new().unwrap();
        cofactor.rand(2048 - small.num_bits(), openssl::bn::MsbOption::ONE, true).unwrap();
        let n = product(&small, &cofactor);
        if n.num_bits() == 2048 && (3..factor).step_by(2).all(|d| n.mod_word(d).unwrap() != 0) {
            return n;
        }
    }
}

#[test]
fn a_roca_modulus_is_refused() {
    // p = k·M + 65537^a mod M with M the product of the first 71 primes, as Infineon's generator chose for 2048 bits
    let mut context = BigNumContext::new().unwrap();
    let primes = (2u32..).filter(|n| (2..*n).take_while(|d| d * d <= *n).all(|d| n % d != 0)).take(71);
    let m = primes.fold(BigNum::from_u32(1).unwrap(), |m, p| product(&m, &BigNum::from_u32(p).unwrap()));
    let mut roca_prime = || loop {
        let (mut a, mut k, mut power) = (BigNum::new().unwrap(), BigNum::new().unwrap(), BigNum::new().unwrap());
        a.rand(60, openssl::bn::MsbOption::ONE, false).unwrap();
        k.rand(1025 - m.num_bits(), openssl::bn::MsbOption::ONE, false).unwrap();
        power.mod_exp(&BigNum::from_u32(65537).unwrap(), &a, &m, &mut context).unwrap();
        let p = &product(&k, &m) + &power;
        if p.num_bits() == 1024 && p.is_prime(20, &mut context).unwrap() {
            return p;
        }
    };
    let n = loop {
        let n = product(&roca_prime(), &roca_prime());
        if n.num_bits() == 2048 {
            break n;
        }
    };
    assert_eq!(judge_modulus(&n), Err(KeyRefusal::RsaRoca));
}

#[test]
fn exponents_other_than_65537_are_refused() {
    let n = Rsa::generate(2048).unwrap().n().to_vec();
    for e in [&[3][..], &[1], &[17], &[1, 0, 0, 0, 1], &[1, 0, 2]] {
        assert_eq!(judge(&spki_from_rsa(&n, e).unwrap()), Err(KeyRefusal::RsaExponent));
    }
    assert!(spki_from_rsa(&[&[0], n.as_slice()].concat(), &E).is_err(), "leading zero octet");
    assert!(spki_from_rsa(&n, &[]).is_err());
}

#[test]
fn points_off_their_curve_are_refused() {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = EcKey::generate(&group).unwrap();
    let mut context = BigNumContext::new().unwrap();
    let point = key.public_key().to_bytes(&group, PointConversionForm::UNCOMPRESSED, &mut context).unwrap();
    let (x, y) = (&point[1..33], &point[33..]);
    let spki = |x: &[u8], y: &[u8]| spki_from_ec(KeyAlgorithm::P256, x, y).unwrap();
    assert_eq!(judge(&spki(x, y)), Ok(KeyAlgorithm::P256));

    let flip =
        |bytes: &[u8]| bytes.iter().enumerate().map(|(i, b)| if i == 31 { b ^ 1 } else { *b }).collect::<Vec<_>>();
    assert_eq!(judge(&spki(&flip(x), y)), Err(KeyRefusal::EcOffCurve));
    assert_eq!(judge(&spki(x, &flip(y))), Err(KeyRefusal::EcOffCurve));
    assert_eq!(judge(&spki(&[0xff; 32], y)), Err(KeyRefusal::EcOffCurve), "outside the field");
    assert_eq!(judge(&spki(&[0; 32], &[0; 32])), Err(KeyRefusal::EcOffCurve));
    assert!(spki_from_ec(KeyAlgorithm::P256, &x[1..], y).is_err(), "short coordinate");
    assert!(spki_from_ec(KeyAlgorithm::P384, x, y).is_err(), "another curve's coordinates");

    let bytes = key.public_key().to_bytes(&group, PointConversionForm::COMPRESSED, &mut context).unwrap();
    for wrong in [bytes.as_slice(), &[0], &[], &point[..64]] {
        assert_eq!(judge(&raw_spki(wrong)), Err(KeyRefusal::EcForm));
    }
}

/// A P-256 SubjectPublicKeyInfo around any octets.
fn raw_spki(point: &[u8]) -> Vec<u8> {
    use chancery::pki::{der, oids};
    let algorithm = der::sequence(&[&der::oid(&oids::EC_PUBLIC_KEY), &der::oid(&oids::P256)]);
    der::sequence(&[&algorithm, &der::bit_string(point)])
}

#[test]
fn ed25519_points_of_small_order_are_refused() {
    let hex = |text: &str| chancery::model::serial::parse_hex(text).unwrap();
    let order_8 = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05";
    for y in [
        vec![0; 32],
        [&[1], &[0; 31][..]].concat(),
        hex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
        hex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"),
        hex(order_8),
        hex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"),
    ] {
        assert_eq!(judge(&spki_from_ed25519(&y).unwrap()), Err(KeyRefusal::Ed25519SmallOrder));
    }
    let beyond_p = hex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f");
    assert_eq!(judge(&spki_from_ed25519(&beyond_p).unwrap()), Err(KeyRefusal::Ed25519Form));
    assert!(spki_from_ed25519(&[1; 31]).is_err());
}

#[test]
fn kinds_outside_the_policy_are_refused() {
    let only_p384 = KeyPolicy::of_kinds(&[KeyAlgorithm::P384]);
    let p256 = super::support::signer(KeyAlgorithm::P256);
    let refusal = only_p384.check(chancery::pki::signer::Signer::public_key(&p256)).unwrap_err();
    assert_eq!(refusal, KeyRefusal::Kind(KeyAlgorithm::P256, "P-384".into()));
    let error = Error::from(refusal);
    assert_eq!((error.kind, error.rule.unwrap().name.as_str()), (ErrorKind::BadKey, "key.kind"));

    for curve in [Nid::SECP256K1, Nid::SECP224R1] {
        let group = EcGroup::from_curve_name(curve).unwrap();
        let spki = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap().public_key_to_der().unwrap();
        assert!(matches!(judge(&spki), Err(KeyRefusal::Malformed(_))));
    }
    let x25519 = PKey::generate_x25519().unwrap().public_key_to_der().unwrap();
    assert!(matches!(judge(&x25519), Err(KeyRefusal::Malformed(_))));
}
