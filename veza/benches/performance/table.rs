//! The figures: rows of a value and its baseline, as an aligned table and as JSON.

use std::fmt::Display;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

/// The verdict on a row whose value or baseline could not be had.
const NOT_MEASURED: &str = "NOT MEASURED";

/// Which way is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    Higher,
    Lower,
}

/// What a target is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetOf {
    Value,
    Ratio,
}

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Stays the same from release to release.
    pub id: String,
    pub what: String,
    pub value: f64,
    pub unit: &'static str,
    pub baseline: String,
    pub baseline_value: f64,
    /// The value as a multiple of the baseline's, as the rounds had it. Of what was not measured
    /// these are not numbers, and `null` in JSON.
    pub ratio: f64,
    /// What is to be reached; none where the figure is only to be known.
    pub target: Option<f64>,
    pub target_of: TargetOf,
    pub better: Better,
}

impl Row {
    /// A row of rounds, each the value and its baseline's: the medians of both and of the ratios.
    pub fn new(
        id: impl Into<String>,
        what: impl Into<String>,
        (unit, better): (&'static str, Better),
        baseline: impl Into<String>,
        rounds: &[(f64, f64)],
    ) -> Self {
        let of = |number: fn(&(f64, f64)) -> f64| median(rounds.iter().map(number).collect());
        Self {
            id: id.into(),
            what: what.into(),
            value: of(|round| round.0),
            unit,
            baseline: baseline.into(),
            baseline_value: of(|round| round.1),
            ratio: of(|round| round.0 / round.1),
            target: None,
            target_of: TargetOf::Value,
            better,
        }
    }

    /// The same, with what is to be reached.
    #[must_use]
    pub fn target(self, target_of: TargetOf, target: f64) -> Self {
        Self { target: Some(target), target_of, ..self }
    }

    fn verdict(&self) -> &'static str {
        if self.ratio.is_nan() {
            return NOT_MEASURED;
        }
        let reached = match self.target_of {
            TargetOf::Value => self.value,
            TargetOf::Ratio => self.ratio,
        };
        match (self.target, self.better) {
            (None, _) => "",
            (Some(target), Better::Higher) if reached >= target => "reached",
            (Some(target), Better::Lower) if reached <= target => "reached",
            (Some(_), _) => "MISSED",
        }
    }

    fn target_text(&self) -> String {
        let Some(target) = self.target else {
            return String::new();
        };
        let than = if self.better == Better::Higher { "≥" } else { "≤" };
        match self.target_of {
            TargetOf::Value => format!("{than} {}", number(target)),
            TargetOf::Ratio => format!("ratio {than} {}", number(target)),
        }
    }
}

/// The middle one; of an even number, the mean of both in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match (values.len(), values.len() / 2) {
        (0, _) => f64::NAN,
        (length, middle) if length % 2 == 1 => values[middle],
        (_, middle) => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// Rounds take turns; a line tells that the work goes on.
pub fn tell(round: usize, what: &str, outcome: impl Display) {
    println!("  round {}: {what}: {outcome}", round + 1);
}

/// So many things in this time, by the second.
pub fn per_second(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// Writes the rows as a list of objects.
pub fn write(file: &Path, rows: &[Row]) -> io::Result<()> {
    let mut text = serde_json::to_string_pretty(rows)?;
    text.push('\n');
    fs::write(file, text)
}

/// The rows as a table for eyes.
pub fn table(rows: &[Row]) -> String {
    let head = ["id", "value", "baseline", "ratio", "target", "", "what, and its baseline"];
    let mut cells = vec![head.map(str::to_owned)];
    cells.extend(rows.iter().map(|row| {
        [
            row.id.clone(),
            format!("{} {}", number(row.value), row.unit),
            number(row.baseline_value),
            ratio(row.ratio),
            row.target_text(),
            row.verdict().to_owned(),
            format!("{}; against {}", row.what, row.baseline),
        ]
    }));
    let widths: Vec<usize> = (0..head.len())
        .map(|column| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in cells {
        let padded = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            let is_number = (1..=3).contains(&column);
            if is_number { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        let line = padded.collect::<Vec<_>>().join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The rows as a table in Markdown.
pub fn markdown(rows: &[Row]) -> String {
    let mut text = "| what | value | its baseline | ratio | target | |\n".to_owned();
    text.push_str("| --- | ---: | ---: | ---: | ---: | --- |\n");
    for row in rows {
        let Row { id, what, unit, baseline, .. } = row;
        let (value, base) = (number(row.value), number(row.baseline_value));
        let ratio = ratio(row.ratio);
        let (target, verdict) = (row.target_text(), row.verdict());
        text.push_str(&format!(
            "| {what} (`{id}`) | {value} {unit} | {baseline}: {base} | {ratio} | {target} | \
             {verdict} |\n"
        ));
    }
    text
}

fn ratio(ratio: f64) -> String {
    if ratio.is_nan() { "none".to_owned() } else { format!("{ratio:.3}") }
}

/// Four digits that matter, and commas between thousands.
fn number(value: f64) -> String {
    if value.is_nan() {
        return "none".to_owned();
    }
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    let (whole, rest) = text.split_once('.').map_or((&*text, None), |(w, r)| (w, Some(r)));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    rest.map_or(grouped.clone(), |rest| format!("{grouped}.{rest}"))
}
