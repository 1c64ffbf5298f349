//! WHARF: like PASSTHROUGH, with an egress gateway that passes TLS through as well.

use super::Style;
use crate::block::{tls_origination, tls_passthrough};
use crate::plan::GeneratedObject;
use crate::resolve::{BoundService, EgressRelay, ExposedService};

pub(super) struct Wharf;

impl Style for Wharf {
    fn consuming_objects(&self, remote: &BoundService<'_>) -> Vec<GeneratedObject> {
        tls_origination::to_egress(remote, &remote.server_name, &remote.identities)
    }

    fn relay_objects(&self, relay: &EgressRelay<'_>) -> Vec<GeneratedObject> {
        tls_passthrough::to_remote(relay)
    }

    fn exposing_objects(&self, service: &ExposedService<'_>) -> Vec<GeneratedObject> {
        tls_passthrough::to_exposed_service(service)
    }
}
