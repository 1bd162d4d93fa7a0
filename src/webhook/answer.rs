//! Answers before anybody looks for fields in them: says in plain words that one is no JSON at all but an empty body, a
//! page for people, or text in another character set. No message shows anything of the body.

use crate::types::quoted;
use bytes::Bytes;
use podgate_webhooks::text;

/// The body of an answer with status 200.
#[derive(Debug)]
pub(super) struct Body {
    /// Its bytes, bounded.
    pub(super) bytes: Bytes,
    /// The header `Content-Type`, where there is one that is ASCII.
    pub(super) content_type: Option<String>,
}

impl Body {
    /// The text, whatever its content type says, without a byte order mark. The error reads as the end of a sentence that
    /// begins with "the answer is not understood: ".
    pub(super) fn text(&self) -> Result<&[u8], String> {
        let text = text::text(&self.bytes).map_err(|wrong| match self.charset() {
            Some(charset) => format!("it {wrong} (its Content-Type names the charset {})", quoted(&charset)),
            None => format!("it {wrong}"),
        })?;
        match text.trim_start().chars().next() {
            None => Err("it is empty, where a JSON object has to be".into()),
            Some('<') => {
                Err("it is HTML or XML, not JSON: is this the right URL, or did a proxy or a login page answer?".into())
            }
            Some(_) => Ok(text.as_bytes()),
        }
    }

    /// The character set that the content type names, at most 64 characters of it.
    fn charset(&self) -> Option<String> {
        let parameters = self.content_type.as_deref()?.split(';').filter_map(|part| part.split_once('='));
        let (_, value) = parameters.into_iter().find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))?;
        Some(value.trim().trim_matches('"').chars().take(64).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8], content_type: Option<&str>) -> Result<String, String> {
        let body = Body { bytes: Bytes::copy_from_slice(bytes), content_type: content_type.map(str::to_owned) };
        body.text().map(|text| String::from_utf8_lossy(text).into_owned())
    }

    #[test]
    fn what_is_no_json_is_named_in_plain_words_without_a_word_of_it() {
        let html = Some("text/html; charset=utf-8");
        for (bytes, content_type, reason) in [
            (&b""[..], None, "it is empty"),
            (b" \r\n", html, "it is empty"),
            (b"\xef\xbb\xbf", None, "it is empty"),
            (b"<!DOCTYPE html><title>s3cret</title>", html, "it is HTML or XML"),
            (b"\n<?xml version=\"1.0\"?><s3cret/>", None, "it is HTML or XML"),
            (b"\xff\xfe{\0}\0", None, "it is UTF-16 text"),
            (b"\0{\0}", Some("application/json;charset=utf-16be"), "it is UTF-16 text, and has to be UTF-8 (its"),
            (b"{\"s3cret\": \"J\xf6rg\"}", Some("application/json; Charset=\"ISO-8859-1\""), "\"ISO-8859-1\""),
            (b"{\"s3cret\": \"J\xf6rg\"}", None, "it is not UTF-8 text: byte 14 does"),
            (b"\x1f\x8b\x08", None, "it is not UTF-8 text"),
        ] {
            let error = text(bytes, content_type).expect_err(reason);
            assert!(error.contains(reason) && !error.contains("s3cret"), "{reason}: {error}");
        }
    }

    #[test]
    fn json_is_taken_whatever_the_content_type_says_and_without_its_byte_order_mark() {
        for content_type in [None, Some("text/plain"), Some("application/json; charset=iso-8859-1"), Some("text/html")]
        {
            for bytes in [&b"{}"[..], b"\xef\xbb\xbf{}"] {
                assert_eq!(text(bytes, content_type).as_deref(), Ok("{}"), "{content_type:?}");
            }
        }
    }
}
