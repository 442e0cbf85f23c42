//! Subscribers of one stream behind a writer at a pace: how late they are, how many deliveries a
//! second there are, and what a delivery costs the server.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use eventstore::{
    BatchAppendClient, EventData, ExpectedRevision, StreamPosition, SubscribeToStreamOptions,
    Subscription, SubscriptionEvent,
};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::official;
use super::writers::batch;
use crate::events::{EVENT_BYTES, EVENT_TYPE, Events, stream};
use crate::load::{Call, Caller, Latencies, on_a_thread, paced};
use crate::machine::cpu_time;
use crate::platform::EventStoreServer;
use crate::raw_file::sync_times;
use crate::scale::{Scale, Span};
use crate::table::Better::{Higher, Lower};
use crate::table::{Row, TargetOf, per_second, tell};

/// How many events a second the subscriber of the one writer follows.
const PACE: f64 = 5_000.0;

/// How many follow the one stream.
const SUBSCRIBERS: usize = 1_000;

/// How many events a second they follow: somewhat over 100, so that who keeps up makes over
/// 100,000 deliveries a second.
const PACE_OF_MANY: f64 = 105.0;

/// Over how many clients, each a connection, they are spread.
const CLIENTS: usize = 10;

/// On how many threads the clients are.
const THREADS: usize = 2;

/// How many appends the writer has in flight at most.
const IN_FLIGHT: usize = 64;

/// How many syncs of the disk tell its slowest ones.
const SYNCS: usize = 1_000;

/// How long all may take to subscribe, and to have what was appended.
const PATIENCE: Duration = Duration::from_secs(60);

/// The numbers of the streams that are followed begin here: nobody else has those.
const STREAMS_FROM: usize = 1_000_000_000;

/// One subscriber, and how late it has what was due.
pub async fn behind_a_writer(
    scale: Scale,
    server: &EventStoreServer,
    folder: &Path,
) -> anyhow::Result<Row> {
    let mut rounds = Vec::new();
    for round in 0..scale.rounds() {
        let mut syncs = Latencies::new();
        for time in sync_times(folder, EVENT_BYTES, SYNCS)? {
            syncs.record(time);
        }
        let (sync, span) = (syncs.quantile_ms(0.99), scale.span(2.0));
        let following = Following { subscribers: 1, clients: 1, rate: PACE, span };
        let followed = following.run(server, STREAMS_FROM + round).await?;
        let p99 = followed.latencies.quantile_ms(0.99);
        tell(round, "a subscriber's p99", format!("{p99:.3} ms; a sync's {sync:.3} ms"));
        rounds.push((p99, sync));
    }
    let row = Row::new(
        "grpc.subscriber.p99",
        format!("p99 from when an append is due to its delivery, {PACE:.0} events/s, BatchAppend"),
        ("ms", Lower),
        "p99 of writing one event's bytes to a file and fdatasync",
        &rounds,
    );
    Ok(row.target(TargetOf::Value, 10.0))
}

