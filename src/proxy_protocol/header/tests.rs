//! The rules of headers as a table, each at every split of its bytes.

use super::*;

fn proxied(source: &str, destination: &str) -> Option<ProxiedEndpoints> {
    Some(ProxiedEndpoints { source: source.parse().unwrap(), destination: destination.parse().unwrap() })
}

/// A header of version 2 with its block.
fn binary(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [BINARY, &[command, family], &length, block].concat()
}

const V4: &[u8] = &[192, 0, 2, 1, 198, 51, 100, 2, 0x1f, 0x90, 0, 22];

fn v6() -> Vec<u8> {
    let end = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
    [&end("2001:db8::1")[..], &end("::ffff:198.51.100.2"), &[0x1f, 0x90, 0, 22]].concat()
}

/// Bytes that are refused, and stay refused from the byte on at which they cannot become a header any more.
fn refused_at_once(bytes: &[u8], fault: InvalidHeader) {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]);
    assert_eq!(parse(bytes), Err(fault), "{shown:?}");
    let mut refused = false;
    for end in 0..=bytes.len() {
        match parse(&bytes[..end]) {
            Ok(ProxyHeader::Incomplete) => assert!(!refused, "{shown:?} is possible again after {end} bytes"),
            Err(early) => {
                assert_eq!(early, fault, "{shown:?} after {end} bytes");
                refused = true;
            }
            Ok(other) => panic!("{other:?} for {shown:?} after {end} bytes"),
        }
    }
}

#[test]
fn line_that_cannot_become_a_header_is_refused_at_once() {
    let long = |family: &str| format!("PROXY {family}{}\r\n", " ".repeat(TEXT_MAX));
    let lines = [
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP5 192.0.2.1 198.51.100.2 1 2\r\n",
        "PROXY tcp4 192.0.2.1 198.51.100.2 1 2\r\n",
        "PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1 2\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1 2 \r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1 2 3\r\n",
        "PROXY TCP4 192.0.2.1  198.51.100.2 1 2\r\n",
        "PROXY TCP4  192.0.2.1 198.51.100.2 1 2\r\n",
        "PROXY  TCP4 192.0.2.1 198.51.100.2 1 2\r\n",
        "PROXY TCP4\t192.0.2.1 198.51.100.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1 65536\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 +1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 -1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1 \r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n",
        "PROXY TCP4 192.0.2.01 198.51.100.2 1 2\r\n",
        "PROXY TCP4 192.0.2 198.51.100.2 1 2\r\n",
        "PROXY TCP4 192.0.2.256 198.51.100.2 1 2\r\n",
        "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
        "PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n",
        "PROXY TCP6 2001:db8::1%eth0 2001:db8::2 1 2\r\n",
        "PROXY TCP6 [2001:db8::1] [2001:db8::2] 1 2\r\n",
        "PROXY TCP4 localhost 198.51.100.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1\0 198.51.100.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1 2\r\r\n",
        "PROXY TCP4 \r192.0.2.1 198.51.100.2 1 2\r\n",
        "PROXY TCP4 192.0.2.\u{661} 198.51.100.2 1 2\r\n",
        &long("TCP4"),
        &long("UNKNOWN"),
    ];
    for line in lines {
        refused_at_once(line.as_bytes(), InvalidHeader::Text);
    }
}

#[test]
fn bytes_that_cannot_become_a_header_are_refused_at_once() {
    let short = &V4[..11];
    for (bytes, fault) in [
        (binary(0x11, 0x11, V4), InvalidHeader::Version),
        (binary(0x31, 0x11, V4), InvalidHeader::Version),
        (binary(0x01, 0x11, V4), InvalidHeader::Version),
        (binary(0x22, 0x11, V4), InvalidHeader::Command),
        (binary(0x2f, 0x11, V4), InvalidHeader::Command),
        (binary(0x21, 0x12, V4), InvalidHeader::Family),
        (binary(0x21, 0x22, &v6()), InvalidHeader::Family),
        (binary(0x21, 0x32, &[0; 216]), InvalidHeader::Family),
        (binary(0x21, 0x10, V4), InvalidHeader::Family),
        (binary(0x21, 0x01, V4), InvalidHeader::Family),
        (binary(0x21, 0x41, V4), InvalidHeader::Family),
        (binary(0x21, 0x13, V4), InvalidHeader::Family),
        (binary(0x21, 0x11, &[]), InvalidHeader::Short),
        (binary(0x21, 0x11, short), InvalidHeader::Short),
        (binary(0x21, 0x21, V4), InvalidHeader::Short),
        (binary(0x21, 0x21, &v6()[..35]), InvalidHeader::Short),
        (binary(0x21, 0x11, &[0; HEADER_MAX]), InvalidHeader::Long),
        (binary(0x20, 0x00, &[0; HEADER_MAX - 15]), InvalidHeader::Long),
        (binary(0x21, 0x11, &[0; 65535]), InvalidHeader::Long),
    ] {
        refused_at_once(&bytes, fault);
    }
}

