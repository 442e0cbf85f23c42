//! Conditions and ranges of RFC 9110: what a client has, and what it still wants.

use axum::http::{HeaderMap, HeaderName, header};
use chrono::{DateTime, SubsecRound as _, Utc};
use media::{ByteRange, ObjectHead};

/// Whether the client has just this already. A date is looked at where no tags are sent.
pub fn is_known(headers: &HeaderMap, head: &ObjectHead, etag: &str) -> bool {
    if !headers.contains_key(header::IF_NONE_MATCH) {
        let since = single(headers, header::IF_MODIFIED_SINCE).and_then(date);
        return since.is_some_and(|since| modified(head) <= since);
    }
    let values = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|v| v.to_str().ok());
    let mut tags = values.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// Which bytes are wanted. What is no range of bytes, or is several, is all of them, which RFC 9110
/// allows; so is a range of another version than this one.
pub fn wanted(headers: &HeaderMap, head: &ObjectHead, etag: &str) -> ByteRange {
    let range = single(headers, header::RANGE).and_then(parse);
    let is_same = match single(headers, header::IF_RANGE) {
        None => !headers.contains_key(header::IF_RANGE),
        Some(tag) if tag.starts_with('"') => tag == etag,
        Some(text) => date(text) == Some(modified(head)),
    };
    range.filter(|_| is_same).unwrap_or(ByteRange::Whole)
}

/// When it was put, as precise as HTTP tells it.
fn modified(head: &ObjectHead) -> DateTime<Utc> {
    head.modified.trunc_subsecs(0)
}

fn date(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc2822(text).ok().map(|date| date.with_timezone(&Utc))
}

fn single(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let (only, None) = (values.next()?, values.next()) else {
        return None;
    };
    only.to_str().ok()
}

fn parse(text: &str) -> Option<ByteRange> {
    let (unit, range) = text.split_once('=')?;
    let (first, last) = range.trim().split_once('-')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let number = |digits: &str| {
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse::<u64>().unwrap_or(u64::MAX))
    };
    match (first, last) {
        ("", last) => Some(ByteRange::Last(number(last)?)),
        (first, "") => Some(ByteRange::From(number(first)?)),
        (first, last) => {
            let (start, end) = (number(first)?, number(last)?);
            let length_bytes = end.checked_sub(start)?.saturating_add(1);
            Some(ByteRange::Within { start, length_bytes })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As HTTP tells when the object was put.
    const SAME_SECOND: &str = "Tue, 03 Feb 2026 04:05:06 GMT";

    fn head() -> ObjectHead {
        let modified = "2026-02-03T04:05:06.789Z".parse().unwrap();
        ObjectHead { size_bytes: 10, modified }
    }

    #[test]
    fn ranges_are_read_as_rfc_9110_writes_them() {
        let within = |start, length_bytes| Some(ByteRange::Within { start, length_bytes });
        let cases = [
            ("bytes=0-0", within(0, 1)),
            ("bytes=2-5", within(2, 4)),
            ("Bytes = 2-5", within(2, 4)),
            ("bytes=7-", Some(ByteRange::From(7))),
            ("bytes=-3", Some(ByteRange::Last(3))),
            ("bytes=0-99999999999999999999999", within(0, u64::MAX)),
            ("bytes=5-2", None),
            ("bytes=0-1,3-4", None),
            ("bytes=-", None),
            ("bytes=+1-2", None),
            ("lines=1-2", None),
            ("bytes", None),
        ];
        for (text, range) in cases {
            assert_eq!(parse(text), range, "{text}");
        }
    }

    #[test]
    fn a_part_is_of_the_version_that_the_client_has() {
        let cases = [
            (None, ByteRange::From(2)),
            (Some("\"a\""), ByteRange::From(2)),
            (Some("\"b\""), ByteRange::Whole),
            (Some("W/\"a\""), ByteRange::Whole),
            (Some(SAME_SECOND), ByteRange::From(2)),
            (Some("Tue, 03 Feb 2026 04:05:05 GMT"), ByteRange::Whole),
            (Some("yesterday"), ByteRange::Whole),
        ];
        for (condition, range) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, "bytes=2-".parse().unwrap());
            if let Some(condition) = condition {
                headers.insert(header::IF_RANGE, condition.parse().unwrap());
            }
            assert_eq!(wanted(&headers, &head(), "\"a\""), range, "{condition:?}");
        }
    }

    #[test]
    fn a_client_that_has_it_is_told_so() {
        for (given, known) in [("\"a\"", true), ("\"b\", W/\"a\"", true), ("*", true), ("b", false)]
        {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, given.parse().unwrap());
            // A date says nothing where there are tags.
            headers.insert(header::IF_MODIFIED_SINCE, SAME_SECOND.parse().unwrap());
            assert_eq!(is_known(&headers, &head(), "\"a\""), known, "{given}");
        }
        for (given, known) in [
            (SAME_SECOND, true),
            ("Wed, 04 Feb 2026 00:00:00 GMT", true),
            ("Tue, 03 Feb 2026 04:05:05 GMT", false),
            ("yesterday", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_MODIFIED_SINCE, given.parse().unwrap());
            assert_eq!(is_known(&headers, &head(), "\"a\""), known, "{given}");
        }
        assert!(!is_known(&HeaderMap::new(), &head(), "\"a\""));
    }
}
