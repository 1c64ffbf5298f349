//! From documents to changes of the core's inputs: which kinds are read, and what is wrong with them.

use std::collections::HashMap;
use std::sync::Arc;

use emcee_api::istio::{DestinationRule, PeerAuthentication, WorkloadEntry};
use emcee_api::{GROUP, Reason, VERSION};
use emcee_core::inputs::{self, Parsed};
use emcee_core::inputs::{Change, Credential, EndpointSlice, Node, Service, Subsets, Workload, WorkloadKind};
use emcee_core::key::{Key, ObjectRef};
use emcee_core::parse::{self, FedConfig};
use emcee_core::problem;
use jiff::Timestamp;
use k8s_openapi::api::discovery::v1::EndpointSlice as Slice;
use k8s_openapi::api::{apps, core};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::manifest::{Document, Problem};

/// Namespace of an object that names none, as for kubectl.
pub const DEFAULT_NAMESPACE: &str = "default";

/// What documents come to.
#[derive(Default)]
pub struct Intake {
    /// What the core is told.
    pub changes: Vec<Change>,
    /// What is wrong with single objects.
    pub refusals: Vec<Problem>,
    /// Objects of kinds that are not read.
    pub skipped: Vec<Problem>,
    /// The users' resources, and the Services that are exposed by their labels, by what they are called in messages.
    pub resources: HashMap<ObjectRef, Document>,
    /// The certificates, with their documents.
    pub credentials: Vec<(Document, Credential)>,
}

impl Intake {
    /// Takes documents in. Of two that are the same object the later counts.
    pub fn of(documents: &[Document], cluster_domain: &str) -> Self {
        let mut intake = Self::default();
        for document in documents {
            intake.take(document, cluster_domain);
        }
        intake
    }

    /// The valid MeshFedConfigs.
    pub fn fed_configs(&self) -> impl Iterator<Item = &Arc<FedConfig>> {
        self.changes.iter().filter_map(|change| match change {
            Change::FedConfig(_, Some(Ok(config))) => Some(config),
            _ => None,
        })
    }

    /// What is wrong with the Secrets that a MeshFedConfig selects, at their own lines.
    ///
    /// `others` are MeshFedConfigs in use that are not among these documents, or not valid in them.
    pub fn bad_credentials(&self, others: &[Arc<FedConfig>], now: Timestamp) -> Vec<(Key, Problem)> {
        let selected = self.credentials.iter().filter(|(_, credential)| {
            self.fed_configs().chain(others).any(|config| selects(config, credential))
        });
        let problem = |(document, credential): &(Document, Credential)| {
            let (field, message) = credential.problem_at(now)?;
            Some((credential.key.clone(), document.problem(Some(&field), message)))
        };
        selected.filter_map(problem).collect()
    }

    /// The MeshFedConfigs whose Secret cannot be used, and why.
    pub fn bad_relationships(
        &self,
        others: &[Arc<FedConfig>],
        now: Timestamp,
    ) -> HashMap<ObjectRef, problem::Problem> {
        let bad = self.credentials.iter().filter_map(|(_, credential)| {
            let (field, words) = credential.problem_at(now)?;
            Some((
                credential,
                format!("Secret {}: {field} {words}; the last good one stays in place", credential.key),
            ))
        });
        let relationships = bad.flat_map(|(credential, words)| {
            let selecting = self.fed_configs().chain(others).filter(|config| selects(config, credential));
            selecting.map(move |config| (config.identity.key.clone(), words.clone()))
        });
        relationships
            .map(|(key, words)| {
                let problem =
                    problem::Problem::at(Reason::CertificateInvalid, "spec.tls_context_selector", words);
                (ObjectRef { kind: "MeshFedConfig", key }, problem)
            })
            .collect()
    }

    /// Takes a document in. What is no name is refused, and becomes the name of nothing.
    fn take(&mut self, document: &Document, cluster_domain: &str) {
        let before = self.changes.len();
        self.read(document, cluster_domain);
        for change in self.changes.split_off(before) {
            match change.problem() {
                Some(problem) => self.refusals.push(located(document, &problem)),
                None => self.changes.push(change),
            }
        }
    }

    fn read(&mut self, document: &Document, cluster_domain: &str) {
        let key = key(document);
        match (document.group(), document.kind.as_str()) {
            (GROUP, kind) => self.resource(document, kind, key),
            ("", "Service") => self.service(document, key),
            ("", "Node") => {
                self.fact::<core::v1::Node>(document, |object| {
                    Some(Change::Node(key.name, Some(Node::of(object))))
                });
            }
            ("", "Pod") => self.fact::<core::v1::Pod>(document, |object| {
                Some(Change::Workload(WorkloadKind::Pod, key, Workload::of_pod(object)))
            }),
            ("apps", "Deployment") => self.fact::<apps::v1::Deployment>(document, |object| {
                Some(Change::Workload(WorkloadKind::Deployment, key, Workload::of_deployment(object)))
            }),
            ("discovery.k8s.io", "EndpointSlice") => self.fact::<Slice>(document, |object| {
                Some(Change::EndpointSlice(key, EndpointSlice::of(object)))
            }),
            ("security.istio.io", "PeerAuthentication") => self
                .fact::<PeerAuthentication>(document, |object| {
                    Some(Change::PeerAuthentication(key, Some(inputs::PeerAuthentication::of(object))))
                }),
            ("networking.istio.io", "DestinationRule") => self.fact::<DestinationRule>(document, |object| {
                Some(Change::Subsets(key, Subsets::of(object, cluster_domain)))
            }),
            ("networking.istio.io", "WorkloadEntry") => self.fact::<WorkloadEntry>(document, |object| {
                Some(Change::WorkloadEntry(key, Some(inputs::WorkloadEntry::of(object))))
            }),
            ("", "Secret") => {
                if inputs::may_shadow(&key.name) {
                    self.changes.push(Change::CaSecret(key.clone(), true));
                }
                self.secret(document, key);
            }
            ("", "Namespace") => {}
            (group, "MeshFedConfig" | "ServiceExposition" | "ServiceBinding") if is_misspelt(group) => {
                let message = format!("{group:?} is not the group of {} ({GROUP}/{VERSION})", document.kind);
                self.refusals.push(document.problem(Some("apiVersion"), message));
            }
            _ => self.skipped.push(document.problem(None, "skipped: Emcee does not read this kind")),
        }
    }

