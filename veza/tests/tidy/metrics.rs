//! Metrics: all have one prefix, and whoever reads them is told what they are.

/// Where they are described.
pub const DESCRIBED: &str = "veza/src/telemetry/described.rs";

const PREFIX: &str = "veza_";

/// What is wrong with the metrics that a source counts; `described` is the text of [`DESCRIBED`].
pub fn complaints(path: &str, text: &str, described: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for name in counted(text) {
        if !name.starts_with(PREFIX) {
            complaints.push(format!("{path}: the metric `{name}` has not the prefix `{PREFIX}`"));
        }
        if !described.contains(&format!("\"{name}\"")) {
            complaints.push(format!("{path}: the metric `{name}` is not in {DESCRIBED}"));
        }
    }
    complaints
}

/// The names of the metrics that a source counts.
pub fn counted(text: &str) -> impl Iterator<Item = &str> {
    let macros = ["counter!(", "gauge!(", "histogram!("];
    let arguments = macros.into_iter().flat_map(|one| text.split(one).skip(1));
    arguments.filter_map(|behind| behind.trim_start().strip_prefix('"')?.split('"').next())
}

#[test]
fn a_metric_of_another_name_or_without_words_is_found() {
    let described = "(\"veza_a_total\", \"words\"), (\"b_total\", \"words\")";
    let source = "counter!(\"veza_a_total\").increment(1); gauge!(\n    \"b_total\", \"l\" => 1);";
    let complaints = complaints("x.rs", source, described);
    assert!(complaints.len() == 1 && complaints[0].contains("b_total"), "{complaints:?}");
    let complaints = self::complaints("x.rs", "metrics::histogram!(\"veza_c\")", described);
    assert!(complaints.len() == 1 && complaints[0].contains("not in"), "{complaints:?}");
}