/// A thousand subscribers: what reaches them, and what it costs.
pub async fn many(scale: Scale, server: &EventStoreServer) -> anyhow::Result<Vec<Row>> {
    let (subscribers, clients) = (scale.count(SUBSCRIBERS).max(CLIENTS), CLIENTS);
    let offered = PACE_OF_MANY * subscribers as f64;
    let (mut rates, mut costs) = (Vec::new(), Vec::new());
    for round in 0..scale.rounds() {
        let following =
            Following { subscribers, clients, rate: PACE_OF_MANY, span: scale.span(4.0) };
        let followed = following.run(server, STREAMS_FROM + scale.rounds() + round).await?;
        let rate = per_second(followed.deliveries, followed.time);
        let micros = |time: Duration| time.as_secs_f64() * 1e6 / followed.deliveries as f64;
        let (cost, cost_of_clients) = (micros(followed.server_cpu), micros(followed.own_cpu));
        let busy = (followed.server_cpu + followed.own_cpu).as_secs_f64();
        let said = format!(
            "{rate:.0} deliveries/s, p99 {:.1} ms; a delivery takes the server {cost:.2} µs and \
             the clients {cost_of_clients:.2} µs; {:.2} processors are busy",
            followed.latencies.quantile_ms(0.99),
            busy / followed.time.as_secs_f64(),
        );
        tell(round, &format!("{subscribers} subscribers"), said);
        rates.push((rate, offered));
        costs.push((cost, cost_of_clients));
    }
    let what = format!("to {subscribers} subscribers of one stream, {clients} clients, none lost");
    Ok(vec![
        Row::new(
            "grpc.subscribers.deliveries",
            format!("deliveries {what}"),
            ("deliveries/s", Higher),
            format!("what is due: {PACE_OF_MANY:.0} events/s appended"),
            &rates,
        )
        .target(TargetOf::Value, 100_000.0),
        Row::new(
            "grpc.subscribers.cpu",
            format!("the server's time of processors for a delivery {what}"),
            ("µs", Lower),
            "what it takes the clients",
            &costs,
        )
        .target(TargetOf::Value, 8.0),
    ])
}

/// Who follows a stream, and the pace of its writer.
#[derive(Clone, Copy, Debug)]
struct Following {
    subscribers: usize,
    clients: usize,
    rate: f64,
    span: Span,
}

/// What was seen of it.
struct Followed {
    /// From when an append was due to when a subscriber had its event.
    latencies: Latencies,
    deliveries: usize,
    /// From the first append to the last delivery.
    time: Duration,
    server_cpu: Duration,
    /// That of the clients, the writer's among them.
    own_cpu: Duration,
}

/// What all subscribers of a stream share.
struct Watch {
    number: usize,
    /// From when on the due times in the events count.
    epoch: Instant,
    /// Numbers of events before this one are not measured.
    unmeasured: u64,
    total: u64,
    /// A permit for each subscriber whom the server has confirmed.
    confirmed: Semaphore,
}

