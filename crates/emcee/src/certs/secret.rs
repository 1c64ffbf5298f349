//! Writes the Secret of a mesh as YAML, and reads an existing one.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde_saphyr::SerializerOptions;
use time::OffsetDateTime;
use x509_parser::{extensions::GeneralName, prelude::X509Certificate};

use super::{
    CertsError,
    issue::{SignedCertificate, pem_blocks, to_timestamp},
    names,
    request::SecretLabels,
};

const SECRET_TYPE: &str = "kubernetes.io/tls";

/// Content of the Secret to write for a mesh.
pub(super) struct NewSecret<'a> {
    pub(super) relationship: &'a str,
    pub(super) mesh: &'a str,
    pub(super) namespace: &'a str,
    pub(super) labels: &'a SecretLabels,
    pub(super) names: &'a [String],
    pub(super) spiffe: Option<&'a str>,
    pub(super) issued: &'a SignedCertificate,
    pub(super) bundle: &'a str,
}

/// An existing Secret of a mesh. It does not contain the private key, because nothing needs it.
pub(super) struct MeshSecret {
    pub(super) namespace: Option<String>,
    pub(super) labels: SecretLabels,
    pub(super) names: Vec<String>,
    pub(super) uris: Vec<String>,
    pub(super) bundle: String,
    pub(super) not_after: OffsetDateTime,
}

impl NewSecret<'_> {
    /// Writes the Secret with a comment for people. It uses `data`, not `stringData`: `data` is the stored form, so
    /// `kubectl get -o yaml`, `diff` and sync tools show no difference.
    pub(super) fn to_yaml(&self) -> Result<String, CertsError> {
        let yaml = serde_saphyr::to_string_with_options(&self.to_secret(), single_line_options())
            .map_err(|error| CertsError::Yaml(Box::new(error)))?;
        Ok(format!("{}{yaml}", self.header_comment()))
    }

    fn header_comment(&self) -> String {
        let Self { relationship, mesh, .. } = self;
        let names: Vec<&str> = self.names.iter().map(String::as_str).chain(self.spiffe).collect();
        format!(
            "# Certificate and private key of mesh {mesh} in relationship {relationship}: for {mesh}'s cluster only.\n\
             # Names: {}\n# Valid until: {}\n",
            names.join(", "),
            to_timestamp(self.issued.not_after)
        )
    }

    fn to_secret(&self) -> Secret {
        let data = [
            ("ca.crt", self.bundle),
            ("tls.crt", self.issued.certificate.as_str()),
            ("tls.key", self.issued.key.as_str()),
        ];
        Secret {
            metadata: ObjectMeta {
                name: Some(self.relationship.to_owned()),
                namespace: Some(self.namespace.to_owned()),
                labels: Some(self.labels.clone()),
                ..ObjectMeta::default()
            },
            type_: Some(SECRET_TYPE.to_owned()),
            data: Some(data.map(|(key, pem)| (key.to_owned(), ByteString(pem.into()))).into()),
            ..Secret::default()
        }
    }
}

/// Writes base64 on one line, as kubectl shows it.
fn single_line_options() -> SerializerOptions {
    serde_saphyr::ser_options! { prefer_block_scalars: false }
}

impl MeshSecret {
    /// Reads a Secret. Returns `None` if it is broken or if `emcee certs` did not write it.
    pub(super) fn from_yaml(yaml: &str) -> Option<Self> {
        let secret: Secret = serde_saphyr::from_str(yaml).ok()?;
        let text = |key: &str| data_value(&secret, key);
        let blocks = pem_blocks(&text("tls.crt")?).ok()?;
        // The mesh's own certificate comes first in a chain.
        let certificate = blocks.first()?.parse_x509().ok()?;
        let (dns, uris) = read_alt_names(&certificate);
        // A rotation uses the names again, also in a YAML comment. Accept only names that an argument could contain.
        let names_fit = dns.iter().all(|name| names::check_dns_name(name).is_ok())
            && uris.iter().all(|id| names::check_spiffe_id(id).is_ok());
        let is_ours = secret.type_.as_deref() == Some(SECRET_TYPE) && text("tls.key").is_some() && names_fit;
        is_ours.then_some(Self {
            bundle: text("ca.crt")?,
            not_after: certificate.validity().not_after.to_datetime(),
            namespace: secret.metadata.namespace,
            labels: secret.metadata.labels.unwrap_or_default(),
            names: dns,
            uris,
        })
    }
}

fn data_value(secret: &Secret, key: &str) -> Option<String> {
    let stored = |data: &BTreeMap<String, ByteString>| String::from_utf8(data.get(key)?.0.clone()).ok();
    let typed = || secret.string_data.as_ref()?.get(key).cloned();
    // A user may have edited the file: as in Kubernetes, `stringData` takes precedence.
    typed().or_else(|| secret.data.as_ref().and_then(stored))
}

fn read_alt_names(certificate: &X509Certificate<'_>) -> (Vec<String>, Vec<String>) {
    let (mut names, mut uris) = (Vec::new(), Vec::new());
    let extension = certificate.subject_alternative_name().ok().flatten();
    for name in extension.iter().flat_map(|found| &found.value.general_names) {
        match name {
            GeneralName::DNSName(name) => names.push((*name).to_owned()),
            GeneralName::URI(uri) => uris.push((*uri).to_owned()),
            _ => {}
        }
    }
    (names, uris)
}
