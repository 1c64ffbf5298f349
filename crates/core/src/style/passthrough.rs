//! PASSTHROUGH: sidecars call the remote ingress gateway, which passes their TLS through to the service's
//! pods.

use super::Style;
use crate::block::{tls_origination, tls_passthrough};
use crate::plan::GeneratedObject;
use crate::resolve::{BoundService, ExposedService};

pub(super) struct Passthrough;

impl Style for Passthrough {
    fn consuming_objects(&self, remote: &BoundService<'_>) -> Vec<GeneratedObject> {
        tls_origination::to_endpoints(remote, &remote.server_name)
    }

    fn exposing_objects(&self, service: &ExposedService<'_>) -> Vec<GeneratedObject> {
        tls_passthrough::to_exposed_service(service)
    }
}
