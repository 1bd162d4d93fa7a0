//! X11 displays for programs in the guest: a loopback port from 6010 on, and an authority file with the client's cookie
//! (Xau(7)). The file is in a directory of its own and goes with the display; the client checks the cookie.

use podgate_link::request::X11;
use rustix::system::uname;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;

/// Displays that are tried, as by sshd with `X11DisplayOffset 10`.
const DISPLAYS: std::ops::Range<u16> = 10..1010;
/// Port of display 0.
const PORT: u16 = 6000;
/// `FamilyLocal` of an authority entry, by which X clients look up displays on loopback.
const FAMILY_LOCAL: u16 = 256;

/// Takes the first display that is free, on both loopback addresses where there are two.
pub(crate) fn bind() -> io::Result<(Vec<TcpListener>, u16)> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for display in DISPLAYS {
        let port = PORT + display;
        match (TcpListener::bind((Ipv4Addr::LOCALHOST, port)), TcpListener::bind((Ipv6Addr::LOCALHOST, port))) {
            (Ok(ipv4), Ok(ipv6)) => return Ok((vec![ipv4, ipv6], display)),
            (Err(error), _) | (_, Err(error)) if error.kind() == io::ErrorKind::AddrInUse => last = error,
            // A host without one of the families.
            (Ok(one), Err(_)) | (Err(_), Ok(one)) => return Ok((vec![one], display)),
            (Err(error), Err(_)) => return Err(error),
        }
    }
    Err(last)
}

/// Takes display 10, which ContainerSSH's gateway names in `DISPLAY`, and adds the cookie, in hexadecimal digits, to the
/// user's authority file.
pub(crate) fn bind_for_containerssh(protocol: &str, cookie: &str) -> io::Result<Vec<TcpListener>> {
    let digits = |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let cookie: Option<Vec<u8>> = cookie.as_bytes().chunks(2).map(digits).collect();
    let cookie = cookie.ok_or_else(|| io::Error::other("the cookie is not hexadecimal"))?;
    let request = X11 { single: false, protocol: protocol.into(), cookie, screen: 0 };
    let path = std::env::var_os("XAUTHORITY").unwrap_or_else(|| ".Xauthority".into());
    let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    file.write_all(&authority(&request, DISPLAYS.start)?)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT + DISPLAYS.start))?;
    listener.set_nonblocking(true)?;
    Ok(vec![listener])
}

/// The content of an authority file for a display.
pub(crate) fn authority(request: &X11, display: u16) -> io::Result<Vec<u8>> {
    let system = uname();
    let mut entry = FAMILY_LOCAL.to_be_bytes().to_vec();
    for field in [system.nodename().to_bytes(), display.to_string().as_bytes(), &request.protocol, &request.cookie] {
        entry.extend_from_slice(&u16::try_from(field.len()).map_err(io::Error::other)?.to_be_bytes());
        entry.extend_from_slice(field);
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_display_is_another_one_and_has_its_entry() {
        let (_first, one) = bind().unwrap();
        let (_second, other) = bind().unwrap();
        assert_ne!(one, other);
        let request =
            X11 { single: false, protocol: b"MIT-MAGIC-COOKIE-1".to_vec(), cookie: vec![0xab; 16], screen: 0 };
        let entry = authority(&request, 12).unwrap();
        assert_eq!(entry[..2], [1, 0]);
        let tail = [&b"\x00\x0212\x00\x12MIT-MAGIC-COOKIE-1\x00\x10"[..], &[0xab; 16]].concat();
        assert!(entry.ends_with(&tail), "{entry:?}");
    }
}
