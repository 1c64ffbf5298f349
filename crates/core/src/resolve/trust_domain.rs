//! Trust domains of peers that this mesh's sidecars accept, and the consequences.
//!
//! A sidecar accepts a caller whose certificate is from Istio's root, and from this mesh's trust domain or
//! one of its aliases (`trustDomainAliases`). Istio also expands the trust domain in an AuthorizationPolicy
//! to all of these. An alias is therefore what an end-to-end peer with its own trust domain needs to call
//! this mesh. The same alias opens the policy of a BOUNDARY egress to that peer. Sources:
//! `pilot/pkg/security/authn/utils/utils.go`, `pilot/pkg/security/trustdomain/bundle.go`.

use std::collections::BTreeSet;

use emcee_api::Reason;

use crate::inputs::{InputCoverage, TranslationSettings};
use crate::mode::Mode;
use crate::parse::{FedConfig, PeerSettings};
use crate::problem::ResourceProblem;

/// Largest number of trust domains of one peer in a message.
const MAX_LISTED: usize = 3;

impl TranslationSettings {
    /// Whether this mesh's sidecars accept workloads of a trust domain.
    fn accepts_trust_domain(&self, trust_domain: &str) -> bool {
        self.trust_domain == trust_domain
            || self.trust_domain_aliases.iter().any(|alias| alias == trust_domain)
    }
}

/// Returns why the policy of a BOUNDARY egress may admit workloads of peers of another, end-to-end
/// relationship.
pub(super) fn shared_trust_domain_warning(
    settings: &TranslationSettings,
    other: &FedConfig,
) -> Option<ResourceProblem> {
    let may_pass = |peer: &&PeerSettings| {
        // A peer without a list may have any trust domain.
        peer.trust_domains.is_empty() || peer.trust_domains.iter().any(|it| settings.accepts_trust_domain(it))
    };
    let peers: Vec<_> = other.peers.iter().filter(may_pass).collect();
    if peers.is_empty() && !other.peers.is_empty() {
        return None;
    }
    let who = if peers.is_empty() {
        format!("any client that reaches pods here through MeshFedConfig {}", other.identity.key)
    } else {
        let names: Vec<_> = peers.iter().map(|peer| peer.name.as_str()).collect();
        format!("peer {} of MeshFedConfig {}", names.join(", "), other.identity.key)
    };
    let (own, mode) = (&settings.trust_domain, other.mode);
    let aliases: BTreeSet<_> = peers
        .iter()
        .flat_map(|peer| &peer.trust_domains)
        .filter(|it| *it != own && settings.accepts_trust_domain(it))
        .collect();
    // The fix differs: peers that only use an alias already have their own trust domain.
    let only_by_aliases = !peers.is_empty()
        && peers.iter().all(|peer| !peer.trust_domains.is_empty() && !peer.trust_domains.contains(own));
    let message = if only_by_aliases {
        let aliases: Vec<_> = aliases.into_iter().map(String::as_str).collect();
        format!(
            "{who} ({mode}) is in the trust domain {}, an alias of this mesh's own (trustDomainAliases), and could use this relationship's certificate at the egress if it reaches its pods: Istio's policies do not tell an alias from {own} (let a NetworkPolicy admit only pods of this cluster to the egress gateway's pods)",
            aliases.join(", ")
        )
    } else {
        format!(
            "{who} ({mode}) is, or may be, in this mesh's trust domain {own}, and could use this relationship's certificate at the egress if it reaches its pods (give the meshes trust domains of their own, and list them in peers[].trust_domains)"
        )
    };
    Some(ResourceProblem::new(Reason::SharedTrustDomain, message))
}

/// Returns why calls of an end-to-end peer fail at this mesh's sidecars: its trust domains, both listed and
/// announced, are neither this mesh's own nor aliases of it. `None` if this mesh exposes nothing to the peer.
/// FLAT has no gateway that would show that, so `exposes` decides.
pub(crate) fn not_accepted_warning<'a>(
    settings: &TranslationSettings,
    config: &FedConfig,
    peer: &'a PeerSettings,
    announced: impl Iterator<Item = &'a str>,
    exposes: impl FnOnce() -> bool,
) -> Option<ResourceProblem> {
    if !config.mode.is_end_to_end() || config.mode != Mode::Flat && config.ingress.is_none() {
        return None;
    }
    let listed = peer.trust_domains.iter().map(String::as_str);
    let missing: BTreeSet<_> =
        listed.chain(announced).filter(|domain| !settings.accepts_trust_domain(domain)).collect();
    // `exposes` is evaluated last, because only FLAT needs it.
    if missing.is_empty() || config.mode == Mode::Flat && !exposes() {
        return None;
    }
    let count = missing.len();
    let mut named: Vec<_> = missing.into_iter().take(MAX_LISTED).collect();
    let domains = named.join(", ");
    let more = if count > MAX_LISTED { format!(" and {} more", count - MAX_LISTED) } else { String::new() };
    let kept = settings.trust_domain_aliases.iter().map(String::as_str);
    // The message shows the complete new value, so that it can be copied.
    named = kept.chain(named).collect();
    let flag = match settings.coverage {
        InputCoverage::Partial => ", and pass the same to --trust-domain-aliases",
        InputCoverage::Complete => "",
    };
    let message = format!(
        "callers of peer {} are in the trust domain {domains}{more}, which this mesh's sidecars do not accept: every call of theirs to what is exposed here fails (add to this mesh's meshConfig: `trustDomainAliases: [{}]`{flag})",
        peer.name,
        named.join(", ")
    );
    Some(ResourceProblem::at_field(Reason::TrustDomainNotAccepted, "spec.peers", message))
}
