//! Result of translating one unit: objects, verdict, claims.

use foldhash::HashSet;

use super::Unit;
use super::claims::{BindingClaim, Claims, ExpositionClaim};
use crate::block;
use crate::catalogue::{AddressedAnnouncement, PeerKey};
use crate::inputs::Service;
use crate::key::{ObjectKey, Precedence};
use crate::parse::{Binding, Exposition};
use crate::plan::GeneratedObject;
use crate::problem::ResourceProblem;
use crate::resolve::{
    self, AutoExpositions, BoundService, FacadePort, Imports, InputView, ResolvedBinding, ResolvedExposition,
    SharedHostMember, SkippedImport,
};
use crate::status::{ResourceVerdict, StatusDetail};
use crate::style;

/// The stored part of a unit's result, which other units read. Objects, and the verdicts on services and their
/// announcements, would take most of the memory. They are computed on demand.
#[derive(Debug)]
pub(super) enum UnitOutput {
    /// The unit has a result, but no part of it is stored.
    Uncached,
    /// The verdict on a relationship, or on a Service that is exposed by its labels.
    Verdict(Box<ResourceVerdict>),
    /// The result of a binding.
    Binding(Box<BindingOutput>),
    /// The imports of a relationship. A relationship may have thousands, and a caller that wants one of the objects
    /// must not resolve all of them.
    Imports(Box<Imports>),
}

/// What a binding contributes to the units that it shares with others, provided that it gets all of its claims.
#[derive(Debug)]
pub(super) struct BindingOutput {
    pub(super) facade_port: Option<FacadePort>,
    pub(super) uses_relay: bool,
    /// The part of the binding in the ServiceEntry of its shared host, if the service can be called.
    pub(super) shared_member: Option<Box<SharedHostMember>>,
    /// The peer whose announcement the binding follows.
    pub(super) followed_peer: Option<PeerKey>,
}

impl UnitOutput {
    pub(super) fn verdict(&self) -> Option<&ResourceVerdict> {
        match self {
            Self::Verdict(verdict) => Some(verdict),
            _ => None,
        }
    }

    pub(super) fn binding_output(&self) -> Option<&BindingOutput> {
        match self {
            Self::Binding(binds) => Some(binds),
            _ => None,
        }
    }

    pub(super) fn skipped_imports(&self) -> &[SkippedImport] {
        match self {
            Self::Imports(imports) => &imports.skipped,
            _ => &[],
        }
    }

    pub(super) fn imports(&self) -> Option<&Imports> {
        match self {
            Self::Imports(imports) => Some(imports),
            _ => None,
        }
    }
}

/// Resolves the expositions that a Service's labels request. `None` if they request none.
pub(super) fn automatic_expositions(
    view: &InputView<'_>,
    service: &Service,
) -> Option<(UnitOutput, Vec<GeneratedObject>)> {
    let expose = service.expose_request.as_deref()?;
    Some(match resolve::automatic(view, service, expose) {
        Ok(AutoExpositions { expositions, refused }) => {
            let refusal = || UnitOutput::Verdict(Box::new(ResourceVerdict::from_refusals(&refused)));
            let output = if refused.is_empty() { UnitOutput::Uncached } else { refusal() };
            (output, block::auto_exposition::objects(&service.key, &expositions))
        }
        Err(problem) => (
            UnitOutput::Verdict(Box::new(ResourceVerdict::from_problem(None, problem, Vec::new()))),
            Vec::new(),
        ),
    })
}

/// Resolves the bindings that a relationship imports automatically. `None` if it imports nothing automatically.
pub(super) fn automatic_imports(view: &InputView<'_>, fed_config: &ObjectKey) -> Option<UnitOutput> {
    let relationship = view.relationship(fed_config)?;
    Some(UnitOutput::Imports(Box::new(resolve::imports(view, relationship)?)))
}

/// A valid exposition, and what it resolves to in each of its relationships.
struct ExpositionResult<'a> {
    exposition: &'a Exposition,
    resolved: Result<Vec<ResolvedExposition<'a>>, ResourceProblem>,
    warnings: Vec<ResourceProblem>,
}

/// Resolves an exposition without its claims. The error is that of an invalid exposition. `None` if it does not
/// exist.
fn resolve_exposition<'a>(
    view: &InputView<'a>,
    key: &ObjectKey,
) -> Option<Result<ExpositionResult<'a>, &'a [ResourceProblem]>> {
    let exposition = match view.exposition(key)? {
        Ok(exposition) => exposition,
        Err(problems) => return Some(Err(problems)),
    };
    let mut warnings = Vec::new();
    let offerings = resolve::exposition(view, exposition, &mut warnings);
    Some(Ok(ExpositionResult { exposition, resolved: offerings, warnings }))
}

/// Resolves an exposition and registers its claims. `None` if it does not exist.
pub(super) fn claim_exposition(
    view: &InputView<'_>,
    key: &ObjectKey,
    claims: &mut Claims,
) -> Option<UnitOutput> {
    let exposed = resolve_exposition(view, key);
    let valid = exposed.as_ref().and_then(|exposed| exposed.as_ref().ok());
    // An invalid or deleted exposition loses its claims.
    let (age, requested) = valid.map(ExpositionResult::wanted_claims).unzip();
    claims.set_exposition(key, age.as_ref(), requested.unwrap_or_default());
    exposed.map(|_| UnitOutput::Uncached)
}

