//! `--pkcs12` of `issue` and `renew`: NAME.p12 beside chain and key, for programs of Windows and Java. Its password comes from
//! a file or stdin, or is made here and printed once; it is never an argument, which every process can read.

use std::path::{Path, PathBuf};

use clap::Args;
use rcgen::KeyPair;
use serde_json::Value;
use zeroize::Zeroizing;

use super::files;
use super::output::{self, Format};
use super::pair::Pair;
use crate::entropy::SystemEntropy;
use crate::error::{Error, ErrorKind, Result};
use crate::pki::pem;
use crate::pki::pkcs12::{self, Contents, Scheme};

#[derive(Debug, Args)]
pub struct Pkcs12Args {
    /// Also write NAME.p12 (PKCS#12) with chain and key, for Windows and Java
    #[arg(long)]
    pkcs12: bool,
    /// Encrypt NAME.p12 with triple DES and SHA-1, for Windows Server 2016 and Java before 8u301
    #[arg(long, requires = "pkcs12")]
    legacy: bool,
    /// A file with the password of NAME.p12; - reads stdin. Without it one is made and printed on stdout, once
    #[arg(long, value_name = "FILE", requires = "pkcs12")]
    password_file: Option<PathBuf>,
}

/// What is to be written once there is a certificate.
pub struct Pkcs12File {
    pub path: PathBuf,
    password: Zeroizing<String>,
    is_made: bool,
    scheme: Scheme,
}

impl Pkcs12Args {
    /// Reads the password and looks where the file goes, so that nothing is issued that cannot be written.
    pub fn prepare(&self, pair: &Pair, force: bool) -> Result<Option<Pkcs12File>> {
        if !self.pkcs12 {
            return Ok(None);
        }
        let path = beside(&pair.certificate);
        files::refuse_existing(&[&path], force)?;
        let password = match &self.password_file {
            Some(file) => password(file)?,
            None => pkcs12::make_password(&SystemEntropy::new())?,
        };
        pkcs12::check_password(&password)?;
        let scheme = if self.legacy { Scheme::Legacy } else { Scheme::Modern };
        Ok(Some(Pkcs12File { path, password, is_made: self.password_file.is_none(), scheme }))
    }
}

/// Without the line end that editors add.
pub fn password(file: &Path) -> Result<Zeroizing<String>> {
    let text = files::secret("the password of the PKCS#12 file", file)?;
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

impl Pkcs12File {
    /// `chain` is PEM, the certificate of the key first.
    pub fn write(&self, chain: &str, key: &KeyPair) -> Result<()> {
        let key = Zeroizing::new(key.serialize_der());
        let name = self.path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let contents = Contents { key: &key, chain: &pem::certificates(chain)?, name: &name };
        let file = pkcs12::write(&contents, &self.password, self.scheme, &SystemEntropy::new())?;
        files::write(&self.path, &file, 0o600, true).map_err(|e| {
            Error::new(
                e.kind,
                format!(
                    "the certificate is issued and in place, but not as PKCS#12: {}; run `chancery renew` with --force and \
                     --pkcs12 once it can be written",
                    e.detail
                ),
            )
        })
    }

    /// Adds to an answer in JSON what this command made.
    pub fn tell_json(&self, made: &mut Value) {
        made["pkcs12_file"] = self.path.display().to_string().into();
        if self.is_made {
            made["pkcs12_password"] = self.password.as_str().into();
        }
    }

    /// Where the file is; a password that was made is data, alone on stdout unless something else stands there.
    pub fn tell(&self, format: Option<Format>) -> Result<()> {
        let whose = if self.is_made { "its password is printed this once" } else { "with your password" };
        output::say(&format!("  p12    {} (0600, {whose})", self.path.display()));
        match (self.is_made, format) {
            (false, _) => Ok(()),
            (true, Some(Format::Pem | Format::Name)) => {
                output::say(&format!("  password  {}", self.password.as_str()));
                Ok(())
            }
            (true, _) => output::data(&format!("{}\n", self.password.as_str())),
        }
    }
}

/// NAME.p12 for NAME.crt or NAME.pem.
pub fn beside(certificate: &Path) -> PathBuf {
    certificate.with_extension("p12")
}

/// PKCS#12 where a certificate in PEM is expected.
pub fn refuse(file: &Path, content: &[u8]) -> Result<()> {
    if !pkcs12::looks_like(content) {
        return Ok(());
    }
    let certificate = file.with_extension("crt");
    Err(Error::new(
        ErrorKind::Malformed,
        format!(
            "{} is PKCS#12; name the certificate file that lies beside it ({}) and give --pkcs12 to write {} anew",
            file.display(),
            certificate.display(),
            file.display()
        ),
    ))
}
