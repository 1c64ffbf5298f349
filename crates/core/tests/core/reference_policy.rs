//! A second, independent implementation of the rules for endpoints and server names. The core must allow exactly what
//! this reference allows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use emcee_core::inputs::{InputChange, TranslationSettings};
use emcee_core::key::ObjectKey;
use emcee_core::translate::{Translation, Unit};
use emcee_testkit::prelude::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::cases;
use crate::mesh::input;
use crate::peer_inputs::{flat_announcement, peer_connected, peer_key};

/// Networks, domains and server names that the administrator allows in the test cases.
const NETWORKS: [&[&str]; 5] = [
    &[],
    &["0.0.0.0/0", "::/0"],
    &["203.0.113.0/24"],
    &["127.0.0.0/8", "203.0.113.0/24"],
    &["10.244.1.7/32"],
];
const DOMAINS: [&[&str]; 4] = [&[], &["m2.example"], &["local"], &["svc.cluster.local", "com"]];
const ALLOWED_SERVER_NAMES: [&[&str]; 4] =
    [&[], &["api.stripe.com"], &["*.stripe.com", "kubernetes.default.svc"], &["*.default.example"]];

/// A FLAT mesh with a cluster network, a pod, a node with its range, and a Service.
fn mesh(networks: &[&str], domains: &[&str], allowed: &[&str]) -> Translation {
    let settings = TranslationSettings {
        cluster_networks: vec!["10.96.0.0/12".parse().expect("a network")],
        ..TranslationSettings::default()
    };
    let peer =
        json!({"name": "m2", "subject_alt_names": ["m2.example"], "networks": networks, "domains": domains});
    let config = flat("blue").unset("/spec/tls_context_selector").set("/spec/peers", json!([peer]));
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"namespace": "", "name": "n"}, "spec": {"podCIDRs": ["10.245.0.0/24"]},
                      "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.10"}]}});
    let objects = [
        config.set("/spec/allowed_server_names", json!(allowed)).build(),
        pod("shop", "p").container("app", 80).running("10.244.1.7").build(),
        service("shop", "reviews").port("http", 80).cluster_ip("172.20.0.9").build(),
        node,
    ];
    Translation::from_changes(settings, objects.iter().map(input::change).chain([peer_connected("m2")]))
}

fn is_accepted(translation: &mut Translation, changes: impl IntoIterator<Item = InputChange>) -> bool {
    translation.update(changes);
    let unit = Unit::ServiceBinding(ObjectKey::new("shop", "reviews"));
    let verdict = translation.verdict(&unit).expect("a verdict");
    verdict.is_programmed()
}

fn binding_change(field: &str, value: Value) -> InputChange {
    let binding = binding("shop", "reviews").fed("blue").alias("far").endpoints(["203.0.113.7:1"]);
    input::change(&binding.set(field, value).build())
}

/// Returns whether the bits of an address begin with those of a prefix, such as `10.96/12` or `fe80/10`.
fn has_prefix(bits: &str, prefix: &str) -> bool {
    let (base, length) = prefix.split_once('/').expect("a length");
    let digits: String = if base.contains('.') || !bits.len().eq(&128) {
        let bytes: Vec<_> =
            base.split('.').map(|byte| format!("{:08b}", byte.parse::<u8>().expect("a byte"))).collect();
        bytes.concat()
    } else {
        let word = |word: &str| format!("{:016b}", u16::from_str_radix(word, 16).expect("a word"));
        base.split(':').map(word).collect::<Vec<_>>().concat()
    };
    let length: usize = length.parse().expect("a length");
    bits.starts_with(&format!("{digits:0<length$}")[..length])
}

fn ipv4_bits(address: Ipv4Addr) -> String {
    format!("{:032b}", u32::from(address))
}

