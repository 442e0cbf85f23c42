//! Many writers, readers and followers at once, through failures, power cuts and restarts: all that
//! they were answered is what one store could have answered that does one thing at a time.

use std::sync::Arc;

use event_store::log::{Fault, SimDisk};
use event_store::{
    AppendError, EmbeddedOptions, EmbeddedStore, EventStore, ExpectedRevision, ReadAll, ReadError,
    ReadStream, RecordedEvent, Revision, StoreError, StreamName,
};
use futures::{StreamExt, TryStreamExt};

use super::followers::Kind;
use super::history::{After, Log, NEVER, Operation, Order, Seen, digest};
use crate::dice::Dice;
use crate::given::{event, everything, stream};
use crate::seeds::seeds;

const ROUNDS: u64 = 4;
const STREAMS: usize = 3;
const WRITERS: u64 = 6;
const READERS: u64 = 3;
const FOLLOWERS: u64 = 2 * Kind::ALL.len() as u64;
const APPENDS: u64 = 10;
const READS: u64 = 20;
const APPEND_EVENTS_MAX: u64 = 4;

/// A client: what it did, and what is still to be answered.
struct Client {
    dice: Dice,
    order: Arc<Order>,
    history: Vec<Operation>,
    /// Its next number; those of one client are its own.
    next: u64,
    unanswered: Option<Pending>,
    /// What it follows, the place that it goes on behind, and the events it was given.
    follows: Kind,
    place: Option<u64>,
    delivered: Vec<u64>,
}

/// An append that nobody answered: it is sent again as it was.
struct Pending {
    begun: u64,
    stream: usize,
    numbers: Vec<u64>,
    after: After,
}

/// Two of one category and one of another.
fn name(number: usize) -> StreamName {
    stream(["track-0", "track-1", "user-2"][number])
}

fn number_of(event: &RecordedEvent) -> u64 {
    event.id.0.as_u128() as u64 - 1
}

fn digest_of(events: &[RecordedEvent]) -> u64 {
    events.iter().fold(0, |before, event| digest(before, number_of(event)))
}

fn is_over(error: &StoreError) -> bool {
    matches!(error, StoreError::Poisoned { .. } | StoreError::Closed)
}

impl Client {
    fn new(number: u64, seed: u64, order: &Arc<Order>) -> Self {
        Self {
            dice: Dice::new(seed ^ number << 40),
            order: Arc::clone(order),
            history: Vec::new(),
            next: number << 32,
            unanswered: None,
            follows: Kind::ALL[number as usize % Kind::ALL.len()],
            place: None,
            delivered: Vec::new(),
        }
    }

    fn record(&mut self, begun: u64, seen: Seen) {
        let ended = self.order.now();
        self.history.push(Operation { begun, ended, seen });
    }

    /// Appends until the store is over, or enough.
    async fn write(mut self, store: Arc<EmbeddedStore>) -> Self {
        for _ in 0..APPENDS {
            let pending = match self.unanswered.take() {
                Some(pending) => pending,
                None => self.new_append(&store).await,
            };
            let Pending { begun, stream, ref numbers, after } = pending;
            let events = numbers.iter().map(|&number| event(number)).collect();
            let expected = match after {
                None => ExpectedRevision::Any,
                Some(0) => ExpectedRevision::NoStream,
                Some(events) => ExpectedRevision::Exactly(Revision::new(events - 1)),
            };
            match store.append(&name(stream), expected, events).await {
                Ok(appended) => {
                    let told = appended.last_revision.zip(appended.position);
                    let told = told.map(|(revision, position)| (revision.get(), position.get()));
                    let numbers = pending.numbers;
                    self.record(begun, Seen::Append { stream, numbers, after, told });
                }
                Err(AppendError::WrongExpectedRevision { actual, .. }) => {
                    let events = actual.map_or(0, |last| last.get() + 1);
                    self.record(begun, Seen::Refused { stream, after, events });
                }
                Err(AppendError::Store(error)) if is_over(&error) => {
                    self.unanswered = Some(pending);
                    break;
                }
                Err(other) => panic!("{other}"),
            }
        }
        self
    }

    /// What it would append next: often behind what it has just seen, so that some are refused.
    async fn new_append(&mut self, store: &EmbeddedStore) -> Pending {
        let stream = self.dice.below(STREAMS as u64) as usize;
        let count = 1 + self.dice.below(APPEND_EVENTS_MAX);
        let numbers = (self.next..self.next + count).collect();
        self.next += count;
        let after = match self.dice.below(100) < 60 {
            true => store.last_event(&name(stream)).await.ok(),
            false => None,
        };
        let after = after.map(|last| last.map_or(0, |last| last.revision.get() + 1));
        Pending { begun: self.order.now(), stream, numbers, after }
    }

    async fn read(mut self, store: Arc<EmbeddedStore>) -> Self {
        for _ in 0..READS {
            let stream = self.dice.below(STREAMS as u64) as usize;
            let begun = self.order.now();
            let seen = match self.dice.below(4) {
                0 => {
                    let read = store.read_all(ReadAll::forward()).await.unwrap();
                    let all: Vec<_> = read.try_collect().await.unwrap();
                    Seen::Log { events: all.len() as u64, digest: digest_of(&all) }
                }
                1 => Seen::Head(store.head().await.unwrap().get()),
                way => {
                    let read = match way {
                        2 => ReadStream::forward(name(stream)),
                        _ => ReadStream::backward(name(stream)),
                    };
                    let mut all: Vec<_> = match store.read_stream(read).await {
                        Ok(read) => read.try_collect().await.unwrap(),
                        Err(ReadError::StreamNotFound(_)) => Vec::new(),
                        Err(other) => panic!("{other}"),
                    };
                    if way == 3 {
                        all.reverse();
                    }
                    Seen::Stream { stream, events: all.len() as u64, digest: digest_of(&all) }
                }
            };
            self.record(begun, seen);
            tokio::task::yield_now().await;
        }
        self
    }

