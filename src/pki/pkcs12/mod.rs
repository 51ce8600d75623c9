//! PKCS#12 (RFC 7292): one private key and its certificates in a file under a password. `read` takes over a CA, `write` gives
//! key and chain to Windows and Java.

mod kdf;
mod read;
mod write;

pub use read::{Pkcs12, certificates, looks_like, read};
pub use write::{Contents, Scheme, check_password, make_password, write};

use zeroize::Zeroizing;

/// A password as keys are derived from it: a BMPString with two zero octets at its end.
fn bmp(text: &str) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(text.encode_utf16().chain([0]).flat_map(u16::to_be_bytes).collect())
}
