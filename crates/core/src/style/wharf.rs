//! WHARF: like PASSTHROUGH, with an egress gateway that passes TLS through as well.

use super::Style;
use crate::block::{hop, raw_relay};
use crate::plan::GeneratedObject;
use crate::resolve::{BoundService, EgressRelay, ExposedService};

pub(super) struct Wharf;

impl Style for Wharf {
    fn consuming_objects(&self, remote: &BoundService<'_>) -> Vec<GeneratedObject> {
        hop::to_egress(remote, &remote.server_name, &remote.identities)
    }

    fn relay_objects(&self, relay: &EgressRelay<'_>) -> Vec<GeneratedObject> {
        raw_relay::to_remote(relay)
    }

    fn exposing_objects(&self, service: &ExposedService<'_>) -> Vec<GeneratedObject> {
        raw_relay::to_exposed_service(service)
    }
}
