//! BOUNDARY: each gateway terminates its own mesh's TLS. Between the gateways, the relationship's certificate
//! is used.

use super::Style;
use crate::block::{guard, hop, terminating_relay};
use crate::plan::Object;
use crate::resolve::{Consumption, Offer};

pub(super) struct Boundary;

impl Style for Boundary {
    /// Gives no identities for the egress pods. The ServiceEntry selects the pods, so Istio derives them
    /// itself.
    fn consuming(&self, remote: &Consumption<'_>) -> Vec<Object> {
        let mut objects = hop::to_egress(remote, &remote.host, &[]);
        objects.push(guard::callers_of(remote));
        objects.extend(terminating_relay::to_remote(remote));
        objects
    }

    fn exposing(&self, service: &Offer<'_>) -> Vec<Object> {
        terminating_relay::to_service(service)
    }
}