    fn resource(&mut self, document: &Document, kind: &str, key: Key) {
        let kind = match kind {
            "MeshFedConfig" => "MeshFedConfig",
            "ServiceExposition" => "ServiceExposition",
            "ServiceBinding" => "ServiceBinding",
            _ => {
                let message = format!(
                    "{GROUP} has no kind {kind:?} (MeshFedConfig, ServiceExposition or ServiceBinding)"
                );
                self.refusals.push(document.problem(Some("kind"), message));
                return;
            }
        };
        let expected = format!("{GROUP}/{VERSION}");
        if document.api_version != expected {
            let message =
                format!("{:?} is not a version that Emcee reads ({expected})", document.api_version);
            self.refusals.push(document.problem(Some("apiVersion"), message));
            return;
        }
        let value = with_namespace(document);
        let change = match kind {
            "MeshFedConfig" => {
                Change::FedConfig(key.clone(), Some(self.parsed(document, parse::fed_config(&value))))
            }
            "ServiceExposition" => {
                Change::Exposition(key.clone(), Some(self.parsed(document, parse::exposition(&value))))
            }
            _ => Change::Binding(key.clone(), Some(self.parsed(document, parse::binding(&value)))),
        };
        // What is no name was refused with all else that is wrong.
        if change.problem().is_none() {
            self.changes.push(change);
        }
        self.resources.insert(ObjectRef { kind, key }, document.clone());
    }

    fn parsed<T>(&mut self, document: &Document, parsed: Result<T, Vec<problem::Problem>>) -> Parsed<T> {
        if let Err(problems) = &parsed {
            self.refusals.extend(problems.iter().map(|problem| located(document, problem)));
        }
        parsed.map(Arc::new)
    }

    fn fact<K: DeserializeOwned>(&mut self, document: &Document, change: impl FnOnce(&K) -> Option<Change>) {
        if let Some(object) = self.typed::<K>(document) {
            self.changes.extend(change(&object));
        }
    }

    fn service(&mut self, document: &Document, key: Key) {
        let Some(service) = self.typed::<core::v1::Service>(document) else { return };
        if let Some(problem) = inputs::ports_problem(&service) {
            self.refusals.push(located(document, &problem));
            return;
        }
        let service = Service::of(&service);
        if service.expose.is_some() {
            self.resources.insert(ObjectRef { kind: "Service", key: key.clone() }, document.clone());
        }
        self.changes.push(Change::Service(key, Some(service)));
    }

    fn secret(&mut self, document: &Document, key: Key) {
        let Some(secret) = self.typed::<core::v1::Secret>(document) else { return };
        let credential = Credential::of(&secret);
        self.credentials.extend(credential.clone().map(|credential| (document.clone(), credential)));
        self.changes.push(Change::Credential(key, credential));
    }

    fn typed<K: DeserializeOwned>(&mut self, document: &Document) -> Option<K> {
        match serde_path_to_error::deserialize(with_namespace(document)) {
            Ok(object) => Some(object),
            Err(error) => {
                let path = error.path().to_string();
                let field = Some(path.as_str()).filter(|path| *path != ".");
                // Of a Secret not a word is repeated: it may be a key in the wrong place.
                let message = match document.kind.as_str() {
                    "Secret" => "cannot be read as this field of a Secret (data is a map to base64, stringData to text)".to_owned(),
                    _ => error.inner().to_string(),
                };
                self.refusals.push(document.problem(field, message));
                None
            }
        }
    }
}

fn selects(config: &FedConfig, credential: &Credential) -> bool {
    config.identity.key.namespace == credential.key.namespace
        && config.tls_context.as_ref().is_some_and(|selector| credential.has_labels(selector))
}

/// Others have a kind ServiceBinding too.
fn is_misspelt(group: &str) -> bool {
    group.len() < 64 && strsim::damerau_levenshtein(group, GROUP) <= 4
}

/// Namespace and name of a document.
pub fn key(document: &Document) -> Key {
    Key::new(document.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE), &document.name)
}

/// A problem of the core's, with the file and line where its field stands.
pub fn located(document: &Document, problem: &problem::Problem) -> Problem {
    document.problem(Some(problem.field.as_str()).filter(|field| !field.is_empty()), problem.message.clone())
}

fn with_namespace(document: &Document) -> Value {
    let mut value = document.value.clone();
    if document.namespace.is_none()
        && let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut)
    {
        metadata.insert("namespace".into(), json!(DEFAULT_NAMESPACE));
    }
    value
}
