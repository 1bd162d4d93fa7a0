//! The first bytes of a connection of a trusted proxy.

use crate::proxy_protocol::{HEADER_MAX, ProxyHeader, parse};

/// A connection's first bytes, at every split: no answer changes when more bytes arrive.
pub(super) fn proxy_header(data: &[u8]) {
    let whole = parse(data);
    // A header and the bytes beyond its limit, which must not matter.
    for end in 0..data.len().min(HEADER_MAX + 16) {
        let Some(part) = data.get(..end) else { return };
        match parse(part) {
            Ok(ProxyHeader::Incomplete) => assert!(end < HEADER_MAX, "{end} bytes are not enough"),
            early => assert_eq!(early, whole, "after {end} bytes"),
        }
    }
    if let Ok(ProxyHeader::Complete { proxied, length, is_text }) = whole {
        assert!((15..=HEADER_MAX).contains(&length) && length <= data.len());
        assert!(data.starts_with(if is_text { b"PROXY " } else { b"\r\n\r\n\0\r\nQUIT\n" }));
        assert!(!is_text || (length <= 107 && data.get(length - 2..length) == Some(b"\r\n")));
        if let Some(ends) = proxied {
            for end in [ends.source, ends.destination] {
                assert_eq!(end.ip(), end.ip().to_canonical());
            }
        }
    }
}
