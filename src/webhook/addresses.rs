//! What an address is for, by the IANA special-purpose address registries.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// What an address is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A host of the Internet.
    Public,
    /// A host of a private network.
    Private(&'static str),
    /// A metadata service, which gives credentials to everyone who reaches it.
    Metadata,
    /// No host, or none of another machine: loopback, link-local, multicast, reserved.
    Special(&'static str),
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix))
}

const fn v6(segments: [u16; 8], prefix: u8) -> IpNet {
    let [a, b, c, d, e, f, g, h] = segments;
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix))
}

/// Metadata services of clouds. Some have addresses that are public or private by the registries.
const METADATA: [IpNet; 9] = [
    // AWS, Azure, Google Cloud, DigitalOcean, Oracle and others.
    v4(169, 254, 169, 254, 32),
    // AWS: tasks and pods.
    v4(169, 254, 170, 2, 32),
    v4(169, 254, 170, 23, 32),
    // Alibaba.
    v4(100, 100, 100, 200, 32),
    // Azure.
    v4(168, 63, 129, 16, 32),
    // Oracle.
    v4(192, 0, 0, 192, 32),
    // AWS: instances, and pods.
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128),
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23], 128),
    // Google Cloud.
    v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128),
];

const PRIVATE: [(IpNet, &str); 5] = [
    (v4(10, 0, 0, 0, 8), "private"),
    (v4(100, 64, 0, 0, 10), "shared address space"),
    (v4(172, 16, 0, 0, 12), "private"),
    (v4(192, 168, 0, 0, 16), "private"),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), "private"),
];

const SPECIAL_V4: [(IpNet, &str); 11] = [
    (v4(0, 0, 0, 0, 8), "this network"),
    (v4(127, 0, 0, 0, 8), "loopback"),
    (v4(169, 254, 0, 0, 16), "link-local"),
    (v4(192, 0, 0, 0, 24), "protocol assignments"),
    (v4(192, 0, 2, 0, 24), "documentation"),
    (v4(192, 88, 99, 0, 24), "6to4 relay"),
    (v4(198, 18, 0, 0, 15), "benchmarking"),
    (v4(198, 51, 100, 0, 24), "documentation"),
    (v4(203, 0, 113, 0, 24), "documentation"),
    (v4(224, 0, 0, 0, 4), "multicast"),
    (v4(240, 0, 0, 0, 4), "reserved"),
];

const SPECIAL_V6: [(IpNet, &str); 14] = [
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), "unspecified"),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "loopback"),
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 96), "IPv4-compatible"),
    (v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), "local NAT64"),
    (v6([0x100, 0, 0, 0, 0, 0, 0, 0], 32), "discard-only"),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32), "Teredo"),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), "protocol assignments"),
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), "documentation"),
    (v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), "6to4"),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), "documentation"),
    (v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16), "segment routing"),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "link-local"),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), "site-local"),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "multicast"),
];

/// The only block from which IPv6 addresses of hosts are assigned.
const GLOBAL_UNICAST: IpNet = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);
/// IPv4 hosts for machines that have IPv6 alone, as DNS64 resolvers answer (RFC 6052).
const NAT64: IpNet = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);

/// What `address` is for. An IPv4-mapped address is its IPv4 address.
pub(super) fn purpose(address: IpAddr) -> Purpose {
    let address = address.to_canonical();
    if METADATA.iter().any(|block| block.contains(&address)) {
        return Purpose::Metadata;
    }
    if let Some((_, name)) = PRIVATE.iter().find(|(block, _)| block.contains(&address)) {
        return Purpose::Private(name);
    }
    if let Some((_, name)) = SPECIAL_V4
        .iter()
        .chain(&SPECIAL_V6)
        .find(|(block, _)| block.contains(&address))
    {
        return Purpose::Special(name);
    }
    match address {
        IpAddr::V4(_) => Purpose::Public,
        IpAddr::V6(v6) if NAT64.contains(&address) => translated(v6),
        IpAddr::V6(_) if GLOBAL_UNICAST.contains(&address) => Purpose::Public,
        IpAddr::V6(_) => Purpose::Special("reserved"),
    }
}

