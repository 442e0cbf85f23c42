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

/// A purchase's order, escrow and payment after each of its events; `none` where no event is yet.
const PURCHASE: [(&str, [&str; 3]); 9] = [
    ("OrderPlaced", ["placed", "none", "none"]),
    ("PaymentAuthorised", ["placed", "none", "authorised"]),
    ("EscrowHeld", ["placed", "held", "authorised"]),
    ("OrderApproved", ["approved", "held", "authorised"]),
    ("OrderDelivered", ["delivered", "held", "authorised"]),
    ("PaymentCaptured", ["delivered", "held", "captured"]),
    ("OrderAccepted", ["accepted", "held", "captured"]),
    ("EscrowReleased", ["accepted", "released", "captured"]),
    ("OrderCompleted", ["completed", "released", "captured"]),
];

/// Shows a purchase's events, and its state as of each of them.
pub async fn look_back(stage: &Stage, order: &str) -> anyhow::Result<()> {
    let streams = ["order", "escrow", "payment"].map(|category| format!("{category}-{order}"));
    let mut events = Vec::new();
    for stream in &streams {
        for event in stage.replay(&["events", stream]).await? {
            let position: u64 = event["position"].as_str().context("a position")?.parse()?;
            events.push((position, event));
        }
    }
    events.sort_unstable_by_key(|(position, _)| *position);
    for ((position, event), (kind, expected)) in events.iter().zip(PURCHASE) {
        let is_there = |stream: &&String| {
            events.iter().any(|(at, event)| at <= position && event["stream"] == stream.as_str())
        };
        let mut states = ["none"; 3].map(str::to_owned);
        for (stream, state) in streams.iter().zip(&mut states).filter(|(it, _)| is_there(it)) {
            *state = status(stage, stream, Some(&position.to_string())).await?;
        }
        let found = (event["type"].as_str().unwrap_or_default(), &states);
        ensure!(found == (kind, &expected.map(str::to_owned)), "at {position} it was {found:?}");
        let [order, escrow, payment] = states;
        stage.step(
            &format!("veza-replay state --at {position}, {kind}"),
            format!("order {order}, escrow {escrow}, payment {payment}"),
        );
    }
    let kinds: Vec<_> = events.iter().map(|(_, event)| &event["type"]).collect();
    ensure!(events.len() == PURCHASE.len(), "the purchase's events are {kinds:?}");

    let delivered = &events[4].1["recorded_at"];
    let delivered = delivered.as_str().context("a time")?;
    let [then, now] = [
        status(stage, &streams[0], Some(delivered)).await?,
        status(stage, &streams[0], None).await?,
    ];
    ensure!((&*then, &*now) == ("delivered", "completed"), "it was {then}, and is {now}");
    stage.step(&format!("state --at {delivered}"), format!("order {then}; now {now}"));
    Ok(())
}

/// How a stream's aggregate stands, now or at a position or time.
async fn status(stage: &Stage, stream: &str, at: Option<&str>) -> anyhow::Result<String> {
    let at = at.iter().flat_map(|at| ["--at", at]);
    let args: Vec<&str> = ["state", stream].into_iter().chain(at).collect();
    let said = stage.replay(&args).await?;
    let status = said.first().and_then(|said| said["state"]["status"].as_str());
    Ok(status.with_context(|| format!("{stream} has no state: {said:?}"))?.to_owned())
}

/// Makes the search model again from the log, and searches all the while.
pub async fn rebuild_search(stage: &Stage) -> anyhow::Result<()> {
    let (id, title) = music::newest(stage).await?;
    let searches = AtomicU32::new(0);
    let searching = async {
        loop {
            music::find_again(stage, (&id, &title)).await?;
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
    music::find_again(stage, (&id, &title)).await?;
    stage.step("veza-replay rebuild search", rebuilt.last().unwrap_or(&Value::Null));
    stage.step("searches answered meanwhile", searches);
    Ok(())
}
