//! Host names that mean something of this cluster, or of this host, rather than of a peer.

use crate::names;

/// Domains that no public DNS has: names below them are a cluster's, a host's, or a local network's (RFC 6761, RFC 6762),
/// or are the metadata service of a cloud.
const LOCAL: [&str; 6] =
    ["svc", "local", "localhost", "localdomain", "home.arpa", "metadata.google.internal"];

/// The domain, of those that are local to a cluster, a host or a network, in which a name lies: the whole name where it
/// has no dot, as a resolver then looks for it in the namespace of the gateway.
pub(crate) fn local_domain<'a>(name: &'a str, cluster_domain: Option<&'a str>) -> Option<&'a str> {
    if !name.contains('.') {
        return Some(name);
    }
    cluster_domain.into_iter().chain(LOCAL).find(|domain| names::is_within(domain, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_cluster_and_of_the_host_are_local() {
        for (name, domain) in [
            ("localhost", "localhost"),
            ("kubernetes", "kubernetes"),
            ("a.localhost", "localhost"),
            ("kubernetes.default.svc", "svc"),
            ("a.b.svc.cluster.local", "local"),
            ("a.b.svc.k8s.example", "k8s.example"),
            ("printer.local", "local"),
            ("metadata.google.internal", "metadata.google.internal"),
        ] {
            assert_eq!(local_domain(name, Some("k8s.example")), Some(domain), "{name}");
        }
        for name in ["ingress.m2.example", "svc.example", "local.example", "notk8s.example"] {
            assert_eq!(local_domain(name, Some("k8s.example")), None, "{name}");
        }
    }
}