/// Returns what an exposition would claim if it ran now.
pub(super) fn wanted_exposition_claims(
    view: &InputView<'_>,
    key: &ObjectKey,
) -> Option<(Precedence, Vec<ExpositionClaim>)> {
    Some(resolve_exposition(view, key)?.ok()?.wanted_claims())
}

/// Returns the verdict on an exposition according to the current claims.
pub(super) fn exposition_verdict(
    view: &InputView<'_>,
    key: &ObjectKey,
    claims: &Claims,
) -> Option<ResourceVerdict> {
    Some(match resolve_exposition(view, key)? {
        Ok(exposed) => exposed.into_verdict(view, claims),
        Err(problems) => ResourceVerdict::from_refusals(problems),
    })
}

/// Returns the announcements of an exposition according to the current claims.
pub(super) fn exposition_announcements(
    view: &InputView<'_>,
    key: &ObjectKey,
    claims: &Claims,
) -> Vec<AddressedAnnouncement> {
    match resolve_exposition(view, key) {
        Some(Ok(exposed)) => exposed.announcements(view, claims),
        Some(Err(_)) | None => Vec::new(),
    }
}

/// Returns the objects of an exposition according to the current claims.
pub(super) fn exposition_objects(
    view: &InputView<'_>,
    key: &ObjectKey,
    claims: &Claims,
) -> Vec<GeneratedObject> {
    let Some(Ok(exposed)) = resolve_exposition(view, key) else { return Vec::new() };
    let age = &exposed.exposition.identity.precedence;
    let in_place = exposed.resolved.iter().flatten().filter(|resolved| {
        resolved.service.is_ok() && claims.exposition_conflict(&resolved.to_claim(), age).is_none()
    });
    let objects = |resolved: &ResolvedExposition<'_>| {
        let style = style::for_mode(resolved.relationship.config.mode);
        resolved.service.as_ref().map(|service| style.exposing_objects(service)).unwrap_or_default()
    };
    in_place.flat_map(objects).collect()
}

impl ResolvedExposition<'_> {
    /// Returns the claim of the exposition in this relationship.
    fn to_claim(&self) -> ExpositionClaim {
        let fed_config = self.relationship.key().clone();
        ExpositionClaim { server_name: self.server_name.as_str().into(), fed_config }
    }
}

impl ExpositionResult<'_> {
    /// Returns the precedence, and the claims in order.
    fn wanted_claims(&self) -> (Precedence, Vec<ExpositionClaim>) {
        let mut claims: Vec<_> = self.resolved.iter().flatten().map(ResolvedExposition::to_claim).collect();
        claims.sort_unstable();
        (self.exposition.identity.precedence.clone(), claims)
    }

    fn announcements(&self, view: &InputView<'_>, claims: &Claims) -> Vec<AddressedAnnouncement> {
        let age = &self.exposition.identity.precedence;
        // A service whose server name belongs to another exposition is not announced: peers would reach the other
        // service.
        let held = |resolved: &&ResolvedExposition<'_>| {
            claims.exposition_conflict(&resolved.to_claim(), age).is_none()
        };
        let offerings = self.resolved.iter().flatten().filter(held);
        offerings
            .filter_map(|resolved| resolved.addressed_announcement(self.exposition, view.settings()))
            .collect()
    }

    fn into_verdict(self, view: &InputView<'_>, claims: &Claims) -> ResourceVerdict {
        // Before `self` is taken apart below.
        let announcements = self.announcements(view, claims);
        let Self { exposition, resolved: offerings, warnings } = self;
        let generation = exposition.identity.generation;
        let offerings = match offerings {
            Ok(offerings) => offerings,
            Err(problem) => return ResourceVerdict::from_problem(generation, problem, warnings),
        };
        let mut problems = Vec::new();
        let mut in_place = Vec::new();
        for resolved in &offerings {
            let held = claims.exposition_conflict(&resolved.to_claim(), &exposition.identity.precedence);
            // Both problems are reported at once: the user can fix them together.
            match (&resolved.service, held) {
                (Ok(_), None) => in_place.push(resolved),
                (service, held) => problems.extend(service.as_ref().err().cloned().into_iter().chain(held)),
            }
        }
        let recipients = announced_to(&offerings, &announcements);
        ResourceVerdict::for_exposition(exposition, &offerings, &in_place, recipients, problems, warnings)
    }
}

