//! Typed ids: a prefix and a ULID, 16 bytes in the database. Mixing two kinds does not compile, and the
//! printed form says what it is (`crt_01J…`).

use crate::clock::Timestamp;
use crate::entropy::{Entropy, random};
use crate::error::{Error, Result};
use crate::model::text::is_deceptive;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident $prefix:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            pub const PREFIX: &'static str = $prefix;

            pub fn new(now: Timestamp, entropy: &dyn Entropy) -> Result<Self> {
                ulid_bytes(now, entropy).map(Self)
            }

            /// No id that was made at `at` or later is smaller.
            pub fn first_at(at: Timestamp) -> Self {
                let mut bytes = [0; 16];
                bytes[..6].copy_from_slice(&millisecond(at));
                Self(bytes)
            }

            /// When it was drawn, to the millisecond. Ids of one process only rise, also when its clock is set back.
            pub fn time(self) -> Timestamp {
                let millis = u128::from_be_bytes(self.0) >> 80;
                Timestamp::from_micros(i64::try_from(millis * 1_000).unwrap_or(i64::MAX))
            }

            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            pub const fn bytes(&self) -> [u8; 16] {
                self.0
            }

            pub fn to_vec(self) -> Vec<u8> {
                self.0.to_vec()
            }
        }

        impl TryFrom<Vec<u8>> for $name {
            type Error = Error;
            fn try_from(bytes: Vec<u8>) -> Result<Self> {
                <[u8; 16]>::try_from(bytes.as_slice()).map(Self).map_err(|_| {
                    Error::inconsistent(concat!("an id of kind ", $prefix, " in the database is not 16 bytes"))
                })
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!($prefix, "_{}"), ulid::Ulid::from_bytes(self.0))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self> {
                let rest = text.strip_prefix(concat!($prefix, "_")).ok_or_else(|| bad_id(text, $prefix))?;
                let ulid = ulid::Ulid::from_string(rest).map_err(|_| bad_id(text, $prefix))?;
                Ok(Self(ulid.to_bytes()))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
                <String as serde::Deserialize>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}

ids! {
    CertificateId "crt";
    IssuerId "iss";
    /// One certificate of an issuer's name and key.
    IssuerCertificateId "icr";
    KeyId "key";
    ProfileId "prf";
    DomainId "dom";
    GrantId "grt";
    TokenId "tok";
    UserId "usr";
    SessionId "ses";
    /// A browser that signed in before.
    DeviceId "dev";
    /// The `kid` of an external account binding.
    EabKeyId "eab";
    DirectoryId "dir";
    AccountId "acc";
    OrderId "ord";
    AuthorizationId "azn";
    ChallengeId "chl";
    /// A request over ACME that was refused.
    AttemptId "att";
    JobId "job";
    EventId "evt";
    RequestId "req";
    /// One running process: made at start, never kept.
    ReplicaId "rep";
    CrlId "crl";
    /// A rule that moves renewal windows.
    RenewalWindowId "rnw";
    /// A signed checkpoint of the audit.
    CheckpointId "ckp";
}

impl EventId {
    /// Not greater than any id that is drawn at `at` or later.
    pub fn earliest(at: Timestamp) -> Self {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&millisecond(at));
        Self(bytes)
    }
}

fn millisecond(at: Timestamp) -> [u8; 6] {
    let millis = u64::try_from(at.micros() / 1_000).unwrap_or(0).to_be_bytes();
    let mut bytes = [0; 6];
    bytes.copy_from_slice(&millis[2..]);
    bytes
}

fn ulid_bytes(now: Timestamp, entropy: &dyn Entropy) -> Result<[u8; 16]> {
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&millisecond(now));
    bytes[6..].copy_from_slice(&random::<10>(entropy)?);
    Ok(bytes)
}

fn bad_id(text: &str, prefix: &str) -> Error {
    let shown: String = text.chars().take(40).filter(|c| !is_deceptive(*c)).collect();
    Error::malformed(format!("\"{shown}\" is not an id of the form {prefix}_ and 26 letters or digits"))
}
