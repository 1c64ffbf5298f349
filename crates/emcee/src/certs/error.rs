//! Errors of `emcee certs`. Each message names the subject, the problem and the fix.

use std::{io, path::PathBuf};

use jiff::Timestamp;
use thiserror::Error;

/// Reason why `emcee certs` failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CertsError {
    /// Several errors, displayed on one line each.
    #[error("{}", lines(.0))]
    Refused(Vec<CertsError>),
    /// An argument with an invalid value.
    #[error("{option} {value:?}: {problem}")]
    Argument {
        /// The option with its dashes, such as `--mesh`.
        option: &'static str,
        /// The value of the option.
        value: String,
        /// The problem, and what is allowed.
        problem: String,
    },
    /// The certificate of another mesh already contains the name, so peers could not distinguish the two.
    #[error("--mesh {mesh:?}: {name} is in the certificate of mesh {owner:?} ({}); each mesh needs names of its own", .path.display())]
    NameTaken {
        /// The mesh that requests the name.
        mesh: String,
        /// The DNS name or SPIFFE ID.
        name: String,
        /// The mesh whose certificate contains it.
        owner: String,
        /// The file of the owner's Secret.
        path: PathBuf,
    },
    /// `--rotate` names a mesh that has no Secret.
    #[error("--rotate {mesh:?}: there is no {} to rotate; to add the mesh: --mesh {mesh}=NAME", .path.display())]
    NothingToRotate {
        /// The mesh in the argument.
        mesh: String,
        /// The file that is missing.
        path: PathBuf,
    },
    /// The file of a mesh has other content.
    #[error("{} is not a kubernetes.io/tls Secret written by emcee certs; move it away, or name the mesh {mesh:?} differently", .path.display())]
    NotOurSecret {
        /// The mesh in the argument.
        mesh: String,
        /// The file with the mesh's name.
        path: PathBuf,
    },
    /// The folder has Secrets but no CA. Peers of these meshes would not trust a new CA.
    #[error(
        "{} exists but ca.crt and ca.key do not: restore them, or start in an empty folder (a new CA cuts off every mesh of the old one)",
        .path.display()
    )]
    CaMissing {
        /// The file of one of these Secrets.
        path: PathBuf,
    },
    /// The folder contains ca.crt but not ca.key.
    #[error("{} exists but ca.key does not: restore the key, or start in an empty folder", .path.display())]
    CaKeyMissing {
        /// Path of the CA's certificate.
        path: PathBuf,
    },
    /// The folder contains ca.key but not ca.crt.
    #[error("{} exists but ca.crt does not: restore it (each mesh's Secret contains it), or remove the key to create a new CA", .path.display())]
    CaCertificateMissing {
        /// Path of the CA's key.
        path: PathBuf,
    },
    /// A CA file does not contain a usable certificate or key.
    #[error("{}: {problem}", .path.display())]
    CaUnreadable {
        /// Path of the file.
        path: PathBuf,
        /// Why it cannot be used.
        problem: String,
    },
    /// The CA's key does not match its certificate.
    #[error("{} is not the key of {}: restore the matching pair", .key.display(), .certificate.display())]
    CaKeyMismatch {
        /// Path of ca.key.
        key: PathBuf,
        /// Path of ca.crt.
        certificate: PathBuf,
    },
    /// The folder belongs to another relationship.
    #[error("{} is the CA of relationship {found:?}, not of {relationship:?}; give each relationship a folder of its own", .path.display())]
    CaOfOtherRelationship {
        /// Path of ca.crt.
        path: PathBuf,
        /// The relationship of the CA.
        found: String,
        /// The relationship in the arguments.
        relationship: String,
    },
    /// The CA has expired.
    #[error(
        "{} expired at {not_after}; start in an empty folder and give every mesh its new Secret",
        .path.display()
    )]
    CaExpired {
        /// Path of ca.crt.
        path: PathBuf,
        /// When the CA expired.
        not_after: Timestamp,
    },
    /// The CA is not valid yet, or the clock is wrong.
    #[error("{} is valid only from {not_before}; is this machine's clock right?", .path.display())]
    CaNotYetValid {
        /// Path of ca.crt.
        path: PathBuf,
        /// When the CA becomes valid.
        not_before: Timestamp,
    },
    /// A certificate must not outlive its CA.
    #[error("{} expires at {not_after}, before a certificate of {validity}; ask for less: --validity {}d", .path.display(), .days)]
    CaExpiresBeforeLeaf {
        /// Path of ca.crt.
        path: PathBuf,
        /// When the CA expires.
        not_after: Timestamp,
        /// The requested period, as typed.
        validity: String,
        /// Whole days until the CA expires.
        days: i64,
    },
    /// A file or folder could not be read or written.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// The action that failed: `read`, `create` or `write`.
        action: &'static str,
        /// Path of the file or folder.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The summary could not be written. The files are in place.
    #[error("cannot write the summary: {0}")]
    Output(#[source] io::Error),
    /// The certificate library returned an error.
    #[error("cannot create a certificate: {0}")]
    Issue(#[from] rcgen::Error),
    /// The YAML library returned an error.
    #[error("cannot write the Secret as YAML: {0}")]
    Yaml(#[source] Box<serde_saphyr::ser_error::Error>),
}

impl CertsError {
    /// Fails if there are any refusals: with the only one, or with [`CertsError::Refused`].
    pub(super) fn refuse_if_any(mut refusals: Vec<Self>) -> Result<(), Self> {
        match refusals.len() {
            0 => Ok(()),
            1 => Err(refusals.remove(0)),
            _ => Err(Self::Refused(refusals)),
        }
    }
}

fn lines(errors: &[CertsError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
