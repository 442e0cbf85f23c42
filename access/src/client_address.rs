//! The address of the client: the peer's, or what a trusted proxy says of the one behind it.
//!
//! `X-Forwarded-For` is read from its end, because only there do our own proxies write; everything
//! before the first untrusted address may have been made up by the client.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use axum::extract::ConnectInfo;
use axum::http::{Extensions, HeaderMap, HeaderName};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Proxies that a request may have passed; what is said of more is not read.
const HOPS_MAX: usize = 16;

/// Where a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddress(pub IpAddr);

/// A block of addresses, such as `10.0.0.0/8` or `::1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressBlock {
    /// The first address, as 128 bits; the bits past the prefix are zero.
    network: u128,
    prefix_bits: u32,
    is_ipv4: bool,
}

/// The text is no block of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an address nor a block like 10.0.0.0/8")]
pub struct NotABlock(String);

/// The proxies whose `X-Forwarded-For` is believed; none unless configured.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrustedProxies(Vec<AddressBlock>);

// === impl ClientAddress ===

impl ClientAddress {
    /// The client of a request: from its connection, and its headers where the connection is a
    /// trusted proxy's. Without a known connection it is the unspecified address.
    #[must_use]
    pub fn of(extensions: &Extensions, headers: &HeaderMap, proxies: &TrustedProxies) -> Self {
        let peer = extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
        let unknown = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        Self(proxies.client_behind(peer.unwrap_or(unknown), headers))
    }

    /// What limits count as one client: an IPv4 address, or the /64 that an IPv6 host is given
    /// whole and can walk through at will.
    #[must_use]
    pub fn network(self) -> IpAddr {
        match self.0 {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => {
                let network = address.to_bits() & (u128::MAX << 64);
                IpAddr::V6(Ipv6Addr::from_bits(network))
            }
        }
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

// === impl AddressBlock ===

impl AddressBlock {
    /// Whether the address is in the block. An IPv4 address written as IPv6 counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let (bits, is_ipv4) = to_bits(address);
        is_ipv4 == self.is_ipv4 && bits & mask(self.prefix_bits) == self.network
    }
}

impl FromStr for AddressBlock {
    type Err = NotABlock;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let not_a_block = || NotABlock(text.to_owned());
        let (address, prefix) = match text.trim().split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text.trim(), None),
        };
        let address: IpAddr = address.parse().map_err(|_| not_a_block())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse::<u32>().map_err(|_| not_a_block())?,
            None => width,
        };
        if prefix > width {
            return Err(not_a_block());
        }
        let (bits, is_ipv4) = to_bits(address);
        // IPv4 lies in the last 32 of the 128 bits, also where it was written as IPv6.
        let prefix_bits = if address.is_ipv4() { prefix + 96 } else { prefix };
        if is_ipv4 && prefix_bits < 96 {
            return Err(not_a_block());
        }
        Ok(Self { network: bits & mask(prefix_bits), prefix_bits, is_ipv4 })
    }
}

const fn mask(prefix_bits: u32) -> u128 {
    match prefix_bits {
        0 => 0,
        bits => u128::MAX << (128 - bits),
    }
}

fn to_bits(address: IpAddr) -> (u128, bool) {
    match address.to_canonical() {
        IpAddr::V4(address) => (u128::from(address.to_bits()), true),
        IpAddr::V6(address) => (address.to_bits(), false),
    }
}

// === impl TrustedProxies ===

impl TrustedProxies {
    /// Whether this address is a proxy of ours.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|block| block.contains(address))
    }

    fn client_behind(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        let values = headers.get_all(X_FORWARDED_FOR).iter().rev();
        let hops = values.flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));
        for hop in hops.take(HOPS_MAX) {
            if !self.trusts(client) {
                break;
            }
            match parse_hop(hop.trim()) {
                Some(address) => client = address.to_canonical(),
                // What is before an unreadable entry cannot be tied to anybody.
                None => break,
            }
        }
        client
    }
}

impl FromIterator<AddressBlock> for TrustedProxies {
    fn from_iter<I: IntoIterator<Item = AddressBlock>>(blocks: I) -> Self {
        Self(blocks.into_iter().collect())
    }
}

/// Reads a list with commas, as a setting has it; an empty text trusts nobody.
impl FromStr for TrustedProxies {
    type Err = NotABlock;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split(',').map(str::trim).filter(|block| !block.is_empty()).map(str::parse).collect()
    }
}

