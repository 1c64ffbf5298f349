//! Automatic exposition: the ServiceExpositions of a Service that is exposed by its labels.

use emcee_api::{Reason, labels};

use super::View;
use crate::inputs::{Expose, Service, ServicePort};
use crate::names;
use crate::problem::Problem;
use crate::text::quote;

/// ServiceExposition for one port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AutomaticExposition {
    /// Name of the ServiceExposition.
    pub(crate) name: String,
    /// Port of the Service.
    pub(crate) port: u16,
    /// Value of the label that selects its MeshFedConfig.
    pub(crate) fed_config: String,
    /// Name under which peers know the service; `None` for the Service's name.
    pub(crate) alias: Option<String>,
}

/// ServiceExpositions that the labels of a Service request.
pub(crate) struct Asked {
    /// Expositions of the ports that can be exposed.
    pub(crate) expositions: Vec<AutomaticExposition>,
    /// Why the other ports cannot be exposed.
    pub(crate) refused: Vec<Problem>,
}

/// Returns one exposition for each TCP port. The first port keeps the Service's name, because most Services
/// have only one.
pub(crate) fn resolve(view: &View<'_>, service: &Service, expose: &Expose) -> Result<Asked, Problem> {
    let fed_config = through(view, expose)?;
    let alias = alias(expose, &fed_config)?;
    if service.ports.is_empty() {
        return Err(at(
            labels::EXPOSE,
            "the Service has no TCP port to expose (give it one, or remove the label)",
        ));
    }
    let service_name = &*service.key.name;
    let peers_know = alias.as_deref().unwrap_or(service_name);
    // Further ports get the name of the port as a suffix, so that each has its own inter-mesh server name.
    let further = service.ports.iter().skip(1).map(|port| {
        let part = part(port);
        let alias = format!("{peers_know}-{part}");
        (format!("{service_name}-auto-exposed-{part}"), port, Some(alias))
    });
    let first = (format!("{service_name}-auto-exposed"), &service.ports[0], alias.clone());
    let of = |(name, port, alias): (String, &ServicePort, Option<String>)| AutomaticExposition {
        name,
        port: port.number,
        fed_config: fed_config.clone(),
        alias,
    };
    // A port with a name that is too long does not affect the other ports.
    let (expositions, refused) = [first].into_iter().chain(further).map(of).partition(is_named);
    Ok(Asked { expositions, refused: refused.iter().map(unnamed).collect() })
}

/// Whether both names are valid names for a ServiceExposition and a server name.
fn is_named(exposition: &AutomaticExposition) -> bool {
    names::is_dns_name(&exposition.name) && exposition.alias.as_deref().is_none_or(names::is_dns_label)
}

/// Returns why a port is not exposed: a name that would be derived from its name is not valid.
fn unnamed(exposition: &AutomaticExposition) -> Problem {
    let AutomaticExposition { name, port, alias, .. } = exposition;
    let known_as = alias.as_deref().unwrap_or_default();
    let message = format!(
        "port {port} is not exposed: it would need a ServiceExposition {}, known to peers as {}, and that is not a valid name (at most 63 characters; give the port a shorter name, or the Service a shorter {})",
        quote(name),
        quote(known_as),
        labels::EXPOSE_AS
    );
    at(labels::EXPOSE, message)
}

fn part(port: &ServicePort) -> String {
    port.name.clone().unwrap_or_else(|| port.number.to_string())
}

/// Returns the value of the label that selects the MeshFedConfig.
fn through(view: &View<'_>, expose: &Expose) -> Result<String, Problem> {
    match &*expose.through {
        "" => Err(at(labels::EXPOSE, "names no MeshFedConfig (its name, or true if there is only one)")),
        labels::EXPOSE_THE_ONLY_ONE => the_only_one(view),
        name => Ok(name.to_owned()),
    }
}

fn the_only_one(view: &View<'_>) -> Result<String, Problem> {
    let keys: Vec<_> = view.fed_config_keys().collect();
    match keys.as_slice() {
        // An invalid MeshFedConfig has no parsed labels. Without the label `fed-config` it is selected by its
        // name.
        [one] => {
            let config = view.fed_config(one).and_then(|parsed| parsed.as_ref().ok());
            let label = config.and_then(|config| config.labels.get(labels::FED_CONFIG));
            Ok(label.unwrap_or(&one.name).to_owned())
        }
        [] => Err(at(labels::EXPOSE, "there is no MeshFedConfig to expose it through")),
        several => {
            let names: Vec<_> = several.iter().take(5).map(ToString::to_string).collect();
            let more = if several.len() > names.len() { ", …" } else { "" };
            let message = format!(
                "true selects the only MeshFedConfig, but there are {}: {}{more} (name one)",
                several.len(),
                names.join(", ")
            );
            Err(at(labels::EXPOSE, message))
        }
    }
}

/// Parses the alias, written as `[<MeshFedConfig>:]<alias>`.
fn alias(expose: &Expose, fed_config: &str) -> Result<Option<String>, Problem> {
    let Some(text) = &expose.as_ else { return Ok(None) };
    let (of, alias) = match text.split_once(':') {
        Some((of, alias)) => (Some(of.trim()), alias.trim()),
        None => (None, text.trim()),
    };
    if let Some(of) = of.filter(|of| *of != fed_config) {
        let message = format!(
            "is for MeshFedConfig {of:?}, and {} exposes the Service through {fed_config} (name the same one)",
            labels::EXPOSE
        );
        return Err(at(labels::EXPOSE_AS, message));
    }
    if !names::is_dns_label(alias) {
        let message = format!(
            "{alias:?}: invalid alias (1 to 63 lower-case letters, digits and '-', beginning and ending with a letter or digit)"
        );
        return Err(at(labels::EXPOSE_AS, message));
    }
    Ok(Some(alias.to_owned()))
}

fn at(label: &str, message: impl Into<String>) -> Problem {
    let place = if label == labels::EXPOSE { "labels" } else { "annotations" };
    Problem::at(Reason::Invalid, format!("metadata.{place}[{label}]"), message)
}
