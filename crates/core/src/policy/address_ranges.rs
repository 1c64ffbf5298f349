//! Addresses with a special meaning by standard.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

const fn ipv4_net(a: u8, b: u8, c: u8, d: u8, length: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length))
}

const fn ipv6_net(address: [u16; 8], length: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from_segments(address), length))
}

/// Networks that can never belong to a peer: "this network" (RFC 1122), link-local, where clouds have their
/// metadata services (RFC 3927, RFC 4291), multicast, reserved and broadcast (RFC 1112, RFC 919).
const NEVER_ROUTABLE: [IpNet; 6] = [
    ipv4_net(0, 0, 0, 0, 8),
    ipv4_net(169, 254, 0, 0, 16),
    // Multicast, and everything above it, which is reserved.
    ipv4_net(224, 0, 0, 0, 3),
    ipv6_net([0, 0, 0, 0, 0, 0, 0, 0], 128),
    ipv6_net([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
    ipv6_net([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),
];

/// IPv4-compatible addresses (RFC 4291, 2.5.5.1): deprecated, never a peer's. The loopback address is among
/// them.
const IPV4_COMPATIBLE: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 96);

/// Networks that are local to a host, a network or a cloud. They belong to a peer only if the administrator
/// says so.
pub(super) const LOCAL_RANGES: [(IpNet, &str); 8] = [
    (ipv4_net(127, 0, 0, 0, 8), "this mesh's own"),
    (ipv6_net([0, 0, 0, 0, 0, 0, 0, 1], 128), "this mesh's own"),
    // RFC 6890. Some clouds have their metadata service in this network.
    (ipv4_net(192, 0, 0, 0, 24), "reserved for protocols"),
    // RFC 8215: a translator of this network, which may translate to any address.
    (ipv6_net([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), "for a translator of this network"),
    // Metadata services without a link-local address: Alibaba Cloud, Azure, AWS and Google Cloud.
    (ipv4_net(100, 100, 100, 200, 32), "a metadata service of a cloud"),
    (ipv4_net(168, 63, 129, 16, 32), "a metadata service of a cloud"),
    (ipv6_net([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0], 32), "a metadata service of a cloud"),
    (ipv6_net([0xfd20, 0xce, 0, 0, 0, 0, 0, 0], 64), "a metadata service of a cloud"),
];

/// IPv6 prefixes of translators (RFC 6052, RFC 2765). The last 32 bits are always an IPv4 address.
const IPV4_TRANSLATED: [Ipv6Net; 2] = [
    Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96),
    Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96),
];
const IPV4_TRANSLATED_LOCALLY: Ipv6Net =
    Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48);
/// Tunnels to an IPv4 address within the address: 6to4 (RFC 3056) and Teredo (RFC 4380).
const SIX_TO_FOUR: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16);
const TEREDO: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32);
/// ISATAP (RFC 5214): the third word of the address, without the bit that says whether it is unique.
const ISATAP_ID: u32 = 0x0000_5efe;
const ISATAP_UNIQUE_BIT: u32 = 0x0200_0000;

/// Whether an address can never belong to a peer.
pub(super) fn is_never_routable(address: IpAddr) -> bool {
    let compatible =
        // `::1` is loopback, which an administrator may allow.
        matches!(address, IpAddr::V6(v6) if IPV4_COMPATIBLE.contains(&v6) && v6 != Ipv6Addr::LOCALHOST);
    compatible || NEVER_ROUTABLE.iter().any(|network| network.contains(&address))
}

/// Whether an address is special: loopback, link-local, unspecified, multicast, reserved, or a metadata
/// service of a cloud. Also checks the addresses to which a tunnel or a local translator would forward it.
pub(crate) fn is_special(address: IpAddr) -> bool {
    let is_local = |form: IpAddr| LOCAL_RANGES.iter().any(|(network, _)| network.contains(&form));
    address_forms(canonical_address(address)).any(|form| is_never_routable(form) || is_local(form))
}

/// Returns the canonical form of an address: IPv4 written as IPv6 (mapped, or for a translator) becomes IPv4.
pub(crate) fn canonical_address(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) if IPV4_TRANSLATED.iter().any(|prefix| prefix.contains(&v6)) => {
            ipv4_at_word(v6, 3).into()
        }
        address => address.to_canonical(),
    }
}

/// Returns a canonical address, and the IPv4 addresses to which a tunnel or a local translator would forward
/// it.
pub(super) fn address_forms(address: IpAddr) -> impl Iterator<Item = IpAddr> {
    let within = match address {
        IpAddr::V4(_) => [None; 3],
        IpAddr::V6(v6) => embedded_ipv4(v6),
    };
    [address].into_iter().chain(within.into_iter().flatten().map(IpAddr::V4))
}

fn embedded_ipv4(v6: Ipv6Addr) -> [Option<Ipv4Addr>; 3] {
    // Several formats can apply to one address, so each contributes its own candidate.
    let isatap = ipv4_at_word(v6, 2).to_bits() & !ISATAP_UNIQUE_BIT == ISATAP_ID;
    let last = (isatap || IPV4_TRANSLATED_LOCALLY.contains(&v6)).then(|| ipv4_at_word(v6, 3));
    if SIX_TO_FOUR.contains(&v6) {
        let [_, _, a, b, c, d, ..] = v6.octets();
        return [Some(Ipv4Addr::new(a, b, c, d)), last, None];
    }
    if TEREDO.contains(&v6) {
        // Teredo embeds the server, and the client with inverted bits.
        let client = Ipv4Addr::from_bits(!ipv4_at_word(v6, 3).to_bits());
        return [Some(ipv4_at_word(v6, 1)), Some(client), last];
    }
    [last, None, None]
}

/// Returns one of the four 32-bit words as an IPv4 address.
fn ipv4_at_word(v6: Ipv6Addr, index: usize) -> Ipv4Addr {
    let segments = v6.segments();
    let [high, low] = [segments[2 * index], segments[2 * index + 1]].map(u32::from);
    Ipv4Addr::from_bits(high << 16 | low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn forms_of(text: &str) -> Vec<String> {
        let address = canonical_address(text.parse().expect("an address"));
        address_forms(address).map(|form| form.to_string()).collect()
    }

    #[test]
    fn embedded_ipv4_addresses_are_found() {
        for disguise in ["::ffff:127.0.0.1", "64:ff9b::7f00:1", "::ffff:0:127.0.0.1"] {
            assert_eq!(forms_of(disguise), ["127.0.0.1"], "{disguise}");
        }
        for tunnel in ["2002:7f00:1::1", "2001:0:7f00:1::1", "64:ff9b:1::7f00:1", "fd00::5efe:7f00:1"] {
            assert!(forms_of(tunnel).contains(&"127.0.0.1".to_owned()), "{tunnel}: {:?}", forms_of(tunnel));
        }
        assert!(forms_of("2001::80ff:fffe").contains(&"127.0.0.1".to_owned()), "the client of Teredo");
        assert!(forms_of("fd00::200:5efe:7f00:1").contains(&"127.0.0.1".to_owned()), "a unique ISATAP");
        assert_eq!(forms_of("2001:db8::7"), ["2001:db8::7"]);
    }

    #[test]
    fn ipv4_compatible_addresses_are_never_routable_except_loopback() {
        assert!(is_never_routable("::127.0.0.1".parse().expect("an address")));
        assert!(!is_never_routable(Ipv6Addr::LOCALHOST.into()));
    }
}
