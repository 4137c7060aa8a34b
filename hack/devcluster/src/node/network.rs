//! The network namespace of a cluster with a real node, and the pair of interfaces that connects it to the host.
//!
//! ```text
//! host                     |  namespace <id>
//! dc<hash> 10.245.n.1/30 --|-- eth0 10.245.n.2/30    API server, etcd, kubelet, kube-proxy, containerd
//!                          |   veth... 10.244.0.1 ---- pods 10.244.0.0/24 (each in its own namespace)
//! ```
//!
//! The namespace has no default route. Its processes reach only the namespace and the host's end of the pair. Routes,
//! forwarding and packet filter of the host do not change.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::machine_lock;
use crate::digest;
use crate::process::{NETNS_FOLDER, run};
use crate::state::Network;

/// First two octets of the addresses of the pairs.
const RANGE: [u8; 2] = [10, 245];
/// Lock for choosing addresses, so that two clusters that start at once do not choose the same ones.
const LOCK: &str = "addresses";

/// The two addresses of a pair, in one /30.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The host's end.
    pub host: Ipv4Addr,
    /// The namespace's end: the address of the API server and the node.
    pub node: Ipv4Addr,
}

/// File of the namespace.
pub fn namespace_file(id: &str) -> PathBuf {
    Path::new(NETNS_FOLDER).join(id)
}

/// The nftables rules in the namespace, which kube-proxy maintains: the addresses behind each Service.
pub fn rules(id: &str) -> Result<String> {
    run_inside(id, &["nft", "list", "ruleset"])
}

fn run_inside(id: &str, command: &[&str]) -> Result<String> {
    run(Command::new("nsenter")
        .arg(format!("--net={}", namespace_file(id).display()))
        .arg("--")
        .args(command))
}

/// Name of the host's interface. It contains a hash, because Linux allows at most 15 characters.
pub fn interface(id: &str) -> String {
    format!("dc{}", digest::short([id], 5))
}

