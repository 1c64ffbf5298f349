//! Selection of a relationship's Secret, and checks whether it can be used now.

use std::sync::Arc;

use emcee_api::Reason;
use jiff::{SignedDuration, Timestamp};

use super::gateway::format_labels;
use crate::inputs::{Credential, InputCoverage};
use crate::labels::Labels;
use crate::names;
use crate::parse::FedConfig;
use crate::plan::ObjectOwner;
use crate::problem::ResourceProblem;
use crate::resolve::InputView;

/// Days before expiry from which a certificate is reported as expiring soon, the most urgent first. Each step
/// changes the message, so that the warning appears as new.
const EXPIRY_WARNING_DAYS: [i64; 3] = [1, 7, 30];

/// Certificate of a relationship.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RelationshipCertificate {
    /// The MeshFedConfig does not select a Secret.
    NotRequested,
    /// The Secret is not among the files, and is assumed to be in the cluster.
    Assumed,
    /// The certificate is complete and valid now.
    Valid(Arc<Credential>),
    /// The certificate is complete, but not valid yet or expired. Peers refuse it; removing it would not
    /// help.
    OutsideValidity(Arc<Credential>, ResourceProblem),
    /// The Secret is missing, ambiguous or broken.
    Unusable(ResourceProblem),
}

impl RelationshipCertificate {
    pub(crate) fn credential(&self) -> Option<&Arc<Credential>> {
        match self {
            Self::Valid(credential) | Self::OutsideValidity(credential, _) => Some(credential),
            Self::NotRequested | Self::Assumed | Self::Unusable(_) => None,
        }
    }

    /// Whether there is a certificate, as far as is known.
    pub(crate) fn is_present(&self) -> bool {
        !matches!(self, Self::NotRequested | Self::Unusable(_))
    }

    pub(crate) fn problem(&self) -> Option<&ResourceProblem> {
        match self {
            Self::OutsideValidity(_, problem) | Self::Unusable(problem) => Some(problem),
            Self::NotRequested | Self::Assumed | Self::Valid(_) => None,
        }
    }
}

/// Selects the relationship's Secret and checks it.
pub(crate) fn resolve(view: &InputView<'_>, config: &FedConfig) -> RelationshipCertificate {
    let Some(selector) = &config.tls_context else { return RelationshipCertificate::NotRequested };
    let namespace = &config.identity.key.namespace;
    let matches =
        |credential: &&Arc<Credential>| selector.iter().all(|(k, v)| credential.labels.get(k) == Some(v));
    let found: Vec<_> = view.credentials_in(namespace).filter(matches).collect();
    match found.as_slice() {
        [one] => check_credential(one, view.now()),
        // Secrets are rarely among files, so a missing one is not an error there.
        [] if view.settings().coverage == InputCoverage::Partial => RelationshipCertificate::Assumed,
        [] => RelationshipCertificate::Unusable(no_secret(namespace, selector)),
        several => RelationshipCertificate::Unusable(several_secrets(several, selector)),
    }
}

fn check_credential(credential: &Arc<Credential>, now: Timestamp) -> RelationshipCertificate {
    let secret = &credential.key;
    if let Some(problem) = &credential.problem {
        return RelationshipCertificate::Unusable(ResourceProblem::at_field(
            Reason::CertificateInvalid,
            "spec.tls_context_selector",
            format!("Secret {secret}: {problem}"),
        ));
    }
    // Keep the credential: removing it from the gateways would not help, and it may become valid later.
    if let Some(words) = credential.validity_problem(now) {
        let message = format!("Secret {secret}: {words}");
        return RelationshipCertificate::OutsideValidity(
            Arc::clone(credential),
            ResourceProblem::at_field(Reason::CertificateInvalid, "spec.tls_context_selector", message),
        );
    }
    RelationshipCertificate::Valid(Arc::clone(credential))
}

