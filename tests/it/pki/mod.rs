//! What the CA makes, checked by code that is not ours.

mod crl;
mod fixture;
mod ocsp;
