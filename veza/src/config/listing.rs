//! What `veza config` prints: a TOML file with every setting, its words and where its value came
//! from, safe to show to others: what is secret stands in it as a remark.

use std::fmt::Write;

use super::{Layers, SETTINGS};

const HIDDEN: &str = "(secret)";

/// Every setting with its value and origin. Secrets, and passwords in URLs, are not in it.
#[must_use]
pub fn listing(layers: &Layers) -> String {
    let mut out = String::new();
    for setting in SETTINGS {
        let (key, variable) = (setting.key, setting.variable());
        let about = setting.about;
        let lines = match layers.get(key) {
            None => format!("# {about} ({variable}, not set)\n# {key} ="),
            Some((value, origin)) => {
                let shown = if setting.is_secret { HIDDEN.to_owned() } else { shown(value) };
                // Whoever uses the listing as a file must not get the words for the secret.
                let mark = if shown == value { "" } else { "# " };
                let shown = toml::Value::String(shown);
                format!("# {about} ({variable}, from: {origin})\n{mark}{key} = {shown}")
            }
        };
        writeln!(out, "{lines}\n").expect("a String takes all");
    }
    out
}

/// What a parameter of a URL is called that nobody else may see, or part of it.
const SECRET_PARAMETERS: [&str; 5] = ["pass", "pwd", "secret", "token", "key"];

/// The value without a URL's passwords: between its user and its host, and in its parameters.
fn shown(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else {
        // Of words that are no URL, as `host=db password=…`, nobody can say where a secret ends.
        return if names_secret(value) { HIDDEN.to_owned() } else { value.to_owned() };
    };
    let value = format!("{scheme}://{}", without_password(rest));
    match value.split_once(['?', '#']) {
        None => value,
        Some((place, said)) => {
            let mark = &value[place.len()..=place.len()];
            let parameters: Vec<_> = said.split_inclusive(['&', ';', '#']).map(parameter).collect();
            format!("{place}{mark}{}", parameters.concat())
        }
    }
}

/// A parameter with what parts it from the next.
fn parameter(said: &str) -> String {
    let ends = said.ends_with(['&', ';', '#']);
    let (said, end) = said.split_at(said.len() - usize::from(ends));
    match said.split_once('=') {
        Some((name, _)) if names_secret(name) => format!("{name}={HIDDEN}{end}"),
        _ => format!("{said}{end}"),
    }
}

fn names_secret(words: &str) -> bool {
    let folded = words.to_ascii_lowercase();
    SECRET_PARAMETERS.iter().any(|secret| folded.contains(secret))
}

/// What is behind a URL's scheme without what stands between its user and its host.
fn without_password(rest: &str) -> String {
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // A password may hold whatever its URL should have encoded; the last @ is the one that counts.
    let at = rest[..authority_end].rfind('@').or_else(|| rest.rfind('@'));
    let Some(at) = at else {
        return rest.to_owned();
    };
    let user = rest[..at].split(':').next().unwrap_or("");
    format!("{user}:{HIDDEN}{}", &rest[at..])
}

#[cfg(test)]
mod tests {
    use super::super::Flags;
    use super::*;

    #[test]
    fn a_secret_is_found_wherever_it_stands() {
        for value in [
            "host=db user=veza password=hush",
            "http://ch:8123/?user=a;password=hush",
            "http://ch:8123/#password=hush",
            "http://ch:8123/?a=b&pwd=hush#c",
            "http://u:hush@ch:8123",
        ] {
            let shown = shown(value);
            assert!(!shown.contains("hush") && shown.contains(HIDDEN), "{shown}");
        }
        let plain = "http://ch:8123/?a=b;c=d#e";
        assert_eq!(shown(plain), plain);
    }

    #[test]
    fn it_is_toml_with_every_setting_and_without_secrets() {
        let variables = [
            ("VEZA_DATABASE_URL", "postgres://veza:hush@db/veza"),
            ("VEZA_CLICKHOUSE_URL", "http://u:hu/sh@ch:8123/?database=veza&Password=hush"),
            ("VEZA_METRICS_TOKEN", "hush"),
            ("VEZA_MEILISEARCH_KEY", "hush"),
            ("VEZA_EVENT_STORE_KEY", "a:hush"),
        ];
        let variables = variables.map(|(name, value)| (name.into(), value.into())).into_iter();
        let listed = listing(&Layers::gather(&Flags::default(), variables).unwrap());
        assert!(!listed.contains("hush") && !listed.contains("hu/sh"), "{listed}");
        assert!(listed.contains("VEZA_DATABASE_URL, from: VEZA_DATABASE_URL)"), "{listed}");
        let table: toml::Table = listed.parse().unwrap();
        let url = "# database_url = \"postgres://veza:(secret)@db/veza\"";
        assert!(listed.contains(url) && listed.contains("# metrics_token = \"(secret)\""));
        let url = "\"http://u:(secret)@ch:8123/?database=veza&Password=(secret)\"";
        assert!(listed.contains(url), "{listed}");
        for value in table.values() {
            assert!(!value.to_string().contains(HIDDEN), "{value} would be taken at its word");
        }
        assert_eq!(table["http"].as_str(), Some("127.0.0.1:8080"));
        for setting in SETTINGS {
            assert!(listed.contains(&format!("{} =", setting.key)), "{}", setting.key);
        }
    }
}