/// Returns warnings about a certificate that can be used, or is assumed to exist.
pub(super) fn certificate_warnings(
    view: &InputView<'_>,
    config: &FedConfig,
    owner: &ObjectOwner,
    certificate: &RelationshipCertificate,
) -> Vec<ResourceProblem> {
    match certificate {
        RelationshipCertificate::Valid(credential) => revocation_warnings(credential, view.now())
            .chain(wildcard_warning(config, credential))
            .chain(peer_certificate_warning(config, credential))
            .chain(expiry_warning(credential, view.now()))
            .collect(),
        RelationshipCertificate::Assumed => {
            let selector = config.tls_context.iter();
            selector.map(|selector| assumed_secret_warning(config, owner, selector)).collect()
        }
        RelationshipCertificate::NotRequested
        | RelationshipCertificate::OutsideValidity(..)
        | RelationshipCertificate::Unusable(_) => Vec::new(),
    }
}

fn expiry_warning(credential: &Credential, now: Timestamp) -> Option<ResourceProblem> {
    // `not_after` is the earlier end of the certificate and its CA.
    let left = credential.not_after.duration_since(now);
    let days = EXPIRY_WARNING_DAYS.into_iter().find(|days| left < SignedDuration::from_hours(days * 24))?;
    let unit = if days == 1 { "day" } else { "days" };
    let message = format!(
        "Secret {}: the certificate, or its CA, expires in less than {days} {unit}, at {} (issue it again)",
        credential.key, credential.not_after
    );
    Some(ResourceProblem::new(Reason::CertificateExpiring, message))
}

/// Returns warnings for CRLs that make gateways refuse certificates. Envoy refuses every certificate of a CA
/// whose CRL is past its `nextUpdate`, or missing. Discovery continues with the CRLs that exist: revoked
/// certificates stay revoked.
fn revocation_warnings(credential: &Credential, now: Timestamp) -> impl Iterator<Item = ResourceProblem> {
    let (secret, revocation) = (&credential.key, &credential.revocation);
    let next_update = revocation.next_update.filter(|next_update| *next_update < now);
    let expired = next_update.map(|next_update| {
        let message = format!(
            "Secret {secret}: a CRL in data.ca.crl expired at {next_update}: gateways refuse every certificate of its CA (put the CA's newest CRL into ca.crl)"
        );
        ResourceProblem::new(Reason::CrlExpired, message)
    });
    let missing = (!revocation.without_list.is_empty()).then(|| {
        let message = format!(
            "Secret {secret}: data.ca.crl has no CRL of the CA {}: gateways refuse every certificate of that CA (add its CRL, also if it revokes nothing)",
            revocation.without_list.join(", ")
        );
        ResourceProblem::new(Reason::CrlMissing, message)
    });
    expired.into_iter().chain(missing)
}

/// Returns a warning for wildcard names. Discovery compares names exactly, but Envoy accepts a wildcard in a
/// certificate for every name that it covers.
fn wildcard_warning(config: &FedConfig, credential: &Credential) -> Option<ResourceProblem> {
    let is_wildcard = |name: &&String| name.starts_with("*.");
    let wildcards: Vec<_> = credential.names.iter().filter(is_wildcard).map(String::as_str).collect();
    if wildcards.is_empty() {
        return None;
    }
    let covers = |name: &str| {
        wildcards.iter().any(|wildcard| {
            // A wildcard covers exactly one label.
            name.split_once('.').is_some_and(|(_, parent)| wildcard.strip_prefix("*.") == Some(parent))
        })
    };
    let covered = |peer: &&crate::parse::PeerSettings| peer.subject_alt_names.iter().any(|name| covers(name));
    let peers: Vec<_> = config.peers.iter().filter(covered).map(|peer| peer.name.as_str()).collect();
    let also =
        if peers.is_empty() { String::new() } else { format!(", peer {} among them", peers.join(", ")) };
    let message = format!(
        "Secret {}: the certificate has the name {}, and gateways of peers take it for every mesh whose name that covers{also} (issue it for this mesh's own name)",
        credential.key,
        wildcards.join(", ")
    );
    Some(ResourceProblem::at_field(Reason::WildcardName, "spec.tls_context_selector", message))
}

