//! Bodies of answers that are not JSON, or not only JSON.

use crate::webhook::client::AnswerBody;
use bytes::Bytes;

fn text(bytes: &[u8], content_type: Option<&str>) -> Result<String, String> {
    let body = AnswerBody { bytes: Bytes::copy_from_slice(bytes), content_type: content_type.map(str::to_owned) };
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
    for content_type in [None, Some("text/plain"), Some("application/json; charset=iso-8859-1"), Some("text/html")] {
        for bytes in [&b"{}"[..], b"\xef\xbb\xbf{}"] {
            assert_eq!(text(bytes, content_type).as_deref(), Ok("{}"), "{content_type:?}");
        }
    }
}
