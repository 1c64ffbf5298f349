//! Selection of a relationship's Secret, and checks whether it can be used now.

use std::sync::Arc;

use emcee_api::Reason;
use jiff::{SignedDuration, Timestamp};

use super::gateway::words;
use crate::inputs::{Credential, Knowledge};
use crate::labels::Labels;
use crate::names;
use crate::parse::FedConfig;
use crate::plan::Owner;
use crate::problem::Problem;
use crate::resolve::View;

/// Days before expiry from which a certificate is reported as expiring soon, the most urgent first. Each step
/// changes the message, so that the warning appears as new.
const SOON: [i64; 3] = [1, 7, 30];

/// Certificate of a relationship.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Certificate {
    /// The MeshFedConfig does not select a Secret.
    NotAsked,
    /// The Secret is not among the files, and is assumed to be in the cluster.
    Assumed,
    /// The certificate is complete and valid now.
    Good(Arc<Credential>),
    /// The certificate is complete, but not valid yet or expired. Peers refuse it; removing it would not
    /// help.
    OutOfTime(Arc<Credential>, Problem),
    /// The Secret is missing, ambiguous or broken.
    Unusable(Problem),
}

impl Certificate {
    pub(crate) fn credential(&self) -> Option<&Arc<Credential>> {
        match self {
            Self::Good(credential) | Self::OutOfTime(credential, _) => Some(credential),
            Self::NotAsked | Self::Assumed | Self::Unusable(_) => None,
        }
    }

    /// Whether there is a certificate, as far as is known.
    pub(crate) fn is_there(&self) -> bool {
        !matches!(self, Self::NotAsked | Self::Unusable(_))
    }

    pub(crate) fn problem(&self) -> Option<&Problem> {
        match self {
            Self::OutOfTime(_, problem) | Self::Unusable(problem) => Some(problem),
            Self::NotAsked | Self::Assumed | Self::Good(_) => None,
        }
    }
}

pub(crate) fn resolve(
    view: &View<'_>,
    config: &FedConfig,
    owner: &Owner,
    warnings: &mut Vec<Problem>,
) -> Certificate {
    let Some(selector) = &config.tls_context else { return Certificate::NotAsked };
    let namespace = &config.identity.key.namespace;
    let matches =
        |credential: &&Arc<Credential>| selector.iter().all(|(k, v)| credential.labels.get(k) == Some(v));
    let found: Vec<_> = view.credentials_in(namespace).filter(matches).collect();
    match found.as_slice() {
        [one] => judge(config, one, view.now(), warnings),
        // Secrets are rarely among files, so a missing one is not an error there.
        [] if view.settings().knowledge == Knowledge::Partial => {
            warnings.push(assumed(config, owner, selector));
            Certificate::Assumed
        }
        [] => Certificate::Unusable(none(namespace, selector)),
        several => Certificate::Unusable(ambiguous(several, selector)),
    }
}

fn judge(
    config: &FedConfig,
    credential: &Arc<Credential>,
    now: Timestamp,
    warnings: &mut Vec<Problem>,
) -> Certificate {
    let secret = &credential.key;
    if let Some(problem) = &credential.problem {
        return Certificate::Unusable(Problem::at(
            Reason::CertificateInvalid,
            "spec.tls_context_selector",
            format!("Secret {secret}: {problem}"),
        ));
    }
    // Keep the credential: removing it from the gateways would not help, and it may become valid later.
    if let Some(words) = credential.out_of_time(now) {
        let message = format!("Secret {secret}: {words}");
        return Certificate::OutOfTime(
            Arc::clone(credential),
            Problem::at(Reason::CertificateInvalid, "spec.tls_context_selector", message),
        );
    }
    warnings.extend(revocation(credential, now));
    warnings.extend(wildcards(config, credential));
    // `not_after` is the earlier end of the certificate and its CA.
    let left = credential.not_after.duration_since(now);
    if let Some(days) = SOON.into_iter().find(|days| left < SignedDuration::from_hours(days * 24)) {
        let unit = if days == 1 { "day" } else { "days" };
        let message = format!(
            "Secret {secret}: the certificate, or its CA, expires in less than {days} {unit}, at {} (issue it again)",
            credential.not_after
        );
        warnings.push(Problem::new(Reason::CertificateExpiring, message));
    }
    Certificate::Good(Arc::clone(credential))
}

