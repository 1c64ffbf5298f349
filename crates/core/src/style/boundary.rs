//! BOUNDARY: each gateway ends its own mesh's TLS; between the gateways stands the relationship's certificate.

use super::Style;
use crate::block::{guard, hop, terminating_relay};
use crate::plan::Object;
use crate::resolve::{Consumption, Offer};

pub(super) struct Boundary;

impl Style for Boundary {
    /// The names that the egress pods may have are Istio's own doing (the ServiceEntry selects the pods), so none
    /// are given for the hop.
    fn consuming(&self, remote: &Consumption<'_>) -> Vec<Object> {
        let mut objects = hop::to_egress(remote, &remote.host, &[]);
        objects.push(guard::callers_of(remote));
        objects.extend(terminating_relay::to_remote(remote));
        objects
    }

    fn exposing(&self, offer: &Offer<'_>) -> Vec<Object> {
        terminating_relay::to_service(offer)
    }
}
