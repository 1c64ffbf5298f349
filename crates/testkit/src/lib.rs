//! Tools for tests: certificates, valid and invalid, and short builders for Kubernetes objects.
//!
//! ```
//! use emcee_testkit::prelude::*;
//!
//! let service = service("default", "reviews").port("http", 9080).selector([("app", "reviews")]);
//! let exposition = exposition("default", "reviews").port(9080).fed("blue");
//! let secret = secret_tls("blue", "blue").label("relationship", "blue").pair(&valid_pair("m1.blue.example"));
//! assert_eq!(service.build()["spec"]["ports"][0]["port"], 9080);
//! # let _ = (exposition, secret);
//! ```
//! Objects are JSON as users and the API server write them, so they do not depend on the types that read them.
//! [`prelude::Builder::typed`] converts one into such a type.

#![expect(clippy::missing_panics_doc, reason = "they panic on a test's own mistake, and say which")]

pub mod apiserver;
pub mod certs;
pub mod json_schema;
pub mod metrics;
pub mod objects;
pub mod spans;

/// Everything that most tests need.
pub mod prelude {
    pub use crate::{
        certs::{Ca, Leaf, TlsPair, valid_pair},
        objects::{
            Builder,
            emcee::{Peer, binding, boundary, exposition, flat, mesh_fed_config, passthrough, wharf},
            istio::{destination_rule, peer_authentication, workload_entry},
            secret::secret_tls,
            service::{endpoint_slice, service},
            workload::{deployment, namespace, pod},
        },
    };
}