impl Following {
    /// On a new stream, with this number.
    async fn run(self, server: &EventStoreServer, number: usize) -> anyhow::Result<Followed> {
        let (unmeasured, total) = self.span.calls(self.rate);
        let (epoch, confirmed) = (Instant::now(), Semaphore::new(0));
        let watch = Arc::new(Watch { number, epoch, unmeasured, total, confirmed });
        let mut threads = JoinSet::new();
        for thread in 0..THREADS.min(self.clients) {
            let of_thread = (thread..self.clients).step_by(THREADS).count();
            let (url, watch) = (server.url.clone(), Arc::clone(&watch));
            let each = self.subscribers / self.clients;
            threads.spawn(on_a_thread(move || subscribers(url, of_thread, each, watch)));
        }
        let all = u32::try_from(self.subscribers / self.clients * self.clients)?;
        tokio::select! {
            confirmed = tokio::time::timeout(PATIENCE, watch.confirmed.acquire_many(all)) => {
                confirmed.context("not all could subscribe")??.forget();
            }
            Some(thread) = threads.join_next() => {
                thread??;
                bail!("subscribers ended before anything was appended");
            }
        }

        let cpu = || anyhow::Ok((server.cpu_time()?, cpu_time("self")?));
        let (began, cpu_before) = (Instant::now(), cpu()?);
        self.write(&server.url, &watch).await?;
        let mut latencies = Latencies::new();
        let delivered = async {
            while let Some(thread) = threads.join_next().await {
                latencies.add(&thread??)?;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(PATIENCE, delivered).await.context("deliveries are missing")??;
        let (time, cpu_after) = (began.elapsed(), cpu()?);
        Ok(Followed {
            latencies,
            deliveries: usize::try_from(total)? * usize::try_from(all)?,
            time,
            server_cpu: cpu_after.0.saturating_sub(cpu_before.0),
            own_cpu: cpu_after.1.saturating_sub(cpu_before.1),
        })
    }

    /// Appends all events at their pace.
    async fn write(self, url: &str, watch: &Arc<Watch>) -> anyhow::Result<()> {
        let (url, watch) = (url.to_owned(), Arc::clone(watch));
        on_a_thread(move || async move {
            let client = Arc::new(batch(&url).await?);
            let writer = |at| StampingWriter {
                client: Arc::clone(&client),
                events: Events::new((watch.number * IN_FLIGHT + at) as u64),
                watch: Arc::clone(&watch),
            };
            paced((0..IN_FLIGHT).map(writer).collect(), self.rate, self.span).await
        })
        .await?;
        Ok(())
    }
}

/// Subscribes so many times over so many clients, and waits until each has everything.
async fn subscribers(
    url: String,
    clients: usize,
    each: usize,
    watch: Arc<Watch>,
) -> anyhow::Result<Latencies> {
    let mut tasks = JoinSet::new();
    let options = SubscribeToStreamOptions::default().start_from(StreamPosition::Start);
    for _ in 0..clients {
        let client = official(&url).await?;
        for _ in 0..each {
            let name = stream(watch.number);
            let subscription = client.subscribe_to_stream(name.as_str(), &options).await;
            tasks.spawn(follow(subscription, Arc::clone(&watch)));
        }
    }
    let mut all = Latencies::new();
    while let Some(latencies) = tasks.join_next().await {
        all.add(&latencies??)?;
    }
    Ok(all)
}

/// Receives every event, each once and in its order.
async fn follow(mut subscription: Subscription, watch: Arc<Watch>) -> anyhow::Result<Latencies> {
    let first = subscription.next_subscription_event().await?;
    ensure!(matches!(first, SubscriptionEvent::Confirmed(_)), "{first:?} is no confirmation");
    watch.confirmed.add_permits(1);
    let mut latencies = Latencies::new();
    for revision in 0..watch.total {
        let event = subscription.next().await?;
        let event = event.get_original_event();
        ensure!(event.revision == revision, "{} came, not {revision}", event.revision);
        let stamp = Stamp::read(&event.data).context("an event of the writer has a stamp")?;
        if stamp.number >= watch.unmeasured {
            latencies.record(watch.epoch.elapsed().saturating_sub(stamp.due));
        }
    }
    Ok(latencies)
}

/// What the data of an event begins with: its number, and when it was due since the epoch.
struct Stamp {
    number: u64,
    due: Duration,
}

impl Stamp {
    const BYTES: usize = 16;

    fn bytes(&self) -> [u8; Self::BYTES] {
        let nanos = u64::try_from(self.due.as_nanos()).expect("some minutes");
        (u128::from(self.number) << 64 | u128::from(nanos)).to_be_bytes()
    }

    fn read(data: &[u8]) -> Option<Self> {
        let stamp = u128::from_be_bytes(*data.first_chunk::<{ Self::BYTES }>()?);
        let due = Duration::from_nanos(stamp as u64);
        Some(Self { number: (stamp >> 64) as u64, due })
    }
}

/// Appends to the stream that is followed; each event tells when it was due.
struct StampingWriter {
    client: Arc<BatchAppendClient>,
    events: Events,
    watch: Arc<Watch>,
}

impl Caller for StampingWriter {
    async fn call(&mut self, call: Call) -> anyhow::Result<()> {
        let event = self.events.next();
        let due = call.due.saturating_duration_since(self.watch.epoch);
        let mut data = event.data.to_vec();
        data[..Stamp::BYTES].copy_from_slice(&Stamp { number: call.number, due }.bytes());
        let event = EventData::binary(EVENT_TYPE, data.into()).id(event.id.0);
        let name = stream(self.watch.number);
        self.client
            .append_to_stream(name.as_str(), ExpectedRevision::Any, vec![event])
            .await?
            .current_revision()
            .context("the stream has events")?;
        Ok(())
    }
}
