//! PASSTHROUGH: sidecars call the remote ingress gateway, which passes their TLS through to the service's
//! pods.

use super::Style;
use crate::block::{hop, raw_relay};
use crate::plan::GeneratedObject;
use crate::resolve::{BoundService, ExposedService};

pub(super) struct Passthrough;

impl Style for Passthrough {
    fn consuming_objects(&self, remote: &BoundService<'_>) -> Vec<GeneratedObject> {
        hop::to_endpoints(remote, &remote.server_name)
    }

    fn exposing_objects(&self, service: &ExposedService<'_>) -> Vec<GeneratedObject> {
        raw_relay::to_exposed_service(service)
    }
}
