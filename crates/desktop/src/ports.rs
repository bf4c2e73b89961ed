//! Responsible for ports: choosing free ones, and finding out whether this user listens at one.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use crate::{Error, Result};

/// Number of ports that a program may try one after the other.
const CANDIDATES: usize = 4;
/// State of a listening socket in the kernel's table.
const LISTENING: &str = "0A";

/// Returns free ports of the address, or only the wanted one.
pub(crate) fn choose(address: Ipv4Addr, wanted: Option<u16>) -> Result<Vec<u16>> {
    if let Some(port) = wanted {
        return match TcpListener::bind((address, port)) {
            Ok(_) => Ok(vec![port]),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Err(Error::PortTaken {
                port,
                address: address.to_string(),
            }),
            Err(error) => Err(Error::io("listen at", format!("{address}:{port}"))(error)),
        };
    }
    // All of them are held at the same time, so that they differ.
    let held: std::io::Result<Vec<TcpListener>> =
        std::iter::repeat_with(|| TcpListener::bind((address, 0)))
            .take(CANDIDATES)
            .collect();
    let ports = held.and_then(|held| {
        let ports = held.iter().map(|one| Ok(one.local_addr()?.port()));
        ports.collect()
    });
    ports.map_err(Error::io("listen at", address.to_string()))
}

/// Returns whether a process of this user listens at the port. Without the kernel's table, any
/// answer counts.
pub(crate) fn is_served(address: Ipv4Addr, port: u16) -> bool {
    if let Ok(table) = fs_err::read_to_string("/proc/net/tcp") {
        is_in_table(&table, port, rustix::process::geteuid().as_raw())
    } else {
        let place = SocketAddr::new(address.into(), port);
        TcpStream::connect_timeout(&place, std::time::Duration::from_secs(1)).is_ok()
    }
}

/// Returns whether the table in the format of `/proc/net/tcp` has a socket of the user that listens
/// at the port.
fn is_in_table(table: &str, port: u16, user: u32) -> bool {
    let end = format!(":{port:04X}");
    table.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        matches!(words[..], [_, local, _, state, _, _, _, owner, ..]
            if local.ends_with(&end) && state == LISTENING && owner.parse() == Ok(user))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LOCAL: Ipv4Addr = Ipv4Addr::LOCALHOST;

    #[test]
    fn ports_are_free_and_differ_and_a_taken_one_is_refused() {
        let mut ports = choose(LOCAL, None).unwrap();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), CANDIDATES);
        let held = TcpListener::bind((LOCAL, 0)).unwrap();
        let port = held.local_addr().unwrap().port();
        let error = choose(LOCAL, Some(port)).unwrap_err();
        assert!(matches!(error, Error::PortTaken { port: taken, .. } if taken == port));
        assert!(is_served(LOCAL, port));
        drop(held);
        assert!(!is_served(LOCAL, port));
        assert_eq!(choose(LOCAL, Some(port)).unwrap(), [port]);
    }

    #[test]
    fn a_listener_of_another_user_does_not_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt uid\n   \
            0: 0100007F:170C 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 9 1\n   \
            1: 0100007F:1770 0100007F:9999 01 00000000:00000000 00:00000000 00000000  1000        0 9 1\n";
        assert!(is_in_table(table, 0x170c, 1000));
        assert!(!is_in_table(table, 0x170c, 1001));
        assert!(!is_in_table(table, 0x1770, 1000));
    }
}