/// Creates the namespace and the pair, unless they exist, and returns their addresses.
pub fn create(id: &str) -> Result<Addresses> {
    let _lock = machine_lock(LOCK)?;
    if let Some(addresses) = find(id)? {
        return Ok(addresses);
    }
    // An earlier process may have been killed before it finished.
    remove(id)?;
    let taken = taken(
        &ip(&["-4", "-json", "address", "show"])?,
        &ip(&["-4", "-json", "route", "show", "table", "all"])?,
    )?;
    let addresses = choose(id, &taken)?;
    let interface = interface(id);
    ip(&["netns", "add", id])?;
    ip(&["link", "add", &interface, "type", "veth", "peer", "name", "eth0", "netns", id])?;
    ip(&["-netns", id, "link", "set", "lo", "up"])?;
    ip(&["-netns", id, "address", "add", &format!("{}/30", addresses.node), "dev", "eth0"])?;
    ip(&["-netns", id, "link", "set", "eth0", "up"])?;
    ip(&["address", "add", &format!("{}/30", addresses.host), "dev", &interface])?;
    ip(&["link", "set", &interface, "up"])?;
    // A packet to a Service needs a route before kube-proxy's rules change its destination to a pod.
    ip(&["-netns", id, "route", "add", Network::SERVICE_CIDR, "dev", "eth0"])?;
    run_inside(id, &["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])?;
    Ok(addresses)
}

/// Removes the namespace and the pair. Idempotent.
pub fn remove(id: &str) -> Result<()> {
    let interface = interface(id);
    if Path::new("/sys/class/net").join(&interface).exists() {
        ip(&["link", "delete", &interface])?;
    }
    if namespace_file(id).exists() {
        ip(&["netns", "delete", id])?;
    }
    Ok(())
}

/// The addresses of a complete namespace: both ends have addresses, and Services have a route.
fn find(id: &str) -> Result<Option<Addresses>> {
    let interface = interface(id);
    if !namespace_file(id).exists() || !Path::new("/sys/class/net").join(&interface).exists() {
        return Ok(None);
    }
    let routes = ip(&["-netns", id, "-4", "-json", "route", "show", "root", Network::SERVICE_CIDR])?;
    let host = address_in(&ip(&["-4", "-json", "address", "show", "dev", &interface])?)?;
    let node = address_in(&ip(&["-netns", id, "-4", "-json", "address", "show", "dev", "eth0"])?)?;
    let has_route =
        serde_json::from_str::<Value>(&routes)?.as_array().is_some_and(|routes| !routes.is_empty());
    Ok(host.zip(node).filter(|_| has_route).map(|(host, node)| Addresses { host, node }))
}

/// The first address in the output of `ip -json address show`.
fn address_in(json: &str) -> Result<Option<Ipv4Addr>> {
    let output: Value = serde_json::from_str(json).context("cannot parse the output of `ip address`")?;
    Ok(output.pointer("/0/addr_info/0/local").and_then(Value::as_str).and_then(|text| text.parse().ok()))
}

/// The networks that addresses and routes of the host use.
fn taken(addresses: &str, routes: &str) -> Result<Vec<(Ipv4Addr, u8)>> {
    let addresses: Value =
        serde_json::from_str(addresses).context("cannot parse the output of `ip address`")?;
    let routes: Value = serde_json::from_str(routes).context("cannot parse the output of `ip route`")?;
    let mut taken = Vec::new();
    for link in addresses.as_array().into_iter().flatten() {
        for address in link.get("addr_info").and_then(Value::as_array).into_iter().flatten() {
            let local = address.get("local").and_then(Value::as_str).and_then(|text| text.parse().ok());
            let length =
                address.get("prefixlen").and_then(Value::as_u64).and_then(|length| u8::try_from(length).ok());
            taken.extend(local.zip(length));
        }
    }
    for route in routes.as_array().into_iter().flatten() {
        // The default route uses no network.
        let Some(destination) = route.get("dst").and_then(Value::as_str).filter(|dst| *dst != "default")
        else {
            continue;
        };
        let (address, length) = destination.split_once('/').unwrap_or((destination, "32"));
        taken.extend(address.parse().ok().zip(length.parse().ok()));
    }
    Ok(taken)
}

/// Chooses a free /30. The search starts at a hash of `id`, so that a cluster usually gets the same addresses again.
fn choose(id: &str, taken: &[(Ipv4Addr, u8)]) -> Result<Addresses> {
    let start = Sha256::digest(id.as_bytes()).first().copied().unwrap_or_default();
    for offset in 0..=u8::MAX {
        let third = start.wrapping_add(offset);
        let [first, second] = RANGE;
        let subnet = Ipv4Addr::new(first, second, third, 0);
        if !taken.iter().any(|(address, length)| overlap(*address, *length, subnet, 30)) {
            return Ok(Addresses {
                host: Ipv4Addr::new(first, second, third, 1),
                node: Ipv4Addr::new(first, second, third, 2),
            });
        }
    }
    let [first, second] = RANGE;
    bail!(
        "no free /30 in {first}.{second}.0.0/16 on this machine: take down clusters that you no longer need"
    )
}

/// Whether two networks share an address.
fn overlap(one: Ipv4Addr, one_length: u8, other: Ipv4Addr, other_length: u8) -> bool {
    let length = u32::from(one_length.min(other_length)).min(32);
    let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
    u32::from(one) & mask == u32::from(other) & mask
}

fn ip(args: &[&str]) -> Result<String> {
    run(Command::new("ip").args(args))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names_are_short_and_distinct() {
        assert!(interface(&"a".repeat(63)).len() <= 15);
        assert_ne!(interface("east"), interface("west"));
    }

    #[test]
    fn networks_overlap_when_one_contains_the_other() {
        let at = Ipv4Addr::new;
        assert!(overlap(at(10, 0, 0, 0), 8, at(10, 245, 3, 0), 30));
        assert!(overlap(at(10, 245, 3, 1), 32, at(10, 245, 3, 0), 30));
        assert!(overlap(at(0, 0, 0, 0), 0, at(10, 245, 3, 0), 30));
        assert!(!overlap(at(10, 245, 3, 4), 30, at(10, 245, 3, 0), 30));
        assert!(!overlap(at(192, 168, 0, 0), 16, at(10, 245, 3, 0), 30));
    }

    #[test]
    fn a_cluster_gets_the_same_address_unless_it_is_taken() {
        let first = choose("east", &[]).unwrap();
        assert_eq!(choose("east", &[(Ipv4Addr::new(192, 168, 1, 7), 24)]).unwrap(), first);
        let second = choose("east", &[(first.node, 32)]).unwrap();
        assert_ne!(second, first);
        assert_eq!(u32::from(second.node), u32::from(second.host) + 1);
    }

    #[test]
    fn a_full_range_is_an_error_with_a_remedy() {
        let message = choose("east", &[(Ipv4Addr::new(10, 0, 0, 0), 8)]).unwrap_err().to_string();
        assert!(message.contains("10.245.0.0/16") && message.contains("take down clusters"), "{message}");
    }

    #[test]
    fn addresses_and_routes_are_taken_except_for_the_default_route() {
        let addresses = r#"[{"ifname":"lo","addr_info":[{"local":"127.0.0.1","prefixlen":8}]},{"ifname":"eth1","addr_info":[{"local":"10.245.7.1","prefixlen":24}]}]"#;
        let routes = r#"[{"dst":"default","gateway":"10.1.1.1"},{"dst":"10.245.9.0/24"},{"dst":"10.1.1.9"}]"#;
        assert_eq!(
            taken(addresses, routes).unwrap(),
            [
                (Ipv4Addr::LOCALHOST, 8),
                (Ipv4Addr::new(10, 245, 7, 1), 24),
                (Ipv4Addr::new(10, 245, 9, 0), 24),
                (Ipv4Addr::new(10, 1, 1, 9), 32),
            ]
        );
    }
}
