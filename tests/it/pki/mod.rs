//! What the CA reads and makes, checked by code that is not ours.

mod ca;
mod constraints;
mod crl;
mod differential;
mod facts;
mod fixture;
mod issuance;
mod keys;
mod kubernetes;
mod lint;
mod ocsp;
mod pasted;
mod requests;
mod support;