/// Some proxies write the port as well, and brackets around IPv6.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    let with_port = || hop.parse::<SocketAddr>().map(|address| address.ip());
    bare.parse().or_else(|_| with_port()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client(peer: &str, forwarded: &[&str], trusted: &str) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(X_FORWARDED_FOR, value.parse().unwrap());
        }
        let mut extensions = Extensions::new();
        extensions.insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 4711)));
        ClientAddress::of(&extensions, &headers, &trusted.parse().unwrap()).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let cases: [(&str, &[&str], &str, &str); 14] = [
            ("9.9.9.9", &[], "", "9.9.9.9"),
            ("9.9.9.9", &["1.1.1.1"], "", "9.9.9.9"),
            ("9.9.9.9", &["1.1.1.1"], "10.0.0.0/8", "9.9.9.9"),
            ("10.0.0.1", &["1.1.1.1"], "10.0.0.0/8", "1.1.1.1"),
            // The client made up the first entry; the proxy added the second.
            ("10.0.0.1", &["6.6.6.6, 1.1.1.1"], "10.0.0.0/8", "1.1.1.1"),
            ("10.0.0.1", &["6.6.6.6", "1.1.1.1"], "10.0.0.0/8", "1.1.1.1"),
            ("10.0.0.1", &["6.6.6.6, 1.1.1.1, 10.0.0.2"], "10.0.0.0/8", "1.1.1.1"),
            ("10.0.0.1", &["1.1.1.1, nonsense"], "10.0.0.0/8", "10.0.0.1"),
            ("10.0.0.1", &[""], "10.0.0.0/8", "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1:80"], "10.0.0.1", "1.1.1.1"),
            ("::1", &["[2001:db8::7]:80"], "::1", "2001:db8::7"),
            ("::1", &["[2001:db8::7]"], "::1,10.0.0.1", "2001:db8::7"),
            ("::ffff:10.0.0.1", &["1.1.1.1"], "10.0.0.0/8", "1.1.1.1"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.0/8", "10.0.0.3"),
        ];
        for (peer, forwarded, trusted, expected) in cases {
            assert_eq!(
                client(peer, forwarded, trusted),
                expected,
                "{peer} {forwarded:?} {trusted}"
            );
        }
    }

    #[test]
    fn blocks_are_read_or_named() {
        for wrong in ["10.0.0.0/33", "::/129", "10.0.0", "a", "10.0.0.0/-1", "10.0.0.0/8/8", "/"] {
            let error = wrong.parse::<TrustedProxies>().unwrap_err();
            assert!(error.to_string().contains(wrong), "{error}");
        }
        assert_eq!(" , ".parse::<TrustedProxies>().unwrap(), TrustedProxies::default());
    }

    #[test]
    fn ipv6_hosts_count_by_their_network() {
        let network = |text: &str| ClientAddress(text.parse().unwrap()).network().to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("1.2.3.4"), "1.2.3.4");
    }

    #[test]
    fn an_unknown_connection_is_nobody_in_particular() {
        let proxies = "10.0.0.0/8".parse().unwrap();
        let headers = HeaderMap::from_iter([(X_FORWARDED_FOR, "1.1.1.1".parse().unwrap())]);
        let client = ClientAddress::of(&Extensions::new(), &headers, &proxies);
        assert_eq!(client.to_string(), "::");
    }

    proptest! {
        /// A block holds exactly the addresses that begin as it does.
        #[test]
        fn blocks_hold_what_shares_their_prefix(base: u32, other: u32, prefix in 0_u32..=32) {
            let address = |bits: u32| IpAddr::V4(bits.into());
            let block: AddressBlock = format!("{}/{prefix}", address(base)).parse().unwrap();
            let shared = (base ^ other).leading_zeros() >= prefix;
            prop_assert_eq!(block.contains(address(other)), shared);
            prop_assert!(block.contains(address(base)));
        }

        /// Nothing an untrusted peer sends changes its address.
        #[test]
        fn untrusted_peers_stay_themselves(peer: [u8; 4], value in "[ -~]{0,60}") {
            prop_assume!(peer[0] != 10);
            let peer = IpAddr::from(peer).to_string();
            prop_assert_eq!(client(&peer, &[&value], "10.0.0.0/8"), peer);
        }
    }
}
