//! PASSTHROUGH: sidecars call the remote ingress gateway, which passes their TLS through to the service's
//! pods.

use super::Style;
use crate::block::{hop, raw_relay};
use crate::plan::Object;
use crate::resolve::{Consumption, Offer};

pub(super) struct Passthrough;

impl Style for Passthrough {
    fn consuming(&self, remote: &Consumption<'_>) -> Vec<Object> {
        hop::to_endpoints(remote, &remote.server_name)
    }

    fn exposing(&self, service: &Offer<'_>) -> Vec<Object> {
        raw_relay::to_workloads(service)
    }
}
