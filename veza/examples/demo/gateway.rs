//! What the payment gateway has in its own ledger, which the platform does not write.

use std::fs;

use anyhow::Context as _;
use serde_json::Value;

use super::stage::Stage;

/// The gateway's entries for one order.
pub struct Books {
    entries: Vec<Value>,
}

impl Books {
    /// Reads them.
    pub fn of_order(stage: &Stage, order: &str) -> anyhow::Result<Self> {
        let path = stage.data.join("sandbox-gateway").join("ledger.jsonl");
        let text = fs::read_to_string(&path)
            .with_context(|| format!("no ledger in {} (VEZA_DATA)", path.display()))?;
        // A line that is being written is not there yet.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let entries = whole.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
        let entries = entries.into_iter().filter(|entry| entry["order_id"] == order).collect();
        Ok(Self { entries })
    }

    /// What was done, in order.
    pub fn operations(&self) -> Vec<&str> {
        self.entries.iter().filter_map(|entry| entry["request"]["operation"].as_str()).collect()
    }

    /// What came to an account (and left it) for this order, in minor units.
    pub fn balance(&self, kind: &str, id: &str) -> i64 {
        let postings = self.entries.iter().filter_map(|entry| entry["postings"].as_array());
        let on_account = postings.flatten().filter(|posting| posting["account"][kind] == id);
        on_account.filter_map(|posting| posting["amount_minor"].as_i64()).sum()
    }
}