/// Returns warnings for CRLs that make gateways refuse certificates. Envoy refuses every certificate of a CA
/// whose CRL is past its `nextUpdate`, or missing. Discovery continues with the CRLs that exist: revoked
/// certificates stay revoked.
fn revocation(credential: &Credential, now: Timestamp) -> impl Iterator<Item = Problem> {
    let (secret, revocation) = (&credential.key, &credential.revocation);
    let next_update = revocation.next_update.filter(|next_update| *next_update < now);
    let expired = next_update.map(|next_update| {
        let message = format!(
            "Secret {secret}: a CRL in data.ca.crl expired at {next_update}: gateways refuse every certificate of its CA (put the CA's newest CRL into ca.crl)"
        );
        Problem::new(Reason::CrlExpired, message)
    });
    let missing = (!revocation.without_list.is_empty()).then(|| {
        let message = format!(
            "Secret {secret}: data.ca.crl has no CRL of the CA {}: gateways refuse every certificate of that CA (add its CRL, also if it revokes nothing)",
            revocation.without_list.join(", ")
        );
        Problem::new(Reason::CrlMissing, message)
    });
    expired.into_iter().chain(missing)
}

/// Returns a warning for wildcard names. Discovery compares names exactly, but Envoy accepts a wildcard in a
/// certificate for every name that it covers.
fn wildcards(config: &FedConfig, credential: &Credential) -> Option<Problem> {
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
    let covered = |peer: &&crate::parse::PeerModel| peer.subject_alt_names.iter().any(|name| covers(name));
    let peers: Vec<_> = config.peers.iter().filter(covered).map(|peer| peer.name.as_str()).collect();
    let also =
        if peers.is_empty() { String::new() } else { format!(", peer {} among them", peers.join(", ")) };
    let message = format!(
        "Secret {}: the certificate has the name {}, and gateways of peers take it for every mesh whose name that covers{also} (issue it for this mesh's own name)",
        credential.key,
        wildcards.join(", ")
    );
    Some(Problem::at(Reason::WildcardName, "spec.tls_context_selector", message))
}

/// Returns why the gateway pods of a namespace would trust another CA than that of their credential.
pub(super) fn shadowed(view: &View<'_>, namespace: &str, credential: &str) -> Option<Problem> {
    let shadow = view.shadow_of(namespace, credential)?;
    let message = format!(
        "Secret {shadow} is next to {credential}, and Istio's gateways trust the CA in it instead of the relationship's: nothing is generated while it is there (delete it, or give it another name)"
    );
    Some(Problem::at(Reason::ShadowedCA, "spec.tls_context_selector", message))
}

/// Returns the name of the Secret for gateway pods in a namespace: the user's own if it is there and
/// complete, else a copy.
pub(super) fn name_for(certificate: &Certificate, owner: &Owner, namespace: &str) -> String {
    match certificate.credential() {
        Some(own) if own.complete && &*own.key.namespace == namespace => own.key.name.to_string(),
        credential => copied_name(owner, credential.map(Arc::as_ref)),
    }
}

/// Returns the name of a copy of a relationship's Secret.
///
/// A user who knows the name, and may write a rule that the gateway follows, can make the gateway use the
/// key. The name therefore contains a hash of the Secret's UID. Only users who may read the Secret know the
/// UID, and it does not change with the content.
pub(super) fn copied_name(owner: &Owner, credential: Option<&Credential>) -> String {
    let name = owner.part("credential");
    match credential.map(|credential| &credential.uid) {
        Some(uid) if !uid.is_empty() => {
            format!("{name}-{}", names::short_hash(&["credential", &uid.to_string()]))
        }
        _ => name,
    }
}

fn assumed(config: &FedConfig, owner: &Owner, selector: &Labels) -> Problem {
    let copy = if config.mode.terminates() {
        format!(
            "; the gateways look for a copy of it by the name {} (add its file to have that made)",
            copied_name(owner, None)
        )
    } else {
        String::new()
    };
    let message = format!(
        "no kubernetes.io/tls Secret with the labels {} in {} among the files: assumed to be in the cluster{copy}",
        words(selector),
        config.identity.key.namespace
    );
    Problem::at(Reason::Assumed, "spec.tls_context_selector", message)
}

fn none(namespace: &str, selector: &Labels) -> Problem {
    let message = format!("no kubernetes.io/tls Secret in {namespace} has the labels {}", words(selector));
    Problem::at(Reason::NoSecret, "spec.tls_context_selector", message)
}

fn ambiguous(found: &[&Arc<Credential>], selector: &Labels) -> Problem {
    let names: Vec<_> = found.iter().map(|credential| &*credential.key.name).collect();
    let message = format!(
        "several Secrets have the labels {}: {} (select by labels that only one has)",
        words(selector),
        names.join(", ")
    );
    Problem::at(Reason::NoSecret, "spec.tls_context_selector", message)
}
