//! The addresses of meshes.

use std::net::Ipv4Addr;

/// The addresses of one mesh, computed from its place in the bed.
///
/// They are ordinary private addresses, because Kubernetes refuses loopback addresses in `EndpointSlices`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressPlan(u8);

impl AddressPlan {
    /// The plan of the mesh at `place`; the first place is 1.
    #[must_use]
    pub fn new(place: u8) -> Self {
        Self(place)
    }

    /// Address of the node: control plane and default route of the pods.
    #[must_use]
    pub fn node(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 100 + self.0, 0, 1)
    }

    /// Address of the pod with number `number`.
    #[must_use]
    pub fn pod(self, number: u16) -> Ipv4Addr {
        let [high, low] = number.to_be_bytes();
        Ipv4Addr::new(10, 100 + self.0, 1 + high, low)
    }

    /// Range of the node and its pods.
    #[must_use]
    pub fn range(self) -> String {
        format!("10.{}.0.0/16", 100 + self.0)
    }

    /// Range of the cluster addresses of Services.
    #[must_use]
    pub fn services(self) -> String {
        format!("10.{}.0.0/16", 150 + self.0)
    }

    /// The node's address on the physical network with number `network`.
    #[must_use]
    pub fn on_network(self, network: u8) -> Ipv4Addr {
        Ipv4Addr::new(172, 30, network, self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::AddressPlan;

    #[test]
    fn meshes_do_not_overlap() {
        let (first, second) = (AddressPlan::new(1), AddressPlan::new(2));
        assert_eq!(first.node().to_string(), "10.101.0.1");
        assert_eq!(second.pod(10).to_string(), "10.102.1.10");
        assert_eq!(second.pod(260).to_string(), "10.102.2.4");
        assert_ne!(first.range(), second.services());
    }
}
