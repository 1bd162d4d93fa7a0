//! The text form of the metrics page that a scraper asks for (RFC 9110 section 12.5.1). OpenMetrics is for those who name
//! it; everyone else gets the classic form, which every scraper reads, as from Prometheus' own client libraries.

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

/// A text form of the metrics page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// OpenMetrics text form 1.0.
    Open,
    /// Prometheus' text form 0.0.4.
    Classic,
}

impl Form {
    /// The form that is asked for with the greatest quality, the one that is named first where two are equal.
    pub(super) fn asked(headers: &HeaderMap) -> Self {
        let fields = headers.get_all(ACCEPT).iter().filter_map(|field| field.to_str().ok());
        let (mut best, mut form) = (0, Self::Classic);
        for (asked, quality) in fields.flat_map(|field| field.split(',')).filter_map(range) {
            if quality > best {
                (best, form) = (quality, asked);
            }
        }
        form
    }

    /// `Content-Type` of a page in this form.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Open => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The form that a media range stands for, and its quality in thousandths; none for what is not served.
fn range(text: &str) -> Option<(Form, u16)> {
    let mut parts = text.split(';').map(str::trim);
    let kind = parts.next()?.to_ascii_lowercase();
    let (mut version, mut quality) = (None, 1000);
    for part in parts {
        let (name, value) = part.split_once('=')?;
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "version" => version = Some(value),
            "q" => quality = thousandths(value)?,
            _ => {}
        }
    }
    let form = match (kind.as_str(), version) {
        ("application/openmetrics-text", None | Some("1.0.0")) => Form::Open,
        ("text/plain", None | Some("0.0.4")) | ("text/*" | "*/*", _) => Form::Classic,
        _ => return None,
    };
    Some((form, quality))
}

/// A quality (RFC 9110 section 12.4.2).
fn thousandths(text: &str) -> Option<u16> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if part.len() > 3 || !part.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let part: u16 = format!("{part:0<3}").parse().ok()?;
    match (whole, part) {
        ("0", part) => Some(part),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn asked(fields: &[&[u8]]) -> Form {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(ACCEPT, HeaderValue::from_bytes(field).unwrap());
        }
        Form::asked(&headers)
    }

    #[test]
    fn who_does_not_name_openmetrics_or_not_with_the_greatest_quality_gets_the_classic_form() {
        assert_eq!(asked(&[]), Form::Classic);
        for field in [
            "",
            "*/*",
            "text/plain",
            "text/*",
            "text/plain;version=0.0.4",
            "text/plain; version=\"0.0.4\"; charset=utf-8",
            "application/*",
            "application/json",
            "image/png",
            "*/*;q=0",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=0.000, */*;q=0",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;q=0.5,text/plain;q=0.6",
            "application/openmetrics-text;q=0.5,*/*",
            "text/plain,application/openmetrics-text",
            "application/openmetrics-text;q=1.1",
            "application/openmetrics-text;q=high",
            "application/openmetrics-text;q=0.1234",
            "application/openmetrics-text;q",
            "application/openmetrics-textual",
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
            // Prometheus with the protocol set to the classic form, and one that asks for protobuf first.
            "text/plain;version=0.0.4;q=0.5,*/*;q=0.2",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,text/plain;q=0.3",
        ] {
            assert_eq!(asked(&[field.as_bytes()]), Form::Classic, "{field}");
        }
        assert_eq!(asked(&[b"application/openmetrics-text\xff"]), Form::Classic);
        assert_eq!(asked(&[b"application/openmetrics-text;q=0.2", b"text/plain;q=0.3"]), Form::Classic);
    }

    #[test]
    fn who_asks_for_openmetrics_gets_it() {
        for field in [
            "application/openmetrics-text",
            "APPLICATION/OpenMetrics-Text; Version=1.0.0; Q=1",
            "application/openmetrics-text; version=\"1.0.0\"",
            "application/openmetrics-text,text/plain",
            "text/plain;q=0.3, application/openmetrics-text;q=0.301",
            "text/html, application/openmetrics-text;q=0.1",
            "text/plain;q=0, application/openmetrics-text;q=0.001",
            "text/plain;version=1.0.0, application/openmetrics-text;q=0.1",
            // Prometheus 2 and 3.
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
        ] {
            assert_eq!(asked(&[field.as_bytes()]), Form::Open, "{field}");
        }
        assert_eq!(asked(&[b"text/plain;q=0.3", b"application/openmetrics-text;q=0.4"]), Form::Open);
    }
}