/// Returns a warning for a certificate with the name of a peer: the Secrets of two meshes may be swapped, or this
/// mesh is among its own peers.
fn peer_certificate_warning(config: &FedConfig, credential: &Credential) -> Option<ResourceProblem> {
    let (index, name) = config.peers.iter().enumerate().find_map(|(index, peer)| {
        let name = peer.subject_alt_names.iter().find(|name| credential.names.contains(name))?;
        Some((index, name))
    })?;
    let message = format!(
        "{name:?} is a name of peer {}, and also of this mesh's own certificate, in Secret {} (is that the Secret of the peer? else list the names in the peer's certificate)",
        config.peers[index].name, credential.key
    );
    let field = format!("spec.peers[{index}].subject_alt_names");
    Some(ResourceProblem::at_field(Reason::PeerCertificate, field, message))
}

/// Returns why the gateway pods of a namespace would trust another CA than that of their credential.
pub(super) fn shadow_problem(
    view: &InputView<'_>,
    namespace: &str,
    credential: &str,
) -> Option<ResourceProblem> {
    let shadow = view.shadowing_secret(namespace, credential)?;
    let message = format!(
        "Secret {shadow} is next to {credential}, and Istio's gateways trust the CA in it instead of the relationship's: nothing is generated while it is there (delete it, or give it another name)"
    );
    Some(ResourceProblem::at_field(Reason::ShadowedCA, "spec.tls_context_selector", message))
}

/// Returns the name of the Secret for gateway pods in a namespace: the user's own if it is there and
/// complete, else a copy.
pub(super) fn secret_name_for(
    certificate: &RelationshipCertificate,
    owner: &ObjectOwner,
    namespace: &str,
) -> String {
    match certificate.credential() {
        Some(own) if own.usable_in_place && &*own.key.namespace == namespace => own.key.name.to_string(),
        credential => copied_secret_name(owner, credential.map(Arc::as_ref)),
    }
}

/// Returns the name of a copy of a relationship's Secret.
///
/// A user who knows the name, and may write a rule that the gateway follows, can make the gateway use the
/// key. The name therefore contains a hash of the Secret's UID. Only users who may read the Secret know the
/// UID, and it does not change with the content.
pub(super) fn copied_secret_name(owner: &ObjectOwner, credential: Option<&Credential>) -> String {
    let name = owner.part_name("credential");
    match credential.map(|credential| &credential.uid) {
        Some(uid) if !uid.is_empty() => {
            format!("{name}-{}", names::short_hash(&["credential", &uid.to_string()]))
        }
        _ => name,
    }
}

fn assumed_secret_warning(config: &FedConfig, owner: &ObjectOwner, selector: &Labels) -> ResourceProblem {
    let copy = if config.mode.terminates_tls() {
        format!(
            "; the gateways look for a copy of it by the name {} (add its file to have that made)",
            copied_secret_name(owner, None)
        )
    } else {
        String::new()
    };
    let message = format!(
        "no kubernetes.io/tls Secret with the labels {} in {} among the files: assumed to be in the cluster{copy}",
        format_labels(selector),
        config.identity.key.namespace
    );
    ResourceProblem::at_field(Reason::Assumed, "spec.tls_context_selector", message)
}

fn no_secret(namespace: &str, selector: &Labels) -> ResourceProblem {
    let message =
        format!("no kubernetes.io/tls Secret in {namespace} has the labels {}", format_labels(selector));
    ResourceProblem::at_field(Reason::NoSecret, "spec.tls_context_selector", message)
}

fn several_secrets(found: &[&Arc<Credential>], selector: &Labels) -> ResourceProblem {
    let names: Vec<_> = found.iter().map(|credential| &*credential.key.name).collect();
    let message = format!(
        "several Secrets have the labels {}: {} (select by labels that only one has)",
        format_labels(selector),
        names.join(", ")
    );
    ResourceProblem::at_field(Reason::NoSecret, "spec.tls_context_selector", message)
}