/// A NAT64 gateway may be in the private network, so only public IPv4 addresses are reached by one.
fn translated(address: Ipv6Addr) -> Purpose {
    let [.., high, low] = address.segments();
    let [a, b] = high.to_be_bytes();
    let [c, d] = low.to_be_bytes();
    match purpose(IpAddr::V4(Ipv4Addr::new(a, b, c, d))) {
        Purpose::Public => Purpose::Public,
        Purpose::Metadata => Purpose::Metadata,
        Purpose::Private(_) | Purpose::Special(_) => Purpose::Special("NAT64 of a local address"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(address: &str) -> Purpose {
        purpose(address.parse().unwrap())
    }

    /// The first and the last address of a block, and their neighbours outside.
    fn edges(block: IpNet) -> (IpAddr, IpAddr, Option<IpAddr>, Option<IpAddr>) {
        let (first, last) = (block.network(), block.broadcast());
        match (first, last) {
            (IpAddr::V4(low), IpAddr::V4(high)) => (
                first,
                last,
                u32::from(low).checked_sub(1).map(|bits| Ipv4Addr::from(bits).into()),
                u32::from(high).checked_add(1).map(|bits| Ipv4Addr::from(bits).into()),
            ),
            (IpAddr::V6(low), IpAddr::V6(high)) => (
                first,
                last,
                u128::from(low).checked_sub(1).map(|bits| Ipv6Addr::from(bits).into()),
                u128::from(high).checked_add(1).map(|bits| Ipv6Addr::from(bits).into()),
            ),
            _ => unreachable!(),
        }
    }

    #[test]
    fn each_block_ends_where_the_registry_says() {
        // IANA IPv4 Special-Purpose Address Registry, and the blocks of RFC 5771 and RFC 1112.
        for (block, public_below, public_above) in [
            ("0.0.0.0/8", false, true),
            ("10.0.0.0/8", true, true),
            ("100.64.0.0/10", true, true),
            ("127.0.0.0/8", true, true),
            ("169.254.0.0/16", true, true),
            ("172.16.0.0/12", true, true),
            ("192.0.0.0/24", true, true),
            ("192.0.2.0/24", true, true),
            ("192.88.99.0/24", true, true),
            ("192.168.0.0/16", true, true),
            ("198.18.0.0/15", true, true),
            ("198.51.100.0/24", true, true),
            ("203.0.113.0/24", true, true),
            ("224.0.0.0/4", true, false),
            ("240.0.0.0/4", false, false),
            // IANA IPv6 Special-Purpose Address Registry.
            ("2001::/23", true, true),
            ("2001:db8::/32", true, true),
            ("2002::/16", true, true),
            ("3fff::/20", true, true),
        ] {
            let (first, last, below, above) = edges(block.parse().unwrap());
            assert_ne!(purpose(first), Purpose::Public, "{first} of {block}");
            assert_ne!(purpose(last), Purpose::Public, "{last} of {block}");
            for (neighbour, public) in [(below, public_below), (above, public_above)] {
                let is_public = neighbour.map(purpose) == Some(Purpose::Public);
                assert_eq!(is_public, public, "{neighbour:?} beside {block}");
            }
        }
    }

    #[test]
    fn ipv6_outside_global_unicast_reaches_no_host() {
        for address in [
            "::",
            "::1",
            "::2",
            "::127.0.0.1",
            "::8.8.8.8",
            "64:ff9b:1::808:808",
            "100::1",
            "100:0:0:1::1",
            "200::1",
            "1fff:ffff::1",
            "4000::1",
            "5f00::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "ffff::1",
        ] {
            assert_ne!(of(address), Purpose::Public, "{address}");
        }
        for address in ["2000::1", "2606:4700::1111", "2a00:1450:4001::200e", "3ffe::1"] {
            assert_eq!(of(address), Purpose::Public, "{address}");
        }
    }

    #[test]
    fn an_address_within_an_address_counts() {
        assert_eq!(of("::ffff:127.0.0.1"), Purpose::Special("loopback"));
        assert_eq!(of("::ffff:10.0.0.1"), Purpose::Private("private"));
        assert_eq!(of("::ffff:169.254.169.254"), Purpose::Metadata);
        assert_eq!(of("::ffff:8.8.8.8"), Purpose::Public);
        assert_eq!(of("64:ff9b::8.8.8.8"), Purpose::Public);
        assert_eq!(of("64:ff9b::10.0.0.1"), Purpose::Special("NAT64 of a local address"));
        assert_eq!(of("64:ff9b::127.0.0.1"), Purpose::Special("NAT64 of a local address"));
        assert_eq!(of("64:ff9b::169.254.169.254"), Purpose::Metadata);
        assert_eq!(of("2002:7f00:1::"), Purpose::Special("6to4"));
        assert_eq!(of("2001:0:7f00:1::"), Purpose::Special("Teredo"));
    }

    #[test]
    fn metadata_services_are_known_whatever_their_block() {
        for address in [
            "169.254.169.254",
            "169.254.170.2",
            "169.254.170.23",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
        ] {
            assert_eq!(of(address), Purpose::Metadata, "{address}");
        }
    }
}