/// Returns the bits of each address to which a packet may be sent: the address itself and the embedded IPv4 addresses.
fn effective_addresses(address: IpAddr) -> Vec<String> {
    let address = match address {
        IpAddr::V4(address) => return vec![ipv4_bits(address)],
        IpAddr::V6(address) => address,
    };
    let bits = format!("{:0128b}", u128::from(address));
    let last = bits[96..].to_owned();
    // IPv4-mapped, IPv4-translated and NAT64 addresses are equivalent to their IPv4 address.
    for prefix in ["0:0:0:0:0:ffff/96", "0:0:0:0:ffff:0/96", "64:ff9b:0:0:0:0/96"] {
        if has_prefix(&bits, prefix) {
            return vec![last];
        }
    }
    let mut found = vec![bits.clone()];
    if has_prefix(&bits, "2002/16") {
        found.push(bits[16..48].to_owned());
    }
    if has_prefix(&bits, "2001:0/32") {
        found.push(bits[32..64].to_owned());
        found.push(last.chars().map(|bit| if bit == '0' { '1' } else { '0' }).collect());
    }
    let isatap = [0x0000_5efe_u32, 0x0200_5efe].map(|middle| format!("{middle:032b}"));
    if has_prefix(&bits, "64:ff9b:1/48") || isatap.contains(&bits[64..96].to_owned()) {
        found.push(last);
    }
    found
}

fn is_address_allowed(address: IpAddr, networks: &[&str]) -> bool {
    let destinations = effective_addresses(address);
    let one_of = |prefixes: &[&str], of: &String| {
        let family = |prefix: &&&str| prefix.contains('.') == (of.len() == 32);
        prefixes.iter().filter(family).any(|prefix| has_prefix(of, prefix))
    };
    let never: [&str; 9] = [
        "0.0/8",
        "169.254/16",
        "224.0/4",
        "240.0/4",
        "255.255/16",
        "fe80/10",
        "ff00/8",
        "2002:0/24",
        "0:0:0:0:0:0/96",
    ];
    let loopback = format!("{:0128b}", 1);
    let nowhere = |of: &String| *of != loopback && one_of(&never, of);
    let own = |of: &String| {
        let local = [
            "127.0/8",
            "192.0.0/24",
            "100.100.100.200/32",
            "168.63.129.16/32",
            "64:ff9b:1/48",
            "fd00:ec2/32",
            "fd20:ce:0:0/64",
        ];
        let ours = ["10.96/12", "10.244.1.7/32", "10.245.0/24", "192.0.2.10/32", "172.20.0.9/32"];
        *of == loopback || one_of(&local, of) || one_of(&ours, of)
    };
    // Two of the test cases list exactly a local network or an address of this mesh.
    let named = |of: &String| {
        (networks.contains(&"127.0.0.0/8") && has_ipv4_prefix(of, "127.0/8"))
            || (networks.contains(&"10.244.1.7/32") && has_ipv4_prefix(of, "10.244.1.7/32"))
    };
    let listed = networks.is_empty()
        || networks.iter().any(|network| match *network {
            "0.0.0.0/0" => destinations[0].len() == 32,
            "::/0" => destinations[0].len() == 128,
            "203.0.113.0/24" => has_ipv4_prefix(&destinations[0], "203.0.113/24"),
            "127.0.0.0/8" => has_ipv4_prefix(&destinations[0], "127.0/8"),
            _ => has_ipv4_prefix(&destinations[0], "10.244.1.7/32"),
        });
    listed && destinations.iter().all(|of| !nowhere(of) && (!own(of) || named(of)))
}

fn has_ipv4_prefix(bits: &str, prefix: &str) -> bool {
    bits.len() == 32 && has_prefix(bits, prefix)
}

fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        let inner = label.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-'));
        inner && !label.is_empty() && label.len() < 64 && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() < 254 && name.split('.').all(label)
}

/// Returns whether a name ends with the labels of `domain`.
fn is_within_domain(name: &str, domain: &str) -> bool {
    let (name, domain): (Vec<_>, Vec<_>) = (name.split('.').collect(), domain.split('.').collect());
    name.ends_with(&domain)
}

/// Returns the local domains that contain a name. A listed domain must be within each of them.
fn local_domains(name: &str) -> Vec<&str> {
    let local = ["svc", "pod", "local", "cluster.local", "localhost", "localdomain", "home.arpa", "internal"];
    let mut found: Vec<_> = local.into_iter().filter(|domain| is_within_domain(name, domain)).collect();
    // The Service of the mesh, and a name that the resolver searches in its own namespace.
    if !name.contains('.') || is_within_domain(name, "reviews.shop") {
        found.push(name);
    }
    found
}

