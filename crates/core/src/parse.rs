//! Parsing of an object as a user wrote it into a model that is always valid.
//!
//! This is the only validator: command line, webhook and status report the same problems. It has two steps,
//! and each reports everything that it finds. [`schema`] checks the object against its CRD's schema (types,
//! unknown and missing fields), then the module of each kind checks the values. Checks that depend on *other*
//! objects follow later.

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
/// Returns all problems of the object.
pub fn fed_config(object: &Value) -> Result<FedConfig, Vec<Problem>> {
    read::<MeshFedConfig, _>(object, &shape::MESH_FED_CONFIG, |o| &o.metadata, fed_config::parse)
}

/// Reads a ServiceExposition.
///
/// # Errors
/// Returns all problems of the object.
pub fn exposition(object: &Value) -> Result<Exposition, Vec<Problem>> {
    read::<ServiceExposition, _>(object, &shape::SERVICE_EXPOSITION, |o| &o.metadata, exposition::parse)
}

/// Reads a ServiceBinding.
///
/// # Errors
/// Returns all problems of the object.
pub fn binding(object: &Value) -> Result<Binding, Vec<Problem>> {
    read::<ServiceBinding, _>(object, &shape::SERVICE_BINDING, |o| &o.metadata, binding::parse)
}

/// Identity of an object of any kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// Namespace and name of the object.
    pub key: Key,
    /// Precedence among objects that claim the same thing.
    pub age: Age,
    /// `metadata.generation`; `None` in files.
    pub generation: Option<i64>,
}

fn read<K: DeserializeOwned, M>(
    object: &Value,
    schema: &shape::Schema,
    metadata: fn(&K) -> &ObjectMeta,
    parse: fn(&mut Checker, Identity, &K) -> M,
) -> Result<M, Vec<Problem>> {
    let shape::Shaped { mut object, mut problems, stand_ins } = schema.check(object);
    // Without a spec there are no values to check. Above the limit, further problems would not be listed.
    if !object["spec"].is_object() || problems.is_full() {
        return Err(problems.into_list());
    }
    if serde_json::from_value::<K>(object.clone()).is_err()
        && let Some(fields) = object.as_object_mut()
    {
        // Emcee wrote the status, possibly in another version. The user cannot fix it, so it must not fail
        // the object.
        fields.remove("status");
    }
    // Check the values even if the schema check found problems, so that the user sees all problems at once.
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
    // The value of a placeholder field is made up, so problems with it would confuse the user.
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
    // The API server enforces both names. In files nothing has checked them yet.
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
