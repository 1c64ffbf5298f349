//! The one Secret of a relationship, and whether it can be used now.

use std::sync::Arc;

use emcee_api::Reason;
use jiff::{SignedDuration, Timestamp};

use super::gateway::words;
use crate::inputs::{Credential, Knowledge};
use crate::labels::Labels;
use crate::parse::FedConfig;
use crate::plan::Owner;
use crate::problem::Problem;
use crate::resolve::View;

/// From how many days before its end a certificate is said to expire soon, the most urgent first. Each is other words,
/// so that the warning is news again.
const SOON: [i64; 3] = [1, 7, 30];

/// The certificate of a relationship.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Certificate {
    /// None is asked for.
    NotAsked,
    /// It is not among the files, and assumed to be in the cluster.
    Assumed,
    /// Complete and in force.
    Good(Arc<Credential>),
    /// Complete, but not yet or no longer in force. Peers refuse it; taking it away would not help.
    OutOfTime(Arc<Credential>, Problem),
    /// Missing, ambiguous or broken.
    Unusable(Problem),
}

impl Certificate {
    pub(crate) fn credential(&self) -> Option<&Arc<Credential>> {
        match self {
            Self::Good(credential) | Self::OutOfTime(credential, _) => Some(credential),
            Self::NotAsked | Self::Assumed | Self::Unusable(_) => None,
        }
    }

    /// Whether there is one, as far as can be known.
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
        [one] => judge(one, view.now(), warnings),
        [] if view.settings().knowledge == Knowledge::Partial => {
            warnings.push(assumed(config, owner, selector));
            Certificate::Assumed
        }
        [] => Certificate::Unusable(none(namespace, selector)),
        several => Certificate::Unusable(ambiguous(several, selector)),
    }
}

fn judge(credential: &Arc<Credential>, now: Timestamp, warnings: &mut Vec<Problem>) -> Certificate {
    let secret = &credential.key;
    if let Some(problem) = &credential.problem {
        return Certificate::Unusable(Problem::at(
            Reason::CertificateInvalid,
            "spec.tls_context_selector",
            format!("Secret {secret}: {problem}"),
        ));
    }
    if let Some(words) = credential.out_of_time(now) {
        let message = format!("Secret {secret}: {words}");
        return Certificate::OutOfTime(
            Arc::clone(credential),
            Problem::at(Reason::CertificateInvalid, "spec.tls_context_selector", message),
        );
    }
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

/// Name of a copy of a relationship's Secret.
pub(super) fn copied_name(owner: &Owner) -> String {
    owner.part("credential")
}

fn assumed(config: &FedConfig, owner: &Owner, selector: &Labels) -> Problem {
    let copy = if config.mode.terminates() {
        format!(
            "; the gateways look for a copy of it by the name {} (add its file to have that made)",
            copied_name(owner)
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
