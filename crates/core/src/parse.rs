//! From an object as a user wrote it to a model that can only be valid.
//!
//! The one validator: command line, webhook and status all say what is said here. Two steps, each of which
//! reports everything it finds: [`shape`] holds the object against its CRD's schema (types, unknown and missing
//! fields), then each kind's module reads the values. What depends on *other* objects is decided later.

mod binding;
mod checker;
mod exposition;
mod fed_config;
mod problems;
mod shape;

use emcee_api::{MeshFedConfig, Reason, ServiceBinding, ServiceExposition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) use binding::import_labels;
pub use binding::{Binding, Remembered, Visibility};
pub use exposition::Exposition;
pub use fed_config::{DiscoverySettings, FedConfig, GatewaySettings, PeerModel};

use crate::key::{Age, Key};
use crate::names;
use crate::problem::Problem;
use crate::text::quote;
use checker::Checker;
pub(crate) use checker::{is_spiffe_id, plain};

/// Reads a MeshFedConfig.
///
/// # Errors
/// Everything that is wrong with it.
pub fn fed_config(object: &Value) -> Result<FedConfig, Vec<Problem>> {
    read::<MeshFedConfig, _>(object, &shape::MESH_FED_CONFIG, |o| &o.metadata, fed_config::parse)
}

/// Reads a ServiceExposition.
///
/// # Errors
/// Everything that is wrong with it.
pub fn exposition(object: &Value) -> Result<Exposition, Vec<Problem>> {
    read::<ServiceExposition, _>(object, &shape::SERVICE_EXPOSITION, |o| &o.metadata, exposition::parse)
}

/// Reads a ServiceBinding.
///
/// # Errors
/// Everything that is wrong with it.
pub fn binding(object: &Value) -> Result<Binding, Vec<Problem>> {
    read::<ServiceBinding, _>(object, &shape::SERVICE_BINDING, |o| &o.metadata, binding::parse)
}

/// Who an object is, whatever its kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// Namespace and name.
    pub key: Key,
    /// Seniority.
    pub age: Age,
    /// `metadata.generation`, absent in files.
    pub generation: Option<i64>,
}

fn read<K: DeserializeOwned, M>(
    object: &Value,
    schema: &shape::Schema,
    metadata: fn(&K) -> &ObjectMeta,
    parse: fn(&mut Checker, Identity, &K) -> M,
) -> Result<M, Vec<Problem>> {
    let shape::Shaped { mut object, mut problems, stand_ins } = schema.check(object);
    if !object["spec"].is_object() || problems.is_full() {
        return Err(problems.into_list());
    }
    if serde_json::from_value::<K>(object.clone()).is_err()
        && let Some(fields) = object.as_object_mut()
    {
        // A status is Emcee's own writing, of whatever version; the user cannot mend it.
        fields.remove("status");
    }
    let mut checker = Checker::default();
    let model = match serde_json::from_value::<K>(object) {
        Ok(typed) => {
            identity(&mut checker, metadata(&typed)).map(|identity| parse(&mut checker, identity, &typed))
        }
        Err(error) => {
            problems.push(Problem::new(Reason::Invalid, plain(&error.to_string())));
            None
        }
    };
    problems.extend(checker.problems, &stand_ins);
    let problems = problems.into_list();
    match model {
        Some(model) if problems.is_empty() => Ok(model),
        _ => Err(problems),
    }
}

fn identity(checker: &mut Checker, metadata: &ObjectMeta) -> Option<Identity> {
    let name = metadata.name.as_deref().unwrap_or_default();
    let namespace = metadata.namespace.as_deref().unwrap_or("default");
    if !names::is_dns_name(name) {
        checker.refuse(
            "metadata.name",
            format!("{} is not a name (a-z, 0-9, `-` and `.`, at most 253)", quote(name)),
        );
    }
    checker.label("metadata.namespace", namespace);
    if !checker.problems.list().is_empty() {
        return None;
    }
    let key = Key::new(namespace, name);
    let created = metadata.creation_timestamp.as_ref().map(|time| time.0);
    Some(Identity {
        age: Age::new(created, metadata.uid.as_deref(), key.clone()),
        key,
        generation: metadata.generation,
    })
}
