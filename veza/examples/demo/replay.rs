//! Looking back: `veza-replay` beside the platform that serves.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::process::Command;

use super::music;
use super::stage::Stage;

impl Stage {
    /// What `veza-replay` prints, a document a line.
    async fn replay(&self, args: &[&str]) -> anyhow::Result<Vec<Value>> {
        let output = Command::new(&self.veza_replay)
            .args(["--json", "--data"])
            .arg(&self.data)
            .args(args)
            .output()
            .await
            .with_context(|| format!("{} can't be started", self.veza_replay.display()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "veza-replay {args:?}: {} {said}", output.status);
        let text = String::from_utf8(output.stdout)?;
        let documents = text.lines().map(serde_json::from_str);
        documents.collect::<Result<_, _>>().context("veza-replay prints JSON lines")
    }
}

/// Shows a purchase's stream, and its state as of the moment between escrow and release.
pub async fn look_back(stage: &Stage, order: &str) -> anyhow::Result<()> {
    let (order_stream, escrow_stream) = (format!("order-{order}"), format!("escrow-{order}"));
    let events = stage.replay(&["events", &order_stream]).await?;
    for event in &events {
        let (kind, position) = (event["type"].as_str(), event["position"].as_str());
        stage.step(
            &format!("veza-replay events: {}", kind.unwrap_or_default()),
            format!("at position {}", position.unwrap_or_default()),
        );
    }
    let types: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
    let expected =
        ["OrderPlaced", "OrderApproved", "OrderDelivered", "OrderAccepted", "OrderCompleted"];
    ensure!(types == expected, "the order's stream is {types:?}");

    let delivered = &events[2];
    let (position, time) = (&delivered["position"], &delivered["recorded_at"]);
    let (position, time) =
        (position.as_str().context("a position")?, time.as_str().context("a time")?);
    for (at, by) in [(position, "position"), (time, "time")] {
        let then = stage.replay(&["state", &order_stream, "--at", at]).await?;
        let escrow = stage.replay(&["state", &escrow_stream, "--at", at]).await?;
        let (then, escrow) = (&then[0]["state"]["status"], &escrow[0]["state"]["status"]);
        ensure!(then == "delivered" && escrow == "held", "then it was {then}, {escrow}");
        stage.step(&format!("state by {by} {at}"), format!("order {then}, escrow {escrow}"));
    }
    let now = stage.replay(&["state", &escrow_stream]).await?;
    ensure!(now[0]["state"]["status"] == "released", "now it is {}", now[0]);
    stage.step("state now", format!("escrow {}", now[0]["state"]["status"]));
    Ok(())
}

/// Makes the search model again from the log, and searches all the while.
pub async fn rebuild_search(stage: &Stage) -> anyhow::Result<()> {
    let (id, title) = music::newest(stage).await?;
    let searches = AtomicU32::new(0);
    let searching = async {
        loop {
            music::search(stage, None, &title, (&id, &title)).await?;
            searches.fetch_add(1, Ordering::Relaxed);
        }
    };
    let rebuilt: anyhow::Result<Vec<Value>> = tokio::select! {
        rebuilt = stage.replay(&["rebuild", "search"]) => rebuilt,
        failed = searching => failed,
    };
    let rebuilt = rebuilt?;
    let searches = searches.into_inner();
    ensure!(searches > 0, "nobody searched while the model was rebuilt");
    music::search(stage, None, &title, (&id, &title)).await?;
    stage.step("veza-replay rebuild search", rebuilt.last().unwrap_or(&Value::Null));
    stage.step("searches answered meanwhile", searches);
    Ok(())
}