fn is_host_name_allowed(name: &str, by_user: bool, networks: &[&str], domains: &[&str]) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    let number = last.parse::<u128>().is_ok()
        || last.starts_with("0x") && !last[2..].contains(|c: char| !c.is_ascii_hexdigit());
    if !is_dns_name(name) || number || is_within_domain(name, "emcee.internal") {
        return false;
    }
    let local = local_domains(name);
    let listed = domains.iter().any(|domain| is_within_domain(name, domain));
    let is_named = |local: &&str| {
        let names_it = |domain: &&&str| is_within_domain(name, domain) && is_within_domain(domain, local);
        domains.iter().any(|domain| names_it(&domain))
    };
    let free = by_user && networks.is_empty() && domains.is_empty();
    (free || listed) && local.iter().all(is_named)
}

fn is_server_name_allowed(name: &str, allowed: &[&str]) -> bool {
    let labels: Vec<&str> = name.split('.').collect();
    if !is_dns_name(name) || labels.len() < 2 || name.len() > 247 {
        return false;
    }
    if let [rest @ .., "emcee", "internal"] = labels.as_slice() {
        return matches!(rest, [_, _, "blue"]);
    }
    allowed.iter().any(|pattern| match pattern.strip_prefix('*') {
        Some(end) => name.len() > end.len() && name.ends_with(end) && local_domains(name).is_empty(),
        None => name == *pattern,
    })
}

/// Generates addresses close to forbidden ones, in each form that embeds an IPv4 address.
fn any_address() -> impl Strategy<Value = IpAddr> {
    let first = select(vec![
        [127, 0, 0, 1],
        [169, 254, 169, 254],
        [224, 0, 0, 1],
        [0, 0, 0, 0],
        [10, 96, 0, 1],
        [10, 244, 1, 7],
        [10, 245, 0, 3],
        [192, 0, 2, 10],
        [172, 20, 0, 9],
        [255, 255, 255, 255],
        [203, 0, 113, 7],
        [100, 100, 100, 200],
        [192, 0, 0, 192],
    ]);
    let v4 = prop_oneof![3 => first.prop_map(Ipv4Addr::from), 1 => any::<u32>().prop_map(Ipv4Addr::from)];
    (v4, 0..12_u8, any::<u16>()).prop_map(|(v4, disguise, any)| {
        let [a, b, c, d] = v4.octets().map(u16::from);
        let [high, low] = [a << 8 | b, c << 8 | d];
        let [inverted_high, inverted_low] = [!high, !low];
        let v6 = |words: [u16; 8]| IpAddr::V6(Ipv6Addr::from(words));
        match disguise {
            0..=2 => IpAddr::V4(v4),
            3 => v6([0, 0, 0, 0, 0, 0xffff, high, low]),
            4 => v6([0x64, 0xff9b, 0, 0, 0, 0, high, low]),
            5 => v6([0x64, 0xff9b, 1, any, 0, 0, high, low]),
            6 => v6([0x2002, high, low, any, 0, 0, 0, 1]),
            7 => v6([0x2001, 0, high, low, 0, 0, any, any]),
            8 => v6([0x2001, 0, 0xcb00, 0x7107, 0, 0, inverted_high, inverted_low]),
            9 => v6([0xfd00, 0, 0, 0, any & 0x0200, 0x5efe, high, low]),
            10 => v6([0, 0, 0, 0, 0, any & 1, high, low]),
            _ => v6([
                [0xfe80, 0xff02, 0xfd00, 0xfd20][usize::from(any % 4)],
                [0xec2, 0xce, 0][usize::from(any % 3)],
                0,
                0,
                0,
                0,
                0,
                low,
            ]),
        }
    })
}