/// Returns the peers to which the exposition is announced, as `<relationship>/<peer>`.
fn announced_to(
    offerings: &[ResolvedExposition<'_>],
    announcements: &[AddressedAnnouncement],
) -> Vec<String> {
    let relationship = |fed_config: &ObjectKey| {
        let of = |resolved: &&ResolvedExposition<'_>| resolved.relationship.key() == fed_config;
        offerings.iter().find(of).map(|resolved| resolved.relationship.config.relationship.as_str())
    };
    let names = |announcement: &AddressedAnnouncement| {
        let relationship = relationship(&announcement.fed_config).unwrap_or_default();
        announcement.peers.iter().map(|peer| format!("{relationship}/{peer}")).collect::<Vec<_>>()
    };
    announcements.iter().flat_map(names).collect()
}

/// A valid binding, and what it resolves to.
struct BindingResult<'a> {
    binding: &'a Binding,
    resolved: Result<ResolvedBinding<'a>, ResourceProblem>,
    warnings: Vec<ResourceProblem>,
}

/// Resolves a binding without its claims. The error is that of an invalid binding. `None` if it does not exist.
fn resolve_binding<'a>(
    view: &InputView<'a>,
    key: &ObjectKey,
) -> Option<Result<BindingResult<'a>, &'a [ResourceProblem]>> {
    let binding = match view.binding(key)? {
        Ok(binding) => binding,
        Err(problems) => return Some(Err(problems)),
    };
    let mut warnings = Vec::new();
    let bound = resolve::binding(view, binding, &mut warnings);
    Some(Ok(BindingResult { binding, resolved: bound, warnings }))
}

/// Resolves a binding and registers its claims. Adds to `shared` the shared units that are affected. `None` if the
/// binding does not exist.
pub(super) fn claim_binding(
    view: &InputView<'_>,
    key: &ObjectKey,
    claims: &mut Claims,
    shared: &mut HashSet<Unit>,
) -> Option<UnitOutput> {
    let read = resolve_binding(view, key);
    let valid = read.as_ref().and_then(|read| read.as_ref().ok());
    let (age, requested) = valid.map(BindingResult::wanted_claims).unzip();
    claims.set_binding(key, age.as_ref(), requested.unwrap_or_default(), shared);
    Some(match read? {
        // Stored whether or not the binding gets its claims. The shared units check that when they run.
        Ok(BindingResult { resolved: Ok(bound), .. }) => UnitOutput::Binding(Box::new(bound.into_output())),
        Ok(BindingResult { resolved: Err(_), .. }) | Err(_) => UnitOutput::Uncached,
    })
}

/// Returns what a binding would claim if it ran now.
pub(super) fn wanted_binding_claims(
    view: &InputView<'_>,
    key: &ObjectKey,
) -> Option<(Precedence, BindingClaim)> {
    Some(resolve_binding(view, key)?.ok()?.wanted_claims())
}

/// Returns the verdict on a binding according to the current claims.
pub(super) fn binding_verdict(
    view: &InputView<'_>,
    key: &ObjectKey,
    claims: &Claims,
) -> Option<ResourceVerdict> {
    Some(match resolve_binding(view, key)? {
        Ok(read) => read.into_verdict(claims),
        Err(problems) => ResourceVerdict::from_refusals(problems),
    })
}

/// Returns the objects of a binding according to the current claims.
pub(super) fn binding_objects(
    view: &InputView<'_>,
    key: &ObjectKey,
    claims: &Claims,
) -> Vec<GeneratedObject> {
    let Some(Ok(BindingResult { binding, resolved: Ok(bound), .. })) = resolve_binding(view, key) else {
        return Vec::new();
    };
    match (&bound.service, claims.binding_conflict(&bound.to_claim(), &binding.identity.precedence)) {
        (Ok(service), None) => style::for_mode(bound.relationship.config.mode).consuming_objects(service),
        _ => Vec::new(),
    }
}

impl ResolvedBinding<'_> {
    fn to_claim(&self) -> BindingClaim {
        BindingClaim {
            fed_config: Some(self.relationship.key().clone()),
            facade: self.facade.clone(),
            relay: self.relay.clone(),
            shared_host: self.service.as_ref().ok().and_then(|service| service.shared_host.clone()),
        }
    }

    fn into_output(self) -> BindingOutput {
        BindingOutput {
            uses_relay: self.service.is_ok() && self.relay.is_some(),
            shared_member: self.service.as_ref().ok().and_then(BoundService::shared_member).map(Box::new),
            facade_port: self.facade_port,
            followed_peer: self.followed_peer,
        }
    }
}

impl BindingResult<'_> {
    fn wanted_claims(&self) -> (Precedence, BindingClaim) {
        let claim = self.resolved.as_ref().map(ResolvedBinding::to_claim).unwrap_or_default();
        (self.binding.identity.precedence.clone(), claim)
    }

    fn into_verdict(self, claims: &Claims) -> ResourceVerdict {
        let Self { binding, resolved: bound, warnings } = self;
        let generation = binding.identity.generation;
        let bound = match bound {
            Ok(bound) => bound,
            Err(problem) => return ResourceVerdict::from_problem(generation, problem, warnings),
        };
        let conflict = claims.binding_conflict(&bound.to_claim(), &binding.identity.precedence);
        let detail = StatusDetail::for_binding(binding, &bound);
        let problems: Vec<_> = bound.service.err().into_iter().chain(conflict).collect();
        ResourceVerdict::for_binding(generation, problems, warnings, detail)
    }
}