    /// Follows from where it was, until the store is over or it has so many events; now and then it
    /// begins anew where it is.
    async fn follow(mut self, store: Arc<EmbeddedStore>, until: Option<usize>) -> Self {
        let is_done = |client: &Self| until.is_some_and(|until| client.delivered.len() >= until);
        while !is_done(&self) {
            let Some(mut followed) = self.follows.subscribe(&store, self.place).await else {
                break;
            };
            let mut left = 1 + self.dice.below(40);
            while left > 0 && !is_done(&self) {
                let Some(Some((place, event))) = followed.next().await else { return self };
                self.place = place.or(self.place);
                if let Some(event) = event {
                    let (position, number) = (event.position.get(), number_of(&event));
                    self.delivered.push(number);
                    left -= 1;
                    let now = self.order.now();
                    self.record(now, Seen::Delivered { position, number });
                }
            }
        }
        self
    }
}

/// All clients of one kind at work on one opening of the store.
fn all<F: Future<Output = Client> + Send + 'static>(
    clients: &mut Vec<Client>,
    work: impl Fn(Client) -> F,
) -> Vec<tokio::task::JoinHandle<Client>> {
    clients.drain(..).map(|client| tokio::spawn(work(client))).collect()
}

async fn back(clients: &mut Vec<Client>, tasks: Vec<tokio::task::JoinHandle<Client>>) {
    for task in tasks {
        clients.push(task.await.unwrap());
    }
}

fn open(disk: &SimDisk) -> impl Future<Output = Arc<EmbeddedStore>> {
    let options = EmbeddedOptions::disk(Arc::new(disk.clone())).segment_bytes(3000);
    async { Arc::new(EmbeddedStore::open(options).await.unwrap()) }
}

/// A round: one opening of the store, with all clients at work until they have enough, or until
/// the disk fails. Returns the disk as it is found afterwards.
async fn round(disk: SimDisk, dice: &mut Dice, clients: &mut [Vec<Client>; 3]) -> SimDisk {
    let store = open(&disk).await;
    match dice.below(4) {
        0 => disk.fail(Fault::SegmentSync(1 + dice.below(20))),
        1 => disk.fail(Fault::Write(1 + dice.below(20))),
        _ => {}
    }
    let [writers, readers, followers] = clients;
    let writing = all(writers, |client| client.write(Arc::clone(&store)));
    let reading = all(readers, |client| client.read(Arc::clone(&store)));
    let following = all(followers, |client| client.follow(Arc::clone(&store), None));
    back(writers, writing).await;
    back(readers, reading).await;
    if dice.below(2) == 0 {
        store.close().await.unwrap();
        back(followers, following).await;
        // Who had enough before it came must not meet it as the store is opened again.
        disk.heal();
        return disk;
    }
    let mut fate = dice.clone();
    let after = disk.cut_power(|| fate.below(2) == 0);
    store.close().await.unwrap();
    back(followers, following).await;
    after
}

async fn a_history(seed: u64) -> (Log, Vec<Operation>) {
    let (mut dice, order) = (Dice::new(seed), Arc::<Order>::default());
    let some = |from: u64, count: u64| {
        (from..from + count).map(|number| Client::new(number, seed, &order)).collect()
    };
    let mut clients: [Vec<Client>; 3] =
        [some(1, WRITERS), some(100, READERS), some(200, FOLLOWERS)];
    let mut disk = SimDisk::new();
    for _ in 0..ROUNDS {
        disk = round(disk, &mut dice, &mut clients).await;
    }
    let store = open(&disk).await;
    let held = everything(&store).await.unwrap();
    let streams: Vec<StreamName> = (0..STREAMS).map(name).collect();
    let of_stream =
        |event: &RecordedEvent| streams.iter().position(|name| *name == event.stream).unwrap();
    let log: Vec<_> = held.iter().map(|event| (of_stream(event), number_of(event))).collect();
    let told = |kind: Kind| -> Vec<u64> {
        log.iter().filter(|(stream, _)| kind.has(&streams[*stream])).map(|it| it.1).collect()
    };
    let following = all(&mut clients[2], |client| {
        let until = told(client.follows).len();
        client.follow(Arc::clone(&store), Some(until))
    });
    back(&mut clients[2], following).await;
    for Client { follows, delivered, .. } in &clients[2] {
        assert_eq!(*delivered, told(*follows), "seed {seed}, {follows:?}: each once, in order");
    }
    let mut history = Vec::new();
    for client in clients.into_iter().flatten() {
        history.extend(client.history);
        history.extend(client.unanswered.map(|Pending { begun, stream, numbers, after }| {
            let seen = Seen::Append { stream, numbers, after, told: None };
            Operation { begun, ended: NEVER, seen }
        }));
    }
    (Log::new(&log, STREAMS), history)
}

/// Given writers, readers and followers of every kind side by side, whom failing writes and syncs,
/// power cuts and restarts interrupt, and who send again what was not answered, then their history
/// is legal, and each follower was given what it follows once and in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_is_that_of_one_thing_after_the_other() {
    let mut operations = 0;
    for seed in seeds("a_history_is_that_of_one_thing_after_the_other", 40, 1000) {
        let (log, history) = a_history(seed).await;
        operations += history.len();
        if let Err(wrong) = log.check(&history) {
            panic!("seed {seed}: {wrong}");
        }
    }
    println!("{operations} operations");
}
