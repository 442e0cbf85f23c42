//! `parked` and `retry`: events that a read model could not take, and another try at them.

use projections::{parked_events, retry_parked};
use serde_json::json;

use crate::command::{ReplayError, Verdict};
use crate::models::Models;
use crate::output::Output;

/// Of which model.
#[derive(Clone, Debug, clap::Args)]
pub struct ParkedArgs {
    /// Which model, such as `orders`; without it, all
    pub model: Option<String>,
}

/// Which events are tried again.
#[derive(Clone, Debug, clap::Args)]
pub struct RetryArgs {
    /// Which model, such as `orders`
    pub model: String,
    /// Whose events, as `parked` names the key
    #[arg(required_unless_present = "all")]
    pub key: Option<String>,
    /// Those of every key
    #[arg(long, conflicts_with = "key")]
    pub all: bool,
}

/// Prints what is parked, in the log's order. Bad, when there is anything.
pub async fn parked(
    read_models: &Models,
    args: &ParkedArgs,
    output: &mut Output<'_>,
) -> Result<Verdict, ReplayError> {
    read_models.prepare().await?;
    let chosen = match &args.model {
        Some(name) => vec![read_models.find(name)?],
        None => read_models.projections.iter().collect(),
    };
    let mut verdict = Verdict::Good;
    for projection in chosen {
        let id = projection.id();
        for event in parked_events(&read_models.pool, id).await? {
            verdict = Verdict::Bad;
            let document = json!({
                "name": id.name,
                "version": id.version,
                "key": event.key,
                "position": event.position.to_string(),
                "type": event.event_type,
                "reason": event.reason,
                "parked_at": event.parked_at,
            });
            let line = format!(
                "{id}  {:>10}  {}  key {}  {}",
                event.position.to_string(),
                event.event_type,
                event.key,
                event.reason,
            );
            output.result(&document, &line)?;
        }
    }
    if verdict == Verdict::Good {
        output.remark("nothing is parked")?;
    }
    Ok(verdict)
}

/// Asks for another try. Bad, when nothing is parked of a key that is named.
pub async fn retry(
    read_models: &Models,
    args: &RetryArgs,
    output: &mut Output<'_>,
) -> Result<Verdict, ReplayError> {
    read_models.prepare().await?;
    let id = read_models.find(&args.model)?.id();
    let events = retry_parked(&read_models.pool, id, args.key.as_deref()).await?;
    let document = json!({ "name": id.name, "version": id.version, "key": args.key,
        "events": events });
    let line = match (events, &args.key) {
        (0, Some(key)) => format!("nothing of key {key} is parked in {id}"),
        (0, None) => format!("nothing is parked in {id}"),
        _ => format!("{events} events are tried again by the platform; `parked` tells whether"),
    };
    output.result(&document, &line)?;
    Ok(if events == 0 && args.key.is_some() { Verdict::Bad } else { Verdict::Good })
}
