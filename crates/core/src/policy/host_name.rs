//! Host names that mean something in this cluster, or on this host, and not at a peer.

use crate::names;

/// Domains that public DNS does not have. Names below them belong to a cluster (its resolvers complete
/// `….svc` and `….pod`), a host, or a local network (RFC 6761, RFC 6762, and `internal`, where clouds name
/// nodes and their metadata services).
const LOCAL_DOMAINS: [&str; 7] = ["svc", "pod", "local", "localhost", "localdomain", "home.arpa", "internal"];

/// Returns the domain, local to a cluster, a host or a network, that contains a name. For a name without a
/// dot it is the whole name, because a resolver then looks for it in the gateway's namespace.
pub(crate) fn local_domain<'a>(name: &'a str, cluster_domain: Option<&'a str>) -> Option<&'a str> {
    if !name.contains('.') {
        return Some(name);
    }
    cluster_domain.into_iter().chain(LOCAL_DOMAINS).find(|domain| names::is_in_domain(domain, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_and_host_names_are_local() {
        for (name, domain) in [
            ("localhost", "localhost"),
            ("kubernetes", "kubernetes"),
            ("a.localhost", "localhost"),
            ("kubernetes.default.svc", "svc"),
            ("a.b.svc.cluster.local", "local"),
            ("a.b.svc.k8s.example", "k8s.example"),
            ("printer.local", "local"),
            ("10-244-1-7.payments.pod", "pod"),
            ("metadata.google.internal", "internal"),
            ("ip-10-0-0-1.ec2.internal", "internal"),
        ] {
            assert_eq!(local_domain(name, Some("k8s.example")), Some(domain), "{name}");
        }
        for name in ["ingress.m2.example", "svc.example", "local.example", "notk8s.example"] {
            assert_eq!(local_domain(name, Some("k8s.example")), None, "{name}");
        }
    }
}