#[test]
fn header_is_known_at_its_last_byte_whatever_follows() {
    let v6 = v6();
    let fields = [V4, &[0x04, 0, 3, 0, 0, 0, 0x20, 0xff, 0xff, 1]].concat();
    let longest = [V4, &vec![0xee; HEADER_MAX - BINARY_HEAD - V4.len()]].concat();
    let (client4, client6) = ("192.0.2.1:8080", "[2001:db8::1]:8080");
    let server = "198.51.100.2:22";
    let all = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let longest_line = format!("PROXY TCP6 {all} {all} 65535 65535\r\n");
    let unknown = format!("PROXY UNKNOWN {}\r\n", "f".repeat(TEXT_MAX - 16));
    for (bytes, ends) in [
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (b"PROXY UNKNOWN ffff::1 what ever 70000\r\n".to_vec(), None),
        (unknown.into_bytes(), None),
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 8080 22\r\n".to_vec(), proxied(client4, server)),
        (b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n".to_vec(), proxied("0.0.0.0:0", "255.255.255.255:65535")),
        (b"PROXY TCP6 2001:db8::1 ::ffff:198.51.100.2 8080 22\r\n".to_vec(), proxied(client6, server)),
        (longest_line.into_bytes(), proxied(&format!("[{all}]:65535"), &format!("[{all}]:65535"))),
        (binary(0x20, 0x00, &[]), None),
        (binary(0x20, 0x11, V4), None),
        (binary(0x20, 0xff, &[1, 2, 3]), None),
        (binary(0x21, 0x00, &[]), None),
        (binary(0x21, 0x00, &[9; 40]), None),
        (binary(0x21, 0x31, &[0; 216]), None),
        (binary(0x21, 0x11, V4), proxied(client4, server)),
        (binary(0x21, 0x11, &fields), proxied(client4, server)),
        (binary(0x21, 0x11, &longest), proxied(client4, server)),
        (binary(0x21, 0x21, &v6), proxied(client6, server)),
        (binary(0x21, 0x21, &[&v6[..], &[0x02, 0, 0]].concat()), proxied(client6, server)),
    ] {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        for end in 0..bytes.len() {
            assert_eq!(parse(&bytes[..end]), Ok(ProxyHeader::Incomplete), "{shown:?} after {end} bytes");
        }
        for rest in ["", "SSH-2.0-x\r\n", "\n", "PROXY UNKNOWN\r\n"] {
            let is_text = bytes.starts_with(b"P");
            let whole = Ok(ProxyHeader::Complete { proxied: ends, length: bytes.len(), is_text });
            assert_eq!(parse(&[&bytes, rest.as_bytes()].concat()), whole, "{shown:?} before {rest:?}");
        }
    }
}

#[test]
fn other_first_bytes_are_no_header() {
    for bytes in [
        "SSH-2.0-OpenSSH_9.6\r\n",
        "S",
        "PROXY_",
        "PROX\r\n",
        "proxy TCP4 192.0.2.1 198.51.100.2 1 2\r\n",
        " PROXY UNKNOWN\r\n",
        "\r\n\r\nSSH-2.0-x\r\n",
        "\r\n\r\n\0\r\nQUIT\r",
        "\n",
        "\0",
        "GET / HTTP/1.1\r\n",
    ] {
        assert_eq!(parse(bytes.as_bytes()), Ok(ProxyHeader::Absent), "{bytes:?}");
    }
}
