//! Private keys, each a `Signer`: rows in the database wrapped by key-encryption keys that come from files
//! outside it. Floor 1b; `authority` sees only the traits of `pki::signer`.

mod locked;
pub mod seal;
pub mod software;
pub mod store;
pub mod unlock;
