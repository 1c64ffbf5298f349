//! Automatic exposition: the ServiceExpositions of a Service that is exposed by its labels.

use emcee_api::{Reason, labels};

use super::InputView;
use crate::inputs::{ExposeRequest, Service, ServicePort};
use crate::names;
use crate::problem::ResourceProblem;
use crate::text::quote_value;

/// ServiceExposition for one port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AutoExposition {
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
pub(crate) struct AutoExpositions {
    /// Expositions of the ports that can be exposed.
    pub(crate) expositions: Vec<AutoExposition>,
    /// Why the other ports cannot be exposed.
    pub(crate) refused: Vec<ResourceProblem>,
}

/// Returns one exposition for each TCP port. The first port keeps the Service's name, because most Services
/// have only one.
pub(crate) fn resolve(
    view: &InputView<'_>,
    service: &Service,
    expose: &ExposeRequest,
) -> Result<AutoExpositions, ResourceProblem> {
    let fed_config = selected_fed_config(view, expose)?;
    let alias = parse_alias(expose, &fed_config)?;
    if service.ports.is_empty() {
        return Err(metadata_problem(
            labels::EXPOSE,
            "the Service has no TCP port to expose (give it one, or remove the label)",
        ));
    }
    let service_name = &*service.key.name;
    let peers_know = alias.as_deref().unwrap_or(service_name);
    // Further ports get the name of the port as a suffix, so that each has its own inter-mesh server name.
    let further = service.ports.iter().skip(1).map(|port| {
        let part = port_suffix(port);
        let alias = format!("{peers_know}-{part}");
        (names::shorten_to_label(&format!("{service_name}-auto-exposed-{part}")), port, Some(alias))
    });
    let first_name = names::shorten_to_label(&format!("{service_name}-auto-exposed"));
    let first = (first_name, &service.ports[0], alias.clone());
    let of = |(name, port, alias): (String, &ServicePort, Option<String>)| AutoExposition {
        name,
        port: port.number,
        fed_config: fed_config.clone(),
        alias,
    };
    // A port with a name that is too long does not affect the other ports.
    let (expositions, refused) = [first].into_iter().chain(further).map(of).partition(has_valid_names);
    Ok(AutoExpositions { expositions, refused: refused.iter().map(invalid_name_problem).collect() })
}

/// Whether both names are valid names for a ServiceExposition and a server name.
fn has_valid_names(exposition: &AutoExposition) -> bool {
    names::is_dns_name(&exposition.name) && exposition.alias.as_deref().is_none_or(names::is_dns_label)
}

/// Returns why a port is not exposed: a name that would be derived from its name is not valid.
fn invalid_name_problem(exposition: &AutoExposition) -> ResourceProblem {
    let AutoExposition { name, port, alias, .. } = exposition;
    let known_as = alias.as_deref().unwrap_or_default();
    let message = format!(
        "port {port} is not exposed: it would need a ServiceExposition {}, known to peers as {}, and that is not a valid name (at most 63 characters; give the port a shorter name, or the Service a shorter {})",
        quote_value(name),
        quote_value(known_as),
        labels::EXPOSE_AS
    );
    metadata_problem(labels::EXPOSE, message)
}

fn port_suffix(port: &ServicePort) -> String {
    port.name.clone().unwrap_or_else(|| port.number.to_string())
}

/// Returns the value of the label that selects the MeshFedConfig.
fn selected_fed_config(view: &InputView<'_>, expose: &ExposeRequest) -> Result<String, ResourceProblem> {
    match &*expose.fed_config {
        "" => Err(metadata_problem(
            labels::EXPOSE,
            "names no MeshFedConfig (its name, or true if there is only one)",
        )),
        labels::EXPOSE_THE_ONLY_ONE => only_fed_config(view),
        name => Ok(name.to_owned()),
    }
}

fn only_fed_config(view: &InputView<'_>) -> Result<String, ResourceProblem> {
    let keys: Vec<_> = view.fed_config_keys().collect();
    match keys.as_slice() {
        // An invalid MeshFedConfig has no parsed labels. Without the label `fed-config` it is selected by its
        // name.
        [one] => {
            let config = view.fed_config(one).and_then(|parsed| parsed.as_ref().ok());
            let label = config.and_then(|config| config.labels.get(labels::FED_CONFIG));
            Ok(label.unwrap_or(&one.name).to_owned())
        }
        [] => Err(metadata_problem(labels::EXPOSE, "there is no MeshFedConfig to expose it through")),
        several => {
            let names: Vec<_> = several.iter().take(5).map(ToString::to_string).collect();
            let more = if several.len() > names.len() { ", …" } else { "" };
            let message = format!(
                "true selects the only MeshFedConfig, but there are {}: {}{more} (name one)",
                several.len(),
                names.join(", ")
            );
            Err(metadata_problem(labels::EXPOSE, message))
        }
    }
}

/// Parses the alias, written as `[<MeshFedConfig>:]<alias>`.
fn parse_alias(expose: &ExposeRequest, fed_config: &str) -> Result<Option<String>, ResourceProblem> {
    let Some(text) = &expose.alias else { return Ok(None) };
    let (of, alias) = match text.split_once(':') {
        Some((of, alias)) => (Some(of.trim()), alias.trim()),
        None => (None, text.trim()),
    };
    if let Some(of) = of.filter(|of| *of != fed_config) {
        let message = format!(
            "is for MeshFedConfig {of:?}, and {} exposes the Service through {fed_config} (name the same one)",
            labels::EXPOSE
        );
        return Err(metadata_problem(labels::EXPOSE_AS, message));
    }
    if !names::is_dns_label(alias) {
        let message = format!(
            "{alias:?}: invalid alias (1 to 63 lower-case letters, digits and '-', beginning and ending with a letter or digit)"
        );
        return Err(metadata_problem(labels::EXPOSE_AS, message));
    }
    Ok(Some(alias.to_owned()))
}

fn metadata_problem(label: &str, message: impl Into<String>) -> ResourceProblem {
    let place = if label == labels::EXPOSE { "labels" } else { "annotations" };
    ResourceProblem::at_field(Reason::Invalid, format!("metadata.{place}[{label}]"), message)
}