/// Generates names of a few labels, with variations that try to bypass checks.
fn any_name() -> impl Strategy<Value = String> {
    let labels = select(vec![
        "a",
        "reviews",
        "shop",
        "blue",
        "red",
        "discovery",
        "binding",
        "relay",
        "kubernetes",
        "default",
        "m2",
        "xn--80ak6aa92e",
        "api",
        "stripe",
        "Blue",
        "",
        "-a",
        "*",
        "127",
        "0x7f",
        "metadata",
        "google",
    ]);
    let ends = select(vec![
        "",
        "emcee.internal",
        "blue.emcee.internal",
        "shop.blue.emcee.internal",
        "svc",
        "payments.pod",
        "ec2.internal",
        "svc.cluster.local",
        "local",
        "localhost",
        "com",
        "stripe.com",
        "m2.example",
        "default.example",
        "google.internal",
        "reviews.shop",
        "internal",
        "0x1",
        "1",
    ]);
    let long = prop_oneof![8 => Just(0_usize), 1 => 50..130_usize];
    (vec(labels, 0..4), ends, long, 0..10_u8).prop_map(|(labels, end, long, odd)| {
        let labels = labels.into_iter().map(str::to_owned).chain(vec!["b".to_owned(); long]);
        let name = labels
            .chain([end.to_owned()].into_iter().filter(|end| !end.is_empty()))
            .collect::<Vec<_>>()
            .join(".");
        match odd {
            0 => name.to_uppercase(),
            1 => format!("{name}."),
            2 => format!(".{name}"),
            3 => name.replacen('e', "E", 1),
            4 => format!(" {name}"),
            5 => name.replacen('.', "..", 1),
            _ => name,
        }
    })
}

proptest! {
    #![proptest_config(cases(600))]

    #[test]
    fn addresses_are_allowed_as_in_the_reference(address in any_address(), networks in select(&NETWORKS[..])) {
        let text = match address {
            IpAddr::V4(address) => format!("{address}:443"),
            IpAddr::V6(address) => format!("[{address}]:443"),
        };
        let mut translation = mesh(networks, &[], &[]);
        let by_user = is_accepted(&mut translation, [binding_change("/spec/endpoints", json!([text]))]);
        prop_assert!(!by_user || is_address_allowed(address, networks), "{} of a binding, {:?}", text, networks);
        let service = ObjectKey::new("shop", "reviews");
        if let Ok(endpoint) = text.parse() {
            let announced = emcee_core::catalogue::Announcement { endpoints: vec![endpoint], ..flat_announcement(&service, "203.0.113.7:1") };
            let announced = InputChange::Announcement(peer_key("m2"), service, Some(announced));
            let by_peer = is_accepted(&mut translation, [binding_change("/spec/endpoints", json!([])), announced]);
            prop_assert!(!by_peer || is_address_allowed(address, networks), "{} of a peer, {:?}", text, networks);
            // The core does not refuse more than the reference either.
            prop_assert_eq!(by_user, is_address_allowed(address, networks), "{}, {:?}", text, networks);
        }
    }

    #[test]
    fn host_names_are_allowed_as_in_the_reference(
        name in any_name(), networks in select(&NETWORKS[..]), domains in select(&DOMAINS[..]),
    ) {
        let mut translation = mesh(networks, domains, &[]);
        let by_user = is_accepted(&mut translation, [binding_change("/spec/endpoints", json!([format!("{name}:443")]))]);
        // Users' endpoints are not case-sensitive.
        let lower = name.to_ascii_lowercase();
        let wanted = is_host_name_allowed(&lower, true, networks, domains);
        prop_assert_eq!(by_user, wanted, "{} of a binding, {:?} {:?}", name, networks, domains);
        let service = ObjectKey::new("shop", "reviews");
        let endpoint = emcee_core::endpoint::Endpoint { host: emcee_core::endpoint::Host::Name(name.as_str().into()), port: 443 };
        let announced = emcee_core::catalogue::Announcement { endpoints: vec![endpoint], ..flat_announcement(&service, "203.0.113.7:1") };
        let announced = InputChange::Announcement(peer_key("m2"), service, Some(announced));
        let by_peer = is_accepted(&mut translation, [binding_change("/spec/endpoints", json!([])), announced]);
        prop_assert_eq!(by_peer, is_host_name_allowed(&name, false, networks, domains), "{} of a peer, {:?} {:?}", name, networks, domains);
    }

    #[test]
    fn server_names_are_allowed_as_in_the_reference(name in any_name(), allowed in select(&ALLOWED_SERVER_NAMES[..])) {
        let mut translation = mesh(&[], &[], allowed);
        let passed = is_accepted(&mut translation, [binding_change("/spec/server_name", json!(name))]);
        prop_assert_eq!(passed, is_server_name_allowed(&name, allowed), "{} with {:?}", name, allowed);
    }
}
