//! CBC mode with padding (RFC 5652 §6.3): decryption of private keys that are read to be taken over. Triple DES is among the
//! ciphers because easy-rsa and `openssl genrsa -des3` encrypt with it, and because old Windows and Java read nothing else in
//! PKCS#12.

use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, Algorithm, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey,
};
use zeroize::Zeroizing;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cipher {
    Aes128,
    Aes192,
    Aes256,
    TripleDes,
}

impl Cipher {
    /// In octets.
    pub const fn key_length(self) -> usize {
        match self {
            Cipher::Aes128 => 16,
            Cipher::Aes192 | Cipher::TripleDes => 24,
            Cipher::Aes256 => 32,
        }
    }

    /// The size of a block and of the IV, in octets.
    pub const fn block(self) -> usize {
        match self {
            Cipher::Aes128 | Cipher::Aes192 | Cipher::Aes256 => 16,
            Cipher::TripleDes => TRIPLE_DES_BLOCK,
        }
    }

    /// None when the padding is wrong, as it nearly always is under a wrong key, or a length does not fit.
    pub fn decrypt(self, key: &[u8], iv: &[u8], ciphertext: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        match self {
            Cipher::Aes128 => aes(&AES_128, key, iv, ciphertext),
            Cipher::Aes192 => aes(&AES_192, key, iv, ciphertext),
            Cipher::Aes256 => aes(&AES_256, key, iv, ciphertext),
            Cipher::TripleDes => triple_des(Way::Decrypt, key, iv, ciphertext),
        }
    }

    /// None when a length does not fit, or for AES, which `pbes2` encrypts with.
    pub fn encrypt(self, key: &[u8], iv: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
        match self {
            Cipher::Aes128 | Cipher::Aes192 | Cipher::Aes256 => None,
            Cipher::TripleDes => triple_des(Way::Encrypt, key, iv, plain).map(|sealed| sealed.to_vec()),
        }
    }
}

fn aes(algorithm: &'static Algorithm, key: &[u8], iv: &[u8], ciphertext: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let iv: [u8; 16] = iv.try_into().ok()?;
    let cipher = PaddedBlockDecryptingKey::cbc_pkcs7(UnboundCipherKey::new(algorithm, key).ok()?).ok()?;
    let mut text = Zeroizing::new(ciphertext.to_vec());
    let length = cipher.decrypt(&mut text, DecryptionContext::Iv128(iv.into())).ok()?.len();
    text.truncate(length);
    Some(text)
}

const TRIPLE_DES_BLOCK: usize = 8;

#[derive(Debug, Clone, Copy)]
enum Way {
    Decrypt = 0,
    Encrypt = 1,
}

fn triple_des(way: Way, key: &[u8], iv: &[u8], input: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (key, iv): (&[u8; 24], &[u8; TRIPLE_DES_BLOCK]) = (key.try_into().ok()?, iv.try_into().ok()?);
    let length = i32::try_from(input.len()).ok()?;
    let mut text = Zeroizing::new(vec![0; input.len() + 2 * TRIPLE_DES_BLOCK]);
    let (mut body, mut last) = (0, 0);
    // SAFETY: `context` is made here, checked for null, used by this call alone and freed once. Key and IV have the lengths that
    // the cipher reads. `text` has room for the whole input and two blocks more, and both calls write at most one block more.
    let is_done = unsafe {
        let context = aws_lc_sys::EVP_CIPHER_CTX_new();
        let (cipher, engine) = (aws_lc_sys::EVP_des_ede3_cbc(), std::ptr::null_mut());
        let is_done = !context.is_null()
            && aws_lc_sys::EVP_CipherInit_ex(context, cipher, engine, key.as_ptr(), iv.as_ptr(), way as i32) == 1
            && aws_lc_sys::EVP_CipherUpdate(context, text.as_mut_ptr(), &raw mut body, input.as_ptr(), length) == 1
            && match text.get_mut(usize::try_from(body).unwrap_or(usize::MAX)..) {
                Some(rest) if rest.len() >= TRIPLE_DES_BLOCK => {
                    aws_lc_sys::EVP_CipherFinal_ex(context, rest.as_mut_ptr(), &raw mut last) == 1
                }
                Some(_) | None => false,
            };
        aws_lc_sys::EVP_CIPHER_CTX_free(context);
        is_done
    };
    let length = usize::try_from(body).ok()?.checked_add(usize::try_from(last).ok()?)?;
    text.truncate(length);
    is_done.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf 'a private key' | openssl enc -des-ede3-cbc -K … -iv …`
    #[test]
    fn triple_des_reads_what_openssl_wrote_and_nothing_else() {
        let key: Vec<u8> = (1..=24).collect();
        let iv = [7; 8];
        let sealed = crate::model::serial::from_hex("02ca37780b1dcded12a9569668ac36aa").unwrap();
        let opened = Cipher::TripleDes.decrypt(&key, &iv, &sealed);
        assert_eq!(opened.unwrap().as_slice(), b"a private key");
        assert_eq!(Cipher::TripleDes.encrypt(&key, &iv, b"a private key").unwrap(), sealed);
        for cut in 0..sealed.len() {
            assert_eq!(Cipher::TripleDes.decrypt(&key, &iv, &sealed[..cut]), None, "{cut}");
        }
        assert_eq!(Cipher::TripleDes.decrypt(&key[1..], &iv, &sealed), None);
        assert_eq!(Cipher::TripleDes.decrypt(&key, &iv[1..], &sealed), None);
        let other: Vec<u8> = (2..=25).collect();
        assert_ne!(
            Cipher::TripleDes.decrypt(&other, &iv, &sealed).as_deref().map(Vec::as_slice),
            Some(&b"a private key"[..])
        );
    }
}
