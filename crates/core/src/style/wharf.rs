//! WHARF: like PASSTHROUGH, with an egress gateway that passes TLS through as well.

use super::Style;
use crate::block::{hop, raw_relay};
use crate::plan::Object;
use crate::resolve::{Consumption, Offer, Relay};

pub(super) struct Wharf;

impl Style for Wharf {
    fn consuming(&self, remote: &Consumption<'_>) -> Vec<Object> {
        hop::to_egress(remote, &remote.server_name, &remote.identities)
    }

    fn relay(&self, relay: &Relay<'_>) -> Vec<Object> {
        raw_relay::to_remote(relay)
    }

    fn exposing(&self, service: &Offer<'_>) -> Vec<Object> {
        raw_relay::to_workloads(service)
    }
}
