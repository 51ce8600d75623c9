//! What the CA reads and makes, checked by code that is not ours.

mod crl;
mod fixture;
mod keys;
mod ocsp;
mod requests;
mod support;
