//! Whom a certificate is about, and until when.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The user whose certificate this is, their common name: one that is for clients and not for
/// servers, as nodes have certificates of the same roots.
pub(crate) fn user_of(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let usage = certificate.extended_key_usage().ok()??.value;
    if !usage.client_auth || usage.server_auth {
        return None;
    }
    let mut names = certificate.subject().iter_common_name();
    let name = names.next()?.as_str().ok()?.to_owned();
    // Of two nobody can say which is meant.
    names.next().is_none().then_some(name)
}

/// Whether the certificate is good now and for so long; not so what is none.
pub(super) fn is_good_for(certificate: &[u8], time: Duration) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
    let seconds = |time: SystemTime| {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    };
    let now = SystemTime::now();
    let validity = certificate.validity();
    validity.not_before.timestamp() <= seconds(now)
        && seconds(now + time) <= validity.not_after.timestamp()
}

/// The hosts that a server's certificate is for: names, and addresses as they are written.
pub(super) fn hosts(certificate: &[u8]) -> BTreeSet<String> {
    let parsed = X509Certificate::from_der(certificate).ok();
    let names = parsed.as_ref().and_then(|(_, it)| it.subject_alternative_name().ok().flatten());
    let names = names.into_iter().flat_map(|names| names.value.general_names.iter());
    let host = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => <[u8; 4]>::try_from(*bytes)
            .map(IpAddr::from)
            .or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from))
            .ok()
            .map(|address| address.to_string()),
        _ => None,
    };
    names.filter_map(host).collect()
}
